"""The slots of a decoder: which units each holds keys and values for, and what a new text can take over from them.

A slot keeps what it read after its request is done, until it is needed. So a preamble that many requests share, or a
conversation that goes on, is read once and copied: the longest beginning that any slot holds is taken over.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.data.text_codec import Ids
from headstart.model.cache import KvCache, Window
from headstart.model.config import TrunkConfig

STEP = 256  # capacities are this times a power of two, so that a cache grows seldom
WIDTHS = 8  # what is read at once is a multiple of this wide, unless it is one unit a row


class Slots:
    """A KvCache of at most `cache_bytes`, grown and shrunk as requests need; the first slots are in use.

    Its length is a slot's: texts that need little room make room for each other, up to `max_rows` of them.
    """

    def __init__(
        self, config: TrunkConfig, *, max_rows: int, cache_bytes: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._config, self._dtype, self._device = config, dtype, device
        self._max_rows = max_rows
        unit_bytes = 2 * config.num_layers * config.num_kv_heads * config.head_dim * dtype.itemsize
        self._max_units = max(1, cache_bytes // unit_bytes)
        self._cache: KvCache | None = None
        self._units: NDArray[np.int32] = np.empty((0, 0), dtype=np.int32)
        self._lengths: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def make_room(self, units: int, *, used: int) -> bool:
        """Whether one more text of `units` fits beside the `used` first slots; the cache is grown where that helps."""
        capacity = self._capacity(units)
        cache = self._cache
        if cache is None or capacity > cache.capacity or (not used and len(self._lengths) < self._rows(capacity)):
            if used and self._rows(capacity) <= used:
                return False
            self._reshape(capacity, used=used)
        return used < len(self._lengths)

    def shared(self, ids: Ids) -> tuple[int, int]:
        """(the slot that holds the most of a text's beginning, how many of its units); never the whole text."""
        width = min(len(ids) - 1, self._units.shape[1])
        if not width or not len(self._lengths):
            return 0, 0
        same = (self._units[:, :width] == ids[:width]) & (np.arange(width) < self._lengths[:, None])
        counts = np.where(same.all(axis=1), width, same.argmin(axis=1))
        best = int(counts.argmax())
        return best, int(counts[best])

    def start(self, slot: int, ids: Ids) -> int:
        """Take over what another slot holds of a text's beginning; how many units that is."""
        source, count = self.shared(ids)
        assert self._cache is not None
        if self._held(slot, ids) == count:
            source = slot
        return self._take(count, ids, source=source, target=slot)

    def window(self, first: int, units: list[Ids]) -> Window:
        """The slots from `first` on, beyond what they hold, for one forward pass over `units`; `add` when it is done.

        As wide as the most units, rounded up: torch keeps what it compiles for every shape, and 10,000 prompts of all
        lengths would fill 150 MB with that.
        """
        assert self._cache is not None
        starts = self._lengths[first : first + len(units)].tolist()
        widest = max(len(new) for new in units)
        return self._cache.window(first, starts, widest if widest == 1 else -(-widest // WIDTHS) * WIDTHS)

    def add(self, first: int, units: list[Ids]) -> None:
        """The slots from `first` on hold `units` too: a forward pass over them has ended. One that was cut short has
        written what nobody holds."""
        for slot, new in enumerate(units, start=first):
            start = self.held(slot)
            self._units[slot, start : start + len(new)] = new
            self._lengths[slot] = start + len(new)

    def held(self, slot: int) -> int:
        """Units a slot holds."""
        return int(self._lengths[slot])

    def clear(self, slot: int) -> None:
        """Forget all that a slot holds, and overwrite it: a hidden key that is not finite would spoil who hides it."""
        assert self._cache is not None
        self._lengths[slot] = 0
        self._cache.clear(slot)

    def shorten(self, slot: int, units: int) -> None:
        """Forget what a slot holds beyond its first `units`."""
        self._lengths[slot] = min(self.held(slot), units)

    def move(self, source: int, target: int) -> None:
        """A slot's text into another slot."""
        count = self.held(source)
        self._take(count, self._units[source], source=source, target=target)

    def _take(self, count: int, ids: Ids, *, source: int, target: int) -> int:
        """The keys of `source` for the first `count` of `ids`; until they are copied, `target` holds nothing."""
        assert self._cache is not None
        if source != target:
            self._lengths[target] = 0
        self._cache.copy(count, source=source, target=target)
        self._units[target, :count] = ids[:count]
        self._lengths[target] = count
        return count

    def _held(self, slot: int, ids: Ids) -> int:
        count = min(self.held(slot), len(ids) - 1)
        same = self._units[slot, :count] == ids[:count]
        return count if same.all() else int(same.argmin())

    def _capacity(self, units: int) -> int:
        capacity = STEP
        while capacity < units:
            capacity *= 2
        return min(capacity, self._config.max_positions)

    def _rows(self, capacity: int) -> int:
        return min(self._max_rows, max(1, self._max_units // capacity))

    def _reshape(self, capacity: int, *, used: int) -> None:
        rows = self._rows(capacity)
        cache = KvCache(self._config, slots=rows, capacity=capacity, dtype=self._dtype, device=self._device)
        units = np.zeros((rows, capacity), dtype=np.int32)
        lengths = np.zeros(rows, dtype=np.int64)
        if self._cache is not None and capacity >= self._cache.capacity:  # a shorter one is made where none is in use
            kept = min(rows, len(self._lengths))
            cache.take(self._cache, slots=kept)
            units[:kept, : self._cache.capacity] = self._units[:kept]
            lengths[:kept] = self._lengths[:kept]
            assert kept >= used
        else:
            assert not used
        self._cache, self._units, self._lengths = cache, units, lengths
