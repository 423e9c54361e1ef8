"""Rows of patches as a batch takes them: the patches of many inputs, and where in a position table each of them stands.

The twin of text_codec.Encoded. B rows, T places of the longest of them, P numbers of a patch. A row begins with `front`
empty places, into which a trunk puts its own vectors (cls).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.data.patches import PatchCodec, Patches
from headstart.ground.batch import Batch, Pattern

Grid = tuple[int, int]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PatchRows:
    """The patches of many inputs.

    front: places before the first patch. table: (rows, columns) of the trunk's position table. free: an input that
    fills less than the table stands in its beginning; otherwise the table is resized to the input's grid.
    """

    patches: list[Patches]
    front: int
    table: Grid
    free: bool

    truncated = 0  # a codec brings its inputs to its own size; nothing is cut off here

    def __len__(self) -> int:
        return len(self.patches)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32, places per row."""
        return np.fromiter((self.front + len(p) for p in self.patches), dtype=np.int32, count=len(self.patches))

    def subset(self, rows: Sequence[int] | NDArray[np.int64]) -> PatchRows:
        """The given rows, in that order."""
        return replace(self, patches=[self.patches[int(row)] for row in rows])

    def batch(self, rows: Sequence[int] | NDArray[np.int64], *, pattern: Pattern) -> Batch:
        """The given rows, right-padded with zeros to the longest of them."""
        chosen = [self.patches[int(row)] for row in rows]
        lengths = [self.front + len(patches) for patches in chosen]
        widest = max(lengths)
        units = torch.zeros(len(chosen), widest, chosen[0].values.shape[1])
        positions = torch.zeros(len(chosen), widest, dtype=torch.long)
        positions[:, : self.front] = torch.arange(self.front)
        for place, patches in enumerate(chosen):
            units[place, self.front : lengths[place]] = torch.from_numpy(patches.values)
            positions[place, self.front : lengths[place]] = self.front + torch.from_numpy(self.places(patches))
        return Batch(units, torch.tensor(lengths), pattern, positions=positions, grid=self._grid(chosen))

    def places(self, patches: Patches) -> Places:
        """(T,) where in the table, or in the grid it is resized to, every patch stands.

        A table of one row knows columns only: the channels of a series stand in the same places.
        """
        rows, columns = as_pair(patches.grid)
        down, across = np.divmod(np.arange(rows * columns), columns)
        if self.table[0] == 1:
            return across
        return np.asarray(down * (self.table[1] if self.free else columns) + across)

    def _grid(self, chosen: Sequence[Patches]) -> Grid | None:
        """The grid to which the table must be resized, None where it fits as it is."""
        rows, columns = as_pair(chosen[0].grid)
        if self.free or (columns == self.table[1] and self.table[0] in (1, rows)):
            return None
        return (1 if self.table[0] == 1 else rows), columns


def as_pair(grid: tuple[int, ...]) -> Grid:
    """(rows, columns) of a grid; one of a single axis is one row."""
    return (1, grid[0]) if len(grid) == 1 else (grid[0], grid[1])


def encode_patches(codec: PatchCodec, inputs: Sequence[Any], *, front: int, table: Grid) -> PatchRows:
    """Every input read by the codec; DataError names the place of a bad one."""
    patches = [codec.encode(raw, where=f"input {place}") for place, raw in enumerate(inputs)]
    return PatchRows(patches, front, table, codec.fit == "free")
