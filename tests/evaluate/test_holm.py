"""Holm's correction against its definition by closed testing, and that it keeps its promise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from headstart.evaluate.holm import holm


def by_closed_testing(p_values: list[float]) -> list[float]:
    """The definition: the largest Bonferroni p over all sets of hypotheses that a hypothesis is part of."""
    places = range(len(p_values))
    sets = [s for size in range(1, len(p_values) + 1) for s in combinations(places, size)]
    return [max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if place in s) for place in places]


def test_holm_is_closed_testing_with_bonferroni() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        p_values = [*(random.random(int(random.integers(1, 7))) ** 3).tolist(), 0.02, 0.02]
        assert holm(p_values) == pytest.approx(by_closed_testing(p_values), abs=1e-15)


def test_a_known_example_and_no_comparison_at_all() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.2]) == [0.2]


def test_a_family_without_any_difference_is_called_different_in_five_percent_of_the_cases() -> None:
    random = np.random.default_rng(1)
    alarms = np.mean([min(holm(random.random(20).tolist())) < 0.05 for _ in range(4000)])
    assert 0.035 < alarms < 0.065
