"""The probe against scikit-learn, and its bookkeeping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from headstart.train import probe
from headstart.train.probe import Features, solve


def blobs(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, rows)
    centres = random.normal(size=(classes, 6)) * 1.2
    return (centres[y] + random.normal(size=(rows, 6))) * np.array([1, 10, 0.1, 1, 1, 1]) + 3.0, y


def features(x: np.ndarray, y: np.ndarray) -> Features:  # type: ignore[type-arg]
    return Features(torch.tensor(x, dtype=torch.float32), torch.tensor(y))


@pytest.mark.parametrize("strength", probe.STRENGTHS)
def test_choice_equals_logistic_regression(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STRENGTHS", (strength,))
    x, y = blobs(300, 3)
    ours = solve(features(x, y), features(x[:50], y[:50]), kind="choice", num_outputs=3)
    scaled = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=1.0 / (strength * len(x)), max_iter=5000, tol=1e-8).fit(scaled, y)
    logits = torch.tensor(x, dtype=torch.float32) @ ours.weight.t() + ours.bias
    assert torch.softmax(logits, 1).numpy() == pytest.approx(reference.predict_proba(scaled), abs=5e-3)


def test_score_equals_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STRENGTHS", (1e-2,))
    x, _ = blobs(200, 3)
    y = x @ np.arange(6.0) + np.random.default_rng(1).normal(size=200)
    ours = solve(
        features(x, y.astype(np.float32)), features(x[:20], y[:20].astype(np.float32)), kind="score", num_outputs=1
    )
    scaled = (x - x.mean(0)) / x.std(0)
    reference = Ridge(alpha=1e-2 * len(x)).fit(scaled, y)
    assert (torch.tensor(x, dtype=torch.float32) @ ours.weight[0] + ours.bias).numpy() == pytest.approx(
        reference.predict(scaled), rel=1e-3
    )


def test_labels_are_independent_logistic_regressions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STRENGTHS", (1e-2,))
    x, y = blobs(300, 2)
    table = np.stack([y, 1 - y], axis=1).astype(np.float32)
    ours = solve(features(x, table), features(x[:30], table[:30]), kind="labels", num_outputs=2)
    scaled = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=1.0 / (1e-2 * len(x)), max_iter=5000, tol=1e-8).fit(scaled, y)
    chances = torch.sigmoid(torch.tensor(x, dtype=torch.float32) @ ours.weight.t() + ours.bias)
    assert chances[:, 0].numpy() == pytest.approx(reference.predict_proba(scaled)[:, 1], abs=5e-3)


def test_strength_is_chosen_on_validation() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 60)), random.integers(0, 2, 40)  # pure noise: only the strongest penalty generalises
    xv, yv = random.normal(size=(400, 60)), random.integers(0, 2, 400)
    assert solve(features(x, y), features(xv, yv), kind="choice", num_outputs=2).strength == max(probe.STRENGTHS)
