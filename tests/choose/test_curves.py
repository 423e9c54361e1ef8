"""Forecasts along power laws: they find a law that is there, cover what happens, and are wide where little is known."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.choose.curves import BY_LABELS, BY_STEPS, FLAT_STEEPS, forecast

SIZES = [100, 200, 400, 800, 1600]


def law(size: float, floor: float, scale: float, steepness: float) -> float:
    return 1.0 - floor - scale * (size / 100) ** -steepness


@pytest.mark.parametrize(("floor", "scale", "steepness"), [(0.0, 0.4, 0.3), (0.1, 0.3, 0.5), (0.2, 0.1, 0.2)])
def test_a_law_without_noise_is_carried_on(floor: float, scale: float, steepness: float) -> None:
    scores = [law(size, floor, scale, steepness) for size in SIZES]
    drawn = forecast(SIZES, scores, [0.002] * 5, at=3200, steepness=BY_LABELS)
    assert drawn.mean() == pytest.approx(law(3200, floor, scale, steepness), abs=0.01)
    assert drawn.std() < 0.02


def test_intervals_cover_what_happens() -> None:
    """Laws drawn from the prior, scores with the noise of 500 rows: 90 % intervals hold 85 to 97 % of the truths."""
    random, held = np.random.default_rng(0), 0
    for trial in range(200):
        steepness = max(0.02, random.normal(BY_LABELS.mean, BY_LABELS.sd))
        floor, scale = random.uniform(0.0, 0.15), random.uniform(0.1, 0.5)
        truth = np.array([law(size, floor, scale, steepness) for size in SIZES])
        noise = np.sqrt(truth * (1 - truth) / 500)
        drawn = forecast(SIZES, truth + random.normal(size=5) * noise, noise, at=3200, steepness=BY_LABELS, seed=trial)
        low, high = np.quantile(drawn, [0.05, 0.95])
        held += low <= law(3200, floor, scale, steepness) <= high
    assert 0.85 <= held / 200 <= 0.97


def test_one_point_gives_a_wide_answer_and_two_a_narrower_one() -> None:
    one = forecast([1 / 9], [0.7], [0.01], at=1.0, steepness=BY_STEPS)
    two = forecast([1 / 9, 1 / 3], [0.7, 0.76], [0.01, 0.01], at=1.0, steepness=BY_STEPS)
    assert 0.7 < one.mean() < 0.95
    assert two.std() < one.std()


def test_a_flat_curve_foretells_a_gain_that_may_be_none() -> None:
    scores = [0.52, 0.49, 0.51, 0.5, 0.51]
    now, then = (
        forecast(SIZES, scores, [0.02] * 5, at=at, steepness=BY_LABELS, seed=1, steeps=FLAT_STEEPS)
        for at in (1600, 3200)
    )
    low, high = np.quantile(then - now, [0.05, 0.95])
    assert low <= 0 <= high


def test_two_forecasts_with_one_seed_differ_by_the_size_alone() -> None:
    scores = [law(size, 0.05, 0.3, 0.4) for size in SIZES]
    now, then = (forecast(SIZES, scores, [0.01] * 5, at=at, steepness=BY_LABELS, seed=3) for at in (1600, 3200))
    assert (then - now).std() < 0.5 * np.hypot(now.std(), then.std())
    assert (then - now).mean() > 0
