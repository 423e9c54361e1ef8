"""A forecast with its 90 % interval beside what then happened: how far off, and how often inside.

Gains are of the metric, what is told is in points. What happened is read off test rows, which are a sample: an interval
for the gain itself need not hold it, so that the share inside is also told with the noise of those rows allowed for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.choose.decision import Gain

NINETY = 1.645  # standard errors in half of a 90 % interval
HEAD = (
    " cases | foretold | happened | off by | off by if no gain were foretold | width of the 90 % interval | inside | "
    "inside, with the noise of test rows |"
)


@dataclass(frozen=True)
class Foretold:
    """noise: standard error of `happened` over draws of test rows, None where it is not known."""

    forecast: Gain
    happened: float
    noise: float | None = None

    @property
    def inside(self) -> bool:
        low, high = self.forecast.ci90
        return low <= self.happened <= high

    @property
    def inside_with_noise(self) -> bool:
        """The same where the half of the interval on that side is made wider by the noise."""
        value, (low, high) = self.forecast.value, self.forecast.ci90
        away = self.happened - value
        half = high - value if away > 0 else value - low
        return abs(away) <= math.hypot(half, NINETY * (self.noise or 0.0))


@dataclass(frozen=True)
class Summary:
    """Means over forecasts, in points. off: of the forecasts; nothing: of a forecast of no gain.

    with_noise: None where the noise is not known of all.
    """

    cases: int
    forecast: float
    happened: float
    off: float
    nothing: float
    width: float
    inside: float
    with_noise: float | None


def summary(told: Sequence[Foretold]) -> Summary:
    """Of at least one forecast."""
    forecast, happened = (
        100 * np.array(values) for values in ([one.forecast.value for one in told], [one.happened for one in told])
    )
    ends = 100 * np.array([one.forecast.ci90 for one in told])
    return Summary(
        len(told),
        float(forecast.mean()),
        float(happened.mean()),
        float(np.abs(forecast - happened).mean()),
        float(np.abs(happened).mean()),
        float((ends[:, 1] - ends[:, 0]).mean()),
        float(np.mean([one.inside for one in told])),
        None if any(one.noise is None for one in told) else float(np.mean([one.inside_with_noise for one in told])),
    )


def row(told: Sequence[Foretold]) -> str:
    """The cells of a table below `HEAD`."""
    of = summary(told)
    noisy = "-" if of.with_noise is None else f"{of.with_noise:.0%}"
    return (
        f" {of.cases} | {of.forecast:+.2f} | {of.happened:+.2f} | {of.off:.2f} | {of.nothing:.2f} | {of.width:.2f} | "
        f"{of.inside:.0%} | {noisy} |"
    )
