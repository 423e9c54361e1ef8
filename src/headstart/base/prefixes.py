"""A prefix tree over rows of units: what rows share at their beginning is read once.

Enters: rows of units, each with how many of its first units nobody asks about. Leaves: a plan of forward passes.

Two ways to share. A *stem* is a beginning of many rows, such as a few-shot preamble: it is read alone, and its keys and
values stand before every row that continues it. A *bush* is a few rows that stand together in one row of a batch, as a
tree in depth-first order, such as a question with its labels: a unit is seen by those that continue it and by no other
(`Batch.until`). Sorted rows are that order, and what neighbours share is all a tree has to know. Both are exact: a unit
sees the keys it would see in a row of its own, at the same positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from headstart.data.text_codec import Ids

Whole = NDArray[np.int64]

BUSH_UNITS = 512  # beyond, the square of a bush costs more than its batch gains
STEM_UNITS = 32  # a shorter beginning is cheaper read with every row than in a forward pass of its own
LINEAR_KEYS = 512  # keys whose attention costs a unit about as much as all its matrix products (dim 256 to 600)


@dataclass(frozen=True, slots=True)
class Stem:
    """A beginning, and the bushes that continue it.

    parent: the stem it continues (-1: none). ids: the whole beginning; those from `start` on are new in this stem.
    bushes: rows that stand together, by their place in what was planned.
    """

    parent: int
    ids: Ids
    start: int
    bushes: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Bush:
    """Rows as one row of a batch.

    units, positions, until: (T,), see `Batch`. columns: for every row, the columns of its units after the stem.
    """

    units: Whole
    positions: Whole
    until: Whole
    columns: list[Whole]

    @property
    def branches(self) -> bool:
        """Whether more than one path grows from it."""
        return bool((self.until < len(self.units)).any())


def plan_reading(rows: Sequence[Ids], unasked: Sequence[int], *, bush_units: int = BUSH_UNITS) -> list[Stem]:
    """Stems, parents first, each with its bushes; every row stands in exactly one bush.

    unasked: how many of a row's first units may stand in a stem, where their hidden states are not kept.
    bush_units: units of a bush with more than one row, at most.
    """
    stems = [Stem(-1, np.empty(0, dtype=np.int32), 0)]
    if not rows:
        return stems
    order = sorted(range(len(rows)), key=lambda row: rows[row].astype(">u4").tobytes())
    free = np.asarray([unasked[row] for row in order], dtype=np.int64)
    # shared[i]: units that row i has in common with row i - 1, which is what it adds nothing for.
    shared = np.asarray([0, *(common_units(rows[a], rows[b]) for a, b in pairwise(order))], dtype=np.int64)
    units = np.concatenate(([0], np.cumsum([len(rows[row]) for row in order])))
    saved = np.concatenate(([0], np.cumsum(shared)))

    def size(low: int, high: int, depth: int) -> int:
        """Different units of the rows low .. high - 1, beyond the `depth` that all of them share."""
        return int(units[high] - units[low] - (saved[high] - saved[low + 1])) - depth

    waiting = [(0, len(order), 0)]
    while waiting:
        low, high, stem = waiting.pop()
        depth = len(stems[stem].ids)
        if high - low == 1:
            stems[stem].bushes.append([order[low]])
            continue
        inner = shared[low + 1 : high]
        meet = int(inner.min())
        edges = [low, *(low + 1 + np.flatnonzero(inner == meet)).tolist(), high]
        together = size(low, high, depth)
        if together <= bush_units:
            if _cost(together) <= sum(_cost(size(a, b, depth)) for a, b in pairwise(edges)):
                stems[stem].bushes.append(order[low:high])
                continue
        elif (stop := min(meet, int(free[low:high].min()))) - depth >= STEM_UNITS:
            stems.append(Stem(stem, rows[order[low]][:stop], depth))
            waiting.append((low, high, len(stems) - 1))
            continue
        waiting += [(a, b, stem) for a, b in reversed(list(pairwise(edges)))]
    return stems


def pack(rows: Sequence[Ids], depth: int) -> Bush:
    """Sorted rows as one bush; their first `depth` units stand in its stem."""
    units: list[Ids] = []
    positions: list[Whole] = []
    columns: list[Whole] = []
    total = sum(len(row) for row in rows)
    until = np.full(total, total, dtype=np.int64)
    count = 0
    for place, row in enumerate(rows):
        keep = max(common_units(rows[place - 1], row), depth) if place else depth
        path = columns[-1][: keep - depth] if place else np.empty(0, dtype=np.int64)
        if place:
            until[columns[-1][keep - depth :]] = count
        new = len(row) - keep
        units.append(row[keep:])
        positions.append(np.arange(keep, len(row)))
        columns.append(np.concatenate((path, np.arange(count, count + new))))
        count += new
    whole = np.minimum(until[:count], count)
    return Bush(np.concatenate(units).astype(np.int64), np.concatenate(positions), whole, columns)


def common_units(first: Ids, second: Ids) -> int:
    """Units that two rows have in common at their beginning."""
    length = min(len(first), len(second))
    different = first[:length] != second[:length]
    where = int(different.argmax()) if length else 0
    return where if length and different[where] else length


def _cost(units: int) -> int:
    return units * (LINEAR_KEYS + units)
