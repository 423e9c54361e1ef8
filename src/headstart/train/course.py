"""A pre-training run, whatever it trains: steps, probes, checkpoints, roll-backs, several processes.

A Course says what is trained on what; here it is driven through the one loop. With checkpoints the run goes on where it
stopped, bit for bit; when the loss leaves its course it goes back to the last checkpoint, passes the data of that
stretch by and halves its rates.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeVar

import msgspec
import torch

from headstart.ground.batch import Batch
from headstart.ground.device import pick_device
from headstart.ground.errors import RunError
from headstart.model.trunk import initialise
from headstart.train.checkpoint import Checkpoints, Progress, Saved
from headstart.train.guard import Diverged, Guard
from headstart.train.held_out import CurvePoint
from headstart.train.loop import Job, StepRecord, Stopped, run
from headstart.train.objective import Learner, LossRecord
from headstart.train.optim import Group, Optimiser
from headstart.train.ranks import ALONE, Ranks, spread, whole
from headstart.train.recipe import Optimisation, in_fast_numbers
from headstart.train.schedule import Schedule, cosine, trapezoid

MAX_ROLLBACKS = 3
MAX_FAILED_SAVES = 3
VARIANTS = 64  # of a compiled block
STATE_PER_WEIGHT = 12  # bytes at most: an fp32 weight and AdamW's two moments; Muon keeps one
Trained = TypeVar("Trained", bound=Learner)


class Plan(Protocol):
    """Which batches every step has: a pure function of the step."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""

    def units_before(self, step: int) -> int:
        """Units consumed before a step."""

    def micro_batches(self, step: int) -> Sequence[Batch]:
        """The corrupted micro-batches of a step."""

    def flops(self, steps: int) -> float:
        """Training FLOPs of the first `steps` steps."""


class Course(ABC, Generic[Trained]):
    """What a run is about. start: weights to begin with instead of random ones; they are not changed."""

    settings: Optimisation
    start: Trained | None = None

    @abstractmethod
    def new_model(self) -> Trained:
        """The model in fp32: its trunk with nothing written into it, random weights above."""

    @abstractmethod
    def plan(self, skipped: int) -> Plan:
        """The batches. skipped: steps' worth of data passed by."""

    @abstractmethod
    def loss(self, model: Trained, batch: Batch) -> LossRecord:
        """What is made smaller."""

    @abstractmethod
    def look(self, model: Trained, *, units: int, seconds: float) -> CurvePoint:
        """How the model does on what it does not train on."""


@dataclass(frozen=True)
class Outcome(Generic[Trained]):
    """What a run made: the model in fp32 on the CPU, the curve, the cost. steps and seconds: of all its parts.

    skipped: steps' worth of data passed by, after the run went back.
    """

    model: Trained
    curve: tuple[CurvePoint, ...]
    stopped: Stopped
    steps: int
    seconds: float
    flops: float
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told what while a run goes on, and who may stop it between two steps.

    done: called when the last step is over and saved; what is made of it then is made again by another start.
    """

    on_step: Callable[[StepRecord], None] = lambda record: None
    on_point: Callable[[CurvePoint], None] = lambda point: None
    tell: Callable[[str], None] = lambda words: None
    stop: Callable[[], bool] = lambda: False
    done: Callable[[], None] = lambda: None


SILENT = Watch()


def follow(
    course: Course[Trained],
    *,
    probe_every: int,
    compile_blocks: bool = True,
    checkpoints: Checkpoints | None = None,
    watch: Watch = SILENT,
    ranks: Ranks = ALONE,
) -> Outcome[Trained]:
    """Run a course, from its last checkpoint where there is one. Same course, threads and torch: the same weights.

    ranks: the processes that do it together; each of them calls this and has the whole result.

    Raises:
        ConfigError: the checkpoint was made of something else. RunError: three roll-backs did not help, or no space.
    """
    setup = _Setup(course, probe_every, compile_blocks, checkpoints, watch, ranks)
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
            checkpoints.forget(after=problem.first)
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
class _Setup(Generic[Trained]):
    """What stays the same over the stretches of a run."""

    course: Course[Trained]
    probe_every: int
    compile_blocks: bool
    checkpoints: Checkpoints | None
    watch: Watch
    ranks: Ranks


class _Stretch(Generic[Trained]):
    """From a checkpoint, or the start, to the end, an interruption or a divergence."""

    def __init__(self, setup: _Setup[Trained], saved: Saved | None, progress: Progress) -> None:
        self.setup, self.progress = setup, progress
        self.plan = setup.course.plan(progress.skipped)
        if setup.ranks.size > 1:
            setup.ranks.share(self.plan.micro_batches(progress.step))  # says at once where they cannot be dealt out
        self.model = begun(
            setup.course.new_model(),
            setup.course.settings,
            setup.course.start,
            compile_blocks=setup.compile_blocks,
        )
        if setup.ranks.size > 1:
            dtype = next(self.model.parameters()).dtype
            spread(self.model.float(), self.model.trunk.blocks, dtype=dtype)
        self.optimiser = Optimiser(parameter_groups(self.model, setup.course.settings))
        if saved is not None:
            self.optimiser.restore(self.model, saved.shapes(), saved.read)
        if setup.checkpoints is not None:
            setup.checkpoints.require_space(STATE_PER_WEIGHT * sum(p.numel() for p in self.model.parameters()))
        self.guard = Guard(progress.recent, progress.above)
        self.seconds_before = progress.seconds
        self.begun = self.saved_at = time.monotonic()
        self.saved_step = progress.step  # a checkpoint of it stands, or it is the beginning
        self.failed_saves = 0

    def run(self) -> Outcome[Trained]:
        """Train, probe, save."""
        falling = schedule_of(self.setup.course.settings)
        slowed = 0.5**self.progress.rollbacks
        job = Job(
            model=self.model,
            optimiser=self.optimiser,
            micro_batches=self.plan.micro_batches,
            steps=self.plan.steps,
            first=self.progress.step,
            loss=partial(self.setup.course.loss, self.model),
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
        model = gathered(self.optimiser.in_full_precision(self.model), self.setup.course)
        progress = self.progress
        flops = self.plan.flops(steps)
        return Outcome(model, progress.curve, result.stopped, steps, progress.seconds, flops, skipped=progress.skipped)

    def _after_step(self, record: StepRecord) -> None:
        seconds = self.seconds_before + record.seconds
        self.progress = msgspec.structs.replace(self.progress, step=record.step + 1, seconds=seconds)
        self.setup.watch.on_step(replace(record, units=self.plan.units_before(record.step + 1), seconds=seconds))
        self.guard.see(record.step, record.loss)

    def _probe(self, step: int) -> bool:
        setup = self.setup
        seconds = self.seconds_before + time.monotonic() - self.begun
        point = setup.course.look(self.model, units=self.plan.units_before(step), seconds=seconds)
        self.progress = msgspec.structs.replace(self.progress, curve=(*self.progress.curve, point))
        setup.watch.on_point(point)
        return False

    def _between_steps(self) -> bool:
        """Save where it is time; whether to stop here. All processes do the same."""
        checkpoints, ranks = self.setup.checkpoints, self.setup.ranks
        late = checkpoints is not None and ranks.first and time.monotonic() - self.saved_at >= checkpoints.every
        late = late and self.progress.step > self.saved_step  # what the run stands on is not written again
        late = late and not self.guard.above  # what may have to be undone is no place to go back to
        saving, stopping = ranks.sums(late, self.setup.watch.stop())
        if checkpoints is not None and saving and not stopping:  # who stops saves in the end
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
        guard = self.guard
        self.progress = msgspec.structs.replace(self.progress, recent=guard.recent, above=guard.above)
        checkpoints.save(self.optimiser.state(self.model), self.progress)
        self.saved_step = self.progress.step


def begun(model: Trained, settings: Optimisation, start: Trained | None = None, *, compile_blocks: bool) -> Trained:
    """A new model as its run starts: its trunk random, or all of it `start`'s, on the device and in the dtype."""
    if start is None:
        initialise(model.trunk, seed=settings.seed, zero_outputs=settings.rule == "muon")
    else:
        model.load_state_dict(start.state_dict())
    model.to(device=pick_device(), dtype=getattr(torch, in_fast_numbers(settings).dtype))
    if compile_blocks:
        config = torch._dynamo.config  # a width in a pattern is a variant; above its limit torch goes on uncompiled
        config.recompile_limit = max(config.recompile_limit, VARIANTS)
        for block in model.trunk.blocks:
            block.compile(dynamic=False)
        model.compiled = True
    return model


@torch.no_grad()
def gathered(model: Trained, course: Course[Trained]) -> Trained:
    """A trained model on the CPU, whole where its tensors are spread over processes."""
    copy = course.new_model()
    for name, parameter in model.named_parameters():
        copy.get_parameter(name).copy_(whole(parameter))
    return copy


def schedule_of(settings: Optimisation) -> Schedule:
    """The factor of the peak rates over the run."""
    if settings.schedule == "cosine":
        return cosine(warmup=settings.warmup, floor=settings.floor)
    return trapezoid(warmup=settings.warmup, cooldown=settings.cooldown, floor=settings.floor)


def parameter_groups(model: Learner, settings: Optimisation) -> list[Group]:
    """Muon or AdamW for the blocks' matrices; AdamW for the rest, without decay for tables, norms and biases.

    Muon computes in the run's numbers, whatever its weights are held in: those spread over processes are in fp32.
    """
    matrices = tuple(p for p in model.trunk.blocks.parameters() if p.dim() == 2)
    taken = set(map(id, matrices))
    rest = tuple(p for p in model.parameters() if id(p) not in taken)
    betas = (0.9, 0.95)
    if settings.rule == "muon":
        numbers = getattr(torch, in_fast_numbers(settings).dtype)
        first = Group(matrices, "muon", settings.muon_lr, settings.weight_decay, numbers=numbers)
    else:
        first = Group(matrices, "adamw", settings.adamw_lr, settings.weight_decay, betas)
    return [first, Group(rest, "adamw", settings.adamw_lr, 0.0, betas)]
