"""Running a trunk over many rows: length-sorted batches, answers in the order given.

B rows, T positions, D model width, N all rows, O head outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.data.batching import bucket_batches, collate
from headstart.data.text_codec import Encoded
from headstart.ground.batch import Batch, Pattern
from headstart.model.heads import TaskHead, pool
from headstart.model.trunk import Trunk

Floats = NDArray[np.float32]


def hidden_batches(
    trunk: Trunk, encoded: Encoded, *, pattern: Pattern, pad: int, batch_tokens: int
) -> Iterator[tuple[NDArray[np.int64], Batch, Tensor]]:
    """(row indices, batch, hidden states (B, T, D)) until every row has been read."""
    device = trunk.embed.tokens.weight.device
    for rows in bucket_batches(encoded.lengths, batch_tokens=batch_tokens):
        batch = collate(encoded, rows, pattern=pattern, pad=pad).to(device)
        yield rows, batch, trunk(batch)


@torch.inference_mode()
def mean_features(trunk: Trunk, encoded: Encoded, *, pattern: Pattern, pad: int, batch_tokens: int) -> Floats:
    """(N, D) float32: the mean of every row's hidden states over its real units, special tokens included."""
    features = np.empty((len(encoded), trunk.config.dim), dtype=np.float32)
    for rows, batch, hidden in hidden_batches(trunk, encoded, pattern=pattern, pad=pad, batch_tokens=batch_tokens):
        features[rows] = pool(hidden, batch.lengths, "mean").float().cpu().numpy()
    return features


@torch.inference_mode()
def head_outputs(
    trunk: Trunk, head: TaskHead, encoded: Encoded, *, pattern: Pattern, pad: int, batch_tokens: int
) -> list[NDArray[np.float64]]:
    """Per row the head's outputs, (O,), or (T, O) over its real units where the head answers per unit."""
    outputs: list[NDArray[np.float64]] = [np.empty(0)] * len(encoded)
    for rows, batch, hidden in hidden_batches(trunk, encoded, pattern=pattern, pad=pad, batch_tokens=batch_tokens):
        answered = head(hidden, batch.lengths).double().cpu().numpy()
        for place, row in enumerate(rows):
            outputs[row] = answered[place][: len(encoded.ids[row])] if head.pooling == "token" else answered[place]
    return outputs
