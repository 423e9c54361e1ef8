"""The Batch: what data fills and the model consumes.

The attention pattern lives here and not in the model, so one set of weights is GPT (`causal`) and BERT (`full`).
Rows are right-padded; B = rows, T = positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pattern = Literal["causal", "full"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass worth of units.

    units: (B, T) long, token ids, or (B, T, P) float, the values of patches; the trunk puts its own vectors (cls) in
    the place of the first ones. lengths: (B,) long, real units per row. segments: (B, T) long, 0/1 for the two
    members of a pair (families with segment embeddings). documents: (B, T) long, attention stays inside equal ids
    (packed rows). targets: what the objective or the task head compares with; -100 where there is none.
    weights: (B,) float, one weight per row, all ones when absent. positions: (B, T) long, where a unit stands in its
    text; 0, 1, 2, ... when absent. until: (B, T) long, causal only: the column from which on a unit is no longer seen;
    several texts with one beginning stand in a row that way, as a tree in depth-first order. grid: (rows, columns) of
    patches that positions count through, row by row; the one the trunk was made for when absent.
    """

    units: Tensor
    lengths: Tensor
    pattern: Pattern
    segments: Tensor | None = None
    documents: Tensor | None = None
    targets: Tensor | None = None
    weights: Tensor | None = None
    positions: Tensor | None = None
    until: Tensor | None = None
    grid: tuple[int, int] | None = None

    @property
    def num_units(self) -> int:
        """Real (not padded) units in the batch."""
        return int(self.lengths.sum())

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor on `device`."""
        if self.units.device == device:
            return self
        wait = device.type == "cpu"  # what is read there is read at once; a copy to elsewhere stays in order
        return self._with(lambda tensor: tensor.to(device, non_blocking=not wait))

    def pin_memory(self) -> Batch:
        """The same batch in memory that an accelerator copies from while it computes; torch's loaders ask for it."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        segments, documents, targets, weights, positions, until = (
            None if tensor is None else change(tensor)
            for tensor in (self.segments, self.documents, self.targets, self.weights, self.positions, self.until)
        )
        units, lengths = change(self.units), change(self.lengths)
        return Batch(
            units, lengths, self.pattern, segments, documents, targets, weights, positions, until, grid=self.grid
        )
