"""An evaluation for the terminal: the aggregate, then a table a task; `key=value` lines for pipes and log files.

Enter: an `Evaluation`. Leave: text on the given rich console; nothing else is printed. Both forms carry the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from headstart.data.overlap import untold
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.report import Worth
from headstart.evaluate.suite.scoreboard import (
    OVERALL,
    PREFERENCE,
    CleanOverall,
    Contamination,
    Evaluation,
    Forgetting,
    Paired,
    Standing,
    TaskTable,
)
from headstart.evaluate.terminal import MARGIN, put, quoted, short, wrapped

TITLES = {
    "accuracy_norm": "accuracy a byte",
    "accuracy_characters": "accuracy a letter",
    "preference": "stereotype chosen",
    "answer_match": "answer matched",
}
NAMES = 26  # characters of an entry


def show(found: Evaluation, console: Console) -> None:
    """Print the evaluation: tables on a terminal, `key=value` lines elsewhere."""
    put(console, lambda: plain_lines(found), lambda width: human_lines(found, width=width), least=72)


# --- for people -----------------------------------------------------------------------------------------------------


def human_lines(found: Evaluation, *, width: int = 80) -> Iterator[Text]:
    yield from overall_lines(found)
    for table in found.tasks:
        yield Text()
        yield from task_lines(found, table)
    for one in found.forgetting:
        yield Text()
        yield from forgetting_lines(one)
    yield Text()
    yield from wrapped("", footnote(found), width, "dim")
    for reason, entries in unknown(found).items():
        yield from wrapped("unknown", f" whether {', '.join(entries)} has read the items: {reason}", width, "yellow")
    for (entry, reason), tasks in passed_by(found).items():
        who = f" for {entry}" if entry else ""
        yield from wrapped("passed by", f" {', '.join(tasks)}{who}: {reason}", width, "yellow")
    yield from wrapped("samples", found.samples, width)


def forgetting_lines(one: Forgetting) -> Iterator[Text]:
    """What became of a base's own abilities."""
    yield Text(f"{one.adapted} after {one.parent}: what it was not trained for", style="bold cyan")
    for change in one.changes:
        verdict = "tied" if change.tied else f"{change.difference:+.3f}*"
        line = f"{'':<{MARGIN}}  {cut(change.task):<{NAMES}}  {change.before:.3f} -> {change.after:.3f}  {verdict:>9}"
        yield Text(f"{line}  {metric_title(change.metric)}")


def passed_by(found: Evaluation) -> dict[tuple[str, str], list[str]]:
    """What was not evaluated: the tasks by entry and reason."""
    gone: dict[tuple[str, str], list[str]] = {}
    for one in found.skipped:
        gone.setdefault((one.entry, one.reason), []).append(one.task)
    return gone


def overall_lines(found: Evaluation) -> Iterator[Text]:
    """The mean over tasks, where there is more than one."""
    if not found.overall or found.overall[0].of < 2:
        return
    yield Text()
    yield Text(
        f"{'overall':<{MARGIN}}  {'':<{NAMES}}  {'0 guessing, 1 perfect':<22}  {'vs first':>9}  tasks", style="dim"
    )
    leader = next((row.entry for row in found.overall if row.role == "base"), "")
    for row in found.overall:
        line = f"{'':<{MARGIN}}  {cut(row.entry):<{NAMES}}  {span(row.value, row.ci95):<22}  "
        line += f"{against(found, OVERALL, leader, row.entry):>9}  {row.tasks}"
        yield Text(line if row.tasks == row.of else f"{line} of {row.of}", style=style_of(row.role))
    for row in found.overall:
        if row.role == "base" and row.clean is not None:
            line = f"{'clean':<{MARGIN}}  {cut(row.entry):<{NAMES}}  {clean_overall_words(row.clean)}"
            yield Text(line, style="yellow")


def clean_overall_words(one: CleanOverall) -> str:
    """The aggregate without found items, of how many sets some were found, and over how many it is."""
    return f"{span(one.value, one.ci95):<22}  items of {one.touched} read before; over {one.tasks}"


def task_lines(found: Evaluation, table: TaskTable) -> Iterator[Text]:
    card, metric = table.task, metric_title(table.task.metric)
    rows = table.candidates
    head = f"{card.name} · {metric} · {rows[0].n_test:,} {card.split} rows · guessing {card.guess:.3f}"
    yield Text(head, style="bold cyan")
    leader = leader_of(table).entry
    for row in rows:
        noise = "" if row.spread is None else f"  seeds ±{row.spread.seeds:.3f}"
        line = f"{'':<{MARGIN}}  {cut(row.entry):<{NAMES}}  {span(row.value, row.ci95):<22}  "
        line += f"{against(found, card.name, leader, row.entry):>9}  {short(cost(row)):>6}{noise}"
        leads = row.entry == leader and not is_preference(table)
        yield Text(line, style="bold" if leads else style_of(row.role))
    for row in rows:
        if row.role == "base" and row.contamination is not None and row.contamination.status == "checked":
            line = f"{'clean':<{MARGIN}}  {cut(row.entry):<{NAMES}}  {clean_words(row.contamination)}"
            yield Text(line, style="yellow" if row.contamination.found else "dim")
    for row in rows:
        if (worth := worth_of(row)) is not None:
            yield Text(f"{'':<{MARGIN}}  {cut(row.entry):<{NAMES}}  labels saved: {worth_words(worth)}")
    if table.missing:
        yield Text(f"{'no':<{MARGIN}}  {missing_words(table)}", style="dim")


def missing_words(table: TaskTable) -> str:
    """The controls that a table lacks, by the flags that add them."""
    by_flags: dict[str, list[str]] = {}
    for one in table.missing:
        by_flags.setdefault(one.add, []).append(one.control)
    return "; ".join(f"{', '.join(controls)}: add {flags}" for flags, controls in by_flags.items())


def clean_words(one: Contamination) -> str:
    """The score without found items, and how many were found against how many chance finds."""
    score = "too few left to score" if one.clean is None else span(one.clean.value, one.clean.ci95)
    rest = untold(one.unchecked, one.not_sampled, one.share)
    return f"{score:<22}  {one.found:,} read before (chance {one.expected_false:.1f}), {rest}"


def unknown(found: Evaluation) -> dict[str, list[str]]:
    """Why nobody knows what a base has read: the entries by reason."""
    reasons: dict[str, list[str]] = {}
    for table in found.tasks:
        for row in table.candidates:
            if row.role == "base" and row.contamination is not None and row.contamination.status == "unknown":
                entries = reasons.setdefault(row.contamination.words, [])
                if row.entry not in entries:
                    entries.append(row.entry)
    return reasons


def worth_of(row: Standing) -> Worth | None:
    return None if row.label_curve is None else row.label_curve.worth


def worth_words(worth: Worth) -> str:
    low, high = worth.ci95 or (worth.times, worth.times)
    return f"{worth.relation} {worth.times:.1f} times [{low:.1f}, {high:.1f}]"


def cost(row: Standing) -> float:
    """Seconds of fitting and answering, of one seed."""
    return row.seconds + row.ms_per_row * row.n_test / 1000


def footnote(found: Evaluation) -> str:
    even = " (by a preference, from the base nearest to one half)" if any(map(is_preference, found.tasks)) else ""
    shortened = f" At most {found.limit:,} rows a part: a quick look, no result." if found.limit is not None else ""
    return (
        f"95 % intervals. * different from the best base{even} by a paired test, p < 0.05 after Holm's correction over "
        f"{len(found.comparisons)} comparisons; tied: not shown to differ.{shortened}"
    )


def is_preference(table: TaskTable) -> bool:
    """Whether nobody leads by a task's metric: one half, which prefers nothing, is ideal."""
    return table.task.metric == PREFERENCE


def leader_of(table: TaskTable) -> Standing:
    """The first base of a table: what the others are held against. It leads, but by no preference."""
    return next(row for row in table.candidates if row.role == "base")


def against(found: Evaluation, task: str, leader: str, entry: str) -> str:
    """-, tied, or the difference with its star."""
    paired = comparison(found, task, leader, entry)
    if paired is None:
        return "-"
    difference = paired.difference if paired.a == leader else -paired.difference
    return "tied" if paired.tied else f"{difference:+.3f}*"


def comparison(found: Evaluation, task: str, one: str, other: str) -> Paired | None:
    """The comparison of two entries, whichever way round it was made."""
    return found.paired(task, one, other) or found.paired(task, other, one)


def metric_title(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else TITLES.get(metric, metric)


def span(value: float, ci95: tuple[float, float]) -> str:
    return f"{value:.3f} [{ci95[0]:.3f}, {ci95[1]:.3f}]"


def cut(name: str) -> str:
    """At most NAMES characters; a long name loses its middle, because the end tells a base from its random twin."""
    return name if len(name) <= NAMES else f"{name[: NAMES - 13]}…{name[-12:]}"


def style_of(role: str) -> str:
    return "" if role == "base" else "dim"


def facts_of(one: Contamination) -> str:
    """`key=value` facts of a check against what a base has read."""
    if one.status != "checked":
        return f"status={quoted(one.status)} why={quoted(one.words)}"
    score = (
        ""
        if one.clean is None
        else f" clean={one.clean.value:.4f} low={one.clean.ci95[0]:.4f} high={one.clean.ci95[1]:.4f} n={one.clean.n}"
    )
    return (
        f"status=checked rows={one.rows} found={one.found} short={one.short} unchecked={one.unchecked} "
        f"not_sampled={one.not_sampled} share={one.share:.4g} expected_false={one.expected_false:.2f}{score}"
    )


# --- for pipes ------------------------------------------------------------------------------------------------------


def plain_lines(found: Evaluation) -> Iterator[str]:
    """The same content, one fact a line."""
    asked = f"tasks={','.join(found.asked)}" if found.suite is None else f"suite={found.suite}"
    yield f"{asked} data={quoted(found.data)} limit={found.limit or 'none'} seeds={found.seeds}"
    for row in found.overall:
        clean = (
            ""
            if row.clean is None
            else f" clean={row.clean.value:.4f} clean_low={row.clean.ci95[0]:.4f} clean_high={row.clean.ci95[1]:.4f} "
            f"clean_tasks={row.clean.tasks} touched={row.clean.touched}"
        )
        yield (
            f"overall entry={quoted(row.entry)} role={row.role} value={row.value:.4f} low={row.ci95[0]:.4f} "
            f"high={row.ci95[1]:.4f} tasks={row.tasks} of={row.of}{clean}"
        )
    for table in found.tasks:
        card = table.task
        yield (
            f"task={quoted(card.name)} kind={card.kind} protocol={card.protocol} metric={card.metric} "
            f"split={card.split} guess={card.guess:.4f} version={card.version} licence={quoted(card.licence)}"
        )
        for one in table.candidates:
            fixed = (
                ""
                if one.ci95_fixed is None
                else f" fixed_low={one.ci95_fixed[0]:.4f} fixed_high={one.ci95_fixed[1]:.4f}"
            )
            noise = "" if one.spread is None else f" rows_sd={one.spread.rows:.4f} seeds_sd={one.spread.seeds:.4f}"
            yield (
                f"candidate task={quoted(card.name)} entry={quoted(one.entry)} role={one.role} "
                f"method={quoted(one.method)} value={one.value:.4f} low={one.ci95[0]:.4f} "
                f"high={one.ci95[1]:.4f}{fixed} n={one.n_test} "
                f"seeds={one.seeds}{noise} seconds={one.seconds:.2f} ms_per_row={one.ms_per_row:.3f}"
            )
            if one.role == "base" and one.contamination is not None:
                yield f"contamination task={quoted(card.name)} entry={quoted(one.entry)} {facts_of(one.contamination)}"
            if (worth := worth_of(one)) is not None:
                yield (
                    f"worth task={quoted(card.name)} entry={quoted(one.entry)} relation={quoted(worth.relation)} "
                    f"times={worth.times:.3f}"
                )
        for gap in table.missing:
            yield f"missing task={quoted(card.name)} control={quoted(gap.control)} add={quoted(gap.add)}"
    for pair in found.comparisons:
        yield (
            f"comparison task={quoted(pair.task)} a={quoted(pair.a)} b={quoted(pair.b)} of=b-a "
            f"difference={pair.difference:.4f} low={pair.ci95[0]:.4f} high={pair.ci95[1]:.4f} p={pair.p:.4g} "
            f"p_holm={pair.p_holm:.4g} tied={str(pair.tied).lower()}"
        )
    for lost in found.forgetting:
        for change in lost.changes:
            yield (
                f"forgetting parent={quoted(lost.parent)} adapted={quoted(lost.adapted)} task={quoted(change.task)} "
                f"metric={change.metric} before={change.before:.4f} after={change.after:.4f} "
                f"difference={change.difference:.4f} p_holm={change.p_holm:.4g} tied={str(change.tied).lower()}"
            )
    for gone in found.skipped:
        yield f"skipped task={quoted(gone.task)} entry={quoted(gone.entry)} reason={quoted(gone.reason)}"
    yield f"samples={quoted(found.samples)}"
