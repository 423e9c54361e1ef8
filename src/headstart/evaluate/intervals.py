"""Intervals and paired comparisons: how sure a score is, and whether two scores differ.

Enter: `Evidence`, the per-item statistics of one candidate for one or several seeds on one split.
Leave: 95 % intervals (Wilson for plain proportions, BCa bootstrap otherwise) and paired tests of differences, by
Student's t with the deviation of paired resamples.
Seeds are averaged inside every resample, so an interval speaks about the rows and not about the number of seeds. Where
rows come in groups (a passage, a paradigm), whole groups are drawn, and what is said of n rows below is said of groups.
Sources: Efron 1987 (BCa); Efron & Tibshirani 1993, chapters 6 and 12 (standard error, t); Davison & Hinkley 1997, 3.8
(groups).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from headstart.evaluate.metrics import METRICS, Floats
from headstart.evaluate.proportions import Groups, Interval, clustered_wilson, seeded_wilson, wilson
from headstart.ground.errors import ConfigError
from headstart.ground.seeds import stream

RESAMPLES = 1000
ROUNDING = 1e-12  # of a difference or its error, below which it is one of floating point alone
CHUNK_ITEMS = 4_000_000  # counts held at once: 32 MB of float64, whatever the number of rows


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one candidate did on every row of one split; statistics: (seeds, N, S) of the named metric.

    groups: (N,), 0 to G - 1, where rows of one group are not independent of each other; None where all are.
    """

    metric: str
    statistics: Floats
    groups: Groups | None = None

    def __len__(self) -> int:
        return int(self.statistics.shape[1])

    @property
    def units(self) -> int:
        """How many things were drawn independently: groups, or rows."""
        return len(self) if self.groups is None or not len(self) else int(self.groups.max()) + 1

    def by_seed(self, counts: Floats) -> Floats:
        """(R, seeds) the metric of every seed under each row of counts (R, units)."""
        rows = counts if self.groups is None else counts[:, self.groups]
        resample = METRICS[self.metric].resample
        return np.stack([resample(seed, rows) for seed in self.statistics], axis=1)

    def values(self, counts: Floats) -> Floats:
        """(R,) the metric under each row of counts (R, units), averaged over seeds."""
        values: Floats = self.by_seed(counts).mean(axis=1)
        return values

    def value(self) -> float:
        """The metric on the split itself, averaged over seeds."""
        return float(self.values(np.ones((1, self.units)))[0])

    def seed_values(self) -> list[float]:
        """The metric of every seed on its own."""
        values: list[float] = self.by_seed(np.ones((1, self.units)))[0].tolist()
        return values

    def draws(self, *, seed: int = 0) -> Iterator[Floats]:
        """Chunks of counts (r, units), the same for all evidence on the same rows and groups."""
        return resamples(self.units, seed=seed, rows=len(self))


@dataclass(frozen=True, slots=True)
class Comparison:
    """`other` minus `reference` on the same rows. p is two-sided; the two are called tied where p >= 0.05."""

    difference: float
    low: float
    high: float
    p: float

    @property
    def tied(self) -> bool:
        return self.p >= 0.05


def resamples(n: int, *, seed: int, total: int = RESAMPLES, rows: int | None = None) -> Iterator[Floats]:
    """Chunks of (r, n) counts: `total` draws of n with replacement, the same for every caller with this seed.

    rows: how many rows the n are, where they are groups; it bounds the size of a chunk.
    """
    chunk = max(1, min(total, CHUNK_ITEMS // max(1, n, rows or 0)))
    if chunk == total:
        yield one_chunk(n, seed, total)
        return
    random = stream(seed, "bootstrap", n)
    for start in range(0, total, chunk):
        yield counted(random, min(chunk, total - start), n)


@lru_cache(maxsize=1)
def one_chunk(n: int, seed: int, total: int) -> Floats:
    """All resamples of a split of usual size, kept for the next candidate on the same rows: drawing them is the most of
    a bootstrap's cost."""
    drawn = counted(stream(seed, "bootstrap", n), total, n)
    drawn.setflags(write=False)
    return drawn


def counted(random: np.random.Generator, size: int, n: int) -> Floats:
    """(size, n) how often each of n was drawn."""
    picks = random.integers(0, n, size=(size, n)) + np.arange(size)[:, None] * n
    return np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def bootstrap_values(evidence: Evidence, *, seed: int = 0) -> Floats:
    """(RESAMPLES,) values of the metric under resampling of rows."""
    return np.concatenate([evidence.values(counts) for counts in evidence.draws(seed=seed)])


def seed_draws(evidence: Evidence, *, seed: int = 0) -> Floats:
    """(RESAMPLES, seeds): the same, every seed on its own."""
    return np.concatenate([evidence.by_seed(counts) for counts in evidence.draws(seed=seed)])


def interval(evidence: Evidence, *, seed: int = 0) -> Interval:
    """The 95 % interval of a candidate's score."""
    if len(evidence) == 0:
        raise ConfigError("the split to score is empty; expected at least one row. Give --test, or more rows.")
    if evidence.metric in ("accuracy", "exact_match"):
        hits, weights = evidence.statistics.mean(axis=0).T
        if evidence.groups is None and np.all(weights == 1.0):
            return seeded_wilson(hits)
        return clustered_wilson(hits, weights, np.arange(len(hits)) if evidence.groups is None else evidence.groups)
    value, drawn = evidence.value(), bootstrap_values(evidence, seed=seed)
    if float(np.ptp(drawn)) < 1e-12:
        return certain(evidence, value)
    return bca(value, drawn, jackknife(evidence), rows=evidence.units)


def certain(evidence: Evidence, value: float) -> Interval:
    """Every resample gives the same number: all rows right, or none. The rows still only show so much (Wilson)."""
    metric = METRICS[evidence.metric]
    share = (value - metric.low) / (metric.high - metric.low)
    if share in (0.0, 1.0):
        bound = wilson(share, evidence.units)
        return Interval(*(metric.low + s * (metric.high - metric.low) for s in (bound.low, bound.high)))
    return Interval(value, value)


def jackknife(evidence: Evidence, *, parts: int = 400) -> Floats:
    """Values with one part of the rows left out; at most `parts` parts, taken in strides."""
    n = evidence.units
    parts = min(n, parts)
    place = np.arange(n) % parts
    chunk = max(1, CHUNK_ITEMS // max(1, len(evidence)))
    found = [
        evidence.values((place != np.arange(s, min(s + chunk, parts))[:, None]).astype(np.float64))
        for s in range(0, parts, chunk)
    ]
    return np.concatenate(found)


def wide_z(rows: int) -> float:
    """1.96 widened for few rows: a bootstrap of n rows is too narrow by sqrt((n-1)/n) and knows no t-distribution.

    Hesterberg 2015, "What Teachers Should Know About the Bootstrap", expanded percentile interval.
    """
    from scipy.stats import t

    return float(t.ppf(0.975, rows - 1)) * math.sqrt(rows / (rows - 1)) if rows > 2 else 4.0


def bca(value: float, drawn: Floats, left_out: Floats, *, rows: int) -> Interval:
    """Efron's bias-corrected and accelerated interval; the plain percentile one where the correction is undefined."""
    from scipy.stats import norm

    below = (np.count_nonzero(drawn < value) + 0.5 * np.count_nonzero(drawn == value)) / len(drawn)
    bias = float(norm.ppf(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    away = left_out.mean() - left_out
    scale = float((away**2).sum()) ** 1.5
    skew = float((away**3).sum()) / (6 * scale) if scale > 0 else 0.0
    points = [float(norm.cdf(bias + (bias + z) / (1 - skew * (bias + z)))) for z in (-wide_z(rows), wide_z(rows))]
    low, high = np.quantile(drawn, points)
    return Interval(float(low), float(high))


def compare(reference: Evidence, other: Evidence, *, seed: int = 0) -> Comparison:
    """Paired test of other - reference over the same resampled rows: the difference against its standard error.

    The interval holds the differences that the same test does not reject, so that it leaves out 0 where p < 0.05 and
    nowhere else. Simulated under no difference it rejects 4-6 % of the time, down to 2 groups (tests/evaluate).
    """
    if len(reference) != len(other) or reference.metric != other.metric:
        raise ConfigError(
            f"the comparison is of {len(other)} rows of {other.metric} with {len(reference)} rows of "
            f"{reference.metric}; expected the same rows and metric. Score both on one split."
        )
    units, difference, metric = reference.units, other.value() - reference.value(), METRICS[reference.metric]
    drawn = np.concatenate([other.values(c) - reference.values(c) for c in reference.draws(seed=seed)])
    found = tested(difference, paired_error(drawn, difference, units), freedom_of(units))
    most = metric.high - metric.low
    return replace(found, low=max(-most, found.low), high=min(most, found.high))


def tested(difference: float, error: float, freedom: float) -> Comparison:
    """Student's t-test of a difference with this standard error, and the interval of what it does not reject."""
    from scipy.stats import t

    half = float(t.ppf(0.975, freedom)) * error
    if max(error, abs(difference)) < ROUNDING:
        return Comparison(difference, difference - half, difference + half, 1.0)
    p = float(2 * t.sf(abs(difference) / error, freedom)) if error > 0 else 0.0
    return Comparison(difference, difference - half, difference + half, p)


def paired_error(drawn: Floats, difference: float, units: int) -> float:
    """Standard error of a paired difference from its resamples.

    Where every row differs by the same amount there is no deviation to go by, and the signs of the rows are all there
    is: the error with which the t-test says what they do, 2 / 2^units. One row says as little as two.
    """
    from scipy.stats import t

    error = float(drawn.std(ddof=1)) * widening(units)
    if error > ROUNDING or abs(difference) < ROUNDING:
        return error
    return abs(difference) / float(t.isf(2.0 ** -min(max(2, units), 1000), freedom_of(units)))


def freedom_of(units: int) -> int:
    return max(1, units - 1)


def widening(units: int) -> float:
    """A bootstrap of n rows is too narrow by sqrt((n-1)/n)."""
    return math.sqrt(units / (units - 1)) if units > 1 else 1.0
