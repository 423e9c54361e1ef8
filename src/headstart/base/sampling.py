"""Choosing the next unit: logits in, one unit out.

The order is Hugging Face's: penalties, temperature, top-k, top-p, min-p. A unit is drawn by adding noise to the logits
and taking the largest (Gumbel 1954; Maddison et al. 2014, "A* sampling"): rounding in the last digit then changes a
draw only where two units tie, while along a cumulated distribution it would move every border. Noise comes from the
request's own stream, a number a unit of the vocabulary and step, so what other rows do never changes an answer.
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.data.text_codec import Ids
from headstart.ground.errors import ConfigError, safe_repr
from headstart.ground.numbers import is_real, is_whole

MAX_LOGPROBS = 20  # alternatives a unit, as OpenAI's interface has it
LEAST_DIVISOR = 1e-6  # of logits: what is near nothing makes infinities of them


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn.

    temperature 0 takes the most probable unit; from 1e-6 on, units are drawn from softmax(logits / temperature) among
    the top_k most probable ones (None: all), the fewest that have top_p of the probability together, and those with at
    least min_p of the largest probability. repetition_penalty divides (or multiplies, where negative) the logits of
    units in prompt and answer (Keskar et al. 2019); presence_penalty and frequency_penalty are subtracted from the
    logits of units in the answer, once and for each time. logprobs: how many alternatives to report beside each unit's
    own log-probability, None for neither; both are the base's own, before penalties and temperature.
    """

    max_tokens: int = 64
    seed: int = 0
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "seed", "top_k", "logprobs"):
            value = getattr(self, name)
            if value is not None or name not in ("top_k", "logprobs"):
                _check_kind(name, value, is_whole, "a whole number")
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("min_p", 0.0, 1.0),
            ("repetition_penalty", LEAST_DIVISOR, 100.0),
            ("presence_penalty", -2.0, 2.0),
            ("frequency_penalty", -2.0, 2.0),
        ):
            value = getattr(self, name)
            _check_kind(name, value, is_real, "a number")
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; expected {low:g} to {high:g}. Give another one.")
        if 0.0 < self.temperature < LEAST_DIVISOR:
            raise ConfigError(
                f"temperature is {self.temperature}; expected 0, or {LEAST_DIVISOR:g} to 100. Give 0 for the most "
                "probable token."
            )
        _check_kind("top_p", self.top_p, is_real, "a number")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p is {self.top_p}; expected more than 0 and at most 1. Give another one.")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; expected at least 1. Give a larger one.")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k is {self.top_k}; expected at least 1, or none for all units. Leave it out.")
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise ConfigError(f"logprobs is {self.logprobs}; expected 0 to {MAX_LOGPROBS}. Give another one.")

    @property
    def plain(self) -> bool:
        """The most probable unit, always."""
        return self.temperature == 0.0 and not self.penalised

    @property
    def penalised(self) -> bool:
        """Whether what was read or written changes the logits."""
        return self.repetition_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0


def _check_kind(name: str, value: object, is_kind: Callable[[object], bool], expected: str) -> None:
    if not is_kind(value):
        raise ConfigError(f"{name} is {safe_repr(repr(value), 40)}; expected {expected}. Give one.")


class Constraint(Protocol):
    """Which units may follow in one answer. It must always leave one; the end token, where the answer is whole."""

    def allowed(self) -> NDArray[np.bool_]:
        """(V,) True where a unit may come next; those beyond its length may not."""

    def accept(self, unit: int) -> None:
        """`unit` was written."""


def constrained(logits_V: Tensor, constraint: Constraint) -> Tensor:
    """The logits with -inf for units that may not come next."""
    allowed = torch.zeros(len(logits_V), dtype=torch.bool)
    found = torch.from_numpy(constraint.allowed()[: len(allowed)])
    allowed[: len(found)] = found
    return logits_V.masked_fill(~allowed.to(logits_V.device), -math.inf)


def choose(
    logits_V: Tensor, sampling: Sampling, random: np.random.Generator, prompt: Ids, written: Sequence[int]
) -> int:
    """The next unit after `prompt` and `written`."""
    logits = logits_V.double().cpu()
    if sampling.penalised:
        logits = _penalised(logits, sampling, prompt, written)
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    kept = _narrowed(logits / sampling.temperature, sampling)
    noise = torch.from_numpy(random.standard_exponential(len(kept)))
    return int((kept - noise.log()).argmax())


def log_probabilities(logits_V: Tensor, unit: int, count: int) -> tuple[float, tuple[tuple[int, float], ...]]:
    """(log p of the unit, the `count` most probable units with theirs) in nats."""
    chances = torch.log_softmax(logits_V.float(), dim=-1)
    if not count:
        return float(chances[unit]), ()
    best = torch.topk(chances, min(count, len(chances)))
    return float(chances[unit]), tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def _penalised(logits: Tensor, sampling: Sampling, prompt: Ids, written: Sequence[int]) -> Tensor:
    logits = logits.clone()
    if sampling.repetition_penalty != 1.0:
        seen = torch.from_numpy(np.union1d(prompt, written).astype(np.int64))
        values = logits[seen]
        factor = sampling.repetition_penalty
        logits[seen] = torch.where(values < 0, values * factor, values / factor)
    if written:
        units, counts = np.unique(np.asarray(written), return_counts=True)
        penalty = sampling.presence_penalty + sampling.frequency_penalty * counts
        logits[torch.from_numpy(units)] -= torch.from_numpy(penalty)
    return logits


def _narrowed(logits: Tensor, sampling: Sampling) -> Tensor:
    """The logits with -inf for units that may not be drawn."""
    if sampling.top_k is not None and sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < torch.topk(logits, sampling.top_k).values[-1], -math.inf)
    if sampling.top_p < 1.0:
        chances, units = torch.softmax(logits, dim=-1).sort(descending=True, stable=True)
        before = chances.cumsum(0) - chances
        logits = logits.clone()
        logits[units[before >= sampling.top_p]] = -math.inf
    if sampling.min_p > 0.0:
        logits = logits.masked_fill(logits < logits.max() + math.log(sampling.min_p), -math.inf)
    return logits
