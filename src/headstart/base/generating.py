"""Continuing texts, one unit at a time, with a key-value cache.

Prompts of like length go together; a row's answer does not depend on its neighbours, because every row draws from its
own random stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headstart.base.scoring import opened
from headstart.data.batching import pad_rows
from headstart.data.text_codec import Ids, TextCodec
from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError, DataError
from headstart.ground.seeds import stream
from headstart.model.cache import KvCache
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk

MAX_ROWS = 16  # prompts of one batch


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature 0 takes the most probable unit; above, units are drawn from softmax(logits / temperature)."""

    max_tokens: int
    seed: int
    temperature: float

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0.0 <= self.temperature <= 100.0:
            raise ConfigError(
                f"max_tokens is {self.max_tokens} and temperature {self.temperature}; expected at least 1 and 0 to 100."
            )


def continue_texts(trunk: Trunk, lm: LMHead, codec: TextCodec, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """The continuation of every prompt, without the prompt and without special tokens."""
    if isinstance(prompts, str):
        raise DataError("the prompts are one str; expected a list of prompts. Put it into a list.")
    ids = [opened(codec, units) for units in codec.encode_plain(list(prompts))]
    for place, units in enumerate(ids):
        if not 0 < len(units) < codec.max_positions:
            raise DataError(
                f"prompt {place} has {len(units):,} tokens; expected 1 to {codec.max_positions - 1:,}. Shorten it."
            )
    answers = [""] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), MAX_ROWS):
        rows = order[start : start + MAX_ROWS]
        written = _continue_rows(trunk, lm, codec, [ids[row] for row in rows], rows, sampling)
        for row, new in zip(rows, written, strict=True):
            answers[row] = codec.decode(new)
    return answers


@torch.inference_mode()
def _continue_rows(
    trunk: Trunk, lm: LMHead, codec: TextCodec, prompts: list[Ids], names: list[int], sampling: Sampling
) -> list[list[int]]:
    device = trunk.embed.tokens.weight.device
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    capacity = min(codec.max_positions, int(lengths.max()) + sampling.max_tokens)
    cache = KvCache(trunk.config, rows=len(prompts), capacity=capacity, dtype=trunk.dtype, device=device)
    randoms = [stream(sampling.seed, "generate", name) for name in names]
    written: list[list[int]] = [[] for _ in prompts]
    running = [True] * len(prompts)
    units = pad_rows(prompts, filler=codec.special.pad).to(device)
    hidden = trunk(Batch(units=units, lengths=lengths, pattern="causal"), cache)
    last = hidden[torch.arange(len(prompts), device=device), lengths - 1]
    while True:
        logits = lm(last, trunk.embed.tokens.weight).float()
        chosen = [_choose(row, random, sampling.temperature) for row, random in zip(logits, randoms, strict=True)]
        for row, unit in enumerate(chosen):
            if running[row] and unit != codec.special.eos:
                written[row].append(unit)
            full = len(prompts[row]) + len(written[row]) >= codec.max_positions
            running[row] = (
                running[row] and unit != codec.special.eos and len(written[row]) < sampling.max_tokens and not full
            )
        if not any(running):
            return written
        # A finished row writes over its own last slot from here on: it is never read again.
        step = torch.tensor([[unit] for unit in chosen], device=device)
        alive = torch.tensor([int(alive) for alive in running], device=device)
        last = trunk(Batch(units=step, lengths=alive, pattern="causal"), cache)[:, 0]


def _choose(logits_V: Tensor, random: np.random.Generator, temperature: float) -> int:
    if temperature == 0.0:
        return int(logits_V.argmax())
    chances = torch.softmax(logits_V.double() / temperature, dim=-1).cumsum(0)
    return min(int(torch.searchsorted(chances, random.random() * float(chances[-1]))), len(logits_V) - 1)
