"""Two kinds of noise kept apart: which rows happened to be in the test, and which seed happened to train.

Enter: `Evidence` of several seeds on the same rows. Leave: a `Spread`. Every seed is scored on the same rows, so what
the rows do to all seeds alike cancels in their differences; what they do to each seed alone is measured by resampling
and taken off. For a mean this is the two-way analysis of variance (rows x seeds, both random; Searle et al. 1992).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headstart.evaluate.intervals import Evidence, seed_draws


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviations. rows: of the mean over seeds, by the choice of rows; seeds: of one training's score, by its
    seed alone; both: of the mean over seeds, other rows and other seeds."""

    rows: float
    seeds: float
    both: float


def separate(evidence: Evidence, *, seed: int = 0) -> Spread | None:
    """The two noises of a candidate; None where one seed alone was run or fewer than two rows were scored."""
    count, units = len(evidence.statistics), evidence.units
    if count < 2 or units < 2:
        return None
    values = np.asarray(evidence.seed_values())
    moved = seed_draws(evidence, seed=seed) - values  # (R, seeds): what other rows would have done to each
    wider = units / (units - 1)  # a bootstrap of n rows varies by (n-1)/n too little
    by_rows = wider * float(moved.mean(axis=1).var(ddof=1))
    alone = wider * float(moved.var(axis=1, ddof=1).mean())
    by_seeds = max(0.0, float(values.var(ddof=1)) - alone)
    return Spread(math.sqrt(by_rows), math.sqrt(by_seeds), math.sqrt(by_rows + by_seeds / count))
