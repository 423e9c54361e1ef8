"""What is believed of every candidate's final score: a Gaussian over log errors, from estimators, sizes and trials.

A candidate is a base with a method. Its log error is the forecast log error of the closed-form probe on its base, plus
a linear function of signals (`NAMES`), plus what its base's trainings share, plus its own; all of it Gaussian, so that
a finished or half-finished trial of one candidate also moves what is believed of the others. The weights' prior is
fitted to recorded exhaustive searches where there are some (`prior.json`), and set by hand, widely, where not.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from headstart.base.facts import BaseFacts
from headstart.choose.curves import BY_LABELS, LEAST_ERROR, forecast
from headstart.choose.estimators import Floats
from headstart.choose.reading import Reading
from headstart.ground.seeds import stream

NAMES = (
    *("probe", "probe:mean", "probe:h_score", "probe:logme"),
    *("lora", "full", "probed", "mean", "best", "neighbours", "h_score", "logme", "size", "bits"),
)
BASE_SD = 0.15  # of a log error: what the trainings of one base have in common
OWN_SD = {"probe": 0.08, "lora": 0.15, "full": 0.15}
PROMPT_SD = 0.4  # of a prompt's log error about that of always answering the same: 135 M parameters lay 0.2 to 0.8
# below it on sst2 and trec6, 11 M around it (docs/notebook/2026-11-26-asking.md)
UNREAD_SD = 0.4  # of a probe's log error where nothing was read: a guess, as wide as that of a prompt
PROMPT_SHARED = 0.5  # of that variance is the base's, and the same for zero- and few-shot
DRAWS = 4000


class Prior(msgspec.Struct, frozen=True):
    """The weights of NAMES: mean and covariance. reason: where they come from, for the report."""

    mean: list[float]
    covariance: list[list[float]]
    reason: str


# Before any record: training takes a quarter to a third off a probe's error, more where the probe is weak, and larger
# bases gain more by it. Signs from Garbaciauskas et al. 2024, sizes a guess; wide on purpose.
BY_HAND = {
    "probe": (0.0, 0.05),
    "probe:mean": (0.1, 0.1),
    "probe:h_score": (0.0, 0.03),
    "probe:logme": (0.0, 0.03),
    "lora": (-0.25, 0.25),
    "full": (-0.30, 0.25),
    "probed": (-0.30, 0.20),
    "mean": (0.30, 0.20),
    "best": (0.20, 0.20),
    "neighbours": (0.10, 0.10),
    "h_score": (-0.05, 0.05),
    "logme": (-0.05, 0.05),
    "size": (-0.15, 0.15),
    "bits": (0.05, 0.05),
}


def hand_set() -> Prior:
    """The prior before any record."""
    mean, sd = zip(*(BY_HAND[name] for name in NAMES), strict=True)
    reason = "no recorded exhaustive search lies in the package, so that the weights are set by hand, and wide"
    return Prior(list(mean), np.diag(np.square(sd)).tolist(), reason)


def load_prior() -> Prior:
    """The fitted prior of this version of Headstart, else the one set by hand."""
    path = importlib.resources.files("headstart.choose").joinpath("prior.json")
    return msgspec.json.decode(path.read_bytes(), type=Prior) if path.is_file() else hand_set()


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of a base before it is trained: its facts, its reading, the forecast of its probe."""

    facts: BaseFacts
    reading: Reading | None  # None: there was no time to read the task with it
    probe: float  # log error of the probe on all rows
    probe_sd: float


def signals_of(facts: BaseFacts, reading: Reading, *, rows: int, seed: int = 0) -> Signals:
    """The closed-form probe's label curve carried on to `rows` labels, in log error."""
    held_out = reading.held_out
    if reading.curve and held_out:
        values = [shrunk(p.value, held_out) for p in reading.curve]
        noise = [standard_error(v, held_out) for v in values]
        drawn = forecast([p.labels for p in reading.curve], values, noise, at=rows, steepness=BY_LABELS, seed=seed)
        logs = np.log(np.maximum(1.0 - drawn, LEAST_ERROR))
        return Signals(facts, reading, float(logs.mean()), float(logs.std()))
    return Signals(facts, reading, log_error(reading.estimates.probe_last), 0.1)


def unread(facts: BaseFacts, known: Sequence[Signals], floor: float | None) -> Signals:
    """Of a base that nothing was read with: like the others that were, and wide; without others, a third better than
    always answering the same. Its size and its pre-training loss then say the rest."""
    if known:
        return Signals(facts, None, float(np.mean([s.probe for s in known])), UNREAD_SD)
    return Signals(facts, None, log_error(0.5 if floor is None else floor) + math.log(2 / 3), UNREAD_SD)


def standard_error(value: float, rows: int) -> float:
    """Of a score of `rows` rows, as of a share; a fair guess for the other metrics.

    At least that of the share (k + 1)/(n + 2): all of five rows right leaves much open.
    """
    share, careful = min(max(value, 0.02), 0.98), shrunk(min(max(value, 0.0), 1.0), rows)
    return math.sqrt(max(share * (1.0 - share), careful * (1.0 - careful)) / max(1, rows))


def shrunk(value: float, rows: int) -> float:
    """(k + 1)/(n + 2), the mean of what a share may be after `rows` rows (Laplace)."""
    return (value * rows + 1.0) / (rows + 2.0)


def log_error(value: float) -> float:
    return math.log(max(1.0 - value, LEAST_ERROR))


def features(signals: Sequence[Signals], method: str) -> Floats:
    """(bases, NAMES) what the weights multiply, for one method."""
    found = np.zeros((len(signals), len(NAMES)))
    estimates = [None if s.reading is None else s.reading.estimates for s in signals]

    def beyond_last(name: str) -> Floats:
        """By how much the log error of an estimate differs from that of the probe on the last layer."""
        return np.array(
            [0.0 if e is None else log_error(getattr(e, name)) - log_error(e.probe_last) for e in estimates]
        )

    columns = {
        "mean": beyond_last("probe_mean"),
        "best": beyond_last("probe_best"),
        "neighbours": beyond_last("neighbours"),
        "h_score": standing([None if e is None else e.h_score for e in estimates]),
        "logme": standing([None if e is None else e.logme for e in estimates]),
        "size": centred([math.log10(s.facts.params) for s in signals]),
        "bits": standing([s.facts.bits_per_byte for s in signals]),
        "probed": centred([s.probe for s in signals]),
    }
    if method == "probe":
        columns = {f"probe:{name}": columns[name] for name in ("mean", "h_score", "logme")}
    columns[method] = np.ones(len(signals))
    for name, values in columns.items():
        found[:, NAMES.index(name)] = values
    return found


def centred(values: Sequence[float]) -> Floats:
    array: Floats = np.asarray(values, dtype=np.float64)
    away: Floats = array - array.mean()
    return away


def standing(values: Sequence[float | None]) -> Floats:
    """Standard scores among the candidates; 0 for a missing value, and for all where fewer than two are known."""
    known = [v for v in values if v is not None]
    spread = float(np.std(known)) if len(known) > 1 else 0.0
    if spread < 1e-12:
        return np.zeros(len(values))
    middle = float(np.mean(known))
    return np.array([0.0 if v is None else (v - middle) / spread for v in values])


@dataclass(frozen=True, slots=True)
class Seen:
    """An observed log error of candidate `index`, with the standard deviation of what it says of the final one."""

    index: int
    value: float
    sd: float


@dataclass(frozen=True)
class Belief:
    """A joint Gaussian over the log errors of all candidates, (C,) and (C, C)."""

    mean: Floats
    covariance: Floats

    def given(self, seen: Sequence[Seen]) -> Belief:
        """The same after observations."""
        if not seen:
            return self
        index = [s.index for s in seen]
        gain = np.linalg.solve(
            self.covariance[np.ix_(index, index)] + np.diag([max(s.sd, 1e-3) ** 2 for s in seen]),
            self.covariance[index],
        ).T
        away = np.array([s.value for s in seen]) - self.mean[index]
        after = self.covariance - gain @ self.covariance[index]
        return Belief(self.mean + gain @ away, (after + after.T) / 2)

    def draws(self, *, seed: int = 0) -> Floats:
        """(DRAWS, C) scores."""
        values, vectors = np.linalg.eigh(self.covariance)
        normal = stream(seed, "belief").normal(size=(DRAWS, len(self.mean)))
        logs = self.mean + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        found: Floats = 1.0 - np.exp(np.minimum(logs, math.log(2.0)))
        return found


def believe(signals: Sequence[Signals], methods: Sequence[str], prior: Prior) -> Belief:
    """The belief before any trial; candidates in the order of bases, then methods."""
    if not methods:
        return Belief(np.zeros(0), np.zeros((0, 0)))
    by_method = np.stack([features(signals, method) for method in methods], axis=1)  # (bases, methods, NAMES)
    design = by_method.reshape(-1, len(NAMES))
    anchor = np.repeat([s.probe for s in signals], len(methods))
    base = np.repeat(np.arange(len(signals)), len(methods))
    trained = np.tile([method != "probe" for method in methods], len(signals))
    same = base[:, None] == base[None]
    covariance = design @ np.asarray(prior.covariance) @ design.T
    unsure = np.repeat([s.probe_sd for s in signals], len(methods))
    covariance += same * np.outer(unsure, unsure)
    covariance += same * np.outer(trained, trained) * BASE_SD**2
    covariance += np.diag(np.tile([OWN_SD.get(method, 0.2) ** 2 for method in methods], len(signals)))
    return Belief(anchor + design @ np.asarray(prior.mean), covariance)


def believe_prompts(bases: Sequence[int], floor: float | None) -> Belief:
    """The belief of prompts before any is asked, one an entry of `bases`: near always answering the same, and wide.

    Nothing that a base's features say of a training is taken to say what a prompt gets out of it.
    """
    owner = np.asarray(bases, dtype=np.int64)
    same = (owner[:, None] == owner[None]).astype(np.float64)
    covariance = PROMPT_SD**2 * (PROMPT_SHARED * same + (1.0 - PROMPT_SHARED) * np.eye(len(owner)))
    return Belief(np.full(len(owner), log_error(0.5 if floor is None else floor)), covariance)


def beside(first: Belief, second: Belief) -> Belief:
    """Both beliefs as one, neither saying anything of the other."""
    size = len(first.mean)
    covariance = np.zeros((size + len(second.mean),) * 2)
    covariance[:size, :size], covariance[size:, size:] = first.covariance, second.covariance
    return Belief(np.concatenate([first.mean, second.mean]), covariance)


def chances(draws: Floats, *, within: float = 0.01) -> Floats:
    """(C,) probability of being at most `within` below the best candidate."""
    found: Floats = (draws >= draws.max(axis=1, keepdims=True) - within).mean(axis=0)
    return found
