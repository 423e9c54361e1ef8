"""Which rows, width, mode and corruption each step of a pre-training run has: a pure function of recipe and step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headstart.data.corpus import BOS_ID, MASK_ID, SPECIALS, PackedCorpus, row_order
from headstart.ground.batch import Batch
from headstart.ground.seeds import stream
from headstart.train.objective import Ids, MaskSettings, Mode, causal_batch, masked_batch, turns_of
from headstart.train.recipe import Recipe


@dataclass(frozen=True)
class StepPlan:
    """Which rows, width, mode and corruption each step has: a pure function of the recipe and the step.

    skipped: steps' worth of data passed by, after a run went back to a checkpoint.
    """

    recipe: Recipe
    corpus: PackedCorpus
    skipped: int = 0

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.recipe.num_steps

    def units_before(self, step: int) -> int:
        """Units consumed before a step."""
        return step * self.recipe.optimisation.tokens_per_step

    def modes(self, step: int) -> list[Mode]:
        """One mode per micro-batch; over the run the causal ones make up the recipe's share, evenly spread."""
        count = max(1, self.recipe.optimisation.tokens_per_step // self.recipe.optimisation.micro_tokens)
        share = self.recipe.mixture.causal_share
        first = step * count
        return [
            "causal" if math.floor((i + 1) * share) > math.floor(i * share) else "masked"
            for i in range(first, first + count)
        ]

    def micro_batches(self, step: int) -> list[Batch]:
        """The corrupted micro-batches of a step."""
        rng = stream(self.recipe.optimisation.seed, "mask", step + self.skipped)
        modes = self.modes(step)
        rows, epochs = (np.array_split(part, len(modes)) for part in self.visits(step))
        return [self._corrupt(r, e, mode, step, rng) for r, e, mode in zip(rows, epochs, modes, strict=True)]

    def visits(self, step: int) -> tuple[Ids, Ids]:
        """Row numbers of a step at its width, and how often each was visited before: every epoch takes every row once,
        in its own order."""
        settings, width = self.recipe.optimisation, self.recipe.width(step)
        per_step, available = settings.tokens_per_step // width, self.corpus.num_rows(width)
        first = (step + self.skipped) * per_step
        epochs, places = np.divmod(np.arange(first, first + per_step), available)
        found = np.empty(per_step, dtype=np.int64)
        for epoch in np.unique(epochs):
            order = row_order(available, seed=settings.seed, epoch=int(epoch))
            found[epochs == epoch] = order[places[epochs == epoch]]
        return found, epochs

    def flops(self, steps: int) -> float:
        """Training FLOPs of the first `steps` steps."""
        return float(sum(self.recipe.step_flops(step) for step in range(steps)))

    def _corrupt(self, rows: Ids, epochs: Ids, mode: Mode, step: int, rng: np.random.Generator) -> Batch:
        width, masks = self.recipe.width(step), mask_settings(self.recipe)
        units, progress = self.corpus.rows(rows, width), step / self.steps
        if mode == "causal":
            return causal_batch(units)
        an_epoch = self.corpus.num_rows(width) * width / self.units_before(self.steps)  # of the run's progress
        turns = [
            turns_of(
                int(row),
                width,
                masks,
                seed=self.recipe.optimisation.seed,
                hidden_before=sum(masks.share(max(0.0, progress - ago * an_epoch)) for ago in range(1, epoch + 1)),
            )
            for row, epoch in zip(rows, epochs, strict=True)
        ]
        return masked_batch(units, masks, progress=progress, rng=rng, turns=np.stack(turns))


def mask_settings(recipe: Recipe) -> MaskSettings:
    """Masking of a recipe, with the ids of our own tokenizers."""
    mix = recipe.mixture
    return MaskSettings(
        mask_id=MASK_ID,
        bos_id=BOS_ID,
        num_specials=len(SPECIALS),
        vocab_size=recipe.shape.vocab_size,
        share_start=mix.mask_start,
        share_end=mix.mask_end,
        longest_span=mix.longest_span,
        in_place=mix.targets == "same",
    )
