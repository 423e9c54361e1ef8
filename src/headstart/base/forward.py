"""Running a trunk over many rows: length-sorted batches, answers in the order given.

B rows, T positions, D model width, N all rows, O head outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.data.batching import bucket_batches, collate
from headstart.data.patch_rows import PatchRows
from headstart.data.text_codec import Encoded
from headstart.ground.batch import Batch, Pattern
from headstart.model.heads import Pooling, TaskHead, paired, pool, pool_channels
from headstart.model.trunk import Trunk


@dataclass(frozen=True, eq=False, slots=True)
class Reader:
    """A trunk and how it reads: which positions see each other, the padding id, slots (rows x longest) per batch."""

    trunk: Trunk
    pattern: Pattern
    pad: int
    batch_tokens: int

    def batches(self, encoded: Encoded | PatchRows) -> Iterator[tuple[NDArray[np.int64], Batch, Tensor]]:
        """(row indices, batch, hidden states (B, T, D)) until every row has been read."""
        device = self.trunk.device
        for rows in bucket_batches(encoded.lengths, batch_tokens=self.batch_tokens):
            batch = collate(encoded, rows, pattern=self.pattern, pad=self.pad).to(device)
            yield rows, batch, self.trunk(batch, quick=True)

    @torch.no_grad()  # not inference_mode: the probe's solver differentiates through products with these features
    def features(self, encoded: Encoded | PatchRows, *, pooling: Pooling, channels: int = 1) -> Tensor:
        """(N, D) float32 on the CPU: every row's hidden states pooled over its real units, special tokens included."""
        found = torch.empty(len(encoded), channels * self.trunk.config.dim)
        front = 0 if self.trunk.patches is None else self.trunk.patches.prefix
        for rows, batch, hidden in self.batches(encoded):
            if channels > 1:
                pooled = pool_channels(hidden, batch.lengths, channels, front)
            else:
                pooled = pool(hidden, batch.lengths, pooling)
            found[torch.from_numpy(rows)] = pooled.float().cpu()
        return found

    def pair_features(self, first: Encoded, second: Encoded, *, pooling: Pooling) -> Tensor:
        """(N, 4 D) float32 on the CPU: the members of every pair, read apart, as a head compares them."""
        return paired(self.features(first, pooling=pooling), self.features(second, pooling=pooling))

    @torch.inference_mode()
    def outputs(self, head: TaskHead, encoded: Encoded | PatchRows) -> list[NDArray[np.float64]]:
        """Per row the head's outputs, (O,), or (T, O) over its real units where the head answers per unit."""
        found: list[NDArray[np.float64]] = [np.empty(0)] * len(encoded)
        for rows, batch, hidden in self.batches(encoded):
            answered = head(hidden, batch.lengths).double().cpu().numpy()
            for place, row in enumerate(rows):
                real = int(batch.lengths[place])
                found[row] = answered[place][:real] if head.pooling == "token" else answered[place]
        return found

    @torch.inference_mode()
    def pair_outputs(self, head: TaskHead, first: Encoded, second: Encoded) -> NDArray[np.float64]:
        """(N, O): a head's outputs over pairs whose members are read apart."""
        compared = self.pair_features(first, second, pooling=head.pooling)
        return np.asarray(head.out(compared.to(head.out.weight)).double().cpu().numpy())
