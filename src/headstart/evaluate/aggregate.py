"""One number over many tasks: every score on a scale where guessing is 0 and perfect is 1, then the plain mean.

Enter: per task the `Evidence` of a candidate and what guessing scores. Leave: the mean with a 95 % interval, or the
difference of two candidates with a paired test. The tasks are fixed: the interval speaks about other rows of these
tasks, not about other tasks. Sources: the normalisation of Open LLM Leaderboard 2 and of the Eval Gauntlet; Welch 1947
and Satterthwaite 1946 for the degrees of freedom of a sum of variances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headstart.evaluate.intervals import (
    Comparison,
    Evidence,
    bootstrap_values,
    freedom_of,
    interval,
    paired_error,
    tested,
    widening,
)
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.proportions import Z95, Interval
from headstart.ground.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Part:
    """One task of an aggregate. guess: what random guessing scores on it in the evidence's metric."""

    evidence: Evidence
    guess: float

    @property
    def scale(self) -> float:
        """How many normalised points one point of the metric is."""
        return 1.0 / (METRICS[self.evidence.metric].high - self.guess)

    def value(self) -> float:
        """0 for guessing, 1 for perfect, below 0 for worse than guessing."""
        return (self.evidence.value() - self.guess) * self.scale


def aggregate(parts: Sequence[Part], *, seed: int = 0) -> tuple[float, Interval]:
    """The mean of the normalised scores, and its interval."""
    require(parts)
    mean = float(np.mean([part.value() for part in parts]))
    half = half_width([(deviation(part, seed + place), part.evidence.units) for place, part in enumerate(parts)])
    return mean, Interval(mean - half, max(mean, min(1.0, mean + half)))


def aggregate_difference(reference: Sequence[Part], other: Sequence[Part], *, seed: int = 0) -> Comparison:
    """other - reference, paired: both candidates see the same resampled rows of every task."""
    require(reference)
    if len(reference) != len(other):
        raise ConfigError(
            f"the aggregates are over {len(other)} and {len(reference)} tasks; expected the same tasks. "
            "Compare what both were scored on."
        )
    found = [
        (paired_deviation(a, b, seed + k), a.evidence.units)
        for k, (a, b) in enumerate(zip(reference, other, strict=True))
    ]
    difference = float(np.mean([b.value() - a.value() for a, b in zip(reference, other, strict=True)]))
    most = float(
        np.mean(
            [
                part.scale * (METRICS[part.evidence.metric].high - METRICS[part.evidence.metric].low)
                for part in reference
            ]
        )
    )
    told = tested(difference, *standard_error(found))
    return replace(told, low=max(-most, told.low), high=min(most, told.high))


def require(parts: Sequence[Part]) -> None:
    if not parts:
        raise ConfigError("the aggregate is over no task; expected at least one. Give tasks that were scored.")


def deviation(part: Part, seed: int) -> float:
    """Standard error of one normalised score. Where no resample moves it (all rows right), the interval still knows."""
    drawn, units = bootstrap_values(part.evidence, seed=seed), part.evidence.units
    found = part.scale * float(drawn.std(ddof=1)) * widening(units)
    if found > 0:
        return found
    sure = interval(part.evidence, seed=seed)
    return part.scale * (sure.high - sure.low) / (2 * Z95)


def paired_deviation(reference: Part, other: Part, seed: int) -> float:
    """Standard error of the difference of two normalised scores on the same rows."""
    a, b = (part.scale * bootstrap_values(part.evidence, seed=seed) for part in (reference, other))
    return paired_error(b - a, other.value() - reference.value(), reference.evidence.units)


def standard_error(deviations: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """(standard error of the mean, its degrees of freedom) from (standard error, rows) of every task."""
    squares = np.array([error**2 for error, _ in deviations])
    freedom = np.array([freedom_of(units) for _, units in deviations])
    total = float(squares.sum())
    effective = total**2 / float((squares**2 / freedom).sum()) if total > 0 else float(freedom.sum())
    return math.sqrt(total) / len(deviations), effective


def half_width(deviations: Sequence[tuple[float, int]]) -> float:
    from scipy.stats import t

    error, freedom = standard_error(deviations)
    return float(t.ppf(0.975, freedom)) * error
