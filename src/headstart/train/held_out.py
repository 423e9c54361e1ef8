"""The held-out curve of a pre-training run: bits per byte read causally, nats per hidden unit read both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from headstart.data.corpus import PackedCorpus
from headstart.ground.seeds import stream
from headstart.train.objective import LanguageModel, LossRecord, MaskSettings, causal_batch, lm_loss, masked_batch

WIDTH = 256
ROWS = 128
ROWS_PER_BATCH = 16


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the curve: units seen, wall seconds, held-out bits per byte (causal) and masked nats per unit.

    None for the reading that the run does not train. patch_error: mean squared error of hidden patches, whose numbers
    have variance 1: a guess of their mean gets 1.
    """

    units: int
    seconds: float
    bits_per_byte: float | None
    masked_nats: float | None
    patch_error: float | None = None


@torch.no_grad()  # not inference mode: FSDP2 keeps what it gathers here for the next step
def validate(
    model: LanguageModel, corpus: PackedCorpus, masks: MaskSettings, *, causal_share: float, seed: int
) -> tuple[float | None, float | None]:
    """(bits per byte read causally, nats per hidden unit at the final mask share) over a fixed set of held-out rows.

    causal_share: of the run; a reading that it never trains is None.
    """
    model.eval()
    device = next(model.parameters()).device
    width = validation_width(model.trunk.config.max_positions)
    available = corpus.num_rows(width)
    indices = np.linspace(0, available - 1, min(ROWS, available)).astype(np.int64)
    causal, masked = LossSum(), LossSum()
    rng = stream(seed, "validation")
    for part in np.array_split(indices, math.ceil(len(indices) / ROWS_PER_BATCH)):
        rows = corpus.rows(part, width)
        if causal_share > 0.0:
            causal.add(lm_loss(model, causal_batch(rows).to(device), z_loss=0.0))
        if causal_share < 1.0:
            hidden = masked_batch(rows, masks, progress=1.0, rng=rng).to(device)
            masked.add(lm_loss(model, hidden, z_loss=0.0))
    model.train()
    bits = None
    if causal_share > 0.0:
        bits = causal.mean / math.log(2) / (corpus.meta.num_bytes / corpus.meta.num_units)
    return bits, masked.mean if causal_share < 1.0 else None


def validation_width(max_positions: int) -> int:
    """Units of a held-out row."""
    return min(WIDTH, max_positions)


class LossSum:
    """A running weighted mean of LossRecords."""

    def __init__(self) -> None:
        self._total, self._weight = 0.0, 0.0

    def add(self, record: LossRecord) -> None:
        """Count one batch."""
        self._total += float(record.total)
        self._weight += record.weight

    @property
    def mean(self) -> float:
        """Nats per weight so far."""
        return self._total / self._weight
