"""Findings: what a search knows so far, as one plain record from which every decision follows.

Enter: looks, readings, pieces of training. Leave: beliefs, ranks, chances. The record is saved with the decision, and
the same record gives the same decision anywhere (`headstart.choose.decision.decide`).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from headstart.choose.belief import (
    Belief,
    Prior,
    Seen,
    believe,
    believe_prompts,
    beside,
    chances,
    log_error,
    shrunk,
    signals_of,
    standard_error,
    unread,
)
from headstart.choose.curves import BY_STEPS, forecast
from headstart.choose.estimators import Floats
from headstart.choose.reading import Reading
from headstart.choose.work import Looked, Trained
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.plan import BY_PROMPT

SHARED_NOISE = 0.5  # of the validation rows' noise is the same for all candidates, and moves no rank
SEED_SD = 0.08  # of a log error between seeds of one training; 1 to 3 points under 1,000 rows
ABOVE = 1.645  # standard errors above always answering the same: one-sided 5 %
HOPE = 0.8  # candidates are ranked by the score that one draw in five exceeds: a chance counts, not only a mean

BY_PRIOR = "size and pre-training loss"  # what a base without a reading is ranked by

Key = tuple[int, str]  # a base's place in `looked`, and a method


class Run(msgspec.Struct):
    """One training of a candidate with one seed: the pieces that were run, the last one last."""

    base: int
    method: str
    seed: int
    pieces: list[Trained] = []
    failed: str | None = None

    @property
    def key(self) -> Key:
        return self.base, self.method

    @property
    def last(self) -> Trained | None:
        return self.pieces[-1] if self.pieces else None

    @property
    def ended(self) -> Trained | None:
        """The piece with which the training ended, None where it is paused, failed or not begun."""
        return None if self.last is None or self.last.stopped == "paused" else self.last


class Unasked(msgspec.Struct, frozen=True):
    """A base, by its place in `looked`, that a method did not ask by a prompt, and the reason. It is no candidate."""

    base: int
    method: str
    reason: str


class Findings(msgspec.Struct):
    """looked, readings: by base; no reading where there was no time for one. rows: of train, validation and test.

    floor: what always answering the same scores on validation, None where nobody asked; constant: how that is said of
    this kind of task. unasked: prompts left out.
    """

    methods: list[str]
    rows: tuple[int, int, int]
    seed: int
    prior: Prior
    looked: list[Looked] = []
    readings: list[Reading | None] = []
    runs: list[Run] = []
    metric: str = ""
    floor: float | None = None
    unasked: list[Unasked] = []
    constant: str = "always answering the same"

    @property
    def trained(self) -> list[str]:
        """The methods that train."""
        return [method for method in self.methods if method not in BY_PROMPT]

    @property
    def prompts(self) -> list[Key]:
        """The candidates of the methods that ask by a prompt."""
        out = {(one.base, one.method) for one in self.unasked}
        asking = [method for method in self.methods if method in BY_PROMPT]
        return [key for base in range(len(self.looked)) for method in asking if (key := (base, method)) not in out]

    @property
    def lowest(self) -> float:
        """The worst value that the metric can have."""
        return METRICS[self.metric].low if self.metric in METRICS else -1.0

    def above_floor(self, value: float, *, rows: int | None = None) -> bool:
        """Whether so many validation rows (None: all) show that `value` is above always answering the same."""
        if self.floor is None:
            return True
        rows = max(1, self.rows[1] if rows is None else rows)
        noise = math.hypot(standard_error(value, rows), standard_error(self.floor, rows))
        if self.lowest < 0:  # a correlation: about 1/sqrt(rows) where there is none, and 0 for a constant
            noise = 1.0 / math.sqrt(rows)
        return value - self.floor > ABOVE * noise

    @property
    def keys(self) -> list[Key]:
        """Candidates in the order of the belief: the trainings by base, then the prompts."""
        return [(base, method) for base in range(len(self.looked)) for method in self.trained] + self.prompts

    def place(self, key: Key) -> int:
        return self.keys.index(key)

    def title(self, key: Key) -> str:
        return f"{self.looked[key[0]].facts.name} + {key[1]}"

    def runs_of(self, key: Key) -> list[Run]:
        return [run for run in self.runs if run.key == key]

    def run(self, key: Key, seed: int) -> Run:
        """The candidate's run with that seed, a new one where there is none."""
        for run in self.runs_of(key):
            if run.seed == seed:
                return run
        self.runs.append(Run(*key, seed))
        return self.runs[-1]

    def ended(self, key: Key) -> list[Trained]:
        """The ends of a candidate's trainings, one a seed."""
        return [run.ended for run in self.runs_of(key) if run.ended is not None]

    def finished(self) -> list[Key]:
        """Candidates with at least one training that ended."""
        return [key for key in self.keys if self.ended(key)]

    def failed(self, key: Key) -> bool:
        """Whether a candidate failed before any of its trials ended: nothing will come of it."""
        return not self.ended(key) and any(run.failed is not None for run in self.runs_of(key))

    def value(self, key: Key) -> float:
        """The mean over seeds of a finished candidate's validation score."""
        return float(np.mean([end.value for end in self.ended(key)]))

    def answered(self, key: Key) -> int | None:
        """The validation rows that a finished prompt's score is of; None where it is of all."""
        return next((end.rows for end in self.ended(key)), None)

    def ms_per_row(self, key: Key) -> float:
        """Of answering one row: a prompt's own measure, else that of its base."""
        own = next((end.ms_per_row for end in self.ended(key)), None)
        return self.looked[key[0]].ms_per_row if own is None else own

    def belief(self) -> Belief:
        """What is believed of every candidate's final validation score, all trials so far included."""
        train = self.rows[0]
        both = list(zip([one.facts for one in self.looked], self.readings, strict=True))
        read = {
            facts.source: signals_of(facts, reading, rows=train, seed=self.seed)
            for facts, reading in both
            if reading is not None
        }
        known = list(read.values())
        signals = [read.get(facts.source) or unread(facts, known, self.floor) for facts, _ in both]
        trainings = believe(signals, self.trained, self.prior)
        start = beside(trainings, believe_prompts([base for base, _ in self.prompts], self.floor))
        return start.given([seen for key in self.keys if (seen := self._seen(key)) is not None])

    def _seen(self, key: Key) -> Seen | None:
        """What a candidate's runs say of its final log error."""
        held_out, place = max(1, self.rows[1]), self.place(key)
        ended = self.ended(key)
        if ended and key[1] in BY_PROMPT:
            return self._seen_prompt(key, self.answered(key) or held_out)
        if ended:
            value = shrunk(self.value(key), held_out)
            sampling = standard_error(value, held_out) * math.sqrt(SHARED_NOISE) / max(1.0 - value, 0.01)
            training = 0.0 if key[1] == "probe" else SEED_SD / math.sqrt(len(ended))
            return Seen(place, log_error(value), math.hypot(sampling, training))
        pieces = next((run.pieces for run in self.runs_of(key) if run.pieces), None)
        if pieces is None:
            return None
        values = [shrunk(piece.value, held_out) for piece in pieces]
        noise = [standard_error(v, held_out) * math.sqrt(SHARED_NOISE) for v in values]
        drawn = forecast([p.share for p in pieces], values, noise, at=1.0, steepness=BY_STEPS, seed=self.seed)
        logs = np.log(np.maximum(1.0 - drawn, 1e-3))
        return Seen(place, float(logs.mean()), math.hypot(float(logs.std()), SEED_SD))

    def _seen_prompt(self, key: Key, rows: int) -> Seen:
        """What a prompt's answers to some validation rows say of its log error on all of them.

        Of its rows' noise it shares with the others what all validation rows share with them; nothing is by chance of
        a seed, since the prompt is kept as it is.
        """
        value, every = self.value(key), max(rows, self.rows[1])
        noise = standard_error(value, rows) ** 2 - (1.0 - SHARED_NOISE) * standard_error(value, every) ** 2
        value = shrunk(value, rows)
        return Seen(self.place(key), log_error(value), math.sqrt(max(noise, 0.0)) / max(1.0 - value, 0.01))

    def draws(self) -> Floats:
        """(draws, candidates) of final validation scores, none below the metric's worst, which failed ones have."""
        found: Floats = np.maximum(self.belief().draws(seed=self.seed), self.lowest)
        failed = [place for place, key in enumerate(self.keys) if self.failed(key)]
        found[:, failed] = self.lowest
        return found

    def chance(self) -> Floats:
        """Every candidate's probability of being within a point of the best."""
        return chances(self.draws())

    def ranked(self) -> list[Key]:
        """All candidates, the most promising first."""
        hopes = np.quantile(self.draws(), HOPE, axis=0)
        return sorted(self.keys, key=lambda key: -float(hopes[self.place(key)]))
