"""Cells -> standings: scores with intervals, comparisons of every base with the others and its controls, the aggregate.

Enter: the kept cells of every side on every task. Leave: the tables, comparisons and aggregates of an `Evaluation`. All
comparisons of one evaluation are one family for Holm's correction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations

import numpy as np

from headstart.data.overlap import shared_texts
from headstart.evaluate.aggregate import Part, aggregate, aggregate_difference
from headstart.evaluate.holm import holm
from headstart.evaluate.intervals import Comparison, Evidence, compare, interval
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.proportions import Interval, mean_of_groups
from headstart.evaluate.report import LabelCurve, Pair
from headstart.evaluate.spread import separate
from headstart.evaluate.suite.cells import Cell, Judged, Side
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.items import group_drawn, group_numbers, one_in, weights_of
from headstart.evaluate.suite.protocol import CONTROL_OF
from headstart.evaluate.suite.protocols import protocol_of
from headstart.evaluate.suite.scoreboard import (
    OVERALL,
    PREFERENCE,
    CleanOverall,
    Missing,
    Overall,
    Paired,
    SpreadFacts,
    Standing,
    TaskCard,
    TaskTable,
)
from headstart.ground.errors import DataError

LEVEL = 0.05


@dataclass(frozen=True, eq=False)
class Scored:
    """One side on one task: its cells by seed, its samples by seed in the order of the items, and their evidence.

    every: 1 where it answered all items, 5 where one in five.
    """

    side: Side
    cells: tuple[Cell, ...]
    samples: tuple[tuple[Judged, ...], ...]
    evidence: Evidence
    every: int = 1


@dataclass(frozen=True, eq=False)
class Played:
    """One task with everybody who was scored on it. expected: also those who could not be. curves: by entry.

    missing: controls that nobody asked for.
    """

    found: SetOnDisk
    sides: tuple[Scored, ...]
    expected: tuple[Side, ...]
    curves: Mapping[str, LabelCurve] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()

    def of(self, entry: str) -> Scored | None:
        return next((one for one in self.sides if one.side.entry == entry), None)


# By (task, entry) where items were found in what the base read: the side on the others, None where too few are left.
Unread = Mapping[tuple[str, str], Scored | None]


def scored(
    found: SetOnDisk, side: Side, runs: Sequence[tuple[Sequence[Cell], Sequence[Judged]]], *, every: int = 1
) -> Scored:
    """One side from its cells and samples, one run a seed."""
    samples = tuple(tuple(kept) for _, kept in runs)
    cells = tuple(cell for parts, _ in runs for cell in parts)
    first = cells[0]
    layers = [
        METRICS[first.metric].statistics([s.target for s in run], [s.prediction for s in run], first.labels)
        for run in samples
    ]
    statistics, groups = np.stack(layers), None
    statistics = (
        statistics * weights_of([s.average for s in samples[0]], averaged=found.spec.average is not None)[:, None]
    )
    if found.spec.cluster is not None:
        groups = group_numbers([s.cluster for s in samples[0]])
    return Scored(side, cells, samples, Evidence(first.metric, statistics, groups), every)


def thinned(found: SetOnDisk, one: Scored, every: int) -> Evidence:
    """The evidence of a side on the items that another one answered, who answered one in `every`."""
    if every == one.every:
        return one.evidence
    assert one.every == 1, "only twins answer fewer items"
    places = one_in(every, [group_drawn(sample) for sample in one.samples[0]], name=found.spec.name)
    runs = [(() if seed else one.cells, [run[place] for place in places]) for seed, run in enumerate(one.samples)]
    return scored(found, one.side, runs).evidence


# --- tables ---------------------------------------------------------------------------------------------------------


def table_of(played: Played) -> TaskTable:
    """A task's card and rows, the best score first; the bases before the controls where equal."""
    card = card_of(played)
    sign = 1.0 if METRICS[played.sides[0].evidence.metric].smaller else -1.0

    def order(row: Standing) -> float:
        return abs(row.value - 0.5) if card.metric == PREFERENCE else sign * row.value

    rows = [standing(played, one) for one in played.sides]
    rows.sort(key=lambda row: (order(row), row.role, row.entry))
    return TaskTable(card, rows, list(played.missing))


def card_of(played: Played) -> TaskCard:
    found, first = played.found, played.sides[0].cells[0]
    spec = found.spec
    assert spec.protocol is not None, "only sets with a protocol are scored"
    return TaskCard(
        name=spec.name,
        kind=spec.kind.name,
        suite=spec.kind.suite,
        protocol=spec.protocol,
        metric=metric_of(found, first),
        version=spec.version,
        licence=spec.licence,
        source=spec.source,
        split=found.test,
        digest=found.digest,
        guess=first.guess,
        rows=first.rows,
        average=spec.average,
        cluster=spec.cluster,
        notes=[*found.notes, *first.notes, *shared_notes(found), *twin_notes(played)],
    )


def shared_notes(found: SetOnDisk) -> list[str]:
    """What a set that is asked without training shares with its own train part; what is trained says so itself."""
    if found.spec.protocol == "adapt" or found.rows is not None or "train" not in found.files:
        return []
    try:
        count = shared_texts([found.files["train"]], [found.files[found.test]])
    except DataError as problem:  # nothing here needs its train part
        return [f"its train part cannot be compared: {problem}"]
    return [f"{count:,} texts of 6 words or more stand in the train and the {found.test} part"] if count else []


def twin_notes(played: Played) -> list[str]:
    """Where random twins did not answer everything."""
    every = max(one.every for one in played.sides)
    return [f"random twins answer one item in {every} and are compared on those"] if every > 1 else []


def metric_of(found: SetOnDisk, cell: Cell) -> str:
    """What the leaderboard calls the number: several of them are shares of right items to the statistics."""
    return found.spec.metric or cell.metric


def standing(played: Played, one: Scored) -> Standing:
    """One row of a task's table."""
    found = played.found
    values, spread = one.evidence.seed_values(), separate(one.evidence)
    drawn, fixed = intervals_of(found, one)
    tuned = [cell.validation for cell in one.cells if cell.validation is not None]
    return Standing(
        base=one.side.name or None,
        method=one.cells[0].method,
        metric=metric_of(found, one.cells[0]),
        value=one.evidence.value(),
        ci95=drawn,
        seconds=float(np.mean([cell.seconds for cell in one.cells])),
        ms_per_row=float(np.mean([cell.ms_per_row for cell in one.cells])),
        params_trained=one.cells[0].params_trained,
        n_test=len(one.evidence),
        seeds=len(values),
        seed_sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        validation=float(np.mean(tuned)) if tuned else None,
        metrics=protocol_of(found.spec).details(one.cells, one.samples, found.spec),
        entry=one.side.entry,
        role=one.side.role,
        ci95_fixed=fixed,
        groups=groups_of(found, one),
        label_curve=played.curves.get(one.side.entry),
        spread=None if spread is None else SpreadFacts(**asdict(spread)),
        identity=one.side.digest,
    )


def intervals_of(found: SetOnDisk, one: Scored) -> tuple[Pair, Pair | None]:
    """(the 95 % interval, the one with the groups held fixed where the first draws them)."""
    spec = found.spec
    fixed: Pair | None = None
    if spec.average is not None and one.evidence.metric == "accuracy":
        right = np.mean([[s.target == s.prediction for s in run] for run in one.samples], axis=0, dtype=np.float64)
        groups = group_numbers([s.average for s in one.samples[0]])
        rows = np.bincount(groups).astype(np.float64)
        fixed = as_pair(mean_of_groups(np.bincount(groups, weights=right).astype(np.float64), rows))
    if fixed is not None and spec.cluster is None:
        return fixed, None
    return as_pair(interval(one.evidence)), fixed


def as_pair(found: Interval) -> Pair:
    return found.low, found.high


def groups_of(found: SetOnDisk, one: Scored) -> dict[str, float]:
    """The share of right items of every group that is averaged over, by name."""
    if found.spec.average is None or one.evidence.metric != "accuracy":
        return {}
    kept: dict[str, list[bool]] = {}
    for run in one.samples:
        for sample in run:
            kept.setdefault(sample.average, []).append(sample.target == sample.prediction)
    return {name: float(np.mean(right)) for name, right in sorted(kept.items())}


# --- comparisons ----------------------------------------------------------------------------------------------------


def pairs_of(sides: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
    """Who is compared: every two bases or methods, and every base with its twin of the same method and the controls."""
    bases = [side for side in sides if side.role == "base"]
    yield from combinations(bases, 2)
    for base in bases:
        for other in sides:
            if other.role in ("majority", "tfidf", "nearest") or is_twin(other, base):
                yield base, other


def is_twin(other: Side, base: Side) -> bool:
    """Whether `other` is the base's architecture without what pre-training taught it, turned in the same way."""
    if other.digest != base.digest or base.method is None or other.role != CONTROL_OF.get(base.method):
        return False
    return other.role == "scratch" or other.method == base.method


def comparisons_of(played: Sequence[Played]) -> list[Paired]:
    """Every comparison of the evaluation, with Holm's correction over all of them."""
    found: list[tuple[str, Side, Side, Comparison]] = []
    for task in played:
        for a, b in pairs_of([one.side for one in task.sides]):
            one, other = task.of(a.entry), task.of(b.entry)
            assert one is not None, "only sides that were scored are paired"
            assert other is not None, "only sides that were scored are paired"
            every = max(one.every, other.every)
            both = (thinned(task.found, side, every) for side in (one, other))
            found.append((task.found.spec.name, a, b, compare(*both)))
    found += between_aggregates(played)
    corrected = holm([comparison.p for *_, comparison in found])
    return [
        Paired(task, a.entry, b.entry, c.difference, (c.low, c.high), c.p, p_holm, p_holm >= LEVEL)
        for (task, a, b, c), p_holm in zip(found, corrected, strict=True)
    ]


def between_aggregates(played: Sequence[Played]) -> Iterator[tuple[str, Side, Side, Comparison]]:
    """The same pairs over all their tasks at once, where both were scored on the same ones and on more than one."""
    tasks = counted(played)
    covered = {side: [task for task in tasks if task.of(side.entry)] for side in everybody(tasks)}
    for a, b in pairs_of(list(covered)):
        if covered[a] == covered[b] and len(covered[a]) > 1:
            yield OVERALL, a, b, aggregate_difference(parts_of(tasks, a, beside=b), parts_of(tasks, b, beside=a))


# --- the aggregate --------------------------------------------------------------------------------------------------


def counted(played: Sequence[Played]) -> list[Played]:
    """The tasks of the aggregate, whose scores lie between guessing and perfect: no measure of bias and no bits a byte;
    every base that was scored anywhere was scored here too."""
    tasks = [task for task in played if task.found.spec.kind.suite != "bias" and not smaller_is_better(task)]
    somewhere = {side.entry for side in everybody(tasks) if side.role == "base"}
    return [t for t in tasks if all(t.of(side.entry) for side in t.expected if side.entry in somewhere)]


def smaller_is_better(task: Played) -> bool:
    return METRICS[task.sides[0].evidence.metric].smaller


def everybody(played: Iterable[Played]) -> list[Side]:
    """Every side that was scored on any of the tasks, in the order of appearance."""
    found: Mapping[str, Side] = {one.side.entry: one.side for task in played for one in task.sides}
    return list(found.values())


def parts_of(tasks: Sequence[Played], side: Side, *, beside: Side | None = None) -> list[Part]:
    """What the aggregate of one side rests on: its tasks, and of these the items that `beside` answered too."""
    parts = []
    for task in tasks:
        one, other = task.of(side.entry), None if beside is None else task.of(beside.entry)
        if one is not None:
            every = max(one.every, 1 if other is None else other.every)
            parts.append(Part(thinned(task.found, one, every), one.cells[0].guess))
    return parts


def overall_of(played: Sequence[Played], unread: Unread) -> list[Overall]:
    """Every entry's aggregate: those over all tasks first, the highest first."""
    tasks = counted(played)
    rows = []
    for side in everybody(tasks):
        parts = parts_of(tasks, side)
        value, found = aggregate(parts)
        clean = clean_overall(tasks, side, unread)
        told = side.entry, side.role, value, as_pair(found), len(parts), len(tasks), clean, side.digest
        rows.append(Overall(*told))
    return sorted(rows, key=lambda row: (-row.tasks, -row.value, row.entry))


def clean_overall(tasks: Sequence[Played], side: Side, unread: Unread) -> CleanOverall | None:
    """The same mean without the items that were found in what the base read; None where none was."""
    names = [task.found.spec.name for task in tasks]
    touched = sum((name, side.entry) in unread for name in names)
    scored_on = [unread.get((name, side.entry), task.of(side.entry)) for name, task in zip(names, tasks, strict=True)]
    parts = [Part(one.evidence, one.cells[0].guess) for one in scored_on if one is not None]
    if not (touched and parts):
        return None
    value, found = aggregate(parts)
    return CleanOverall(value, as_pair(found), len(parts), touched)
