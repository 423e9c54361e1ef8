"""What a side in other numbers leaves open: planted leads, near-ties and a decision that it changes."""

from __future__ import annotations

import numpy as np
from bench.scoring_numbers import compared

from headstart.evaluate.suite.items import Item

PAIR = (("", "one"), ("", "two"))
EXACT = [np.asarray(nats) for nats in ([-3.0, -9.0], [-5.0, -5.1], [-4.0, -4.0], [-8.0, -2.0])]


def told(*, errors: list[float]) -> list[np.ndarray]:
    return [nats + np.asarray([-error, 0.0]) for nats, error in zip(EXACT, errors, strict=True)]


def test_near_ties_are_open_and_no_changed_decision_is_left() -> None:
    items = [Item(row, PAIR, 0) for row in range(4)]
    found = compared(items, EXACT, told(errors=[0.1, 0.15, 0.1, 0.1]), pairs=True, calibrated=4, times=2.0)
    assert np.isclose(found["margins"][0], 0.3)
    assert (found["flips"], found["open"], found["left"]) == (2, 0.5, 0)


def test_an_error_that_no_calibrated_item_has_is_told_as_left() -> None:
    items = [Item(row, PAIR, 0) for row in range(4)]
    found = compared(items, EXACT, told(errors=[0.01, 0.9, 0.0, 0.01]), pairs=True, calibrated=2, times=2.0)
    assert (found["flips"], found["left"]) == (1, 1)
