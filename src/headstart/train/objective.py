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
from torch import Tensor, nn

from headstart.ground.batch import Batch
from headstart.ground.seeds import stream
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk
from headstart.train.cross_entropy import IGNORE, linear_cross_entropy

ROWS_STEP = 64  # predicted rows come in multiples: torch keeps up to 1,024 kernels by shape, 2 MB for each
Mode = Literal["causal", "masked"]
Ids = npt.NDArray[np.int64]
Turns = npt.NDArray[np.float64]


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

    def share(self, progress: float) -> float:
        """Share of the units that is hidden at a progress of 0..1."""
        return self.share_start + (self.share_end - self.share_start) * progress


def causal_batch(rows: Ids) -> Batch:
    """(B, T + 1) packed units -> next-unit prediction over (B, T)."""
    units = torch.from_numpy(np.ascontiguousarray(rows[:, :-1]))
    targets = torch.from_numpy(np.ascontiguousarray(rows[:, 1:]))
    return Batch(units, _full_lengths(units), "causal", targets=targets)


def masked_batch(
    rows: Ids, settings: MaskSettings, *, progress: float, rng: np.random.Generator, turns: Turns | None = None
) -> Batch:
    """(B, T + 1) packed units -> spans hidden and predicted; attention stays in its document.

    turns: (B, T), when each unit's turn to be hidden comes (`turns_of`); drawn anew where not given.
    """
    units = rows[:, :-1]
    if turns is None:
        turns = np.stack([draw_turns(units.shape[1], settings.longest_span, rng) for _ in rows])
    documents = np.cumsum(units == settings.bos_id, axis=1)
    hidden = (turns < settings.share(progress)) & (units >= settings.num_specials)
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


def turns_of(row: int, width: int, settings: MaskSettings, *, seed: int, hidden_before: float) -> Turns:
    """(T,) turns of a row that comes again, 0..1: units whose turn is below the share are hidden this time.

    Every visit hides those that waited longest (count-aware masking, GPT-BERT): the row's spans and their order are a
    function of (seed, row) alone, and each visit moves on by the share it hides, `hidden_before` in sum.
    """
    fixed = draw_turns(width, settings.longest_span, stream(seed, "turns", width, row))
    return (fixed - hidden_before) % 1.0


def draw_turns(width: int, longest: int, rng: np.random.Generator) -> Turns:
    """(T,) random turns, equal within spans of 1..`longest` units, each length equally likely."""
    spans = np.repeat(np.arange(width), rng.integers(1, longest + 1, width))[:width]
    return rng.random(width)[spans]


class Learner(nn.Module):
    """A trunk and what stands above it while it is pre-trained. compiled: whether its parts are."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.compiled = False


class LanguageModel(Learner):
    """A trunk and the head over its vocabulary, as they are pre-trained: Batch -> mean nats over its targets."""

    def __init__(self, trunk: Trunk, lm: LMHead) -> None:
        super().__init__(trunk)
        self.lm = lm

    def forward(self, batch: Batch, *, z_loss: float = 0.0) -> Tensor:
        hidden_ND = self.trunk(batch).flatten(0, 1)
        assert batch.targets is not None
        targets = batch.targets.flatten()
        places = (targets != IGNORE).nonzero()[:, 0]
        filling = places.new_zeros(-len(places) % ROWS_STEP)
        targets = torch.cat((targets[places], torch.full_like(filling, IGNORE)))
        return linear_cross_entropy(
            self.lm.prepare(hidden_ND.index_select(0, torch.cat((places, filling)))),
            self.lm.matrix(self.trunk.table),
            self.lm.bias,
            targets,
            z_loss=z_loss,
            compiled=self.compiled,
        )


def lm_loss(model: LanguageModel, batch: Batch, *, z_loss: float) -> LossRecord:
    """The batch's mean nats, weighted by its units, whatever share of them is predicted."""
    mean = model(batch, z_loss=z_loss)
    return LossRecord(mean * batch.num_units, float(batch.num_units))


def _full_lengths(units: Tensor) -> Tensor:
    return torch.full((units.shape[0],), units.shape[1], dtype=torch.long)
