"""What a causal trunk has read before the units of a forward pass: keys and values, so that nothing is read twice.

Two pasts: the slots of a cache, one text a row, each of its own length (decoding), and one beginning that all rows of a
batch continue (scoring). `Batch.positions` says where the new units stand. B rows, T new units, S units held, L layers,
Hkv key-value heads, K head width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from headstart.ground.batch import Batch
from headstart.model.attention import attention_bias, cached_bias
from headstart.model.config import TrunkConfig


class Past(ABC):
    """Keys and values that stand before a batch's units."""

    @abstractmethod
    def bias(self, batch: Batch, dtype: torch.dtype) -> Tensor | None:
        """(B or 1, 1, T, S + T or fewer) of the last keys, with -inf where a unit may not look; None where all may look
        everywhere."""

    @abstractmethod
    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Everything a layer's new units can look at, themselves included: keys and values (B, Hkv, .., K)."""


class KvCache:
    """Preallocated keys and values in one tensor (L, 2, slots, Hkv, capacity, K), so that one write takes both.

    Zeros, because a hidden key still meets its value.
    """

    def __init__(
        self, config: TrunkConfig, *, slots: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (config.num_layers, 2, slots, config.num_kv_heads, capacity, config.head_dim)
        self.store = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def slots(self) -> int:
        """Texts it can hold."""
        return self.store.shape[2]

    @property
    def capacity(self) -> int:
        """Units a slot can hold."""
        return self.store.shape[4]

    def copy(self, units: int, *, source: int, target: int) -> None:
        """The first `units` of a slot into another one."""
        if source != target:
            self.store[:, :, target, :, :units] = self.store[:, :, source, :, :units]

    def clear(self, slot: int) -> None:
        """Zeros in a slot, as at the start."""
        self.store[:, :, slot] = 0.0

    def take(self, other: KvCache, *, slots: int) -> None:
        """The first `slots` slots of a smaller cache."""
        self.store[:, :, :slots, :, : other.capacity] = other.store[:, :, :slots]

    def window(self, first: int, starts: list[int], width: int) -> Window:
        """The slots from `first` on, one for each of `starts`: row b continues with `width` units at starts[b]."""
        return Window(self, first, starts, width)


class Window(Past):
    """Some neighbouring slots of a KvCache during one forward pass, which writes its keys and values into them.

    A row that is shorter than the batch is padded on the right; what its padding writes is hidden by its position
    until it is overwritten. positions: (B, T) for `Batch.positions`; padding never stands outside the cache.
    """

    def __init__(self, cache: KvCache, first: int, starts: list[int], width: int) -> None:
        device = cache.store.device
        stop, last = first + len(starts), max(starts) + width
        self._used = min(last, cache.capacity)
        self._even = min(starts) == max(starts) and last <= cache.capacity
        self._start = starts[0]
        begin = torch.tensor(starts, device=device)[:, None]
        self.positions = (begin + torch.arange(width, device=device)).clamp_(max=cache.capacity - 1)
        self._rows = torch.arange(len(starts), device=device)[:, None]
        self._store = cache.store[:, :, first:stop]

    def bias(self, batch: Batch, dtype: torch.dtype) -> Tensor | None:
        """Keys stand at their text's own positions: a unit sees those up to its own."""
        if not self._even:
            return cached_bias(self.positions, self._used, dtype)
        return None if self.positions.shape[1] == 1 else cached_bias(self.positions[:1], self._used, dtype)

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values into the slots; views over all that is held."""
        keys, values = self.write(layer, torch.stack((k_BHTK, v_BHTK)).permute(1, 3, 0, 2, 4)).unbind(0)
        return keys, values

    def write(self, layer: int, pairs_BT2HK: Tensor) -> Tensor:
        """`extend` in one tensor: keys before values (B, T, 2, Hkv, K); leaves a view (2, B, Hkv, S, K)."""
        held = self._store[layer]
        if self._even:
            held[:, :, :, self._start : self._used] = pairs_BT2HK.permute(2, 0, 3, 1, 4)
        else:
            held[:, self._rows, :, self.positions] = pairs_BT2HK
        return held[:, :, :, : self._used]


class Prefix(Past):
    """One beginning that every row of a batch continues: keys and values (Hkv, S, K), a pair a layer."""

    def __init__(self, layers: tuple[tuple[Tensor, Tensor], ...]) -> None:
        self._layers = layers

    def bias(self, batch: Batch, dtype: torch.dtype) -> Tensor | None:
        """The beginning is seen by all; the batch's own units as without it."""
        return attention_bias(batch, dtype)

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """The beginning's keys and values before each row's own."""
        keys, values = self._layers[layer]
        rows = (k_BHTK.shape[0], -1, -1, -1)
        return torch.cat((keys.expand(rows), k_BHTK), dim=2), torch.cat((values.expand(rows), v_BHTK), dim=2)


class Recorder(Past):
    """Keeps what the single row of a forward pass reads after `before` (None: from the start), as a longer Prefix."""

    def __init__(self, before: Prefix | None) -> None:
        self._before = before
        self._layers: list[tuple[Tensor, Tensor]] = []

    def bias(self, batch: Batch, dtype: torch.dtype) -> Tensor | None:
        """As without recording."""
        return attention_bias(batch, dtype) if self._before is None else self._before.bias(batch, dtype)

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """As without recording."""
        if self._before is not None:
            k_BHTK, v_BHTK = self._before.extend(layer, k_BHTK, v_BHTK)
        self._layers.append((k_BHTK[0], v_BHTK[0]))
        return k_BHTK, v_BHTK

    def prefix(self) -> Prefix:
        """What was read, once the forward pass is done."""
        return Prefix(tuple(self._layers))
