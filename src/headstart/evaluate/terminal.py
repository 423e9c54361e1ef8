"""A Report for the terminal: eighty columns with colour for people, `key=value` lines for pipes and log files.

Enter: a Report (and, while a study runs, its events). Leave: text on the given rich console; nothing else is printed.
Both forms carry the same content. The last two lines of the human form are commands to paste.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from headstart.evaluate.plots import duration
from headstart.evaluate.progress import Event
from headstart.evaluate.report import Candidate, CheckRow, Report
from headstart.evaluate.verdict import p_text, sentences

MARGIN = 9  # the width of the column of headings
STATUS_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def show(report: Report, console: Console) -> None:
    """Print the report: the table on a terminal, `key=value` lines elsewhere."""
    put(console, lambda: plain_lines(report), lambda width: human_lines(report, width=width))


def put(
    console: Console, plain: Callable[[], Iterator[str]], human: Callable[[int], Iterator[Text]], *, least: int = 60
) -> None:
    """Print what `human(width)` says on a terminal, at `least` that wide and at most 100, and `plain()` elsewhere."""
    if not console.is_terminal:
        for line in plain():
            console.out(line, highlight=False)
        return
    for text in human(max(least, min(console.width, 100))):
        console.print(text, highlight=False, soft_wrap=True)


# --- for people -----------------------------------------------------------------------------------------------------


def human_lines(report: Report, *, width: int = 80) -> Iterator[Text]:
    """The report below the data and plan lines that were shown while it ran."""
    yield Text()
    yield from table_lines(report, width)
    yield from footnotes(report, width)
    yield Text()
    for i, sentence in enumerate(sentences(report)):
        yield from wrapped("verdict" if i == 0 else "", sentence, width, "bold" if i == 0 else "")
    yield from check_lines(report, width)
    if report.saved is not None:
        yield headed("saved", report.saved)
        yield headed("next", f"headstart predict {shlex.quote(report.saved)} new.csv")
        yield headed("", again(report))


def again(report: Report) -> str:
    """The second command to paste."""
    if report.interrupted and report.command:
        return without_out(report.command)
    return f"python -m webbrowser {shlex.quote(f'{report.saved}/report.html')}"


def without_out(command: str) -> str:
    """A command to paste after it was interrupted: its --out holds the best so far now, and would be refused."""
    words, kept = iter(shlex.split(command)), []
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out="):
            kept.append(word)
    return shlex.join(kept)


def headed(heading: str, content: str, style: str = "") -> Text:
    return Text.assemble((f"{heading:<{MARGIN}}", "bold cyan"), (content, style))


def wrapped(heading: str, content: str, width: int, style: str = "") -> Iterator[Text]:
    """The content over as many lines as it needs, all indented to the margin."""
    for i, line in enumerate(Text(content).wrap(Console(width=width - MARGIN), width - MARGIN)):
        yield headed(heading if i == 0 else "", line.plain, style)


def table_lines(report: Report, width: int) -> Iterator[Text]:
    """One line a candidate, the chosen one marked."""
    names = max(16, min(30, width - 58, max(len(c.title) for c in report.candidates)))
    title = f"{report.metric_title} (95% CI)"
    yield Text(
        f"{'':<{MARGIN}}  {'method':<{names}}  {title:<20}  {'vs chosen':>9}  {'train':>7}  {'ms/row':>6}", style="dim"
    )
    for candidate in report.candidates:
        chosen = candidate is report.best
        style = "bold" if chosen else "" if candidate.base is not None and candidate.method != "scratch" else "dim"
        yield Text.assemble(
            (f"{'':<{MARGIN - 2}}{'  ▸ ' if chosen else '    '}", "bold cyan"),
            (row_text(candidate, names, chosen), style),
        )


def row_text(candidate: Candidate, names: int, chosen: bool) -> str:
    name = candidate.title if len(candidate.title) <= names else candidate.title[: names - 1] + "…"
    low, high = candidate.ci95
    score = f"{candidate.value:.3f} [{low:.3f}, {high:.3f}]"
    return (
        f"{name:<{names}}  {score:<20}  {difference(candidate, chosen):>9}  {short(candidate.seconds):>7}  "
        f"{candidate.ms_per_row:>6.{1 if candidate.ms_per_row >= 0.1 else 3}f}"
    )


def difference(candidate: Candidate, chosen: bool) -> str:
    """-, -0.031*, or tied: what the rows show against the chosen candidate."""
    if chosen or candidate.vs_best is None:
        return "-"
    return "tied" if candidate.tied else f"{candidate.vs_best.difference:+.3f}*"


def short(seconds: float) -> str:
    """41s, 2m05s; a time in seven characters."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 100:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def footnotes(report: Report, width: int) -> Iterator[Text]:
    note = "* paired test, p < 0.05."
    if report.best.seeds > 1 and report.best.seed_sd is not None:
        what = "prompts" if report.prompts else "seeds"
        note += f" Means over {report.best.seeds} {what}; the chosen one varies by ±{report.best.seed_sd:.3f}."
    stopped = [c.title for c in report.candidates if c.stopped]
    if stopped:
        note += f" Stopped before its end: {', '.join(stopped)}."
    if report.skipped:
        note += f" Not run for lack of time: {'; '.join(f'{s.method} ({s.reason})' for s in report.skipped)}."
    yield from wrapped("", note, width, "dim")


def check_lines(report: Report, width: int) -> Iterator[Text]:
    """All checks on one or two lines; every one that is not ok gets its sentence."""
    good = [c.id for c in report.checks if c.status == "ok"]
    if good:
        yield from wrapped("checks", " · ".join(f"{name} ok" for name in good), width)
    for i, check in enumerate(c for c in report.checks if c.status != "ok"):
        heading = "checks" if i == 0 and not good else ""
        yield from wrapped(heading, f"{check.id} {check.status}: {check.detail}", width, STATUS_STYLES[check.status])


# --- for pipes ------------------------------------------------------------------------------------------------------


def plain_lines(report: Report) -> Iterator[str]:
    """The same content, one fact a line."""
    task = report.task
    yield f"task={quoted(task.name)} kind={task.kind} metric={task.metric} labels={len(task.labels)}"
    yield f"rows train={report.rows.train} validation={report.rows.validation} test={report.rows.test}"
    for c in report.candidates:
        versus = (
            ""
            if c.vs_best is None
            else f" difference={c.vs_best.difference:.4f} p={c.vs_best.p:.4f} tied={str(c.tied).lower()}"
        )
        spread = "" if c.seed_sd is None else f" seed_sd={c.seed_sd:.4f}"
        yield (
            f"candidate method={c.method} base={quoted(c.base or '')} value={c.value:.4f} "
            f"low={c.ci95[0]:.4f} high={c.ci95[1]:.4f}{versus} seeds={c.seeds}{spread} "
            f"seconds={c.seconds:.2f} ms_per_row={c.ms_per_row:.3f} "
            f"params_trained={c.params_trained} n_test={c.n_test} stopped={str(c.stopped).lower()}"
        )
    for skipped in report.skipped:
        yield f"skipped method={quoted(skipped.method)} reason={quoted(skipped.reason)}"
    for p in report.prompts:
        yield (
            f"prompt method={p.method} template={quoted(p.template)} shots={p.shots} seed={p.seed} "
            f"calibration={p.calibration} validation={p.validation:.4f} value={p.value:.4f} raw={p.raw:.4f}"
        )
    yield f"chosen method={report.chosen.method} base={quoted(report.chosen.base or '')} seed={report.chosen.seed}"
    for sentence in sentences(report):
        yield f"verdict={quoted(sentence)}"
    yield from last_lines(report.checks, interrupted=report.interrupted, command=report.command, saved=report.saved)


def last_lines(checks: Iterable[CheckRow], *, interrupted: bool, command: str, saved: str | None) -> Iterator[str]:
    """What every report ends with for pipes: checks, how to run again after an interruption, what to type next."""
    for check in checks:
        yield f"check id={check.id} status={check.status} value={check.value:.4g} detail={quoted(check.detail)}"
    if interrupted:
        yield f"interrupted=true again={quoted(without_out(command))}"
    if saved is not None:
        yield f"saved={quoted(saved)}"
        yield f"next={quoted(f'headstart predict {shlex.quote(saved)} new.csv')}"


def quoted(value: str) -> str:
    """A value without spaces as it is, another one in double quotes; never more than one line."""
    flat = " ".join(value.split())
    if flat and not any(c in flat for c in ' "='):
        return flat
    escaped = flat.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- while it runs --------------------------------------------------------------------------------------------------


class Live:
    """Shows a study's events: a bar a piece of work on a terminal, one line when a piece is finished elsewhere.

    Use as a context manager and hand the instance to the study as its `on_event`.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn(f"{{task.fields[stage]:<{MARGIN - 1}}}", style="bold cyan"),
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[detail]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            expand=False,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if event.done is None or not self._console.is_terminal:
            self._line(event)
            return
        if event.key not in self._bars:
            self._bars[event.key] = self._progress.add_task(event.key, total=1.0, stage=event.stage, detail="")
        self._progress.update(self._bars[event.key], completed=event.done, detail=event.text)

    def _line(self, event: Event) -> None:
        if event.done is not None and event.done < 1.0:
            return
        words = f"{event.key}: {event.text}" if event.key else event.text
        if self._console.is_terminal:
            for line in wrapped(event.stage, words, max(60, min(self._console.width, 100))):
                self._progress.console.print(line, highlight=False, soft_wrap=True)
        else:
            self._console.out(f"{event.stage}={quoted(words)}", highlight=False)


def compared(candidate: Candidate) -> str:
    """A candidate in one clause, for messages while it runs."""
    p = "" if candidate.vs_best is None else f", p {p_text(candidate.vs_best.p)}"
    return f"{candidate.title} {candidate.value:.3f}{p} in {duration(candidate.seconds)}"
