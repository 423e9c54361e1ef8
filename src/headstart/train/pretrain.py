"""Pre-training: a recipe and packed text in, a trained trunk and its curve out.

Tokenizer, packing, the hybrid objective and the one loop. With checkpoints the run goes on where it stopped, bit for
bit; when the loss leaves its course it goes back to the last checkpoint, passes the data of that stretch by and halves
its rates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec
import torch
from tokenizers import Tokenizer

from headstart.data.corpus import PackedCorpus, pack, read_documents, train_tokenizer
from headstart.ground.device import pick_device
from headstart.ground.errors import DataError, RunError
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk, fill, initialise
from headstart.train.checkpoint import Checkpoints, Progress, Saved
from headstart.train.guard import Diverged, Guard
from headstart.train.held_out import CurvePoint, validate
from headstart.train.loop import Job, StepRecord, Stopped, run
from headstart.train.objective import LanguageModel, lm_loss
from headstart.train.optim import Group, Optimiser
from headstart.train.ranks import ALONE, Ranks, spread, whole
from headstart.train.recipe import Optimisation, Recipe
from headstart.train.schedule import Schedule, cosine, trapezoid
from headstart.train.step_plan import StepPlan, mask_settings

TOKENIZER = "tokenizer.json"
MAX_ROLLBACKS = 3
MAX_FAILED_SAVES = 3
STATE_PER_WEIGHT = 12  # bytes at most: an fp32 weight and AdamW's two moments; Muon keeps one


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training run made: weights in fp32, the curve, the cost. steps and seconds: of all its parts.

    skipped: steps' worth of data passed by, after the run went back.
    """

    trunk: Trunk
    head: LMHead
    curve: tuple[CurvePoint, ...]
    stopped: Stopped
    steps: int
    seconds: float
    flops: float
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told what while a run goes on, and who may stop it between two steps."""

    on_step: Callable[[StepRecord], None] = lambda record: None
    on_point: Callable[[CurvePoint], None] = lambda point: None
    tell: Callable[[str], None] = lambda words: None
    stop: Callable[[], bool] = lambda: False


SILENT = Watch()


def build_tokenizer(shards: Sequence[Path], *, vocab_size: int, num_bytes: int, target: Path) -> Path:
    """Train the tokenizer on the first `num_bytes` of text, once; returns the tokenizer.json."""
    file = target / TOKENIZER
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
    checkpoints: Checkpoints | None = None,
    watch: Watch = SILENT,
    ranks: Ranks = ALONE,
    start: LanguageModel | None = None,
) -> Pretrained:
    """Run the recipe, from its last checkpoint where there is one. Same recipe, threads and torch: the same weights.

    start: weights of the recipe's shape to begin with instead of random ones; they are not changed. ranks: the
    processes that do it together; each of them calls this and has the whole result.

    Raises:
        ConfigError: the checkpoint was made of something else. RunError: three roll-backs did not help, or no space.
    """
    setup = _Setup(recipe, train, validation, probe_every, compile_blocks, checkpoints, watch, ranks, start)
    saved = None if checkpoints is None else checkpoints.newest()
    progress = Progress() if saved is None else saved.progress
    if progress.step:
        watch.tell(f"going on from step {progress.step:,}")
    while True:
        try:
            return _Stretch(setup, saved, progress).run()
        except Diverged as problem:
            if checkpoints is None:
                raise
            saved = checkpoints.newest()
            progress = gone_back(problem, Progress() if saved is None else saved.progress, progress.rollbacks)
            watch.tell(f"{problem} Going back to step {progress.step:,}, past that data, at half the learning rates")


def gone_back(problem: Diverged, base: Progress, rollbacks: int) -> Progress:
    """Where a run goes on after its loss left its course: at `base`, past the data that led there, more slowly."""
    if rollbacks >= MAX_ROLLBACKS:
        raise RunError(f"{problem} It went back {rollbacks} times already.") from problem
    skipped = base.skipped + problem.step + 1 - base.step
    return msgspec.structs.replace(base, rollbacks=rollbacks + 1, skipped=skipped)


@dataclass(frozen=True)
class _Setup:
    """What stays the same over the stretches of a run."""

    recipe: Recipe
    train: PackedCorpus
    validation: PackedCorpus
    probe_every: int
    compile_blocks: bool
    checkpoints: Checkpoints | None
    watch: Watch
    ranks: Ranks
    start: LanguageModel | None


class _Stretch:
    """From a checkpoint, or the start, to the end, an interruption or a divergence."""

    def __init__(self, setup: _Setup, saved: Saved | None, progress: Progress) -> None:
        self.setup, self.progress = setup, progress
        self.plan = StepPlan(setup.recipe, setup.train, progress.skipped)
        self.model = fresh(setup.recipe, setup.start, compile_blocks=setup.compile_blocks)
        if setup.ranks.size > 1:
            dtype = next(self.model.parameters()).dtype
            spread(self.model.float(), self.model.trunk.blocks, dtype=dtype)
        self.optimiser = Optimiser(parameter_groups(self.model, setup.recipe.optimisation))
        if saved is not None:
            self.optimiser.restore(self.model, saved.shapes(), saved.read)
        if setup.checkpoints is not None:
            setup.checkpoints.require_space(STATE_PER_WEIGHT * sum(p.numel() for p in self.model.parameters()))
        self.guard = Guard()
        self.seconds_before = progress.seconds
        self.begun = self.saved_at = time.monotonic()
        self.failed_saves = 0

    def run(self) -> Pretrained:
        """Train, probe, save."""
        settings = self.setup.recipe.optimisation
        falling = schedule_of(settings)
        slowed = 0.5**self.progress.rollbacks
        job = Job(
            model=self.model,
            optimiser=self.optimiser,
            micro_batches=self.plan.micro_batches,
            steps=self.plan.steps,
            first=self.progress.step,
            loss=partial(lm_loss, self.model, z_loss=self.setup.recipe.mixture.z_loss),
            schedule=lambda progress: slowed * falling(progress),
            probe=self._probe,
            probe_every=self.setup.probe_every,
            on_step=self._after_step,
            stop=self._between_steps,
            ranks=self.setup.ranks,
        )
        result = run(job)
        if result.stopped == "interrupted":  # in the middle of a step: what is in memory is no state to keep
            raise KeyboardInterrupt
        steps = self.progress.step
        if not self.progress.curve or self.progress.curve[-1].units != self.plan.units_before(steps):
            self._probe(steps)
        if result.steps and self.setup.checkpoints is not None:
            self._save(self.setup.checkpoints)
        model = gathered(self.optimiser.in_full_precision(self.model), self.setup.recipe)
        progress = self.progress
        return Pretrained(
            model.trunk,
            model.lm,
            progress.curve,
            result.stopped,
            steps,
            progress.seconds,
            self.plan.flops(steps),
            progress.skipped,
        )

    def _after_step(self, record: StepRecord) -> None:
        seconds = self.seconds_before + record.seconds
        self.progress = msgspec.structs.replace(self.progress, step=record.step + 1, seconds=seconds)
        self.setup.watch.on_step(replace(record, units=self.plan.units_before(record.step + 1), seconds=seconds))
        self.guard.see(record.step, record.loss)

    def _probe(self, step: int) -> bool:
        setup = self.setup
        seconds = self.seconds_before + time.monotonic() - self.begun
        bits, nats = validate(
            self.model,
            setup.validation,
            mask_settings(setup.recipe),
            causal_share=setup.recipe.mixture.causal_share,
            seed=setup.recipe.optimisation.seed,
        )
        point = CurvePoint(self.plan.units_before(step), seconds, bits, nats)
        self.progress = msgspec.structs.replace(self.progress, curve=(*self.progress.curve, point))
        setup.watch.on_point(point)
        return False

    def _between_steps(self) -> bool:
        """Save where it is time; whether to stop here. All processes do the same."""
        checkpoints, ranks = self.setup.checkpoints, self.setup.ranks
        late = checkpoints is not None and ranks.first and time.monotonic() - self.saved_at >= checkpoints.every
        saving, stopping = ranks.sums(late, self.setup.watch.stop())
        if checkpoints is not None and saving:
            try:
                self._save(checkpoints)
                self.failed_saves = 0
            except RunError as problem:
                self.failed_saves += 1
                if self.failed_saves >= MAX_FAILED_SAVES:
                    raise
                self.setup.watch.tell(f"{problem} Training goes on; the next try comes with the next checkpoint")
            self.saved_at = time.monotonic()
        return stopping > 0

    def _save(self, checkpoints: Checkpoints) -> None:
        checkpoints.save(self.optimiser.state(self.model), self.progress)


def fresh(recipe: Recipe, start: LanguageModel | None = None, *, compile_blocks: bool) -> LanguageModel:
    """The recipe's trunk and head as a run starts, random or those of `start`, on the device and in the dtype."""
    model, seed = unwritten(recipe), recipe.optimisation.seed
    if start is None:
        initialise(model.trunk, seed=seed, zero_outputs=recipe.optimisation.rule == "muon")
        fill(model.lm, seed=seed + 1)
    else:
        model.load_state_dict(start.state_dict())
    model.to(device=pick_device(), dtype=getattr(torch, recipe.optimisation.dtype))
    if compile_blocks:
        for block in model.trunk.blocks:
            block.compile(dynamic=False)
    return model


def unwritten(recipe: Recipe) -> LanguageModel:
    """The recipe's trunk and head before anything is written into them, in fp32."""
    config, family = recipe.trunk_config(), recipe.known_family()
    return LanguageModel(Trunk(config), LMHead(config, transform=family.lm_transform, bias=family.lm_bias))


@torch.no_grad()
def gathered(model: LanguageModel, recipe: Recipe) -> LanguageModel:
    """A trained model on the CPU, whole where its tensors are spread over processes."""
    copy = unwritten(recipe)
    for name, parameter in model.named_parameters():
        copy.get_parameter(name).copy_(whole(parameter))
    return copy


def schedule_of(settings: Optimisation) -> Schedule:
    """The factor of the peak rates over the run."""
    if settings.schedule == "cosine":
        return cosine(warmup=settings.warmup, floor=settings.floor)
    return trapezoid(warmup=settings.warmup, cooldown=settings.cooldown, floor=settings.floor)


def parameter_groups(model: LanguageModel, settings: Optimisation) -> list[Group]:
    """Muon or AdamW for the blocks' matrices; AdamW for the rest, without decay for tables, norms and biases."""
    matrices = tuple(p for p in model.trunk.blocks.parameters() if p.dim() == 2)
    taken = set(map(id, matrices))
    rest = tuple(p for p in model.parameters() if id(p) not in taken)
    betas = (0.9, 0.95)
    if settings.rule == "muon":
        first = Group(matrices, "muon", settings.muon_lr, settings.weight_decay)
    else:
        first = Group(matrices, "adamw", settings.adamw_lr, settings.weight_decay, betas)
    return [first, Group(rest, "adamw", settings.adamw_lr, 0.0, betas)]


def _first_bytes(shards: Sequence[Path], num_bytes: int) -> Iterator[str]:
    seen = 0
    for text in read_documents(shards):
        yield text
        seen += len(text.encode())
        if seen >= num_bytes:
            return
