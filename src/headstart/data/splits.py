"""Seeded splits that keep the classes in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.data.examples import Examples, Kind
from headstart.ground.seeds import stream

Rows = NDArray[np.int64]
SCORE_BINS = 10


def take_share(examples: Examples, *, kind: Kind, share: float, seed: int, name: str) -> tuple[Rows, Rows]:
    """(kept, taken) row indices, both ascending; about `share` of the rows are taken, at least one.

    choice: every class gives its share and keeps at least two thirds of its rows (of three it gives one, of two none).
    score: by tenths of the range of ranks. labels and tags: at random. The result depends on the rows' order, the
    seed and `name` alone.
    """
    random = stream(seed, "split", name)
    total = len(examples)
    wanted = max(1, round(share * total))
    strata = _strata(examples, kind)
    members = [random.permutation(np.flatnonzero(strata == s)) for s in np.unique(strata)]
    limits = np.array([len(m) // 3 if kind == "choice" else len(m) for m in members])
    counts = _apportion(np.array([len(m) for m in members]) * share, limits, wanted, random)
    taken = np.sort(np.concatenate([m[:count] for m, count in zip(members, counts.tolist(), strict=True)]))
    kept = np.setdiff1d(np.arange(total), taken)
    return kept.astype(np.int64), taken.astype(np.int64)


def _strata(examples: Examples, kind: Kind) -> Rows:
    if kind == "choice":
        return np.asarray(examples.targets, dtype=np.int64)
    if kind == "score":
        ranks = np.argsort(np.argsort(np.asarray(examples.targets, dtype=np.float64), kind="stable"), kind="stable")
        return ranks * SCORE_BINS // max(1, len(ranks))
    return np.zeros(len(examples), dtype=np.int64)


def _apportion(
    quotas: NDArray[np.float64], limits: NDArray[np.int64], wanted: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Whole numbers near the quotas that add up to `wanted` (largest remainders, ties at random), within the limits."""
    counts = np.minimum(np.floor(quotas).astype(np.int64), limits)
    order = np.lexsort((random.random(len(quotas)), -(quotas - np.floor(quotas))))
    while (missing := wanted - int(counts.sum())) > 0:
        open_ = [i for i in order.tolist() if counts[i] < limits[i]]
        if not open_:
            break
        counts[open_[:missing]] += 1
    return counts


def move_out(rows: Sequence[int] | Rows, moved: set[int]) -> Rows:
    """`rows` without those in `moved`."""
    return np.array([row for row in rows if int(row) not in moved], dtype=np.int64)
