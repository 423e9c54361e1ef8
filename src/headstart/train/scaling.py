"""A loss law fitted to finished runs: points in, a predicted loss with its interval out.

L = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, approach 3): L in bits per byte, N parameters, D bytes of text,
so that neither depends on a tokenizer. Where all runs have about the same D / N, the two powers cannot be told apart,
and the law is L = E + K / C^gamma in the FLOPs C. What is made small is the Huber loss of log L, from a grid of starts.

A handful of runs says little of E, which decides how a curve goes on. Weak priors round the published law hold what the
points leave open, and the interval shows it: every draw moves the points by their noise and the priors by their width,
fits again, and predicts a run with noise of its own. Prior and noise are constants below, with their source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.ground.errors import DataError

Floats = npt.NDArray[np.float64]
Form = Literal["compute", "both"]

FEWEST = {"compute": 3, "both": 5}
ONE_RATIO = 2.0  # the largest D / N over the smallest, up to which the runs count as having one ratio
SPREAD = 4.0  # the largest compute over the smallest, from which a slope can be seen

# Hoffmann et al. 2022, appendix D.3: alpha .34, beta .28, E 1.69 nats a token; at 4.3 bytes a token .57 bits a byte.
FLOOR, FLOOR_WIDTH = math.log(0.57), 0.5
EXPONENTS = {"both": ((0.34, 0.15), (0.28, 0.15)), "compute": ((0.154, 0.08),)}
SIZE_WIDTH = 3.0  # of log A, log B, log K: says nothing
NOISE, NOISE_RUNS = 0.005, 4  # of log L between seeds, and how many runs that knowledge is worth
HUBER = 1.345  # noises; from there a residual counts linearly (Huber 1964: 95 % efficiency on clean data)

DRAWS = 400
LEVEL = 0.95
ROUNDS = 200
SETTLED = 1e-5  # of the cost, in squared noises
STUCK = 1e8  # damping


@dataclass(frozen=True, slots=True)
class Point:
    """One finished run."""

    name: str
    parameters: int
    text_bytes: float
    flops: float
    bits_per_byte: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A loss in bits per byte with its 95 % interval for one run."""

    bits_per_byte: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, slots=True)
class Law:
    """A fitted law.

    values: E, then (size, exponent) a term, the sizes at the runs' middle. draws: (draws, as many). noise: of log L.
    """

    form: Form
    runs: int
    values: Floats
    draws: Floats
    errors: Floats
    middle: Floats
    noise: float

    def predict(self, *, parameters: float, text_bytes: float, flops: float) -> Prediction:
        """The loss of a run that was not made."""
        terms = features(self.form, parameters, text_bytes, flops)[None] - self.middle
        value = float(np.exp(log_loss(self.values[None], terms))[0, 0])
        drawn = np.exp(log_loss(self.draws, terms)[:, 0] + self.errors)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Prediction(value, float(min(low, value)), float(max(high, value)))

    def words(self) -> str:
        """The formula with its figures."""
        floor, sizes, powers = math.exp(self.values[0]), self.values[1::2], self.values[2::2]
        names = ("N", "D") if self.form == "both" else ("C",)
        terms = [
            f"{math.exp(size + power * middle):.3g} / {name}^{power:.3f}"
            for size, power, middle, name in zip(sizes, powers, self.middle, names, strict=True)
        ]
        return " + ".join([f"{floor:.3f}", *terms])


def fit(points: Sequence[Point], *, seed: int = 0, draws: int = DRAWS) -> Law:
    """The law of finished runs of one objective on one held-out text.

    Raises:
        DataError: too few runs, or runs too alike, to say anything of another size.
    """
    form = form_of(points)
    rows = np.stack([features(form, p.parameters, p.text_bytes, p.flops) for p in points])
    middle = rows.mean(axis=0)
    problem = Problem(rows - middle, np.log([p.bits_per_byte for p in points]), *prior(form, points))
    count = problem.mean.shape[0]
    values, noise = problem.starts(), NOISE
    for _ in range(3):  # the noise and the fit, in turn
        fitted, cost = problem.minimise(values, problem.observed[None], problem.mean[None], np.array([noise]))
        values = fitted[[int(np.argmin(cost))]]
        freedom = NOISE_RUNS + max(0, len(points) - count)
        noise = problem.noise(values, noise, freedom)
    random = np.random.default_rng(seed)
    noises = noise * np.sqrt(freedom / random.chisquare(freedom, draws))
    observed = problem.observed + noises[:, None] * random.standard_normal((draws, len(points)))
    means = problem.mean + problem.width * random.standard_normal((draws, count))
    drawn, _ = problem.minimise(np.repeat(values, draws, axis=0), observed, means, noises)
    return Law(form, len(points), values[0], drawn, noises * random.standard_normal(draws), middle, noise)


def form_of(points: Sequence[Point]) -> Form:
    """Which law the runs can carry; DataError where they carry none."""
    for p in points:
        if not all(math.isfinite(v) and v > 0 for v in (p.parameters, p.text_bytes, p.flops, p.bits_per_byte)):
            raise DataError(
                f"the run {p.name} has {p.parameters:,} parameters, {p.text_bytes:,.0f} bytes and {p.bits_per_byte} "
                "bits per byte; expected finite numbers above 0. Leave the run out."
            )
    ratios = [p.text_bytes / p.parameters for p in points]
    form: Form = "both" if points and max(ratios) / min(ratios) > ONE_RATIO else "compute"
    compute = {p.flops for p in points}
    spread = max(compute) / min(compute) if compute else 0.0
    if len(compute) < FEWEST[form] or spread < SPREAD:
        raise DataError(
            f"the law has {len(compute)} finished runs over {spread:.3g} times the compute; expected at least "
            f"{FEWEST[form]} over {SPREAD:g} times. Train more sizes: python -m bench ladder --sizes 1m,3m,10m,30m."
        )
    return form


def features(form: Form, parameters: float, text_bytes: float, flops: float) -> Floats:
    """(terms,) logarithms that the law is linear in."""
    return np.log([parameters, text_bytes] if form == "both" else [flops])


def prior(form: Form, points: Sequence[Point]) -> tuple[Floats, Floats]:
    """(mean, width) of E and of every term's size and exponent; the sizes start from the points' spread above E."""
    above = max(float(np.mean([p.bits_per_byte for p in points])) - math.exp(FLOOR), 0.1)
    share = math.log(above / len(EXPONENTS[form]))
    rows = [(FLOOR, FLOOR_WIDTH)]
    for exponent in EXPONENTS[form]:
        rows += [(share, SIZE_WIDTH), exponent]
    mean, width = np.array(rows).T
    return mean, width


def log_loss(values: Floats, terms: Floats) -> Floats:
    """log L, (fits, points), of (fits, 1 + 2 terms) values at (points, terms) logarithms."""
    return np.asarray(np.logaddexp.reduce(_logs(values, terms), axis=0))


def _logs(values: Floats, terms: Floats) -> Floats:
    """The logarithm of every summand, (1 + terms, fits, points)."""
    floor = np.broadcast_to(values[:, :1], (len(values), len(terms)))
    falling = [
        values[:, 1 + 2 * k, None] - values[:, 2 + 2 * k, None] * terms[None, :, k] for k in range(terms.shape[1])
    ]
    return np.stack([floor, *falling])


@dataclass(frozen=True, eq=False, slots=True)
class Problem:
    """Points and priors of one fit: terms (points, terms), observed log L (points,), prior mean and width."""

    terms: Floats
    observed: Floats
    mean: Floats
    width: Floats

    def starts(self) -> Floats:
        """A grid over the floor and the exponents, the sizes such that the middle of the runs is met."""
        level = math.exp(float(self.observed.mean()))
        grids = [[0.1, 0.5, 0.9], *[[0.05, 0.2, 0.5]] * self.terms.shape[1]]
        found = []
        for share, *powers in np.stack(np.meshgrid(*grids), axis=-1).reshape(-1, len(grids)):
            row = [math.log(share * level)]
            for power in powers:
                row += [math.log((1 - share) * level / len(powers)), power]
            found.append(row)
        return np.array(found)

    def cost(self, values: Floats, observed: Floats, mean: Floats, noise: Floats) -> Floats:
        """(fits,) Huber losses in units of the noise, and the priors' half squares."""
        residual = np.abs(log_loss(values, self.terms) - observed) / noise[:, None]
        huber = np.where(residual <= HUBER, 0.5 * residual**2, HUBER * (residual - 0.5 * HUBER))
        return np.asarray(huber.sum(axis=1) + 0.5 * (((values - mean) / self.width) ** 2).sum(axis=1))

    def minimise(self, starts: Floats, observed: Floats, mean: Floats, noise: Floats) -> tuple[Floats, Floats]:
        """Levenberg-Marquardt with Huber weights from all starts at once -> (values, costs)."""
        count = len(starts)
        observed, mean, noise = (
            np.ascontiguousarray(np.broadcast_to(a, (count, *a.shape[1:]))) for a in (observed, mean, noise)
        )
        values, damping, moving = starts.copy(), np.full(count, 1e-2), np.arange(count)
        cost = self.cost(values, observed, mean, noise)
        for _ in range(ROUNDS):
            here = values[moving], observed[moving], mean[moving], noise[moving]
            trial = here[0] - self.step(*here, damping[moving])
            found = self.cost(trial, *here[1:])
            gain = cost[moving] - found
            better = gain > 0
            values[moving[better]], cost[moving[better]] = trial[better], found[better]
            damping[moving] *= np.where(better, 0.25, 8.0)
            moving = moving[np.where(better, gain > SETTLED, damping[moving] < STUCK)]
            if not len(moving):
                break
        return values, cost

    def step(self, values: Floats, observed: Floats, mean: Floats, noise: Floats, damping: Floats) -> Floats:
        """One damped Gauss-Newton step of every fit."""
        residual = (log_loss(values, self.terms) - observed) / noise[:, None]
        weight = np.minimum(1.0, HUBER / np.maximum(np.abs(residual), 1e-12))
        slope = self.slopes(values) / noise[:, None, None]
        weighed = (weight[..., None] * slope).transpose(0, 2, 1)
        gradient = (weighed @ residual[..., None])[..., 0] + (values - mean) / self.width**2
        curvature = weighed @ slope + np.diag(1 / self.width**2)
        ridge = damping[:, None, None] * curvature * np.eye(len(self.mean))
        return np.asarray(np.linalg.solve(curvature + ridge, gradient[..., None])[..., 0])

    def slopes(self, values: Floats) -> Floats:
        """d log L / d values, (fits, points, 1 + 2 terms)."""
        logs = _logs(values, self.terms)
        share = np.exp(logs - np.logaddexp.reduce(logs, axis=0))
        columns = [share[0]]
        for k in range(self.terms.shape[1]):
            columns += [share[1 + k], -share[1 + k] * self.terms[None, :, k]]
        return np.stack(columns, axis=-1)

    def noise(self, values: Floats, noise: float, freedom: int) -> float:
        """The deviation of log L about the fit, pulled towards NOISE; far outliers count as near ones."""
        residual = np.minimum(np.abs(log_loss(values, self.terms)[0] - self.observed), 2 * HUBER * noise)
        return math.sqrt((NOISE_RUNS * NOISE**2 + float((residual**2).sum())) / freedom)
