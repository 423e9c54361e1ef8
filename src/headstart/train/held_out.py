"""The held-out curve of a pre-training run: bits per byte read causally, nats per hidden unit read both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from headstart.data.corpus import PackedCorpus
from headstart.ground.seeds import stream
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk
from headstart.train.objective import LossRecord, MaskSettings, causal_batch, lm_loss, masked_batch

WIDTH = 256
ROWS = 128
ROWS_PER_BATCH = 16


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the curve: units seen, wall seconds, held-out bits per byte (causal) and masked nats per unit."""

    units: int
    seconds: float
    bits_per_byte: float
    masked_nats: float


@torch.inference_mode()
def validate(
    trunk: Trunk, head: LMHead, corpus: PackedCorpus, masks: MaskSettings, *, seed: int
) -> tuple[float, float]:
    """(bits per byte read causally, nats per hidden unit at the final mask share) over a fixed set of held-out rows."""
    trunk.eval()
    device = trunk.embed.tokens.weight.device
    available = corpus.num_rows(WIDTH)
    indices = np.linspace(0, available - 1, min(ROWS, available)).astype(np.int64)
    causal, masked = LossSum(), LossSum()
    rng = stream(seed, "validation")
    for part in np.array_split(indices, math.ceil(len(indices) / ROWS_PER_BATCH)):
        rows = corpus.rows(part, WIDTH)
        causal.add(lm_loss(trunk, head, causal_batch(rows).to(device), z_loss=0.0))
        hidden = masked_batch(rows, masks, progress=1.0, rng=rng).to(device)
        masked.add(lm_loss(trunk, head, hidden, z_loss=0.0))
    trunk.train()
    bytes_per_unit = corpus.meta.num_bytes / corpus.meta.num_units
    return causal.mean / math.log(2) / bytes_per_unit, masked.mean


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
