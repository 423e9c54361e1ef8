"""The aggregate over tasks: its scale, its interval against the closed form, its paired test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from headstart.evaluate.aggregate import Part, aggregate, aggregate_difference
from headstart.evaluate.intervals import Evidence
from headstart.ground.errors import ConfigError


def hits(right: np.ndarray) -> Evidence:
    return Evidence("accuracy", np.stack([right, np.ones_like(right)], axis=-1)[None].astype(np.float64))


def drawn(share: float, rows: int, random: np.random.Generator) -> Evidence:
    return hits(random.random(rows) < share)


def test_guessing_is_0_and_perfect_is_1() -> None:
    assert Part(hits(np.ones(10)), 0.25).value() == pytest.approx(1.0)
    assert Part(hits(np.tile([1, 0, 0, 0], 5)), 0.25).value() == pytest.approx(0.0)
    assert Part(hits(np.zeros(10)), 0.5).value() == pytest.approx(-1.0)
    assert aggregate([Part(hits(np.ones(10)), 0.25), Part(hits(np.tile([1, 0], 5)), 0.5)])[0] == pytest.approx(0.5)


def test_the_interval_is_that_of_a_mean_of_independent_shares() -> None:
    random = np.random.default_rng(0)
    parts = [
        Part(drawn(0.7, 400, random), 0.5),
        Part(drawn(0.6, 400, random), 0.25),
        Part(drawn(0.5, 900, random), 0.0),
    ]
    value, found = aggregate(parts)
    errors = [np.sqrt(p.evidence.value() * (1 - p.evidence.value()) / (len(p.evidence) - 1)) * p.scale for p in parts]
    half = 1.96 * np.sqrt(np.sum(np.square(errors))) / 3
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    assert value == pytest.approx((found.low + found.high) / 2)


def test_two_tasks_of_one_size_are_drawn_apart() -> None:
    one = drawn(0.7, 300, np.random.default_rng(1))
    alone, twice = (aggregate([Part(one, 0.5)] * count)[1] for count in (1, 2))
    assert (twice.high - twice.low) / (alone.high - alone.low) == pytest.approx(1 / np.sqrt(2), rel=0.06)


def test_all_right_is_no_proof_of_perfection() -> None:
    _, found = aggregate([Part(hits(np.ones(30)), 0.5)])
    assert found.low < 0.95
    assert found.high == 1.0


def test_a_paired_difference_of_one_task_is_a_paired_t_test() -> None:
    random = np.random.default_rng(2)
    both = random.random(500) < 0.6
    a, b = both | (random.random(500) < 0.25), both | (random.random(500) < 0.33)
    found = aggregate_difference([Part(hits(a), 0.5)], [Part(hits(b), 0.5)])
    expected = ttest_rel(b.astype(float), a.astype(float))
    assert found.difference == pytest.approx(2 * (b.mean() - a.mean()))
    assert found.p == pytest.approx(expected.pvalue, rel=0.25)
    assert found.low < found.difference < found.high


def test_equal_answers_are_tied_for_certain() -> None:
    same = [Part(drawn(0.7, 50, np.random.default_rng(3)), 0.5)]
    found = aggregate_difference(same, same)
    assert (found.difference, found.p, found.tied) == (0.0, 1.0, True)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_few_rows_that_all_differ_alike_are_no_certainty(rows: int) -> None:
    one, other = ([Part(hits(np.full(rows, right)), 0.5)] * 2 for right in (0.0, 1.0))
    found = aggregate_difference(one, other)
    assert found.difference == pytest.approx(2.0)
    assert 0.05 < found.p < 1.0
    assert found.low < 0.0 < found.difference <= found.high <= 2.0


def test_tasks_that_do_not_differ_do_not_make_one_that_does_certain() -> None:
    same, one, other = (Part(hits(np.full(3, right)), 0.5) for right in (1.0, 0.0, 1.0))
    found = aggregate_difference([one, same], [other, same])
    assert found.p == pytest.approx(2 * 2.0**-3)
    assert found.low < 0.0 < found.high


def test_nothing_and_different_tasks_are_refused() -> None:
    part = Part(hits(np.ones(5)), 0.5)
    with pytest.raises(ConfigError, match="over no task"):
        aggregate([])
    with pytest.raises(ConfigError, match="expected the same tasks"):
        aggregate_difference([part], [part, part])
