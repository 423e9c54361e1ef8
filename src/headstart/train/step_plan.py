"""Which rows, width, mode and corruption each step of a pre-training run has: a pure function of recipe and step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headstart.data.corpus import BOS_ID, MASK_ID, SPECIALS, PackedCorpus, row_order
from headstart.ground.batch import Batch
from headstart.ground.seeds import stream
from headstart.model.flops import train_flops
from headstart.train.objective import Ids, MaskSettings, Mode, causal_batch, masked_batch
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

    def width(self, step: int) -> int:
        """Row width at a step, from the recipe's curriculum."""
        progress = step / self.steps
        return next(width for until, width in self.recipe.optimisation.lengths if progress < until or until >= 1.0)

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
        modes, width = self.modes(step), self.width(step)
        return [
            self._corrupt(self.corpus.rows(part, width), mode, step, rng)
            for part, mode in zip(np.array_split(self.rows(step), len(modes)), modes, strict=True)
        ]

    def rows(self, step: int) -> Ids:
        """Row numbers of a step, at its width: every epoch visits every row once, in its own order."""
        settings, width = self.recipe.optimisation, self.width(step)
        per_step, available = settings.tokens_per_step // width, self.corpus.num_rows(width)
        first = (step + self.skipped) * per_step
        epochs, places = np.divmod(np.arange(first, first + per_step), available)
        found = np.empty(per_step, dtype=np.int64)
        for epoch in np.unique(epochs):
            order = row_order(available, seed=settings.seed, epoch=int(epoch))
            found[epochs == epoch] = order[places[epochs == epoch]]
        return found

    def flops(self, steps: int) -> float:
        """Training FLOPs of the first `steps` steps; masked batches send only their targets through the head."""
        config, settings, mix = self.recipe.trunk_config(), self.recipe.optimisation, self.recipe.mixture
        predicted = mix.causal_share + (1.0 - mix.causal_share) * (mix.mask_start + mix.mask_end) / 2
        return float(
            sum(
                train_flops(
                    config,
                    units=settings.tokens_per_step,
                    context=self.width(s),
                    head_units=int(settings.tokens_per_step * predicted),
                )
                for s in range(steps)
            )
        )

    def _corrupt(self, rows: Ids, mode: Mode, step: int, rng: np.random.Generator) -> Batch:
        if mode == "causal":
            return causal_batch(rows)
        return masked_batch(rows, mask_settings(self.recipe), progress=step / self.steps, rng=rng)


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
