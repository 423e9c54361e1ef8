"""A ChoiceReport for the terminal: a table for people, `key=value` lines for pipes. The same content in both."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from headstart.choose.decision import Row
from headstart.choose.findings import BY_PRIOR
from headstart.choose.report import ChoiceReport
from headstart.evaluate.report import METHOD_TITLES
from headstart.evaluate.terminal import (
    MARGIN,
    check_lines,
    headed,
    last_lines,
    put,
    quoted,
    short,
    wrapped,
)
from headstart.evaluate.verdict import against_majority

WIDE = 96  # columns from which on all costs are shown
ELLIPSIS = "…"  # behind the score of a training that was paused
MOST_ROWS = 16  # of a table; the others are in the JSON


def show(report: ChoiceReport, console: Console) -> None:
    """Print the report: the table on a terminal, `key=value` lines elsewhere."""
    put(console, lambda: plain_lines(report), lambda width: human_lines(report, width=width))


def human_lines(report: ChoiceReport, *, width: int = 80) -> Iterator[Text]:
    """The table, the sentence, the advice, the test score, what was left out, and commands to paste."""
    decision, rows = report.decision, report.decision.rows
    costs = width >= WIDE
    names = max(16, min(34, width - 50 - 16 * costs, max(len(row.title) for row in rows)))
    yield Text()
    yield Text(
        f"{'':<{MARGIN}}  {'candidate':<{names}}  {report.winner.metric_title:>10}  {'believed (90%)':<14}  "
        f"{'chance':>6}  {'ms/row':>6}" + (f"  {'MB':>6}  {'trained':>6}" if costs else ""),
        style="dim",
    )
    for row in rows[:MOST_ROWS]:
        chosen = row is decision.best
        style = "bold" if chosen else "" if row.status in ("finished", "stopped") else "dim"
        mark = "  ▸ " if chosen else "  · " if row.front else "    "
        yield Text.assemble((f"{'':<{MARGIN - 2}}{mark}", "bold cyan"), (row_text(row, names, costs=costs), style))
    if len(rows) > MOST_ROWS:
        yield from wrapped("", f"and {len(rows) - MOST_ROWS} more, all in choice.json", width, "dim")
    yield from wrapped("", footnote(report), width, "dim")
    yield Text()
    yield from wrapped("choose", decision.sentence, width, "bold")
    yield from wrapped("", decision.advice.sentence, width)
    yield from wrapped("test", tested_sentence(report), width)
    for place, one in enumerate(report.excluded):
        yield from wrapped("left out" if place == 0 else "", f"{one.base}: {one.reason}", width)
    for place, line in enumerate(unasked_lines(report)):
        yield from wrapped("unasked" if place == 0 else "", line, width)
    for line in unread_lines(report):
        yield from wrapped("not read", line, width)
    yield from check_lines(report.winner, width)
    if report.saved is not None:
        yield headed("saved", report.saved)
        yield headed("next", f"headstart predict {shlex.quote(report.saved)} new.csv")
        yield headed("", f"python -m webbrowser {shlex.quote(f'{report.saved}/choice.html')}")


def row_text(row: Row, names: int, *, costs: bool) -> str:
    """costs: what it takes besides milliseconds, too."""
    name = row.title if len(row.title) <= names else row.title[: names - 1] + "…"
    value = "-" if row.value is None else f"{row.value:.3f}{ELLIPSIS if row.status == 'paused' else ''}"
    low, high = row.ci90
    return (
        f"{name:<{names}}  {value if row.status != 'failed' else 'failed':>10}  {f'[{low:.3f}, {high:.3f}]':<14}  "
        f"{row.chance:>6.0%}  {row.ms_per_row:>6.1f}"
        + (f"  {row.megabytes:>6.0f}  {short(row.seconds) if row.seconds else '-':>6}" if costs else "")
    )


def footnote(report: ChoiceReport) -> str:
    """What the columns mean, and how far the search came."""
    rows = report.decision.rows
    asked = [row for row in rows if row.rows is not None]
    counts = Counter(row.status for row in rows if row.rows is None)
    unread = {
        one.facts.name for one, r in zip(report.findings.looked, report.findings.readings, strict=True) if r is None
    }
    guessed = sum(row.status == "not run" and row.base in unread for row in rows)
    told = [
        (counts["finished"], "trained to the end"),
        (counts["stopped"], "cut short"),
        (counts["paused"], "paused"),
        (counts["failed"], "failed"),
        (counts["not run"] - guessed, "judged by features alone"),
        (guessed, f"by {BY_PRIOR} alone"),
    ]
    words = [f"{number} {what}" for number, what in told if number]
    words[1:1] = [asked_words(asked)] if asked else []
    budget = "" if report.asked.budget is None else f" of a budget of {short(report.asked.budget)}"
    return (
        f"On validation rows; {ELLIPSIS} is a training that was paused. chance: of being within a point of the best. "
        "· marks what nothing as quick, as small or as soon trained beats. "
        f"{', '.join(words)}; {short(report.environment.seconds)}{budget}."
    )


def asked_words(asked: Sequence[Row]) -> str:
    """2 asked by a prompt on 32 to 128 rows"""
    counts = sorted({row.rows for row in asked if row.rows is not None})
    return f"{len(asked)} asked by a prompt on {' to '.join(f'{n:,}' for n in sorted({counts[0], counts[-1]}))} rows"


def unasked_lines(report: ChoiceReport) -> list[str]:
    """Which bases were not asked by which prompts, and why; methods with one reason share a line."""
    methods: dict[tuple[int, str], list[str]] = {}
    for one in report.findings.unasked:
        methods.setdefault((one.base, one.reason), []).append(METHOD_TITLES[one.method])
    looked = report.findings.looked
    return [f"{looked[base].facts.name} + {', '.join(names)}: {why}" for (base, why), names in methods.items()]


def unread_lines(report: ChoiceReport) -> list[str]:
    """Which bases had no time for a reading, in one line; none where all were read."""
    found = report.findings
    if not found.trained:  # prompts need no reading
        return []
    names = [one.facts.name for one, r in zip(found.looked, found.readings, strict=True) if r is None]
    return [f"{', '.join(names)}: no time was left for it; ranked by {BY_PRIOR}"] if names else []


def tested_sentence(report: ChoiceReport) -> str:
    """The chosen candidate and the controls on the test rows."""
    best = report.winner.best
    low, high = best.ci95
    told = f"{report.winner.metric_title} {best.value:.3f} [{low:.3f}, {high:.3f}] on {best.n_test:,} rows"
    others = [c for c in report.winner.candidates if c is not best]
    told += "".join(f" · {c.title} {c.value:.3f}{' (tied)' if c.tied else ''}" for c in others)
    same = against_majority(report.winner)
    return f"{told}. {same}" if same else told


def plain_lines(report: ChoiceReport) -> Iterator[str]:
    """One fact a line."""
    task, decision = report.task, report.decision
    yield f"task={quoted(task.name)} kind={task.kind} metric={task.metric} labels={len(task.labels)}"
    yield f"rows train={report.rows.train} validation={report.rows.validation} test={report.rows.test}"
    for row in decision.rows:
        value = "" if row.value is None else f"{row.value:.4f}"
        yield (
            f"candidate base={quoted(row.base)} method={row.method} status={quoted(row.status)} value={value} "
            f"believed={row.believed:.4f} low={row.ci90[0]:.4f} high={row.ci90[1]:.4f} chance={row.chance:.3f} "
            f"ms_per_row={row.ms_per_row:.3f} megabytes={row.megabytes:.1f} seconds={row.seconds:.2f} "
            f"share={row.share:.3f} seeds={row.seeds} front={str(row.front).lower()} fronts={','.join(row.fronts)}"
            + (f" rows={row.rows}" if row.rows is not None else "")
            + (f" reason={quoted(row.reason)}" if row.reason else "")
        )
    for one in report.excluded:
        yield f"excluded base={quoted(one.base)} reason={quoted(one.reason)}"
    for prompt in report.findings.unasked:
        name = report.findings.looked[prompt.base].facts.name
        yield f"unasked base={quoted(name)} method={prompt.method} reason={quoted(prompt.reason)}"
    for looked, reading in zip(report.findings.looked, report.findings.readings, strict=True):
        if reading is None and report.findings.trained:
            yield f"unread base={quoted(looked.facts.name)} ranked_by={quoted(BY_PRIOR)}"
    yield f"chosen base={quoted(decision.base)} method={decision.method} chance={decision.chance:.3f}"
    yield f"decision={quoted(decision.sentence)}"
    yield f"advice={quoted(decision.advice.sentence)}"
    yield f"test={quoted(tested_sentence(report))}"
    yield from last_lines(
        report.winner.checks, interrupted=report.interrupted, command=report.command, saved=report.saved
    )
