"""Wilson's interval and its relatives against scipy, closed forms and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, t

from headstart.evaluate.proportions import Z95, clustered_wilson, mean_of_groups, seeded_wilson, wilson


@pytest.mark.parametrize(("share", "rows"), [(0.0, 20), (0.3, 50), (0.5, 101), (1.0, 7)])
def test_wilson_equals_scipy(share: float, rows: int) -> None:
    hits = round(share * rows)
    expected = binomtest(hits, rows).proportion_ci(method="wilson")
    found = wilson(hits / rows, rows)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_seen_says_nothing() -> None:
    assert (wilson(0.5, 0).low, wilson(0.5, 0).high) == (0.0, 1.0)


def test_one_seed_is_the_ordinary_interval_and_seeds_that_disagree_narrow_it() -> None:
    hits = (np.arange(80) < 60).astype(float)
    assert seeded_wilson(hits) == wilson(0.75, 80)
    assert seeded_wilson(np.full(80, 0.75) + 0.01 * np.tile([1, -1], 40)).low > wilson(0.75, 80).low


def test_rows_of_their_own_are_almost_the_ordinary_interval() -> None:
    hits, rows = (np.arange(200) < 130).astype(float), 200
    found = clustered_wilson(hits, np.ones(rows), np.arange(rows))
    # n-1 in the variance and Student's t: the closed form of Korn & Graubard for groups of one row
    expected = wilson(0.65, (rows - 1) * (Z95 / t.ppf(0.975, rows - 1)) ** 2)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_copies_of_a_row_add_nothing() -> None:
    hits = (np.random.default_rng(0).random(60) < 0.7).astype(float)
    once = clustered_wilson(hits, np.ones(60), np.arange(60))
    thrice = clustered_wilson(np.repeat(hits, 3), np.ones(180), np.repeat(np.arange(60), 3))
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high), abs=1e-12)


def test_the_sandwich_is_that_of_a_regression_on_a_constant() -> None:
    random = np.random.default_rng(1)
    groups = np.sort(random.integers(0, 25, 300))
    groups = np.unique(groups, return_inverse=True)[1]
    hits = (random.random(300) < 0.1 + 0.9 * random.random(25)[groups]).astype(float)
    count, share = groups.max() + 1, hits.mean()
    # ordinary least squares of hits on 1, cluster-robust (X'X)^-1 sum(X'u u'X) (X'X)^-1 with the factor G/(G-1)
    sums = np.array([(hits[groups == g] - share).sum() for g in range(count)])
    error = math.sqrt(count / (count - 1) * (sums**2).sum()) / 300
    found = clustered_wilson(hits, np.ones(300), groups)
    quantile = t.ppf(0.975, count - 1)
    # Wilson's bounds solve (p - share)^2 = q^2 p (1 - p) / n where n makes the variance at `share` the one seen
    effective = share * (1 - share) / error**2
    for bound in (found.low, found.high):
        assert (bound - share) ** 2 == pytest.approx(quantile**2 * bound * (1 - bound) / effective, rel=1e-9)


def test_one_group_says_nothing_and_groups_that_agree_count_once_each() -> None:
    assert clustered_wilson(np.ones(5), np.ones(5), np.zeros(5, dtype=np.int64)).low == 0.0
    all_right = clustered_wilson(np.ones(60), np.ones(60), np.repeat(np.arange(6), 10))
    assert all_right.low < wilson(1.0, 6).low + 1e-9
    assert all_right.high == pytest.approx(1.0)


def test_the_mean_over_fixed_groups_gives_each_the_same_weight() -> None:
    found = mean_of_groups(np.array([90.0, 100.0]), np.array([100.0, 1000.0]))
    draws = np.random.default_rng(0)
    seen = (draws.binomial(100, 0.9, 20_000) / 100 + draws.binomial(1000, 0.1, 20_000) / 1000) / 2
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(seen, (0.025, 0.975))), abs=0.003)
    assert mean_of_groups(np.array([5.0]), np.array([5.0])).low < 1.0


def test_large_fixed_groups_are_what_the_plain_variance_of_their_shares_says() -> None:
    right, rows = np.array([430.0, 300.0, 980.0]), np.array([500.0, 600.0, 1000.0])
    shares = right / rows
    error = math.sqrt(float((shares * (1 - shares) / rows).sum())) / 3
    found = mean_of_groups(right, rows)
    assert (found.low, found.high) == pytest.approx(
        (shares.mean() - Z95 * error, shares.mean() + Z95 * error), abs=5e-4
    )


def test_groups_of_one_row_are_as_sure_as_rows_of_one_share_and_no_more() -> None:
    right = (np.arange(60) < 45).astype(float)
    assert mean_of_groups(right, np.ones(60)) == wilson(0.75, 60)
