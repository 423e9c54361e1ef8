"""The saving read off two label curves."""

from __future__ import annotations

import pytest
from bench.label_curve import saving

CURVE = [(100, 0.5), (200, 0.6), (400, 0.7), (800, 0.8)]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.4, ("more than", 8.0)),
        (0.6, ("about", 4.0)),
        (0.65, ("about", 800 / (200 * 2**0.5))),
        (0.8, ("about", 1.0)),
        (0.9, ("less than", 1.0)),
    ],
)
def test_saving_is_read_where_the_curve_first_reaches_the_level(level: float, expected: tuple[str, float]) -> None:
    relation, times = saving(CURVE, level=level)
    assert relation == expected[0]
    assert times == pytest.approx(expected[1])
