"""The verb `pretrain`: raw shards and a recipe in, a Base of our own out.

Tokenizer, packing, the hybrid objective and the one loop. The curve (bits per byte on held-out text, read causally) is
part of the result and goes into the lineage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from headstart.data.corpus import (
    BOS_ID,
    MASK_ID,
    SPECIALS,
    PackedCorpus,
    pack,
    read_documents,
    row_order,
    train_tokenizer,
)
from headstart.ground.batch import Batch
from headstart.ground.errors import DataError
from headstart.ground.seeds import stream
from headstart.model.flops import train_flops
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk, initialise
from headstart.train.loop import Job, LoopResult, StepRecord, run
from headstart.train.objective import Ids, LossRecord, MaskSettings, Mode, causal_batch, lm_loss, masked_batch
from headstart.train.optim import Group, Optimiser
from headstart.train.recipe import Recipe
from headstart.train.schedule import trapezoid

VALIDATION_WIDTH = 256
VALIDATION_ROWS = 128


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of the curve: units seen, wall seconds, held-out bits per byte (causal) and masked nats per unit."""

    units: int
    seconds: float
    bits_per_byte: float
    masked_nats: float


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training run made: weights in fp32, the curve, the cost."""

    trunk: Trunk
    head: LMHead
    curve: tuple[CurvePoint, ...]
    result: LoopResult
    flops: float


def build_tokenizer(shards: Sequence[Path], *, vocab_size: int, num_bytes: int, target: Path) -> Path:
    """Train the tokenizer on the first `num_bytes` of text, once; returns the tokenizer.json."""
    file = target / "tokenizer.json"
    if not file.is_file():
        target.mkdir(parents=True, exist_ok=True)
        train_tokenizer(_first_bytes(shards, num_bytes), vocab_size=vocab_size).save(str(file))
    found = Tokenizer.from_file(str(file)).get_vocab_size()
    if found != vocab_size:
        raise DataError(
            f"the tokenizer in {target} has {found} units; expected {vocab_size}. Give more text or an empty --out."
        )
    return file


def pack_corpus(recipe: Recipe, *, data: Path, work: Path) -> tuple[PackedCorpus, PackedCorpus]:
    """(train, validation) packed below `work`, made once and reused while shards and tokenizer stay the same."""
    shards = [data / name for name in recipe.corpus.train]
    tokenizer = build_tokenizer(
        shards, vocab_size=recipe.shape.vocab_size, num_bytes=recipe.corpus.tokenizer_bytes, target=work
    )
    return pack(shards, tokenizer, work / "train"), pack(
        [data / recipe.corpus.validation], tokenizer, work / "validation"
    )


def train_text(
    recipe: Recipe,
    train: PackedCorpus,
    validation: PackedCorpus,
    *,
    probe_every: int,
    compile_blocks: bool = True,
    on_step: Callable[[StepRecord], None] | None = None,
    on_point: Callable[[CurvePoint, Trunk], None] | None = None,
) -> Pretrained:
    """Run the recipe. Same recipe, threads and torch give the same weights."""
    settings = recipe.optimisation
    dtype = getattr(torch, settings.dtype)
    trunk, head = Trunk(recipe.trunk_config()), LMHead(recipe.trunk_config())
    initialise(trunk, seed=settings.seed, zero_outputs=True)
    trunk.to(dtype)
    if compile_blocks:
        for block in trunk.blocks:
            block.compile(dynamic=False)
    optimiser = Optimiser(
        parameter_groups(
            trunk, muon_lr=settings.muon_lr, adamw_lr=settings.adamw_lr, weight_decay=settings.weight_decay
        )
    )
    plan = StepPlan(recipe, train)
    curve: list[CurvePoint] = []
    started = time.monotonic()

    def probe(step: int) -> bool:
        point = CurvePoint(
            plan.units_before(step), time.monotonic() - started, *validate(trunk, head, validation, recipe)
        )
        curve.append(point)
        if on_point is not None:
            on_point(point, trunk)
        return False

    job = Job(
        model=trunk,
        optimiser=optimiser,
        micro_batches=plan.micro_batches,
        steps=plan.steps,
        loss=partial(lm_loss, trunk, head, z_loss=recipe.mixture.z_loss),
        schedule=trapezoid(warmup=settings.warmup, cooldown=settings.cooldown, floor=settings.floor),
        probe=probe,
        probe_every=probe_every,
        on_step=on_step,
    )
    result = run(job)
    if not curve or curve[-1].units != result.units:
        probe(result.steps)
    return Pretrained(optimiser.in_full_precision(trunk), head, tuple(curve), result, plan.flops(result.steps))


@dataclass(frozen=True)
class StepPlan:
    """Which rows, width, mode and corruption each step has: a pure function of the recipe and the step."""

    recipe: Recipe
    corpus: PackedCorpus

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return math.ceil(self.recipe.optimisation.tokens / self.recipe.optimisation.tokens_per_step)

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
        settings, width = self.recipe.optimisation, self.width(step)
        modes = self.modes(step)
        per_step = settings.tokens_per_step // width
        available = self.corpus.num_rows(width)
        numbers = np.arange(step * per_step, (step + 1) * per_step)
        indices = (
            np.array(
                [
                    row_order(available, seed=settings.seed, epoch=epoch)[i]
                    for epoch, i in zip(*np.divmod(numbers, available), strict=True)
                ]
            )
            if numbers[-1] >= available
            else row_order(available, seed=settings.seed, epoch=0)[numbers]
        )
        rng = stream(settings.seed, "mask", step)
        return [
            self._corrupt(self.corpus.rows(part, width), mode, step, rng)
            for part, mode in zip(np.array_split(indices, len(modes)), modes, strict=True)
        ]

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
    """Span masking of a recipe, with the ids of our own tokenizers."""
    return MaskSettings(
        MASK_ID, BOS_ID, len(SPECIALS), recipe.shape.vocab_size, recipe.mixture.mask_start, recipe.mixture.mask_end
    )


def parameter_groups(trunk: Trunk, *, muon_lr: float, adamw_lr: float, weight_decay: float) -> list[Group]:
    """Muon for the blocks' matrices; AdamW for the embedding (no decay) and the norms."""
    matrices = tuple(p for p in trunk.blocks.parameters() if p.dim() == 2)
    taken = set(map(id, matrices))
    rest = tuple(p for p in trunk.parameters() if id(p) not in taken)
    return [Group(matrices, "muon", muon_lr, weight_decay), Group(rest, "adamw", adamw_lr, 0.0, betas=(0.9, 0.95))]


@torch.inference_mode()
def validate(trunk: Trunk, head: LMHead, corpus: PackedCorpus, recipe: Recipe) -> tuple[float, float]:
    """(bits per byte read causally, nats per hidden unit at the final mask share) over a fixed set of held-out rows."""
    trunk.eval()
    available = corpus.num_rows(VALIDATION_WIDTH)
    indices = np.linspace(0, available - 1, min(VALIDATION_ROWS, available)).astype(np.int64)
    sums = {"causal": LossSum(), "masked": LossSum()}
    rng = stream(recipe.optimisation.seed, "validation")
    for part in np.array_split(indices, math.ceil(len(indices) / 16)):
        rows = corpus.rows(part, VALIDATION_WIDTH)
        sums["causal"].add(lm_loss(trunk, head, causal_batch(rows), z_loss=0.0))
        sums["masked"].add(
            lm_loss(trunk, head, masked_batch(rows, mask_settings(recipe), progress=1.0, rng=rng), z_loss=0.0)
        )
    trunk.train()
    bytes_per_unit = corpus.meta.num_bytes / corpus.meta.num_units
    return sums["causal"].mean / math.log(2) / bytes_per_unit, sums["masked"].mean


class LossSum:
    """A running weighted mean of LossRecords."""

    def __init__(self) -> None:
        self._total, self._weight = 0.0, 0.0

    def add(self, record: LossRecord) -> None:
        """Count one batch."""
        self._total += float(record.total)
        self._weight += record.weight

    @property
    def mean(self) -> float:
        """Nats per weight so far."""
        return self._total / self._weight


def _first_bytes(shards: Sequence[Path], num_bytes: int) -> Iterator[str]:
    seen = 0
    for text in read_documents(shards):
        yield text
        seen += len(text.encode())
        if seen >= num_bytes:
            return
