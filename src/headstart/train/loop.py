"""The one loop. Pre-training and every adaptation are this loop with other batches, losses and parameters.

A Job says what moves and where its batches come from; `run` drives it to its last step, its deadline, a probe's stop or
Ctrl-C, and returns what happened. Evaluation enters as a function, so nothing here knows a metric.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from headstart.ground.allocator import memory_kept
from headstart.ground.batch import Batch
from headstart.ground.errors import HeadstartError
from headstart.train.guard import Diverged
from headstart.train.objective import LossRecord
from headstart.train.optim import Optimiser
from headstart.train.ranks import ALONE, Ranks, reduce_at
from headstart.train.schedule import Schedule

Stopped = Literal["done", "deadline", "probe", "asked", "interrupted"]
MAX_BAD_STEPS = 3
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MAKERS = min(4, CORES)  # processes that make batches beside an accelerator
FOR_THE_GROUP = frozenset({signal.SIGINT, signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One optimiser step: loss per weight, gradient norm, learning-rate factor, units and wall seconds so far."""

    step: int
    loss: float
    grad_norm: float
    factor: float
    units: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """What `run` trains. micro_batches(step) is a pure function of the step. A probe returns True to stop.

    first: the step to begin with, for a run that goes on. stop: asked before every step whether to end here. ranks: the
    processes among which the micro-batches of a step are dealt out; records are of all of them.
    """

    model: nn.Module
    optimiser: Optimiser
    micro_batches: Callable[[int], Sequence[Batch]]
    loss: Callable[[Batch], LossRecord]
    schedule: Schedule
    steps: int
    first: int = 0
    clip: float | None = 1.0
    deadline: float | None = None  # time.monotonic() by which the last step must have ended
    hurry: bool = True  # whether the schedule follows the clock where the deadline comes before the last step
    probe: Callable[[int], bool] | None = None
    probe_every: int = 0
    on_step: Callable[[StepRecord], None] | None = None
    stop: Callable[[], bool] | None = None
    ranks: Ranks = ALONE


@dataclass(frozen=True, slots=True)
class LoopResult:
    """How far a run came and why it ended. steps: those of this call."""

    steps: int
    stopped: Stopped
    seconds: float
    units: int
    history: tuple[StepRecord, ...] = field(repr=False)


def run(job: Job) -> LoopResult:
    """Train until the job ends. With a deadline a job in a hurry follows the clock where it is ahead of the steps.

    Raises Diverged after three steps in a row whose gradient is not finite.
    """
    with memory_kept():
        return _run(job)


def _run(job: Job) -> LoopResult:
    started = time.monotonic()
    history: list[StepRecord] = []
    units, bad_steps = 0, 0
    stopped: Stopped = "done"
    slowest = 0.0
    job.model.train()
    prepared = _prepared(job)
    try:
        for step in range(job.first, job.steps):
            now = time.monotonic()
            if job.stop is not None and job.stop():
                stopped = "asked"
                break
            if job.deadline is not None and now + slowest > job.deadline:
                stopped = "deadline"
                break
            factor = job.schedule(_progress(step, job, started, now))
            loss, weight, seen = _accumulate(job, next(prepared))
            norm = job.optimiser.step(factor=factor, weight=weight, clip=job.clip)
            bad_steps = 0 if math.isfinite(norm) else bad_steps + 1
            if bad_steps >= MAX_BAD_STEPS:
                raise Diverged(
                    step,
                    f"the gradient at step {step} is {norm}, {MAX_BAD_STEPS} times running; expected a finite number. "
                    "Lower the learning rate, or check the data for broken rows.",
                    first=step - MAX_BAD_STEPS + 1,
                )
            units += seen
            slowest = max(slowest * 0.9, time.monotonic() - now)
            history.append(StepRecord(step, loss / weight, norm, factor, units, time.monotonic() - started))
            if job.on_step is not None:
                job.on_step(history[-1])
            if job.probe is not None and job.probe_every and (step + 1) % job.probe_every == 0 and job.probe(step + 1):
                stopped = "probe"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
    job.model.eval()
    return LoopResult(len(history), stopped, time.monotonic() - started, units, tuple(history))


def _prepared(job: Job) -> Iterator[Sequence[Batch]]:
    """This process's micro-batches of step after step; beside an accelerator, `ahead` makes them."""
    steps = range(job.first, job.steps)
    if next(job.model.parameters()).device.type == "cpu":
        return (job.ranks.share(job.micro_batches(step)) for step in steps)
    return ahead(lambda step: job.ranks.share(job.micro_batches(step)), steps)


def ahead(make: Callable[[int], Sequence[Batch]], steps: range) -> Iterator[Sequence[Batch]]:
    """make(step) of step after step, made by other processes while a step is computed: threads would take turns with
    the one that feeds the accelerator. A HeadstartError of `make` is raised here, in its own words."""
    loader = DataLoader(
        _Steps(make, len(steps)),
        sampler=steps,
        batch_size=None,
        num_workers=MAKERS,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork",
        worker_init_fn=_stand_apart,
        generator=torch.Generator(),  # else it would draw from the one that everybody shares
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_GROUP)  # a maker is born deaf to them, see _stand_apart
    try:
        makers = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for made in makers:
        if isinstance(made, HeadstartError):
            raise made
        yield made


class _Steps(Dataset[Sequence[Batch] | HeadstartError]):
    def __init__(self, make: Callable[[int], Sequence[Batch]], count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, step: int) -> Sequence[Batch] | HeadstartError:
        try:
            return self._make(step)
        except HeadstartError as problem:  # torch would put a traceback into its words
            return problem


def _as_it_is(step: Sequence[Batch] | HeadstartError) -> Sequence[Batch] | HeadstartError:
    return step


def _stand_apart(worker: int) -> None:
    """Signals to the group (Ctrl-C, torchrun, a scheduler) are for the process that trains: it saves, then ends us."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while signal.sigpending() & FOR_THE_GROUP:  # one that came before this process left the group
        signal.sigwait(FOR_THE_GROUP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_GROUP)


def _progress(step: int, job: Job, started: float, now: float) -> float:
    by_steps = step / max(job.steps, 1)
    if job.deadline is None or not job.hurry:
        return by_steps
    return max(by_steps, (now - started) / max(job.deadline - started, 1e-9))


def _accumulate(job: Job, batches: Sequence[Batch]) -> tuple[float, float, int]:
    """Backward over the micro-batches of a step -> (summed loss, summed weight, units)."""
    losses: list[Tensor] = []  # read at the end: reading one waits for the accelerator
    weight, seen = 0.0, 0
    device = next(job.model.parameters()).device
    for number, batch in enumerate(batches, start=1):
        reduce_at(job.model, last=number == len(batches))
        seen += batch.num_units
        record = job.loss(batch.to(device))
        record.total.backward()  # type: ignore[no-untyped-call]
        job.optimiser.accumulate()
        losses.append(record.total.detach())
        weight += record.weight
    loss, weight, units = job.ranks.sums(sum(map(float, losses)), weight, seen)
    return loss, weight, int(units)
