"""Objectives: packed rows -> corrupted Batch -> loss over its targets.

`causal` predicts the next unit. `masked` hides spans and predicts every hidden unit from the position BEFORE it (masked
next-token prediction), so both share one head. `hybrid` does one or the other per batch over the same weights
(Charpentier & Samuel 2024, GPT-BERT, arXiv 2410.24159). Targets are -100 where nothing is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from headstart.ground.batch import Batch
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk
from headstart.train.cross_entropy import linear_cross_entropy

IGNORE = -100
Mode = Literal["causal", "masked"]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LossRecord:
    """A summed loss with the weight it is divided by, so that accumulation over micro-batches is exact."""

    total: Tensor
    weight: float


@dataclass(frozen=True, slots=True)
class MaskSettings:
    """Span masking as in GPT-BERT: the share falls linearly; of the hidden, 10 % are random and 10 % kept.

    in_place: a hidden unit is predicted where it stands (BERT), not from the position before it.
    """

    mask_id: int
    bos_id: int
    num_specials: int
    vocab_size: int
    share_start: float = 0.30
    share_end: float = 0.15
    longest_span: int = 3
    random_share: float = 0.1
    keep_share: float = 0.1
    in_place: bool = False


def causal_batch(rows: Ids) -> Batch:
    """(B, T + 1) packed units -> next-unit prediction over (B, T)."""
    units = torch.from_numpy(np.ascontiguousarray(rows[:, :-1]))
    targets = torch.from_numpy(np.ascontiguousarray(rows[:, 1:]))
    return Batch(units, _full_lengths(units), "causal", targets=targets)


def masked_batch(rows: Ids, settings: MaskSettings, *, progress: float, rng: np.random.Generator) -> Batch:
    """(B, T + 1) packed units -> spans hidden and predicted; attention stays in its document."""
    units = rows[:, :-1]
    documents = np.cumsum(units == settings.bos_id, axis=1)
    share = settings.share_start + (settings.share_end - settings.share_start) * progress
    hidden = span_mask(units >= settings.num_specials, share=share, longest=settings.longest_span, rng=rng)
    targets = np.full_like(units, IGNORE)
    if settings.in_place:
        targets[hidden] = units[hidden]
    else:
        predicted = hidden[:, 1:] & (documents[:, 1:] == documents[:, :-1])
        targets[:, :-1][predicted] = units[:, 1:][predicted]
    draw = rng.random(units.shape)
    corrupted = np.where(hidden & (draw >= settings.random_share + settings.keep_share), settings.mask_id, units)
    random_units = rng.integers(settings.num_specials, settings.vocab_size, units.shape)
    corrupted = np.where(hidden & (draw < settings.random_share), random_units, corrupted)
    tensor = torch.from_numpy(np.ascontiguousarray(corrupted))
    return Batch(
        tensor, _full_lengths(tensor), "full", documents=torch.from_numpy(documents), targets=torch.from_numpy(targets)
    )


def span_mask(
    allowed: npt.NDArray[np.bool_], *, share: float, longest: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Hide about `share` of the allowed positions (B, T) in spans of 1..`longest`, each length equally likely."""
    rows, width = allowed.shape
    mean_length = (1 + longest) / 2
    # P(position stays uncovered) = prod over lengths of (1 - start rate)^length; solve for the rate of span starts.
    start_rate = 1.0 - (1.0 - share) ** (1.0 / mean_length)
    starts = rng.random((rows, width)) < start_rate
    lengths = rng.integers(1, longest + 1, (rows, width))
    hidden = np.zeros_like(allowed)
    for offset in range(longest):
        reach = starts & (lengths > offset)
        hidden[:, offset:] |= reach[:, : width - offset]
    return hidden & allowed


def lm_loss(trunk: Trunk, head: LMHead, batch: Batch, *, z_loss: float) -> LossRecord:
    """Mean nats over the targets, weighted by the units of the batch, whatever share of them is predicted."""
    hidden = trunk(batch)
    assert batch.targets is not None
    chosen = batch.targets != IGNORE
    mean = linear_cross_entropy(
        head.prepare(hidden[chosen]),
        head.matrix(trunk.embed.tokens.weight),
        head.bias,
        batch.targets[chosen],
        z_loss=z_loss,
    )
    return LossRecord(mean * batch.num_units, float(batch.num_units))


def _full_lengths(units: Tensor) -> Tensor:
    return torch.full((units.shape[0],), units.shape[1], dtype=torch.long)
