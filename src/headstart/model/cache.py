"""KvCache: keys and values of what a causal trunk has already read, so that it is read once.

Rows may have unequal lengths: a new unit is written at its own row's position, and what right-padding wrote beyond a
row's end is masked until it is overwritten.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.model.config import TrunkConfig


class KvCache:
    """Preallocated (L, B, Hkv, S, K) keys and values; `lengths` (B,) counts the units each row has seen."""

    def __init__(
        self, config: TrunkConfig, *, rows: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (config.num_layers, rows, config.num_kv_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(rows, dtype=torch.long, device=device)

    @property
    def capacity(self) -> int:
        """Units a row can hold."""
        return self.keys.shape[3]

    def positions(self, width: int) -> Tensor:
        """Absolute positions (B, width) of the next `width` units of every row."""
        return self.lengths[:, None] + torch.arange(width, device=self.lengths.device)

    def write(self, layer: int, positions: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, used: int) -> tuple[Tensor, Tensor]:
        """Store new keys and values at `positions`; return views (B, Hkv, used, K) over everything stored so far."""
        index = positions.clamp(max=self.capacity - 1)[:, None, :, None].expand_as(k_BHTK)
        self.keys[layer].scatter_(2, index, k_BHTK)
        self.values[layer].scatter_(2, index, v_BHTK)
        return self.keys[layer, :, :, :used], self.values[layer, :, :, :used]

    def advance(self, lengths: Tensor) -> None:
        """Count the real units of the step just taken."""
        self.lengths = self.lengths + lengths
