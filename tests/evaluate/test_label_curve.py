"""What the labels are worth: read off curves with a known answer, and never beyond what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data.examples import EMPTY
from headstart.data.task import Columns, Examples, Task
from headstart.evaluate.intervals import Evidence
from headstart.evaluate.label_curve import build_curve, curve_sizes, measure_worth, nested_order, read_off, with_rows

SIZES = [100, 200, 400, 800]


def hits(share: float, rows: int = 4000, seed: int = 0) -> Evidence:
    right = np.random.default_rng(seed).permutation(rows) < share * rows
    return Evidence("accuracy", np.stack([right, np.ones(rows)], axis=1)[None].astype(float))


@pytest.mark.parametrize(
    ("base", "scratch", "times", "relation"),
    [
        ([0.5, 0.6, 0.7, 0.8], [0.3, 0.4, 0.5, 0.6], 4.0, "about"),  # the base has 0.6 at 200
        ([0.5, 0.6, 0.7, 0.8], [0.3, 0.4, 0.5, 0.65], 800 / (200 * 2**0.5), "about"),  # half-way in log n
        ([0.7, 0.7, 0.8, 0.9], [0.3, 0.4, 0.5, 0.6], 8.0, "more than"),
        ([0.3, 0.4, 0.5, 0.6], [0.5, 0.6, 0.7, 0.8], 0.25, "about"),  # scratch is ahead
        ([0.1, 0.1, 0.1, 0.1], [0.5, 0.6, 0.7, 0.8], 1 / 8, "less than"),
        ([0.5, 0.4, 0.6, 0.7], [0.2, 0.3, 0.4, 0.5], 8.0, "more than"),  # a dip is noise: curves are non-decreasing
        ([0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8], 1.0, "about"),
    ],
)
def test_the_factor_is_read_where_the_base_reaches_scratch(
    base: list[float], scratch: list[float], times: float, relation: str
) -> None:
    found = read_off(SIZES, np.array(base), np.array(scratch))
    assert found == (pytest.approx(times), relation)


def test_the_interval_holds_the_factor_and_stays_in_the_measured_range() -> None:
    base = [hits(s, seed=i) for i, s in enumerate((0.5, 0.6, 0.7, 0.8))]
    scratch = [hits(s, seed=9 + i) for i, s in enumerate((0.3, 0.4, 0.5, 0.62))]
    worth = measure_worth(SIZES, base, scratch, floor=0.2)
    assert worth.ci95 is not None
    assert worth.relation == "about"
    assert 1 / 8 <= worth.ci95[0] < worth.times < worth.ci95[1] <= 8
    assert "about 230 rows" in worth.note or "rows reaches" in worth.note


def test_scratch_that_learned_nothing_is_said() -> None:
    curve = build_curve("full", {100: hits(0.6), 800: hits(0.8)}, {100: hits(0.2), 800: hits(0.2)}, floor=0.2)
    assert curve.worth is not None
    assert curve.worth.relation == "more than"
    assert "only a bound" in curve.worth.note
    assert [(p.method, p.labels) for p in curve.points] == [
        ("full", 100),
        ("full", 800),
        ("scratch", 100),
        ("scratch", 800),
    ]


def test_one_size_is_no_curve() -> None:
    assert build_curve("full", {800: hits(0.8)}, {800: hits(0.6)}, floor=0.1).worth is None


def test_sizes_too_small_to_train_on_are_left_out() -> None:
    assert curve_sizes(800) == [100, 200, 400]
    assert curve_sizes(40) == [20]


def test_subsets_are_nested_and_keep_the_balance() -> None:
    targets = (0,) * 600 + (1,) * 300 + (2,) * 100
    train = Examples(tuple(map(str, range(1000))), None, targets, tuple(range(1000)))
    task = Task("t", "choice", ("a", "b", "c"), train, EMPTY, EMPTY, Columns("text"), "0" * 64)
    small, large = (set(with_rows(task, n, seed=3).train.ids) for n in (100, 400))
    assert small < large
    assert len(small) == 100
    counts = np.bincount(np.asarray(targets)[sorted(small)])
    assert np.abs(counts - [60, 30, 10]).max() <= 2
    assert sorted(nested_order(train, "choice", 3).tolist()) == list(range(1000))
