"""An evaluation as one HTML file: under 300 KB, no script, nothing loaded, dark and light, prints to PDF.

Enter: an `Evaluation`. Leave: the page as text. Every value passes through the template's escaping; only our own SVG is
raw. Where the pictures of all tasks would be too much for one file, the last ones are left to the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.data.overlap import kept_words
from headstart.evaluate.html import environment
from headstart.evaluate.plots import duration
from headstart.evaluate.suite import pictures
from headstart.evaluate.suite.leaderboard import (
    against,
    comparison,
    cost,
    footnote,
    is_preference,
    leader_of,
    metric_title,
    missing_words,
    passed_by,
    span,
    unknown,
    worth_of,
    worth_words,
)
from headstart.evaluate.suite.pictures import Point, style_of
from headstart.evaluate.suite.scoreboard import OVERALL, Contamination, Evaluation, Overall, Standing, TaskTable
from headstart.evaluate.training_page import Fact
from headstart.evaluate.training_plots import amount
from headstart.ground.files import write_atomic

PICTURE_BYTES = 180_000  # of all tasks' pictures together; the rest of a page of 60 tasks is 80 KB


@dataclass(frozen=True, slots=True)
class Cell:
    """A base's score on a task. mark: "*" where it differs from the first base; best: the first base itself, where the
    metric has a best."""

    words: str
    mark: str
    best: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One task in the table of all scores: a cell a base, and the best of the controls and twins, None where nothing is
    best."""

    table: TaskTable
    metric: str
    cells: tuple[Cell | None, ...]
    control: Standing | None


@dataclass(frozen=True, slots=True)
class CleanLine:
    """One base on one task, all items and those that were not found."""

    task: str
    row: Standing
    told: Contamination


def write_page(found: Evaluation, path: Path) -> None:
    """Put the page into a file; RunError where the disk refuses."""
    write_atomic(path, render_page(found).encode())


def render_page(found: Evaluation) -> str:
    """The whole page."""
    entries = base_entries(found)
    shown, left_out = task_pictures(found)
    return (
        environment()
        .get_template("suite/evaluation.html.jinja")
        .render(
            e=found,
            title=title_of(found),
            said=list(sentences(found)),
            facts=facts(found),
            overall=overall_rows(found),
            entries=entries,
            lines=[line_of(found, table, entries) for table in found.tasks],
            pictures=shown,
            left_out=left_out,
            cost=cost_picture(found),
            sizes=size_picture(found),
            saved=saved_lines(found),
            metric_title=metric_title,
            clean=clean_lines(found),
            kept_words=kept_words,
            unknown=unknown(found),
            passed=passed_by(found),
            missing=missing(found),
            touched=any(row.clean is not None for row in found.overall),
            notes=[(table.task.name, table.task.notes) for table in found.tasks if table.task.notes],
            footnote=footnote(found),
            preferences=[table.task.name for table in found.tasks if is_preference(table)],
            brief=pictures.brief,
        )
    )


# --- words ----------------------------------------------------------------------------------------------------------


def title_of(found: Evaluation) -> str:
    names = [base.entry for base in found.bases]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} on {len(found.tasks)} {'set' if len(found.tasks) == 1 else 'sets'}"


def sentences(found: Evaluation) -> Iterator[str]:
    """The verdict: who leads, what pre-training is worth, what was read before, and how far to trust it."""
    rows = [row for row in found.overall if row.role == "base"]
    whole = [row for row in rows if row.tasks == row.of > 1]
    if whole:
        yield from of_leader(found, whole)
    elif rows and rows[0].of > 1:
        yield f"No entry was scored on all {rows[0].of} sets, so that none leads on their mean."
    elif found.tasks:
        table, leader = found.tasks[0], leader_of(found.tasks[0])
        score, name = span(leader.value, leader.ci95), table.task.name
        if is_preference(table):
            yield f"{leader.entry} prefers the stereotype in {score} of {name}, where one half is no preference."
        else:
            yield f"{leader.entry} scores {score} on {name}."
    checked = clean_lines(found)
    if checked:
        items, hits = sum(one.told.rows for one in checked), sum(one.told.found for one in checked)
        chance = sum(one.told.expected_false for one in checked)
        yield f"Of {items:,} answers, {hits:,} are to items that the base may have read; chance finds {chance:,.1f}."
    if whole and (clean := whole[0].clean) is not None:
        over = "" if clean.tasks == whole[0].tasks else f" over the {clean.tasks} sets that are left"
        yield f"Without those items {whole[0].entry} reaches {span(clean.value, clean.ci95)}{over}."
    if found.limit is not None:
        yield f"At most {found.limit:,} rows a part were used: a quick look, no result."


def of_leader(found: Evaluation, rows: Sequence[Overall]) -> Iterator[str]:
    first = rows[0]
    yield (
        f"{first.entry} reaches {span(first.value, first.ci95)} on the mean over {first.tasks} sets, where 0 is "
        "guessing and 1 perfect."
    )
    for other in rows[1:2]:
        pair = comparison(found, OVERALL, first.entry, other.entry)
        if pair is not None:
            yield f"It is {'tied with' if pair.tied else 'ahead of'} {other.entry} ({other.value:.3f})."
    for twin in twins_of(found, first):
        pair = comparison(found, OVERALL, first.entry, twin.entry)
        if pair is not None:
            worth = pair.difference if pair.b == first.entry else -pair.difference
            verb = "is not shown to be worth anything" if pair.tied else f"is worth {worth:+.3f}"
            items = "the items that both answered" if answered_fewer(found, twin, first) else "the same items"
            yield f"Against {twin.entry} ({twin.value:.3f}) its pre-training {verb} on {items}."


def twins_of(found: Evaluation, base: Overall) -> list[Overall]:
    """The networks of a base without its pre-training; it is compared with that of its method alone."""
    return [row for row in found.overall if style_of(row.role) == "scratch" and row.identity == base.identity]


def answered_fewer(found: Evaluation, twin: Overall, base: Overall) -> bool:
    """Whether a twin answered a part of the items on a set, so that the two scores are not of the same items."""
    answered = [{row.entry: row.n_test for row in table.candidates} for table in found.tasks]
    return any(rows[twin.entry] < rows[base.entry] for rows in answered if {twin.entry, base.entry} <= set(rows))


def facts(found: Evaluation) -> list[Fact]:
    """The boxes under the title."""
    seconds = sum(cost(row) * row.seeds for table in found.tasks for row in table.candidates)
    boxes = [
        Fact(
            "sets", f"{len(found.tasks)}", f"{len(passed_by(found))} passed by" if found.skipped else "none passed by"
        ),
        Fact("bases", f"{len(found.bases)}", ", ".join(amount(b.parameters) for b in found.bases[:4]) + " parameters"),
        Fact(
            "answers", f"{sum(row.n_test * row.seeds for t in found.tasks for row in t.candidates):,}", "with controls"
        ),
        Fact("computing", duration(seconds), "fitting and answering"),
    ]
    rows = clean_lines(found)
    if rows:
        boxes.append(Fact("read before", f"{sum(r.told.found for r in rows):,}", "answers to items found in a sketch"))
    return boxes


# --- tables ---------------------------------------------------------------------------------------------------------


def base_entries(found: Evaluation) -> list[str]:
    """The columns of the table of all scores: every entry of a base, in the order of appearance."""
    owners = {row.entry: row.identity for table in found.tasks for row in table.candidates if row.role == "base"}
    order = [base.identity for base in found.bases]
    return sorted(owners, key=lambda entry: order.index(owners[entry]))


def overall_rows(found: Evaluation) -> list[tuple[Overall, str]]:
    """The aggregates, the highest first, each with how it compares with the first base."""
    if not found.overall or found.overall[0].of < 2:
        return []
    leader = next((row.entry for row in found.overall if row.role == "base"), "")
    return [(row, against(found, OVERALL, leader, row.entry)) for row in found.overall]


def line_of(found: Evaluation, table: TaskTable, entries: Sequence[str]) -> Line:
    rows = {row.entry: row for row in table.candidates}
    leader = leader_of(table).entry
    cells: list[Cell | None] = []
    for entry in entries:
        row = rows.get(entry)
        told = "" if row is None else against(found, table.task.name, leader, entry)
        best = entry == leader and not is_preference(table)
        cells.append(None if row is None else Cell(f"{row.value:.3f}", "*" if "*" in told else "", best))
    controls = [row for row in table.candidates if row.role != "base" and not is_preference(table)]
    return Line(table, metric_title(table.task.metric), tuple(cells), controls[0] if controls else None)


def missing(found: Evaluation) -> dict[str, list[str]]:
    """The controls that nobody asked for: the sets by what they lack."""
    lacking: dict[str, list[str]] = {}
    for table in found.tasks:
        if table.missing:
            lacking.setdefault(missing_words(table), []).append(table.task.name)
    return lacking


def saved_lines(found: Evaluation) -> list[tuple[str, str, str]]:
    """(set, base, words) of every measure of labels saved."""
    return [
        (table.task.name, row.entry, worth_words(worth))
        for table in found.tasks
        for row in table.candidates
        if (worth := worth_of(row)) is not None
    ]


def clean_lines(found: Evaluation) -> list[CleanLine]:
    """Every base on every task whose items could be looked up."""
    return [
        CleanLine(table.task.name, row, row.contamination)
        for table in found.tasks
        for row in table.candidates
        if row.role == "base" and row.contamination is not None and row.contamination.status == "checked"
    ]


# --- pictures -------------------------------------------------------------------------------------------------------


def task_pictures(found: Evaluation) -> tuple[list[tuple[TaskTable, str, str]], list[str]]:
    """((task, metric, picture), ...) as far as they fit, and the names of the others."""
    shown, left_out, size = [], [], 0
    for table in found.tasks:
        metric = metric_title(table.task.metric)
        title = f"{table.task.name}: {metric}"
        picture = pictures.scores(table.candidates, guess=table.task.guess, title=title)
        size += len(picture.encode())
        if size <= PICTURE_BYTES:
            shown.append((table, metric, picture))
        else:
            left_out.append(table.task.name)
    return shown, left_out


def cost_picture(found: Evaluation) -> str:
    """Entries that were scored on all tasks of the aggregate; "" where there are fewer than two."""
    points = []
    for row in found.overall:
        spent = [
            cost(one)
            for table in found.tasks
            if table.task.suite != "bias"
            for one in table.candidates
            if one.entry == row.entry
        ]
        if row.tasks == row.of and sum(spent) > 0:
            points.append(Point(row.entry, style_of(row.role), max(sum(spent), 0.01), row.value, row.ci95))
    return pictures.cost(points) if len(points) > 1 else ""


def size_picture(found: Evaluation) -> str:
    """Where bases of several sizes were scored on the same tasks: their aggregates, and those of their twins."""
    sizes = {base.identity: base.parameters for base in found.bases}
    curves: dict[str, list[Point]] = {"base": [], "scratch": []}
    for row in found.overall:
        if row.identity in sizes and row.tasks == row.of and style_of(row.role) in curves:
            point = Point(row.entry, style_of(row.role), float(sizes[row.identity]), row.value, row.ci95)
            curves[point.style].append(point)
    if len({point.x for point in curves["base"]}) < 2:
        return ""
    return pictures.by_size([(style, points) for style, points in curves.items() if points])
