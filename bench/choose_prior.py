"""The prior of `choose`, fitted to recorded exhaustive searches: how its signals weigh, and how much that varies.

Enter: a `Table` a set. Leave: a `Prior`, for the package (`--keep`) or, without a set, for that set's replay. Weights
of a set are drawn around common ones (a random-effects model, fitted by EM); what is foretold of a new set is as unsure
as both the common weights and the draw. The hand-set prior takes the place of a few sets, so that little data moves it
little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.choose_replay import Table
from headstart.choose.belief import (
    NAMES,
    Prior,
    Signals,
    believe,
    features,
    hand_set,
    log_error,
    shrunk,
    signals_of,
    standard_error,
)
from headstart.choose.curves import LEAST_ERROR
from headstart.choose.estimators import Floats

HAND_SETS = 2.0  # recorded sets that the hand-set spread counts for
STEPS = 300


@dataclass(frozen=True)
class Part:
    """One set at one prefix of its readings: away (C,) from the forecast probe, in log error; design (C, NAMES);
    noise (C, C). share: what it counts for, 1 a set."""

    design: Floats
    away: Floats
    noise: Floats
    share: float


def parts(table: Table, methods: Sequence[str]) -> list[Part]:
    """A set at every prefix that all its bases were read to."""
    number = min(len(table.read(base).prefixes) for base in table.bases)
    return [part(table, methods, place, share=1.0 / number) for place in range(number)]


def part(table: Table, methods: Sequence[str], place: int, *, share: float) -> Part:
    train, _, test = table.truth.rows
    signals = [
        signals_of(read.facts, read.reading(place), rows=train) for read in (table.read(base) for base in table.bases)
    ]
    scores = np.array([shrunk(table.test(base, method), test) for base in table.bases for method in methods])
    blank = believe(signals, methods, nothing())
    spread = np.array([standard_error(score, test) for score in scores]) / np.maximum(1.0 - scores, LEAST_ERROR)
    away = np.array([log_error(score) for score in scores]) - blank.mean
    return Part(design_of(signals, methods), away, blank.covariance + np.diag(spread**2), share)


def design_of(signals: Sequence[Signals], methods: Sequence[str]) -> Floats:
    """(C, NAMES), candidates by base, then method."""
    return np.stack([features(signals, method) for method in methods], axis=1).reshape(-1, len(NAMES))


def nothing() -> Prior:
    """Of no weight, and sure of it: what is left of a belief then is its noise."""
    return Prior([0.0] * len(NAMES), np.zeros((len(NAMES), len(NAMES))).tolist(), "")


def fit(tables: Sequence[Table], methods: Sequence[str]) -> Prior:
    """From these sets; the hand-set prior where there are none."""
    known = [one for table in tables for one in parts(table, methods)]
    names = ", ".join(table.truth.name for table in tables)
    reason = f"the weights are fitted to {len(tables)} recorded exhaustive searches ({names})"
    return fitted_to(known, reason) if known else hand_set()


def fitted_to(known: Sequence[Part], reason: str) -> Prior:
    """The common weights by their exact posterior, how far sets lie apart by EM."""
    start = hand_set()
    mean, first = np.asarray(start.mean), np.diag(np.asarray(start.covariance)).copy()
    between, count = first.copy(), sum(one.share for one in known)
    for _ in range(STEPS):
        common, unsure = common_of(known, mean, first, between)
        weights = [(one.share, *weights_of(one, common, between)) for one in known]
        scatter = sum(share * ((drawn - common) ** 2 + np.diag(left)) for share, drawn, left in weights)
        between = (HAND_SETS * first + scatter) / (HAND_SETS + count)
    common, unsure = common_of(known, mean, first, between)
    return Prior(common.tolist(), (np.diag(between) + unsure).tolist(), reason)


def common_of(known: Sequence[Part], mean: Floats, first: Floats, between: Floats) -> tuple[Floats, Floats]:
    """(mean, covariance) of the weights that the sets have in common: of a set, the candidates' spread is that of their
    noise and of the weights that are its own."""
    precision, pull = np.diag(1.0 / first), mean / first
    for one in known:
        told = np.linalg.solve(one.noise + (one.design * between) @ one.design.T, one.design).T
        precision = precision + one.share * told @ one.design
        pull = pull + one.share * told @ one.away
    unsure = np.asarray(np.linalg.inv(precision), dtype=np.float64)
    found: Floats = unsure @ pull
    return found, unsure


def weights_of(one: Part, common: Floats, between: Floats) -> tuple[Floats, Floats]:
    """(mean, covariance) of a set's own weights."""
    scaled = np.linalg.solve(one.noise, one.design)
    left = np.asarray(np.linalg.inv(np.diag(1.0 / between) + one.design.T @ scaled), dtype=np.float64)
    drawn: Floats = left @ (common / between + scaled.T @ one.away)
    return drawn, left


def standardised(table: Table, methods: Sequence[str], prior: Prior) -> Floats:
    """(prefixes * C,) how many of its own standard deviations a belief is off, before any training."""
    found = []
    for one in parts(table, methods):
        off = one.away - one.design @ np.asarray(prior.mean)
        spread = one.design @ np.asarray(prior.covariance) @ one.design.T + one.noise
        found.append(off / np.sqrt(np.diag(spread)))
    return np.concatenate(found)
