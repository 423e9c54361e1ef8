"""Temperature and calibration error against values worked by hand and against models of known honesty."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from headstart.evaluate.calibration import (
    Judged,
    best_threshold,
    bin_index,
    calibrate,
    debiased_ece,
    fit_temperature,
    nll,
    plain_ece,
    reliability,
    selective,
    target_array,
    warmed,
)


def spoken(temperature: float, rows: int, *, labels: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and targets drawn from them, then made too sure by dividing the logits by `temperature`."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, labels)) * 2
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    targets = (honest.cumsum(1) < random.random((rows, 1))).sum(1)
    loud = np.exp(logits * temperature)
    return loud / loud.sum(1, keepdims=True), targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    probabilities, targets = spoken(temperature, 6000)
    assert fit_temperature("choice", probabilities, targets) == pytest.approx(temperature, rel=0.06)


def test_the_threshold_is_the_best_of_all() -> None:
    random = np.random.default_rng(7)
    for _ in range(20):
        probabilities = np.round(random.random((30, 4)), 1)  # with ties
        truth = random.random((30, 4)) < probabilities**2
        targets = [tuple(np.flatnonzero(row)) for row in truth]

        def reached(threshold: float) -> float:
            given = probabilities >= threshold  # noqa: B023
            return float(f1_score(truth, given, average="micro", zero_division=0))  # noqa: B023

        best = max(reached(t) for t in np.linspace(0.005, 0.995, 199))
        assert reached(best_threshold(probabilities, targets)) == pytest.approx(best)


def test_without_labels_the_threshold_stays() -> None:
    assert best_threshold(np.full((3, 2), 0.1), [(), (), ()]) == 0.5


def test_the_temperature_of_labels_is_found() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(4000, 3)) * 2
    targets = [tuple(np.flatnonzero(row)) for row in random.random((4000, 3)) < 1 / (1 + np.exp(-logits))]
    assert fit_temperature("labels", 1 / (1 + np.exp(-2 * logits)), targets) == pytest.approx(2.0, rel=0.06)


def test_a_few_right_rows_do_not_prove_certainty() -> None:
    probabilities = np.tile([[0.9, 0.1]], (12, 1))
    after = warmed("choice", probabilities, fit_temperature("choice", probabilities, [0] * 12))
    assert 0.9 < after[0, 0] < 0.995
    assert fit_temperature("choice", probabilities[:0], []) == 1.0


@pytest.mark.parametrize("kind", ["choice", "labels"])
def test_temperature_one_changes_nothing(kind: str) -> None:
    probabilities, _ = spoken(1.0, 50)
    assert warmed(kind, probabilities, 1.0) == pytest.approx(probabilities, abs=1e-9)


def test_temperature_never_changes_an_answer() -> None:
    probabilities, _ = spoken(1.0, 300)
    assert np.array_equal(warmed("choice", probabilities, 3.7).argmax(1), probabilities.argmax(1))


def test_plain_ece_by_hand() -> None:
    """Two bins: 10 answers at 0.6 of which 5 are right, 10 at 0.9 of which 9 are: (10 * 0.1 + 10 * 0.0) / 20."""
    confidence = np.array([0.6] * 10 + [0.9] * 10)
    outcome = np.array([1.0] * 5 + [0.0] * 5 + [1.0] * 9 + [0.0])
    bins = reliability(Judged(confidence, outcome))
    assert [(b.confidence, b.accuracy, b.count) for b in bins] == [
        (pytest.approx(0.6), pytest.approx(0.5), 10),
        (pytest.approx(0.9), pytest.approx(0.9), 10),
    ]
    assert plain_ece(bins) == pytest.approx(0.05)


def test_debiasing_takes_out_what_noise_alone_adds() -> None:
    honest, dishonest = [], []
    for seed in range(40):
        for temperature, found in ((1.0, honest), (3.0, dishonest)):
            bins = calibrate("choice", *spoken(temperature, 300, seed=seed)).bins
            found.append((debiased_ece(bins), plain_ece(bins)))
    # A plug-in correction removes the larger part of the noise, not all of it (Kumar et al. 2019, appendix).
    assert np.mean(honest, axis=0)[0] < 0.65 * np.mean(honest, axis=0)[1]
    assert np.mean(dishonest, axis=0)[0] == pytest.approx(np.mean(dishonest, axis=0)[1], rel=0.1)


def test_bins_have_equal_mass_and_ties_stay_together() -> None:
    index = bin_index(np.random.default_rng(0).random(1500))
    assert np.bincount(index).tolist() == [100] * 15
    assert set(bin_index(np.full(400, 0.7)).tolist()) == {0}


def test_nll_and_brier_by_hand() -> None:
    probabilities, targets = np.array([[0.8, 0.2], [0.4, 0.6]]), [0, 0]
    truth = target_array("choice", targets, 2)
    assert nll("choice", probabilities, truth) == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert calibrate("choice", probabilities, targets).brier == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)


def test_acting_only_when_sure() -> None:
    probabilities = np.array([[0.95, 0.05], [0.65, 0.35], [0.45, 0.55], [0.1, 0.9]])
    rows = {s.threshold: (s.coverage, s.accuracy) for s in selective(probabilities, [0, 1, 1, 1])}
    assert rows[0.5] == (1.0, 0.75)
    assert rows[0.6] == (0.75, pytest.approx(2 / 3))
    assert rows[0.9] == (0.5, 1.0)
    assert 0.99 not in rows  # nothing is that sure
