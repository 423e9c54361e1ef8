"""Wilson intervals of proportions: of independent rows, of seeds averaged per row, of rows that come in groups.

Enter: a share and how much it rests on, or hits with their weights and groups. Leave: a 95 % `Interval` inside [0, 1].
One idea for all of them: Wilson's formula at the number of independent rows that would vary as much as what was seen
("effective sample size"). Sources: Wilson 1927; Korn & Graubard 1998 (groups, with Student's t for few of them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval of a share seen on n rows."""
    if n <= 0:
        return Interval(0.0, 1.0)
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(max(0.0, share * (1 - share)) / n + Z95**2 / (4 * n * n))
    # Rounding may leave 0.9999999999999999 above a share of 1: the interval holds what was seen.
    return Interval(min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def seeded_wilson(per_item: Floats) -> Interval:
    """Wilson for a mean of per-item shares (seeds averaged): n grows to the count that explains the spread seen.

    With one seed the spread is p(1-p) and this is the ordinary interval.
    """
    n, share = len(per_item), float(per_item.mean())
    spread = float(per_item.var())
    effective = n * share * (1 - share) / spread if spread > 0 else float(n)
    return wilson(share, effective)


def clustered_wilson(hits: Floats, weights: Floats, groups: Groups) -> Interval:
    """Wilson for sum(hits) / sum(weights) where rows of one group are not independent: whole groups were drawn.

    hits, weights (N,); groups (N,) from 0 up. A group counts at least once and at most as often as it has rows. With
    few groups the effective number shrinks as Student's t is wider than 1.96.
    """
    from scipy.stats import t

    share = float(hits.sum() / weights.sum())
    residuals = np.bincount(groups, weights=hits - share * weights)
    count = len(residuals)
    if count < 2:
        return Interval(0.0, 1.0)
    variance = count / (count - 1) * float((residuals**2).sum()) / float(weights.sum()) ** 2
    inner = share * (1 - share)
    effective = min(inner / variance, float(len(hits))) if variance > 0 else float(count)
    return wilson(share, effective * (Z95 / float(t.ppf(0.975, count - 1))) ** 2)


def mean_of_groups(right: Floats, rows: Floats) -> Interval:
    """Wilson for the mean over groups of their shares where the groups are fixed: only rows within them were drawn.

    right, rows: (G,) right rows and all rows of every group. Published figures are of this kind ("over 67 paradigms").
    A group of n rows varies by its share times the rest / (n - 1), without bias; one of a single row by what those of
    the other groups vary, or where all are single by what rows of one common share would, which is at least as much.
    """
    shares, free = right / rows, rows - 1
    mean, within = float(shares.mean()), rows * shares * (1 - shares)
    single = float(within.sum() / free.sum()) if free.any() else mean * (1 - mean)
    of_row = np.divide(within, free, out=np.full_like(within, single), where=free > 0)
    variance = float((of_row / rows).sum()) / len(rows) ** 2
    return wilson(mean, mean * (1 - mean) / variance if variance > 0 else float(rows.sum()))
