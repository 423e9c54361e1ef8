"""Pre-training on patches: which planes each step has, how they are moved about and hidden, and the course of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from headstart.data.corpus import row_order
from headstart.data.patch_corpus import PatchCorpus
from headstart.data.patch_rows import as_pair
from headstart.data.planes import Floats, looped, mirrored, shifted, to_patches, windowed
from headstart.ground.batch import Batch
from headstart.ground.seeds import stream
from headstart.model.trunk import Trunk, fill
from headstart.train.course import Course
from headstart.train.held_out import CurvePoint, LossSum
from headstart.train.masked_patches import Hiding, PatchDecoder, PatchModel, hidden_batch, patch_loss
from headstart.train.objective import LossRecord
from headstart.train.patch_recipe import PatchRecipe

LOOKED_AT = 512  # held-out planes at most
ROWS_PER_LOOK = 64
Rows = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class PatchPlan:
    """The batches of every step: a pure function of recipe, corpus and step."""

    recipe: PatchRecipe
    corpus: PatchCorpus
    skipped: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.recipe.num_steps

    def units_before(self, step: int) -> int:
        """Patches read or guessed before a step."""
        return step * self.recipe.optimisation.tokens_per_step

    @property
    def turns(self) -> int:
        """Micro-batches of a step."""
        return max(1, self.recipe.optimisation.tokens_per_step // self.recipe.optimisation.micro_tokens)

    def rows_of(self, columns: int) -> int:
        """Planes of a micro-batch of so many columns."""
        return max(1, self.recipe.optimisation.micro_tokens // (self.recipe.patches().grid[0] * columns))

    def micro_batches(self, step: int) -> list[Batch]:
        """The hidden micro-batches of a step."""
        seed, turns = self.recipe.optimisation.seed, self.turns
        found = []
        for turn in range((step + self.skipped) * turns, (step + self.skipped + 1) * turns):
            columns = self.recipe.columns(turn)
            rng = stream(seed, "patches", turn)
            found.append(hide(self.recipe, self.corpus, self._rows(turn, self.rows_of(columns)), columns, rng))
        return found

    def flops(self, steps: int) -> float:
        """Training FLOPs of the first `steps` steps."""
        return float(sum(self.recipe.step_flops(step) for step in range(steps)))

    def _rows_before(self, turn: int) -> int:
        """Planes of all earlier micro-batches; their columns take turns."""
        cycle = len(self.recipe.hidden.columns) or 1
        counts = [self.rows_of(self.recipe.columns(place)) for place in range(cycle)]
        return turn // cycle * sum(counts) + sum(counts[: turn % cycle])

    def _rows(self, turn: int, count: int) -> Rows:
        """Planes of a micro-batch, which begins where the last one ended: every epoch takes every training plane once,
        in its own order."""
        chosen = training_rows(self.recipe, self.corpus)
        begun = self._rows_before(turn)
        epochs, places = np.divmod(np.arange(begun, begun + count), len(chosen))
        orders = {int(e): row_order(len(chosen), seed=self.recipe.optimisation.seed, epoch=int(e)) for e in set(epochs)}
        order = np.array([orders[int(e)][p] for e, p in zip(epochs, places, strict=True)], dtype=np.int64)
        return np.asarray(chosen[order], dtype=np.int64)


def training_rows(recipe: PatchRecipe, corpus: PatchCorpus) -> Rows:
    """Every plane but each `held_out`-th. A series of several channels is several planes, and which belong together is
    not kept: the other channels of a held-out plane are trained on, and its error is no error on unseen records."""
    rows = np.arange(len(corpus))
    return rows[rows % recipe.held_out != recipe.held_out - 1] if len(rows) >= recipe.held_out else rows


def held_out_rows(recipe: PatchRecipe, corpus: PatchCorpus) -> Rows:
    """At most LOOKED_AT of the others, evenly; all planes where there are too few to set any aside."""
    rows = np.arange(len(corpus))
    if len(rows) >= recipe.held_out:
        rows = rows[recipe.held_out - 1 :: recipe.held_out]
    return rows[np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).astype(np.int64)]


def hide(
    recipe: PatchRecipe, corpus: PatchCorpus, rows: Rows, columns: int, rng: np.random.Generator, *, move: bool = True
) -> Batch:
    """Planes of the corpus moved about (unless not), cut, and mostly hidden."""
    patches, hidden = recipe.patches(), recipe.hidden
    high, wide = as_pair(recipe.codec().patch)
    taken = corpus.take(rows)
    planes = looped(taken.planes, taken.columns, columns * wide, rng) if hidden.columns else taken.planes
    if move:
        planes = moved(planes, recipe, rng)
    units = to_patches(planes, (high, wide))
    if taken.levels is not None:
        levels = np.broadcast_to(taken.levels[:, None], (len(units), units.shape[1], 2))
        units = np.concatenate([units, levels], axis=2)
    hiding = Hiding(hidden.share, patches.prefix, patches.grid[1], recipe.reading.channels * high * wide)
    return hidden_batch(units, (patches.grid[0], columns), hiding, rng)


def moved(planes: Floats, recipe: PatchRecipe, rng: np.random.Generator) -> Floats:
    """The recipe's augmentation."""
    hidden = recipe.hidden
    if hidden.shift:
        planes = shifted(planes, hidden.shift, rng)
    if hidden.mirror:
        planes = mirrored(planes, hidden.mirror, rng)
    if hidden.least < 1.0:
        planes = windowed(planes, hidden.least, rng)
    return planes


class PatchCourse(Course[PatchModel]):
    """Planes under a recipe."""

    def __init__(self, recipe: PatchRecipe, corpus: PatchCorpus) -> None:
        self.settings = recipe.optimisation
        self.recipe, self.corpus = recipe, corpus

    def new_model(self) -> PatchModel:
        return new_model(self.recipe)

    def plan(self, skipped: int) -> PatchPlan:
        return PatchPlan(self.recipe, self.corpus, skipped)

    def loss(self, model: PatchModel, batch: Batch) -> LossRecord:
        return patch_loss(model, batch)

    @torch.no_grad()
    def look(self, model: PatchModel, *, units: int, seconds: float) -> CurvePoint:
        model.eval()
        device = next(model.parameters()).device
        rows, found = held_out_rows(self.recipe, self.corpus), LossSum()
        columns = max(self.recipe.hidden.columns or (self.recipe.columns(0),))
        rng = stream(self.settings.seed, "validation")
        for part in np.array_split(rows, -(-len(rows) // ROWS_PER_LOOK)):
            batch = hide(self.recipe, self.corpus, part, columns, rng, move=False)
            found.add(patch_loss(model, batch.to(device)))
        model.train()
        return CurvePoint(units, seconds, None, None, found.mean)


def new_model(recipe: PatchRecipe) -> PatchModel:
    """The recipe's trunk, with nothing written into it, and a random decoder, in fp32."""
    patches = recipe.patches()
    decoder = PatchDecoder(recipe.decoder_config(), patches, width=recipe.shape.dim, area=recipe.area)
    model = PatchModel(Trunk(recipe.trunk_config(), patches), decoder)
    fill(model.decoder, seed=recipe.optimisation.seed + 1)
    return model
