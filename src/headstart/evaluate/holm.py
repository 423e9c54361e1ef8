"""Holm's correction: many comparisons, and still a 5 % chance at most that any of those called different is not.

Enter: p-values of one family. Leave: adjusted ones in the same order, to be held against 0.05 each. Nothing is assumed
about how the comparisons depend on each other. Source: Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """The smallest level at which each comparison would be called different, given all the others."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
