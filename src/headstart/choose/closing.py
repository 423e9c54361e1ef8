"""The rows that a search answers when it is over, and how many of them there is time for."""

from __future__ import annotations

import numpy as np

from headstart.choose.prompting import rows_of_saving
from headstart.data.examples import Examples
from headstart.ground.seeds import stream

ENOUGH = 200  # rows of validation and of test at least
LEAST_HELD_OUT = 40


def closing_rows(validation: int, test: int) -> int:
    """Rows that are answered after a search: both parts, and what a saved folder is compared with, twice."""
    return validation + test + rows_of_saving(test)


def rows_fitting(rows: float, validation: int, test: int, *, looks: int = 1) -> tuple[int, int]:
    """The most rows of both parts whose `closing_rows` are within `rows`: a like share of each beyond ENOUGH, of ENOUGH
    where that is too many, and LEAST_HELD_OUT at least. looks: as `Search.shorten`."""

    def kept(extent: float) -> tuple[int, int]:
        within, beyond = min(1.0, extent), max(0.0, extent - 1.0)
        sizes = [
            max(min(LEAST_HELD_OUT, size), int(within * min(ENOUGH, size) + beyond * max(0, size - ENOUGH)))
            for size in (validation, test)
        ]
        return (sizes[0] if looks else validation), sizes[1]

    def needed(extent: float) -> int:
        first, second = kept(extent)
        return closing_rows(looks * first, second)

    if needed(2.0) <= rows:
        return validation, test
    low, high = 0.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) <= rows else (low, middle)
    return kept(low)


def some(rows: Examples, most: int, *, seed: int) -> Examples:
    """At most `most` rows, in their order."""
    return rows.subset(np.sort(stream(seed, "some rows").permutation(len(rows))[:most]).tolist())
