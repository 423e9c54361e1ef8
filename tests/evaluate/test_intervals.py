"""Intervals and paired comparisons: seeds, groups, edges; what they cover is simulated in test_coverage.py."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_rel

from headstart.evaluate.intervals import Evidence, compare, interval, resamples
from headstart.evaluate.metrics import METRICS
from headstart.ground.errors import ConfigError

LABELS = ("a", "b", "c")


def right_or_wrong(right: np.ndarray) -> Evidence:
    """(seeds, N) of hits as accuracy evidence."""
    return Evidence("accuracy", np.stack([right, np.ones_like(right)], axis=-1).astype(np.float64))


def drawn(metric: str, rows: int, random: np.random.Generator) -> Evidence:
    if metric == "pearson":
        x = random.normal(size=rows)
        return Evidence(metric, np.stack([x, 0.8 * x + 0.6 * random.normal(size=rows)], axis=1)[None])
    truth = random.choice(3, size=rows, p=[0.5, 0.3, 0.2])
    answers = np.where(random.random(rows) < 0.75, truth, random.integers(0, 3, rows))
    return Evidence(metric, METRICS[metric].statistics(truth, answers, LABELS)[None])


def test_a_real_difference_is_found_and_signed() -> None:
    random = np.random.default_rng(1)
    good, bad = ((random.random((1, 400)) < share) for share in (0.9, 0.7))
    found = compare(right_or_wrong(good), right_or_wrong(bad))
    assert found.difference < 0
    assert found.high < 0
    assert found.p < 0.01
    assert not found.tied
    assert found.low < found.difference < found.high


def test_the_far_tail_is_that_of_a_paired_t_test() -> None:
    random = np.random.default_rng(5)
    one, other = (random.random(2000) < share for share in (0.8, 0.7))
    p = compare(right_or_wrong(one[None]), right_or_wrong(other[None])).p
    expected = ttest_rel(one.astype(float), other.astype(float)).pvalue
    assert 0 < expected < 1e-8  # far below what 1,000 resamples can count
    assert np.log(p) == pytest.approx(np.log(expected), rel=0.15)


def test_rows_that_all_differ_alike_leave_their_signs() -> None:
    found = compare(right_or_wrong(np.zeros((1, 12))), right_or_wrong(np.ones((1, 12))))
    assert found.p == pytest.approx(2.0**-11)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 12])
def test_an_interval_leaves_out_nothing_exactly_where_the_test_rejects_it(rows: int) -> None:
    found = compare(right_or_wrong(np.zeros((1, rows))), right_or_wrong(np.ones((1, rows))))
    assert (found.p < 0.05) == (found.low > 0) == (rows >= 6)
    assert found.low < found.difference <= found.high == 1.0


def test_two_groups_say_little_of_a_difference() -> None:
    """The t-test of two numbers, 0.3 and 0.1, has one degree of freedom."""
    groups = np.repeat([0, 1], 10)
    one, other = np.zeros((1, 20)), (np.arange(20) % 10 < np.repeat([3, 1], 10))[None]
    sides = [Evidence("accuracy", right_or_wrong(side).statistics, groups) for side in (one, other)]
    found = compare(*sides)
    assert found.p == pytest.approx(ttest_rel([0.3, 0.1], [0.0, 0.0]).pvalue, rel=0.05)
    assert (found.low, found.high) == (-1.0, 1.0)


def test_groups_are_drawn_whole() -> None:
    x = np.random.default_rng(6).normal(size=(40, 2)) @ np.array([[1.0, 0.7], [0.0, 0.7]])
    once = Evidence("pearson", x[None])
    groups = np.repeat(np.arange(40), 4)
    copies = Evidence("pearson", np.repeat(x, 4, axis=0)[None], groups)
    assert (once.units, copies.units, len(copies)) == (40, 40, 160)
    assert copies.value() == pytest.approx(once.value())
    assert interval(copies, seed=3).low == pytest.approx(interval(once, seed=3).low)
    assert interval(copies, seed=3).high == pytest.approx(interval(once, seed=3).high)
    assert interval(Evidence("pearson", copies.statistics), seed=3).low > interval(copies, seed=3).low
    other = Evidence("pearson", x[:, ::-1][None] + 0.5 * np.random.default_rng(7).normal(size=(1, 40, 2)))
    apart = compare(once, other)
    same = compare(copies, Evidence("pearson", np.repeat(other.statistics, 4, axis=1), groups))
    assert (same.difference, same.p) == pytest.approx((apart.difference, apart.p))


def test_equal_answers_are_tied_for_certain() -> None:
    same = right_or_wrong(np.random.default_rng(2).random((1, 90)) < 0.8)
    found = compare(same, same)
    assert (found.difference, found.p, found.tied) == (0.0, 1.0, True)


def test_seeds_are_averaged_per_row_and_do_not_count_as_rows() -> None:
    hits = np.random.default_rng(3).random((1, 200)) < 0.8
    once, thrice = interval(right_or_wrong(hits)), interval(right_or_wrong(np.repeat(hits, 3, axis=0)))
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    assert right_or_wrong(np.repeat(hits, 3, axis=0)).seed_values() == pytest.approx([hits.mean()] * 3)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_all_right_is_no_proof_of_perfection(metric: str) -> None:
    truth = np.arange(30) % 3
    found = interval(Evidence(metric, METRICS[metric].statistics(truth, truth, LABELS)[None]))
    assert found.high == pytest.approx(1.0)
    assert 0.85 < found.low < 0.95


def test_intervals_are_the_same_every_time() -> None:
    evidence = drawn("macro_f1", 100, np.random.default_rng(4))
    assert interval(evidence, seed=9) == interval(evidence, seed=9)
    assert np.array_equal(next(resamples(50, seed=1)), next(resamples(50, seed=1)))
    assert next(resamples(50, seed=1)).sum(axis=1) == pytest.approx(np.full(1000, 50.0))


def test_different_rows_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="expected the same rows and metric"):
        compare(right_or_wrong(np.ones((1, 5))), right_or_wrong(np.ones((1, 6))))
    with pytest.raises(ConfigError, match="split to score is empty"):
        interval(right_or_wrong(np.ones((1, 0))))
