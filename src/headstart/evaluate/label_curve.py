"""The label curve: the same training on 1/8, 1/4, 1/2 and all labels, and how many labels pre-training was worth.

Enter: per size and side (base, scratch) the Evidence on the test rows. Leave: curve points and a `Worth`.
The factor k is the horizontal distance between the two curves where scratch ends: the base reaches with N/k labels
what scratch reaches with all N. Both curves are made non-decreasing and read off in log n; nothing is extrapolated,
so outside the measured range only a bound is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.data.task import Examples, Task
from headstart.evaluate.intervals import Evidence, interval
from headstart.evaluate.metrics import Floats
from headstart.evaluate.report import CurvePoint, LabelCurve, Worth
from headstart.ground.seeds import stream

SHARES = (8, 4, 2)  # parts of the labels; the whole is measured anyway
FEWEST_ROWS = 16
Relation = Literal["about", "more than", "less than"]


def curve_sizes(num_rows: int) -> list[int]:
    """Rows of the curve below the whole, smallest first; sizes too small to train on are left out."""
    return [num_rows // part for part in SHARES if num_rows // part >= FEWEST_ROWS]


def with_rows(task: Task, size: int, *, seed: int) -> Task:
    """The task with `size` train rows; smaller sizes are contained in larger ones and keep the label balance."""
    from dataclasses import replace

    return replace(task, train=task.train.subset(nested_rows(task, size, seed=seed)))


def nested_rows(task: Task, size: int, *, seed: int) -> npt.NDArray[np.int64]:
    """The places of those `size` train rows, in order."""
    return np.sort(nested_order(task.train, task.kind, seed)[:size])


def nested_order(train: Examples, kind: str, seed: int) -> npt.NDArray[np.int64]:
    """Row numbers so that every prefix is a sample balanced as the whole: each label's rows are spread evenly."""
    random = stream(seed, "label curve")
    order = random.permutation(len(train))
    if kind != "choice":
        return order.astype(np.int64)
    targets = np.asarray(train.targets, dtype=np.int64)[order]
    place = np.empty(len(order))
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        place[members] = (np.arange(len(members)) + random.random()) / len(members)
    return order[np.argsort(place, kind="stable")].astype(np.int64)


def build_curve(
    method: str, base: Mapping[int, Evidence], scratch: Mapping[int, Evidence], *, floor: float, seed: int = 0
) -> LabelCurve:
    """The curve from Evidence by number of labels. floor: the majority control's score."""
    points = [
        CurvePoint(name, size, evidence.value(), as_pair(evidence, seed))
        for name, side in ((method, base), ("scratch", scratch))
        for size, evidence in sorted(side.items())
    ]
    sizes = sorted(set(base) & set(scratch))
    worth = (
        measure_worth(sizes, [base[s] for s in sizes], [scratch[s] for s in sizes], floor=floor, seed=seed)
        if len(sizes) > 1
        else None
    )
    return LabelCurve(method, points, worth)


def as_pair(evidence: Evidence, seed: int) -> tuple[float, float]:
    found = interval(evidence, seed=seed)
    return found.low, found.high


def measure_worth(
    sizes: Sequence[int], base: Sequence[Evidence], scratch: Sequence[Evidence], *, floor: float, seed: int = 0
) -> Worth:
    """How many times the labels pre-training replaces, with a bootstrap interval over the test rows."""
    times, relation = read_off(sizes, np.array([e.value() for e in base]), np.array([e.value() for e in scratch]))
    drawn: list[float] = []
    for counts in base[0].draws(seed=seed):
        upper = np.stack([e.values(counts) for e in base], axis=1)
        lower = np.stack([e.values(counts) for e in scratch], axis=1)
        drawn.extend(read_off(sizes, u, v)[0] for u, v in zip(upper, lower, strict=True))
    low, high = (float(q) for q in np.quantile(drawn, [0.025, 0.975]))
    return Worth(times, relation, (low, high), worth_note(times, relation, sizes, scratch[-1], floor, seed))


def read_off(sizes: Sequence[int], base: Floats, scratch: Floats) -> tuple[float, Relation]:
    """(k, relation) from the two curves; k never leaves the measured range."""
    whole, fewest = sizes[-1], sizes[0]
    base, scratch = np.maximum.accumulate(base), np.maximum.accumulate(scratch)
    logs = np.log(np.asarray(sizes, dtype=np.float64))
    if base[0] >= scratch[-1]:
        return whole / fewest, "more than"
    if base[-1] >= scratch[-1]:
        return whole / float(np.exp(reach(logs, base, scratch[-1]))), "about"
    if scratch[0] >= base[-1]:
        return fewest / whole, "less than"
    return float(np.exp(reach(logs, scratch, base[-1]))) / whole, "about"


def reach(logs: Floats, curve: Floats, goal: float) -> float:
    """log n at which a non-decreasing curve first reaches `goal`, which lies inside it."""
    k = max(1, int(np.searchsorted(curve, goal, side="left")))
    rise = curve[k] - curve[k - 1]
    share = (goal - curve[k - 1]) / rise if rise > 0 else 0.0
    return float(logs[k - 1] + share * (logs[k] - logs[k - 1]))


def worth_note(
    times: float, relation: Relation, sizes: Sequence[int], scratch: Evidence, floor: float, seed: int
) -> str:
    """What the number rests on, in a sentence or two."""
    whole = sizes[-1]
    if interval(scratch, seed=seed).low <= floor:
        start = f"From scratch, all {whole:,} rows teach no more than the majority control knows: only a bound."
    elif relation == "more than":
        start = f"The base with {sizes[0]:,} rows already reaches what scratch reaches with all {whole:,}."
    elif relation == "less than" or times < 1:
        start = f"Scratch with fewer rows reaches what the base reaches with all {whole:,}."
    else:
        start = f"The base with about {whole / times:,.0f} rows reaches what scratch reaches with all {whole:,}."
    return f"{start} The interval resamples the test rows; training noise is not in it."
