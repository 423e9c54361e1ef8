"""How well features suit answers, without training anything: H-score, LogME, nearest neighbours, a closed-form probe.

Enter: features X (N, D) and answers, as classes (N,) or as columns Y (N, K). Leave: one number, larger is better, or
for the probe the outputs every row gets from the fit that never saw it. All are plain functions of float64 arrays.
Sources: H-score Bao et al. 2019 (ICIP) and Ibrahim et al. 2021 (2110.06893, shrinkage); LogME You et al. 2021, with
the fixed point of You et al. 2022 (JMLR 23); nearest neighbours 2503.18528; leave-one-out ridge Allen 1974 (PRESS).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

STRENGTHS = tuple(float(s) for s in np.logspace(-3.5, 0.0, 8))  # of the ridge, per row, on features of variance 1
NEIGHBOURS = 5
CUTOFF = 1e-15  # of the largest eigenvalue: the authors' pseudo-inverse
STEPS = 11  # of LogME's fixed point: "should converge after at most 10"
CHUNK = 2048  # rows of a block of similarities: 80 MB at 5,000 rows


def h_score(x: Floats, classes: Ints) -> float:
    """tr(cov(X)^-1 cov(E[X | class])): how far the classes' means lie apart, in the features' own spread.

    Noise where rows are fewer than features; `shrunk_h_score` is made for that.
    """
    centred = x - x.mean(axis=0)
    return _spread_of_means(centred, classes, centred.T @ centred / (len(x) - 1))


def shrunk_h_score(x: Floats, classes: Ints) -> float:
    """The H-score with Ledoit and Wolf's covariance: tr(cov_a(X)^-1 (1 - a) cov(E[X | class])), a the shrinkage."""
    centred = x - x.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred)
    return (1.0 - shrinkage) * _spread_of_means(centred, classes, covariance)


def ledoit_wolf(centred: Floats) -> tuple[Floats, float]:
    """((D, D) covariance shrunk towards a multiple of the identity, the share of the identity): 2004, JMVA 88(2)."""
    n, d = centred.shape
    covariance = centred.T @ centred / n
    mean = float(np.trace(covariance)) / d
    squares = float((covariance**2).sum())
    noise = (float(((centred**2).sum(axis=1) ** 2).sum()) / n - squares) / (n * d)
    away = (squares - d * mean**2) / d
    shrinkage = 0.0 if away <= 0 else min(max(noise / away, 0.0), 1.0)
    return (1.0 - shrinkage) * covariance + shrinkage * mean * np.eye(d), shrinkage


def _spread_of_means(centred: Floats, classes: Ints, covariance: Floats) -> float:
    """tr(pinv(covariance) cov(class means)); the second has a rank of the number of classes, and is never built."""
    _, which, counts = np.unique(classes, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), centred.shape[1]))
    np.add.at(sums, which, centred)
    means = sums / np.sqrt(counts)[:, None]  # each weighs as the square root of its rows
    values, vectors = np.linalg.eigh(covariance)
    kept = values > CUTOFF * values[-1]
    turned = means @ vectors[:, kept]
    return float((turned**2 / values[kept]).sum() / (len(centred) - 1))


def logme(x: Floats, y: Floats) -> float:
    """The mean over columns of Y of the largest log evidence a row of a Bayesian linear model from X to the column."""
    n, d = x.shape
    values, vectors = np.linalg.eigh(x.T @ x if n > d else x @ x.T)
    kept = values > CUTOFF * values[-1] if n <= d else np.sqrt(np.maximum(values, 0.0)) > 1e-10
    sigma = values[kept]
    along = vectors[:, kept].T @ (x.T @ y if n > d else y)
    shadow = along**2 / sigma[:, None] if n > d else along**2
    outside = (y**2).sum(axis=0) - shadow.sum(axis=0)
    return float(np.mean([_evidence(sigma, shadow[:, k], float(outside[k]), n, d) for k in range(y.shape[1])]))


def _evidence(sigma: Floats, shadow: Floats, outside: float, n: int, d: int) -> float:
    """One column's evidence a row. sigma: eigenvalues of XᵀX; shadow: y along them, squared; outside: the rest of y."""
    alpha = beta = 1.0
    m2 = res2 = 0.0
    for _ in range(STEPS):
        t = alpha / beta
        gamma = float((sigma / (sigma + t)).sum())
        m2 = float((sigma * shadow / (t + sigma) ** 2).sum())
        res2 = float((shadow / (1.0 + sigma / t) ** 2).sum()) + outside
        alpha, beta = gamma / (m2 + 1e-5), (n - gamma) / (res2 + 1e-5)
        if abs(alpha / beta - t) / t <= 1e-3:
            break
    evidence = d / 2 * math.log(alpha) + n / 2 * math.log(beta) - 0.5 * float(np.log(alpha + beta * sigma).sum())
    return (evidence - beta / 2 * res2 - alpha / 2 * m2 - n / 2 * math.log(2 * math.pi)) / n


def neighbour_outputs(x: Floats, y: Floats, *, neighbours: int = NEIGHBOURS) -> Floats:
    """(N, K): the mean of Y over each row's nearest other rows by cosine, the nearer one ahead where they disagree."""
    n = len(x)
    k = min(neighbours, n - 1)
    unit = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    found = np.zeros_like(y)
    for start in range(0, n, CHUNK):
        near = unit[start : start + CHUNK] @ unit.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -np.inf
        picks = np.argpartition(-near, k - 1, axis=1)[:, :k]
        weights = 1.0 + 1e-3 * np.take_along_axis(near, picks, axis=1).astype(np.float64)  # settles ties, no more
        found[start : start + CHUNK] = np.einsum("nk,nkc->nc", weights / weights.sum(axis=1, keepdims=True), y[picks])
    return found


def left_out_outputs(x: Floats, y: Floats, strengths: tuple[float, ...] = STRENGTHS) -> Floats:
    """(S, N, K): what a ridge probe says of every row when it is fitted, bias and all, on the other rows.

    Exact, from one eigendecomposition of the smaller Gram matrix: y_i - (y_i - f_i) / (1 - h_i). Features are brought
    to variance 1 over all rows first.
    """
    n, d = x.shape
    z = standardised(x)
    centred = y - y.mean(axis=0)
    values, vectors = np.linalg.eigh(z.T @ z if d <= n else z @ z.T)
    kept = values > 1e-10 * max(values[-1], 1e-12)
    sigma = values[kept]
    left = z @ (vectors[:, kept] / np.sqrt(sigma)) if d <= n else vectors[:, kept]  # (N, R), orthonormal columns
    shadow, squares = left.T @ centred, left**2
    found = np.empty((len(strengths), *y.shape))
    for place, strength in enumerate(strengths):
        shrink = sigma / (sigma + strength * n)
        leverage = 1.0 / n + squares @ shrink
        residual = (centred - left @ (shrink[:, None] * shadow)) / np.maximum(1.0 - leverage, 1e-9)[:, None]
        found[place] = y - residual
    return found


def standardised(x: Floats) -> Floats:
    """Columns of mean 0 and variance 1; a constant column becomes 0."""
    centred = x - x.mean(axis=0)
    scale = centred.std(axis=0)
    flat: Floats = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 1e-9)
    return flat
