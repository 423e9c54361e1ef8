"""The ladder's arithmetic: what fits enters, a third goes on, and a rung costs only the steps it adds."""

from __future__ import annotations

import pytest

from headstart.choose.ladder import entrants, ladder_cost, survivors


def test_a_single_candidate_costs_its_training() -> None:
    assert ladder_cost([30.0]) == pytest.approx(30.0)


def test_nine_candidates_cost_what_nine_three_and_one_cost() -> None:
    assert ladder_cost([9.0] * 9) == pytest.approx(9 * 1 + 3 * 2 + 1 * 6)


@pytest.mark.parametrize(
    ("left", "number"), [(-1.0, 0), (0.0, 0), (8.9, 0), (9.0, 1), (21.0, 9), (1e9, 12), (float("inf"), 12)]
)
def test_as_many_enter_as_the_time_holds(left: float, number: int) -> None:
    assert entrants([9.0] * 12, left) == number


@pytest.mark.parametrize(("number", "stay"), [(0, 0), (1, 1), (3, 1), (4, 2), (9, 3)])
def test_a_third_stays(number: int, stay: int) -> None:
    assert survivors(number) == stay
