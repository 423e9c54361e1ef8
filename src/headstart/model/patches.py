"""Patches to vectors: a linear projection, learned vectors in front (cls), positions on a grid that can be resized.

(B, T, P) float -> (B, T, D). A patch is a rectangle of an image, of a log-mel spectrogram or of a series (one row),
flattened as (channel, row, column), so that a ViT's convolution kernel is this projection's matrix, reshaped
(Dosovitskiy et al. 2020). T counts the places of the vectors in front.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.ground.errors import ConfigError
from headstart.model.heads import Pooling

Pair = tuple[int, int]
MAX_SIDE = 1 << 20  # values of a row or column; far above any picture, spectrogram or series that is read whole
MAX_PATCHES = 1 << 20
SINE_BASE = 10_000.0  # MAE, util/pos_embed.py


@dataclass(frozen=True, slots=True)
class PatchConfig:
    """What a patch is and how many there are. Pairs are (rows, columns); a spectrogram has mel bands in rows, time in
    columns, a series one row.

    size: values that the position table was made for. stride: from one patch to the next; less than `patch` where they
    overlap (AST). prefix: learned vectors in front, one (cls) or two (AST, DeiT: cls and distillation). pooling: what
    stands for a whole row.
    """

    channels: int
    size: Pair
    patch: Pair
    stride: Pair
    prefix: int
    pooling: Pooling

    def __post_init__(self) -> None:
        whole = (self.channels, *self.size, *self.patch, *self.stride)
        if not all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MAX_SIDE for n in whole):
            raise ConfigError(
                f"the patches have channels, size, patch and stride {self.channels}, {self.size}, {self.patch} and "
                f"{self.stride}; expected whole numbers from 1 to {MAX_SIDE:,}. Check the base's config.json."
            )
        if any(p > s for p, s in zip(self.patch, self.size, strict=True)):
            raise ConfigError(f"the patch is {self.patch}; expected at most the size {self.size}. Check config.json.")
        if not 0 <= self.prefix <= 2 or self.num_patches > MAX_PATCHES:
            raise ConfigError(
                f"there are {self.prefix} vectors before {self.num_patches:,} patches; expected at most 2 before "
                f"{MAX_PATCHES:,}. Check the base's config.json."
            )
        if self.prefix < {"first": 1, "first_two": 2}.get(self.pooling, 0):
            raise ConfigError(f"the pooling is {self.pooling!r} with {self.prefix} vectors in front; expected as many.")

    @property
    def grid(self) -> Pair:
        """(rows, columns) of patches."""
        rows, columns = ((s - p) // step + 1 for s, p, step in zip(self.size, self.patch, self.stride, strict=True))
        return rows, columns

    @property
    def num_patches(self) -> int:
        """Patches of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def unit_size(self) -> int:
        """P, values of a patch."""
        return self.channels * self.patch[0] * self.patch[1]

    def num_parameters(self, dim: int) -> int:
        """Of the projection and the vectors in front; positions are counted by the TrunkConfig."""
        return dim * (self.unit_size + 1 + self.prefix)

    def as_dict(self) -> dict[str, object]:
        """Plain values by field name, for lineage and reports."""
        return asdict(self)


class PatchEmbedder(nn.Module):
    """Projection, vectors in front, and one learned position for each of them and of the grid's patches."""

    def __init__(self, config: PatchConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Linear(config.unit_size, dim)
        self.prefix = nn.ParameterList([torch.zeros(1, dim) for _ in range(config.prefix)])
        self.positions = nn.Parameter(torch.zeros(config.prefix + config.num_patches, dim))

    @property
    def weight(self) -> Tensor:
        """The matrix that units meet first."""
        return self.proj.weight

    def forward(self, units: Tensor, positions: Tensor, grid: Pair | None) -> Tensor:
        """units (B, T, P), positions (B or 1, T) in the grid, which is the config's where None."""
        x_BTD: Tensor = self.proj(units.to(self.proj.weight.dtype))
        if self.config.prefix:
            front = torch.cat(list(self.prefix))[None].expand(len(units), -1, -1)
            x_BTD = torch.cat((front, x_BTD[:, self.config.prefix :]), dim=1)
        return x_BTD + F.embedding(positions, self.table(grid))

    def table(self, grid: Pair | None) -> Tensor:
        """(prefix + rows * columns, D) positions of a grid; another than the config's by bicubic interpolation."""
        if grid is None or grid == self.config.grid:
            return self.positions
        front, patches = self.positions[: self.config.prefix], self.positions[self.config.prefix :]
        plane = patches.T.reshape(1, -1, *self.config.grid).float()
        resized = F.interpolate(plane, size=grid, mode="bicubic", align_corners=False)
        return torch.cat((front, resized.flatten(2)[0].T.to(front.dtype)))


def sine_table(config: PatchConfig, dim: int) -> Tensor:
    """(prefix + patches, D) positions to begin with: sine and cosine of column and row, zero in front (MAE).

    A grid of one row has no rows to tell apart, so its columns take the whole width.
    """
    rows, columns = config.grid
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    axes = [across] if rows == 1 else [across, down]
    width = dim // (2 * len(axes))
    rates = SINE_BASE ** -(torch.arange(width, dtype=torch.float64) / width)
    waves = []
    for axis in axes:
        angles = axis.flatten()[:, None] * rates
        waves += [angles.sin(), angles.cos()]
    table = torch.zeros(config.prefix + rows * columns, dim)
    table[config.prefix :, : width * 2 * len(axes)] = torch.cat(waves, dim=1).float()
    return table
