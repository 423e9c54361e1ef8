"""Estimators against their authors' formulas written out anew, against scikit-learn, and against fitting N times."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from headstart.choose.estimators import (
    h_score,
    ledoit_wolf,
    left_out_outputs,
    logme,
    neighbour_outputs,
    shrunk_h_score,
)
from headstart.choose.moments import Moments

Floats = NDArray[np.float64]


def rows(n: int, d: int, k: int, seed: int = 0) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Features that know something of the classes, the classes, and their one-hot columns."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, k, n)
    means = random.normal(size=(k, d))
    x = means[classes] + random.normal(size=(n, d)) * random.uniform(0.5, 3.0, d) + 5.0
    return x, classes, np.eye(k)[classes]


def published_h_score(x: Floats, classes: NDArray[np.int64], *, shrunk: bool) -> float:
    """Bao et al. and Ibrahim et al. as their definitions read: every row replaced by its class's mean."""
    x = x - x.mean(axis=0)
    by_class = np.stack([x[classes == c].mean(axis=0) for c in classes])
    between = np.cov(by_class, rowvar=False)
    if not shrunk:
        return float(np.trace(np.linalg.pinv(np.cov(x, rowvar=False), rcond=1e-15) @ between))
    fitted = LedoitWolf().fit(x)
    return float(np.trace(np.linalg.pinv(fitted.covariance_, rcond=1e-15) @ ((1 - fitted.shrinkage_) * between)))


def published_logme(x: Floats, y: Floats) -> float:
    """You et al. 2022, algorithm 3, through the singular value decomposition of the features."""
    n, d = x.shape
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    sigma, evidences = s**2, []
    for column in y.T:
        z = u.T @ column
        rest = column @ column - z @ z
        alpha, beta = 1.0, 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = np.sum(sigma / (sigma + t))
            m2 = np.sum(sigma * z**2 / (t + sigma) ** 2)
            res2 = np.sum(z**2 / (1 + sigma / t) ** 2) + rest
            alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (res2 + 1e-5)
            if abs(alpha / beta - t) / t <= 1e-3:
                break
        total = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.sum(np.log(alpha + beta * sigma))
        evidences.append((total - beta / 2 * res2 - alpha / 2 * m2 - n / 2 * np.log(2 * np.pi)) / n)
    return float(np.mean(evidences))


@pytest.mark.parametrize(("n", "d", "k"), [(400, 12, 2), (300, 60, 5), (1000, 30, 20)])
def test_h_scores_are_the_published_ones(n: int, d: int, k: int) -> None:
    x, classes, _ = rows(n, d, k)
    assert h_score(x, classes) == pytest.approx(published_h_score(x, classes, shrunk=False), abs=1e-6)
    assert shrunk_h_score(x, classes) == pytest.approx(published_h_score(x, classes, shrunk=True), abs=1e-6)


def test_the_shrunk_h_score_holds_where_rows_are_fewer_than_features() -> None:
    x, classes, _ = rows(60, 200, 3)
    assert shrunk_h_score(x, classes) == pytest.approx(published_h_score(x, classes, shrunk=True), abs=1e-6)
    covariance, shrinkage = ledoit_wolf(x - x.mean(axis=0))
    assert shrinkage == pytest.approx(LedoitWolf().fit(x).shrinkage_, abs=1e-9)
    assert np.allclose(covariance, LedoitWolf().fit(x).covariance_)


@pytest.mark.parametrize(("n", "d", "k"), [(400, 12, 2), (300, 60, 5), (50, 120, 3)])
def test_logme_is_the_published_one(n: int, d: int, k: int) -> None:
    x, _, y = rows(n, d, k)
    assert logme(x, y) == pytest.approx(published_logme(x, y), abs=1e-6)


def test_logme_of_a_number() -> None:
    x, _, _ = rows(300, 20, 2)
    y = (x @ np.linspace(-1, 1, 20) + np.random.default_rng(1).normal(size=300))[:, None]
    assert logme(x, y) == pytest.approx(published_logme(x, y), abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 8), (30, 50)])
def test_the_left_out_probe_is_the_probe_fitted_without_the_row(n: int, d: int) -> None:
    x, _, y = rows(n, d, 3)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    for strength, found in zip((0.01, 0.5), left_out_outputs(x, y, (0.01, 0.5)), strict=True):
        for row in range(n):
            others = np.arange(n) != row
            ridge = Ridge(alpha=strength * n).fit(z[others], y[others])
            assert np.allclose(ridge.predict(z[row][None])[0], found[row], atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(200, 10), (60, 80)])
def test_a_probe_from_sums_is_the_probe_from_rows(n: int, d: int) -> None:
    x, _, y = rows(n, d, 4)
    moments = Moments(d, 4)
    for start in range(0, n, 7):
        moments.add(x[start : start + 7] + 1e4, y[start : start + 7])
    z, mean, scale = x + 1e4, (x + 1e4).mean(axis=0), x.std(axis=0)
    for strength, probe in zip((0.01, 0.5), moments.probes((0.01, 0.5)), strict=True):
        ridge = Ridge(alpha=strength * n).fit((z - mean) / scale, y)
        assert np.allclose(ridge.predict((z - mean) / scale), probe(z), atol=1e-6)


def test_neighbours_vote_as_scikit_learn_lets_them() -> None:
    x, classes, y = rows(120, 15, 3)
    said = neighbour_outputs(x, y, neighbours=3).argmax(axis=1)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    agree = 0
    for row in range(len(x)):
        others = np.arange(len(x)) != row
        model = KNeighborsClassifier(3).fit(unit[others], classes[others])
        shares = model.predict_proba(unit[row][None])[0]
        agree += shares[said[row]] == shares.max()
    assert agree == len(x)
