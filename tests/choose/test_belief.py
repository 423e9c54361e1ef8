"""Beliefs: exact Gaussian conditioning, one trial moving its relatives, and chances that add up."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.base.facts import BaseFacts
from headstart.choose.belief import (
    NAMES,
    Belief,
    Seen,
    believe,
    chances,
    features,
    hand_set,
    signals_of,
    standard_error,
)
from headstart.choose.findings import Findings, Run
from headstart.choose.reading import CurvePoint, Estimates, Reading
from headstart.choose.work import Looked, Trained
from headstart.train.methods import FitSettings


def reading(level: float, *, best: float = 0.0) -> Reading:
    points = [CurvePoint(n, level - 10 / n) for n in (100, 200, 400)]
    return Reading(400, 400, 1.0, 1.0, Estimates(level, level, level, level, level, level + best, 0), points, 200)


def base(name: str, params: int = 10_000_000, bits: float | None = None) -> BaseFacts:
    return BaseFacts(name, name, "bert", "text", params, 4e-6 * params, "mit", True, [], bits)


def test_conditioning_is_the_formula() -> None:
    covariance = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 1.0]])
    before = Belief(np.array([0.0, 1.0, -1.0]), covariance)
    both = before.given([Seen(0, 0.7, 0.4), Seen(2, -0.2, 0.5)])
    one_by_one = before.given([Seen(2, -0.2, 0.5)]).given([Seen(0, 0.7, 0.4)])
    assert np.allclose(both.mean, one_by_one.mean)
    assert np.allclose(both.covariance, one_by_one.covariance)
    precision = np.linalg.inv(covariance) + np.diag([1 / 0.4**2, 0.0, 1 / 0.5**2])
    assert np.allclose(both.covariance, np.linalg.inv(precision))


def test_a_trial_moves_its_relatives_and_narrows_itself() -> None:
    signals = [signals_of(base(n), reading(0.7), rows=400) for n in ("a", "b")]
    before = believe(signals, ("probe", "lora", "full"), hand_set())
    after = before.given([Seen(2, before.mean[2] - 0.4, 0.05)])  # a + full is better than was thought
    assert after.mean[1] < before.mean[1], "a + lora shares a's features"
    assert after.mean[5] < before.mean[5], "full does more than was thought"
    assert after.covariance[2, 2] < 0.3 * before.covariance[2, 2]


def test_a_better_reading_is_believed_to_end_better() -> None:
    signals = [signals_of(base(n), reading(level), rows=400) for n, level in (("a", 0.6), ("b", 0.8))]
    mean = believe(signals, ("probe", "full"), hand_set()).mean
    assert mean[2] < mean[0]
    assert mean[3] < mean[1]


def test_signals_that_are_missing_say_nothing() -> None:
    signals = [signals_of(base("a"), reading(0.7), rows=400)]
    row = features(signals, "full")[0]
    assert row[NAMES.index("full")] == 1.0
    assert np.all(np.isfinite(row))
    assert np.count_nonzero(row) == 1, "one base alone has no standing among others"


@pytest.mark.parametrize(("value", "rows"), [(1.0, 5), (0.0, 5), (0.8, 5), (1.0, 500), (0.5, 100)])
def test_few_rows_are_never_sure(value: float, rows: int) -> None:
    share = (value * rows + 1) / (rows + 2)
    assert standard_error(value, rows) >= np.sqrt(share * (1 - share) / rows) - 1e-12


def test_all_of_five_rows_right_does_not_settle_it() -> None:
    facts, estimates = [base("a"), base("b")], Estimates(0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0)
    readings = [Reading(50, 50, 1.0, 1.0, estimates, [CurvePoint(50, level)], 5) for level in (1.0, 0.8)]
    runs = [
        Run(at, "probe", 0, [Trained(level, 1.0, 1.0, 10, 0, 1.0, "probe", FitSettings())])
        for at, level in enumerate((1.0, 0.8))
    ]
    looked = [Looked(one, 1.0) for one in facts]
    found = Findings(["probe"], (50, 5, 5), 0, hand_set(), looked, readings, runs, metric="accuracy", floor=0.6)
    assert 0.5 < found.chance()[0] < 0.97
    assert found.draws().min() >= 0.0
    assert not found.above_floor(1.0), "five rows against a majority of 0.6 show nothing"


def test_chances_are_those_of_the_draws() -> None:
    belief = Belief(np.log([0.2, 0.2, 0.5]), np.diag([0.01, 0.01, 0.01]))
    found = chances(belief.draws())
    assert found[0] == pytest.approx(found[1], abs=0.05)
    assert 0.5 < found[0] < 0.8
    assert found[2] < 0.01
    assert np.all(chances(belief.draws(), within=1.0) == 1.0)
