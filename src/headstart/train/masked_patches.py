"""Objective `patches`: most patches are hidden, the trunk reads the others, a light decoder guesses what was hidden.

Masked autoencoding (He et al. 2021) of pictures, spectrograms and series. The trunk never sees a hidden patch, which
saves most of its work; targets are normalised patch by patch. The decoder is thrown away with the run: no Base has one.
B rows, V visible places (the trunk's own vectors included), N places in all, M hidden ones, P numbers of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.planes import Floats
from headstart.ground.batch import Batch
from headstart.model.blocks import Block, Context, make_norm
from headstart.model.config import TrunkConfig
from headstart.model.patches import Pair, PatchConfig, sine_table
from headstart.model.trunk import Trunk
from headstart.train.objective import Learner, LossRecord

FLAT = 1e-6  # added to a patch's variance (MAE, models_mae.py)


@dataclass(frozen=True, slots=True)
class Hiding:
    """How a batch is hidden. front: the trunk's own vectors. columns: of the trunk's table. area: numbers of a patch
    that are to be guessed, the first ones."""

    share: float
    front: int
    columns: int
    area: int


def hidden_batch(units: Floats, grid: Pair, hiding: Hiding, rng: np.random.Generator) -> Batch:
    """(B, T, P) patches of one grid -> the visible ones as units, the hidden ones as targets (B, M, area), both in
    ascending order of their places."""
    rows, total, _ = units.shape
    kept = max(1, round(total * (1.0 - hiding.share)))
    order = np.argsort(rng.random((rows, total)), axis=1)
    visible, hidden = np.sort(order[:, :kept], axis=1), np.sort(order[:, kept:], axis=1)
    down, across = np.divmod(visible, grid[1])
    front = np.broadcast_to(np.arange(hiding.front), (rows, hiding.front))
    positions = np.concatenate([front, hiding.front + down * hiding.columns + across], axis=1)
    seen = np.take_along_axis(units, visible[:, :, None], axis=1)
    seen = np.concatenate([np.zeros((rows, hiding.front, units.shape[2]), dtype=np.float32), seen], axis=1)
    targets = normalised(np.take_along_axis(units[:, :, : hiding.area], hidden[:, :, None], axis=1))
    return Batch(
        torch.from_numpy(seen),
        torch.full((rows,), hiding.front + kept),
        "full",
        positions=torch.from_numpy(positions),
        targets=torch.from_numpy(targets),
        grid=grid if grid[1] != hiding.columns else None,
    )


def normalised(patches: Floats) -> Floats:
    """Every patch with mean 0 and variance 1: harder to guess than the numbers themselves, and better to learn from."""
    mean = patches.mean(axis=2, keepdims=True)
    variance = patches.var(axis=2, keepdims=True, ddof=1)
    return np.asarray((patches - mean) / np.sqrt(variance + FLAT), dtype=np.float32)


class PatchDecoder(nn.Module):
    """Narrow blocks over all places: hidden states where something was seen, one learned vector where not."""

    def __init__(self, config: TrunkConfig, patches: PatchConfig, *, width: int, area: int) -> None:
        super().__init__()
        self.patches = patches
        self.enter = nn.Linear(width, config.dim)
        self.hidden = nn.Parameter(torch.zeros(1, config.dim))
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = make_norm(config, config.dim)
        self.leave = nn.Linear(config.dim, area)
        self.table: Tensor
        self.register_buffer("table", sine_table(patches, config.dim), persistent=False)

    def forward(self, states_BVD: Tensor, positions: Tensor, grid: Pair | None) -> Tensor:
        """(B, M, area): a guess for every place of the grid that no position names, in ascending order."""
        rows = len(states_BVD)
        places = self.places(grid)
        x_BND = self.hidden.to(states_BVD.dtype).expand(rows, len(self.table), -1)
        index = positions[:, :, None].expand(-1, -1, x_BND.shape[2])
        x_BND = torch.scatter(x_BND, 1, index, self.enter(states_BVD)) + self.table.to(states_BVD.dtype)
        x_BND = x_BND[:, places]
        context = Context(None, None)
        for block in self.blocks:
            x_BND = block(x_BND, context)
        open_to_guess = torch.ones(rows, len(self.table), dtype=torch.bool, device=positions.device)
        open_to_guess = open_to_guess.scatter(1, positions, False)[:, places]
        guessed = x_BND[open_to_guess].view(rows, -1, x_BND.shape[2])
        return self.leave(self.norm(guessed))  # type: ignore[no-any-return]

    def places(self, grid: Pair | None) -> Tensor:
        """Rows of the table that a grid fills; it begins where the table begins."""
        front = self.patches.prefix
        rows, columns = grid or self.patches.grid
        inside = torch.arange(rows)[:, None] * self.patches.grid[1] + torch.arange(columns)
        found = torch.cat((torch.arange(front), front + inside.flatten()))
        return found.to(self.table.device)


class PatchModel(Learner):
    """A trunk and the decoder it is pre-trained with: Batch -> mean squared error of the hidden patches."""

    def __init__(self, trunk: Trunk, decoder: PatchDecoder) -> None:
        super().__init__(trunk)
        self.decoder = decoder

    def forward(self, batch: Batch) -> Tensor:
        assert batch.targets is not None
        assert batch.positions is not None
        states = self.trunk(replace(batch, grid=None))  # positions already say where in the table
        guessed = self.decoder(states, batch.positions, batch.grid)
        return torch.mean((guessed.float() - batch.targets) ** 2)


def patch_loss(model: PatchModel, batch: Batch) -> LossRecord:
    """The batch's mean squared error, weighted by its visible units."""
    return LossRecord(model(batch) * batch.num_units, float(batch.num_units))
