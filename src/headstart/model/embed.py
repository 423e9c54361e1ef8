"""Token ids to vectors: token, learned position and segment tables, and BERT's embedding norm.

(B, T) long -> (B, T, D).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.model.blocks import make_norm
from headstart.model.config import TrunkConfig


class TokenEmbedder(nn.Module):
    """Sum of the tables the config names; normalised where blocks are post-norm."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.tokens = table(config.vocab_size, config.dim)
        self.positions = table(config.max_positions, config.dim) if config.position != "rope" else None
        self.segments = table(config.num_segments, config.dim) if config.num_segments else None
        self.norm = make_norm(config, config.dim) if config.norm_place == "post" else None

    @property
    def weight(self) -> Tensor:
        """The matrix that units meet first."""
        return self.tokens.weight

    def forward(self, units: Tensor, positions: Tensor, segments: Tensor | None) -> Tensor:
        """units (B, T), positions (B or 1, T), segments (B, T) or None (all zero)."""
        x_BTD = self.tokens(units)
        if self.segments is not None:
            x_BTD = x_BTD + self.segments(torch.zeros_like(units) if segments is None else segments)
        if self.positions is not None:
            x_BTD = x_BTD + self.positions(positions)
        return x_BTD if self.norm is None else self.norm(x_BTD)  # type: ignore[no-any-return]


def table(rows: int, dim: int) -> nn.Embedding:
    """An embedding of zeros, to be initialised or loaded.

    torch's own random start, on the meta device that loading uses, imports torch._dynamo: 1.3 s of CPU.
    """
    return nn.Embedding(rows, dim, _weight=torch.zeros(rows, dim))
