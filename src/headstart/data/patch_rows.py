"""Rows of patches as a batch takes them: many inputs, and where in a position table each of their patches stands.

The twin of text_codec.Encoded. Inputs are kept at the codec's size and cut when a batch is made: pictures are then a
quarter of their patches, and a training can move and mask them anew in every epoch. B rows, T places of the longest of
them, P numbers of a patch. A row begins with `front` empty places, into which a trunk puts its own vectors (cls).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.data.augment import UNCHANGED, Augmentation
from headstart.data.patches import PatchCodec, Patches, Planes
from headstart.ground.batch import Batch, Pattern
from headstart.ground.errors import DataError

Grid = tuple[int, int]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PatchRows:
    """Many inputs at the size of `codec`.

    front: places before the first patch. table: (rows, columns) of the trunk's position table. free: an input that
    fills less than the table stands in its beginning; otherwise the table is resized to the input's grid. change, seed:
    what is done to a row before it is cut, where a batch is drawn for an epoch. truncated: inputs longer than the size.
    """

    planes: list[Planes]
    codec: PatchCodec
    front: int
    table: Grid
    free: bool
    change: Augmentation = UNCHANGED
    seed: int = 0
    truncated: int = 0

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(N,) int32, places per row."""
        counts = (self.front + math.prod(self.codec.grid_of(planes)) for planes in self.planes)
        return np.fromiter(counts, dtype=np.int32, count=len(self.planes))

    @property
    def channels(self) -> int:
        """Channels that stand one after the other in every row; 1 where rows differ, or hold one grid."""
        if self.codec.modality != "series" or self.codec.axes == 1:
            return 1
        found = {len(planes.values) for planes in self.planes}
        return found.pop() if len(found) == 1 else 1

    def expect_channels(self, channels: int) -> None:
        """DataError where a row has another number of channels than a head takes one by one; 1 takes any."""
        if channels == 1:
            return
        bad = next((planes for planes in self.planes if len(planes.values) != channels), None)
        if bad is not None:
            raise DataError(
                f"{bad.where} is a series of {len(bad.values)} channels; expected {channels}, as in the training rows. "
                "Leave it out, or give the same sensors."
            )

    def subset(self, rows: Sequence[int] | NDArray[np.int64]) -> PatchRows:
        """The given rows, in that order. What was cut is not counted again."""
        return replace(self, planes=[self.planes[int(row)] for row in rows], truncated=0)

    def batch(self, rows: Sequence[int] | NDArray[np.int64], *, pattern: Pattern, epoch: int | None = None) -> Batch:
        """The given rows, right-padded with zeros to the longest of them; with an epoch as `change` draws them."""
        chosen = [self._cut(int(row), epoch) for row in rows]
        lengths = [self.front + len(patches) for patches in chosen]
        widest = max(lengths)
        units = torch.zeros(len(chosen), widest, chosen[0].values.shape[1])
        positions = torch.zeros(len(chosen), widest, dtype=torch.long)
        positions[:, : self.front] = torch.arange(self.front)
        for place, patches in enumerate(chosen):
            units[place, self.front : lengths[place]] = torch.from_numpy(patches.values)
            positions[place, self.front : lengths[place]] = self.front + torch.from_numpy(self.places(patches))
        return Batch(units, torch.tensor(lengths), pattern, positions=positions, grid=self._grid(chosen))

    def _cut(self, row: int, epoch: int | None) -> Patches:
        planes = self.planes[row]
        return self.codec.cut(planes if epoch is None else self.change(planes, seed=self.seed, epoch=epoch, row=row))

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
    planes = [codec.prepare(raw, where=f"input {place}") for place, raw in enumerate(inputs)]
    return PatchRows(planes, codec, front, table, codec.fit == "free")
