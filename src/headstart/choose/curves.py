"""Power laws through a few noisy scores: what more labels, or more steps, would bring, with how sure that is.

Enter: scores at sizes (labels, or shares of a training), and their standard errors. Leave: draws of the score at
another size. The law is error = floor + b size^-k with three unknowns: k is taken from a grid, weighed by its prior and
by how likely it makes the points; floor and b are a Gaussian regression for each k. So a single point still gives an
answer, as wide as the prior (after Domhan et al. 2015; LC-PFN, 2310.20447, is the large version of the same idea).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.choose.estimators import Floats
from headstart.ground.seeds import stream

STEEPS = np.linspace(0.02, 1.2, 40)
FLOOR = (0.25, 0.25)  # mean and deviation of the floor, in shares of the smallest error seen
FLAT_STEEPS = np.concatenate([np.linspace(-0.2, 0.0, 10), STEEPS])  # what noise around a flat curve looks like, too
MODEL_ERROR = 0.02  # of an error: real curves are no exact laws
LEAST_ERROR = 2e-3
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Steepness:
    """What is believed of k before a point is seen."""

    mean: float
    sd: float


BY_LABELS = Steepness(0.30, 0.20)  # closed-form probes on the development sets: 0.1 to 0.6
BY_STEPS = Steepness(0.25, 0.20)  # of a training, from a ninth of its steps on


def forecast(
    sizes: Sequence[float],
    scores: Sequence[float],
    errors: Sequence[float],
    *,
    at: float,
    steepness: Steepness,
    seed: int = 0,
    best: float = 1.0,
    steeps: Floats = STEEPS,
) -> Floats:
    """(DRAWS,) scores at size `at`. errors: standard errors of the scores; best: the score of a perfect answer.

    steeps: the grid of k. With `STEEPS` the score only rises; a gain that may be none at all needs `FLAT_STEEPS`.

    Two forecasts of the same points with one seed are of the same laws, so that their difference is a forecast too.
    """
    first = min(sizes)
    n, away = np.asarray(sizes) / first, np.maximum(best - np.asarray(scores), LEAST_ERROR)
    noise = np.hypot(np.asarray(errors), MODEL_ERROR * away)
    lowest = float(away.min())
    prior_mean = np.array([FLOOR[0] * lowest, float(away[int(np.argmin(n))])])
    prior = np.diag([(FLOOR[1] * lowest) ** 2, float(away.max()) ** 2])
    fits = [_regression(np.stack([np.ones_like(n), n**-k], axis=1), away, noise, prior_mean, prior) for k in steeps]
    weights = np.array([fit[2] for fit in fits]) - 0.5 * ((steeps - steepness.mean) / steepness.sd) ** 2
    shares = np.exp(weights - weights.max())
    random = stream(seed, "forecast")
    which = np.searchsorted(np.cumsum(shares) / shares.sum(), random.random(DRAWS)).clip(0, len(steeps) - 1)
    normal = random.normal(size=(DRAWS, 2))
    means, roots = np.stack([fit[0] for fit in fits]), np.stack([np.linalg.cholesky(fit[1]) for fit in fits])
    floor, scale = np.maximum(means[which] + np.einsum("nij,nj->ni", roots[which], normal), 0.0).T
    found: Floats = best - floor - scale * (at / first) ** -steeps[which]
    return found


def _regression(
    design: Floats, away: Floats, noise: Floats, prior_mean: Floats, prior: Floats
) -> tuple[Floats, Floats, float]:
    """Mean and covariance of (floor, b), and the log evidence of the points."""
    spread = design @ prior @ design.T + np.diag(noise**2)
    rest = away - design @ prior_mean
    gain = prior @ design.T @ np.linalg.inv(spread)
    _, size = np.linalg.slogdet(spread)
    evidence = -0.5 * (float(rest @ np.linalg.solve(spread, rest)) + float(size))
    covariance = prior - gain @ design @ prior
    return prior_mean + gain @ rest, (covariance + covariance.T) / 2 + 1e-14 * np.eye(2), evidence
