"""`fit`: one base, one task, one method -> an adapted Base. The supervised use of the one loop.

Trained methods start from a small random head with a faster rate of its own, keep the weights of the best validation
pass, and stop in time when a deadline is given. Starting the head from the probe instead (Kumar et al. 2022) was worse
or equal on four of four sets: docs/notebook/2026-11-24-head-start.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.data.batching import bucket_batches
from headstart.data.task import Task
from headstart.ground.batch import Batch
from headstart.ground.errors import CapabilityError
from headstart.model.adapters import merged, put_back
from headstart.model.heads import TaskHead
from headstart.model.trunk import Trunk, fill
from headstart.train.frozen import Frozen, shared_features
from headstart.train.loop import Job, StepRecord, run
from headstart.train.methods import FitSettings, Method, check_method, parameter_groups, resolve
from headstart.train.objective import LossRecord
from headstart.train.optim import Optimiser, State
from headstart.train.pieces import Kept, Piece, Standing, keep, take_up
from headstart.train.prepared import Parts, prepare
from headstart.train.probe import Features, encode_features, solve_head
from headstart.train.schedule import trapezoid
from headstart.train.supervised import (
    Rows,
    Supervised,
    agreement,
    answers_of,
    prior,
    task_loss,
)
from headstart.train.vocabulary import widened

PASS_TOKENS = 2048  # of one forward pass: its activations fit the caches, 5,500 tokens/s a core against 4,250 at 8,192
UNLIMITED = 1 << 40  # buckets are cut by rows here; micro-batches bound the memory
PROBE_SHARE = 0.7  # of the time that is left, at most, for reading features
Stopped = Literal["done", "deadline", "probe", "interrupted", "paused"]
Judge = Callable[[Sequence[Any], Sequence[Any]], float]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step or validation pass, for whoever shows it."""

    method: Method
    step: int
    steps: int
    loss: float
    quality: float | None = None


@dataclass(frozen=True)
class Fitted:
    """An adapted base and what it cost. epochs: those really run; of a probe, which reads its rows once, the share of
    them that it read before its deadline. truncated: training rows that were cut or shrunk.

    validation: of the best weights, what they were kept by: what the judge says, less a hundredth of the loss. A fit
    that paused answers with its weights of that moment, `validation` is what the judge says of them, and `seconds` are
    of all its pieces.
    """

    base: Base
    method: Method
    settings: FitSettings
    seconds: float
    params_trained: int
    epochs: float
    truncated: int
    stopped: Stopped
    validation: float
    history: tuple[StepRecord, ...]


@dataclass(frozen=True, slots=True)
class _Trained:
    """What training left behind besides the weights."""

    params: int
    history: tuple[StepRecord, ...]
    epochs: float
    stopped: Stopped
    quality: float
    earlier: float = 0.0  # seconds of earlier pieces, or of other probes


@dataclass(frozen=True, slots=True)
class _Limits:
    """When a training ends or pauses. identity: what a kept piece must be a piece of."""

    deadline: float | None
    hurry: bool
    piece: Piece | None
    identity: str


def fit(
    base: Base,
    task: Task,
    *,
    method: str,
    seed: int = 0,
    settings: FitSettings | None = None,
    deadline: float | None = None,
    hurry: bool = True,
    piece: Piece | None = None,
    judge: Judge | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    frozen: Frozen | None = None,
) -> Fitted:
    """Adapt `base` to `task`; the argument is never changed.

    judge: (targets, answers) of the validation rows -> quality, by which the weights to keep are chosen; the share of
    right answers where not given. deadline: time.monotonic() by which to end with the best so far. hurry: cool the
    rates down in time for a deadline that comes before the last step. piece: go on from what an earlier piece of this
    fit kept, and pause after a share of the steps; a probe, which is solved at once, has no pieces. frozen: what a
    probe shares with others of the same set; it then reads all rows, whatever the deadline.

    Raises:
        ConfigError: an unknown method. DataError: rows that cannot be encoded. RunError: training diverges.
    """
    started = time.monotonic()
    chosen = check_method(method)
    check_inputs(base, task)
    resolved = resolve(
        settings or FitSettings(),
        method=chosen,
        config=base.trunk.config,
        num_rows=len(task.train),
        modality=base.modality,
    )
    parts = prepare(base, task, chosen, resolved, seed)
    patches = base.trunk.patches
    head = TaskHead(
        parts.trunk.config.dim,
        parts.train.num_outputs,
        parts.pooling,
        apart=parts.train.second is not None,
        channels=parts.channels,
        front=0 if patches is None else patches.prefix,
    )
    if chosen == "probe":
        train, validation, others = _features(base, parts, resolved, seed, deadline, frozen)
        loss = solve_head(head, parts.train, train, validation, deadline=deadline)
        cut = min(train.share, validation.share) < 1.0
        params = sum(p.numel() for p in head.parameters())
        trained = _Trained(params, (), train.share, "deadline" if cut else "done", -loss, others)
    else:
        fill(head, seed=seed)
        head.out.bias.data.copy_(torch.from_numpy(prior(parts.train)))
        assert resolved.patience is not None
        keeper = _Keeper(parts, head, resolved.patience, judge or partial(agreement, task.kind))
        limits = _Limits(deadline, hurry, piece, f"{base.name} {task.digest} {chosen} {seed} {resolved}")
        trained = _train(parts, head, keeper, chosen, resolved, seed, limits, on_progress)
    contract = _contract(task, parts, chosen, resolved)
    trunk = base.trunk if chosen == "probe" else _whole(parts, base, chosen)
    adapted = replace(
        base,
        trunk=trunk.requires_grad_(False).eval(),
        head=head.float().cpu().eval(),
        contract=contract,
        place=base.place if chosen == "probe" else "",  # other weights than those that lie there
    )
    return Fitted(
        adapted,
        chosen,
        resolved,
        time.monotonic() - started + trained.earlier,
        trained.params,
        trained.epochs,
        parts.train.truncated,
        trained.stopped,
        trained.quality,
        trained.history,
    )


def _contract(task: Task, parts: Parts, method: Method, settings: FitSettings) -> TaskContract:
    return TaskContract(
        kind=task.kind,
        labels=task.labels,
        columns=_columns(task),
        pooling=parts.pooling,
        max_length=settings.max_length,
        method=method,
        target_mean=parts.train.mean,
        target_scale=parts.train.scale,
        apart=parts.train.second is not None,
        channels=parts.channels,
    )


def check_inputs(base: Base, task: Task) -> None:
    """CapabilityError where the task's inputs are none that the base reads."""
    asked, read = task.columns.modality or "text", base.modality or "text"
    if asked != read:
        raise CapabilityError(
            f"{base.name} reads {read} and {task.name} holds {asked}; expected a base that reads {asked}. "
            f"Give such a base, or --{read} with a column of {read}."
        )


def _whole(parts: Parts, base: Base, method: Method) -> Trunk:
    """The trained trunk in fp32 on the CPU, with all its units; what LoRA froze is exactly as it was before bf16."""
    trained = parts.trunk.float().cpu()
    trunk = trained if parts.used is None else widened(trained, parts.whole, parts.used)
    return put_back(trunk, merged(base.trunk)) if method == "lora" else trunk


def _features(
    base: Base, parts: Parts, settings: FitSettings, seed: int, deadline: float | None, frozen: Frozen | None
) -> tuple[Features, Features, float]:
    """Those of the training and the validation rows for a probe, and the seconds that other probes spent on them."""
    if frozen is None or parts.pooling == "token":
        limit = None if deadline is None else time.monotonic() + (deadline - time.monotonic()) * PROBE_SHARE
        train, validation = (
            encode_features(
                parts.trunk, part, pooling=parts.pooling, channels=parts.channels, seed=seed, deadline=limit
            )
            for part in (parts.train, parts.validation)
        )
        return train, validation, 0.0

    def whole() -> tuple[Trunk, Supervised]:
        made = parts if frozen.rows is None else prepare(base, frozen.whole, "probe", settings, seed)
        return made.trunk, made.train

    return shared_features(
        frozen,
        parts.train,
        parts.validation,
        trunk=parts.trunk,
        whole=whole,
        pooling=parts.pooling,
        channels=parts.channels,
        max_length=settings.max_length,
        seed=seed,
    )


def _train(
    parts: Parts,
    head: TaskHead,
    keeper: _Keeper,
    method: Method,
    settings: FitSettings,
    seed: int,
    limits: _Limits,
    on_progress: Callable[[Progress], None] | None,
) -> _Trained:
    """Run the loop over the epochs; leaves the best weights in `parts.trunk` and the head, both in fp32."""
    assert settings.epochs is not None
    begun, model = time.monotonic(), keeper.model
    optimiser = Optimiser(parameter_groups(parts.trunk, head, method, settings))
    plan = _Plan(parts.train, settings.batch_rows, seed)
    per_epoch = plan.per_epoch
    steps = settings.epochs * per_epoch
    kept = None if limits.piece is None else take_up(limits.piece.folder, identity=limits.identity)
    earlier = Standing(limits.identity) if kept is None else kept.standing
    if kept is not None:
        optimiser.restore(model, {name: value.shape for name, value in kept.state.items()}, partial(_fill, kept.state))
        keeper.take_up(kept)
    pause = steps if limits.piece is None else min(steps, max(1, round(limits.piece.until * steps)))
    done = earlier.step

    def on_step(record: StepRecord) -> None:
        nonlocal done
        done = record.step + 1
        if on_progress is not None:
            on_progress(Progress(method, done, steps, record.loss))

    def probe(step: int) -> bool:
        stop = keeper.look()
        if on_progress is not None:
            on_progress(Progress(method, step, steps, keeper.last_loss, keeper.last))
        return stop

    def loss(batch: Batch) -> LossRecord:
        assert batch.targets is not None
        outputs = head(parts.trunk(batch).float(), batch.lengths)
        return task_loss(outputs, batch.targets, parts.train.kind, batch.weights)

    reserve = keeper.measure() if limits.deadline is not None else 0.0
    result = run(
        Job(
            model=model,
            optimiser=optimiser,
            loss=loss,
            micro_batches=plan.micro_batches,
            schedule=trapezoid(warmup=settings.warmup, cooldown=1.0 - settings.warmup),
            steps=steps,
            first=earlier.step,
            stop=lambda: done >= pause,
            deadline=None if limits.deadline is None else limits.deadline - 2.0 * reserve,
            hurry=limits.hurry,
            probe=probe,
            probe_every=per_epoch,
            on_step=on_step,
        )
    )
    history = (*earlier.history, *result.history)
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if result.stopped == "asked":
        assert limits.piece is not None, "only a piece pauses"
        spent = earlier.seconds + time.monotonic() - begun
        best, last = (keeper.best, keeper.last) if keeper.kept else (None, None)
        standing = Standing(limits.identity, done, best, last, keeper.since, spent, list(history))
        keep(limits.piece.folder, Kept(standing, optimiser.state(model), keeper.kept))
        judged = keeper.peek()
        optimiser.in_full_precision(model)
        return _Trained(params, history, done / per_epoch, "paused", judged, earlier.seconds)
    if not keeper.kept or (done % per_epoch and result.stopped != "probe"):
        keeper.look()
    optimiser.in_full_precision(model)
    keeper.restore(model)
    return _Trained(params, history, done / per_epoch, result.stopped, keeper.best, earlier.seconds)


def _fill(kept: State, into: State) -> None:
    """Read kept tensors into the optimiser's own."""
    for name, value in kept.items():
        into[name].copy_(value)


class _Plan:
    """The micro-batches of every step: length buckets of `batch_rows` rows, drawn anew every epoch."""

    def __init__(self, train: Supervised, batch_rows: int, seed: int) -> None:
        self._train, self._batch_rows, self._seed = train, batch_rows, seed
        self._lengths = train.encoded.lengths
        self._epoch = -1
        self._batches: list[Rows] = []
        self.per_epoch = -(-len(train) // batch_rows)

    def micro_batches(self, step: int) -> list[Batch]:
        """A step's rows, split where one forward pass would be larger than PASS_TOKENS slots; a row stays whole."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._batches = bucket_batches(
                self._lengths, batch_tokens=UNLIMITED, max_rows=self._batch_rows, seed=self._seed, epoch=epoch
            )
        rows = self._batches[place]
        slots = len(rows) * int(self._lengths[rows].max())
        passes = min(len(rows), -(-slots // PASS_TOKENS))
        return [self._train.batch(part, epoch=epoch) for part in np.array_split(rows, max(1, passes))]


class _Keeper:
    """Looks at validation and keeps the best weights. Quality: what the judge says, less a little loss."""

    def __init__(self, parts: Parts, head: TaskHead, patience: int, judge: Judge) -> None:
        self.model = nn.ModuleList([parts.trunk, head.to(device=parts.device)])
        self._parts, self._head, self._patience, self._judge = parts, head, patience, judge
        self.kept: dict[str, Tensor] = {}
        self.since = 0
        self.best, self.last, self.last_loss = -float("inf"), -float("inf"), 0.0
        self.judged = 0.0

    def measure(self) -> float:
        """Seconds of one validation pass."""
        started = time.monotonic()
        self._score()
        return time.monotonic() - started

    def peek(self) -> float:
        """What the judge says of the weights as they are; nothing is kept and no patience lost."""
        self._score()
        return self.judged

    def take_up(self, kept: Kept) -> None:
        """Go on where an earlier piece stood."""
        stood = kept.standing
        if stood.best is not None and stood.last is not None:
            self.best, self.last, self.since = stood.best, stood.last, stood.since
        self.kept = {n: value.to(self._parts.device) for n, value in kept.best.items()}

    def look(self) -> bool:
        """Score validation; True when patience has run out."""
        self.last = self._score()
        if self.last > self.best or not self.kept:
            self.best, self.since = self.last, 0
            self.kept = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}
        else:
            self.since += 1
        return self.since >= self._patience

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Put the best weights back, unless the last ones are the best."""
        if self.last < self.best:
            for name, value in self.kept.items():
                model.get_parameter(name).copy_(value)

    @torch.inference_mode()
    def _score(self) -> float:
        self.model.eval()
        total = weight = 0.0
        data = self._parts.validation
        answers: list[Any] = [None] * len(data)
        for rows in bucket_batches(data.encoded.lengths, batch_tokens=PASS_TOKENS):
            batch = data.batch(rows).to(self._parts.device)
            assert batch.targets is not None
            outputs = self._head(self._parts.trunk(batch).float(), batch.lengths)
            record = task_loss(outputs, batch.targets, data.kind, batch.weights)
            total, weight = total + float(record.total), weight + record.weight
            for row, answer in zip(rows, answers_of(outputs, batch.targets, data), strict=True):
                answers[int(row)] = answer
        self.model.train()
        self.last_loss = total / max(weight, 1e-9)
        if not answers:
            return 0.0
        self.judged = self._judge(readable(data, answers), answers)
        return self.judged - 0.01 * self.last_loss


def readable(data: Supervised, answers: Sequence[Any]) -> Sequence[Any]:
    """The targets of what was answered: a row of tags may be longer than the model reads."""
    if data.kind != "tags":
        return data.targets
    targets: Sequence[Any] = data.targets
    return [tuple(wanted)[: len(said)] for wanted, said in zip(targets, answers, strict=True)]


def _columns(task: Task) -> tuple[str, ...]:
    return (task.columns.text,) if task.columns.pair is None else (task.columns.text, task.columns.pair)
