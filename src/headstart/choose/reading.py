"""One pass of a base over a growing sample of the rows, and everything that can be told from the features it sees.

Enter: a base, a task, and how long it may take. Leave: a `Reading`: the estimators on the rows that were read, and the
probe's score on held-out rows at 100, 200, 400, ... labels, from sums that grew along the way. The trunk reads in the
training dtype (bf16 where that is faster) over length buckets; nothing is trained.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.base.base import Base
from headstart.choose.estimators import (
    Floats,
    Ints,
    left_out_outputs,
    logme,
    neighbour_outputs,
    shrunk_h_score,
)
from headstart.choose.moments import Moments
from headstart.data.batching import bucket_batches, collate
from headstart.data.patch_rows import PatchRows
from headstart.data.task import Examples, Task
from headstart.evaluate.label_curve import nested_order
from headstart.evaluate.metrics import score_task
from headstart.ground.batch import Batch
from headstart.ground.device import pick_device, training_dtype
from headstart.ground.errors import DataError, RunError
from headstart.ground.seeds import stream
from headstart.model.heads import paired, pool, pool_channels
from headstart.model.trunk import Trunk
from headstart.train.cross_entropy import IGNORE
from headstart.train.fit import PASS_TOKENS
from headstart.train.frozen import How, Part, write_features
from headstart.train.methods import FitSettings
from headstart.train.prepared import default_pooling, supervised
from headstart.train.supervised import Supervised

FIRST_ROWS = 100
MOST_ROWS = 5_000  # the estimators' ranks hardly move beyond, and the pass is the bill
HELD_OUT_ROWS = 500
LAYER_ROWS = 400  # on which the best layer is found
MOST_KEPT = 64 << 20  # bytes of features that a reading leaves: 5,000 + 500 rows of 768 are 17 MB, of pairs 68
MOST_WORDS = 20_000  # of a tagging task
SCORE_BINS = 5  # classes that a number is cut into where an estimator knows classes only
Clock = Callable[[], float]  # seconds from some moment on


class CurvePoint(msgspec.Struct, frozen=True):
    """The closed-form probe's score on the held-out rows after `labels` labelled rows."""

    labels: int
    value: float


class Estimates(msgspec.Struct, frozen=True):
    """What the features of a base say of a task; larger is better.

    h_score (shrunk), logme and neighbours (left-one-out) are of the mean over layers; probe_last, probe_mean and
    probe_best are the left-out probe on the last layer, on the mean over layers and on layer `best_layer`.
    All but the first two are in the task's metric.
    """

    h_score: float
    logme: float
    neighbours: float
    probe_last: float
    probe_mean: float
    probe_best: float
    best_layer: int


class Reading(msgspec.Struct, frozen=True):
    """A pass over `rows` train rows (`units` rows or words of features) in `seconds`.

    ms_per_row: of reading alone, in the training dtype and over length buckets, estimators left out. held_out: the
    validation rows that the curve's scores are of. kept: whether features of all train rows lie in the file that was
    named for them; unkept: why they could not be written there.
    """

    rows: int
    units: int
    seconds: float
    ms_per_row: float
    estimates: Estimates
    curve: list[CurvePoint]
    held_out: int
    kept: bool = False
    unkept: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """Features of some rows: layers (L, N, D) float32, their answers as columns (N, K).

    inputs: (N, F) of the last layer, as a head takes them; None where it takes words. rows: (N,) of a tagging task,
    whose N are words: the row of each, those of a row one after the other.
    """

    layers: Tensor
    y: Floats
    inputs: Tensor | None = None
    rows: Ints | None = None

    @property
    def last(self) -> Floats:
        """(N, D) of the last layer, what a probe stands on."""
        return self.layers[-1].double().numpy()

    @property
    def mean(self) -> Floats:
        """(N, D), the mean over layers: Garbaciauskas et al. 2024 found ranks by it closer to those after training."""
        return self.layers.double().mean(0).numpy()


def read(
    base: Base,
    task: Task,
    *,
    metric: str,
    seed: int,
    seconds: float,
    held_out_rows: int = HELD_OUT_ROWS,
    most_rows: int = MOST_ROWS,
    max_length: int = FitSettings().max_length,
    clock: Clock = time.monotonic,
    keep: Path | None = None,
) -> Reading:
    """Read until `seconds` of `clock` are over or `most_rows` are read; 100 rows are read whatever the clock says.

    keep: a file for the features of all train rows, and of validation rows where all were read, for a probe
    (`train.frozen`); not written where a part of the train rows was read, or more than MOST_KEPT bytes.
    """
    way = Pass(
        base,
        task,
        metric=metric,
        seed=seed,
        held_out_rows=held_out_rows,
        most_rows=most_rows,
        max_length=max_length,
        clock=clock,
    )
    while way.ahead and goes_on(way.spent, way.rows, way.ahead, seconds=seconds):
        way.go()
    told = way.reading()
    found = {} if keep is None else way.features()
    if keep is None or not leaves(found):
        return told
    try:
        write_features(keep, found, How(way.pooling, max_length, way.channels, told.ms_per_row / 1000))
    except RunError as problem:  # a full disk: the probe reads once more
        return msgspec.structs.replace(told, unkept=str(problem))
    return msgspec.structs.replace(told, kept=True)


def leaves(found: Mapping[Part, Tensor]) -> bool:
    """Whether a probe gets these (`Pass.features`): they are of all train rows, and no more than MOST_KEPT bytes."""
    return "train" in found and sum(part.nbytes for part in found.values()) <= MOST_KEPT


def goes_on(spent: float, rows: int, ahead: int, *, seconds: float) -> bool:
    """Whether a pass that took `spent` for `rows` rows may read `ahead` more, its estimates at the end included."""
    return rows == 0 or spent + spent * ahead / rows * 1.2 <= seconds


class Pass:
    """A pass under way: it goes on by stretches (100 rows, then twice as many), and can be read off after each.

    Seconds are those of `clock`; of the estimates only those of the last `reading` are in its `seconds`.
    """

    def __init__(
        self,
        base: Base,
        task: Task,
        *,
        metric: str,
        seed: int,
        held_out_rows: int = HELD_OUT_ROWS,
        most_rows: int = MOST_ROWS,
        max_length: int = FitSettings().max_length,
        clock: Clock = time.monotonic,
    ) -> None:
        begun, self._clock = clock(), clock
        eyes = _Eyes(base, task, max_length)
        order = nested_order(task.train, task.kind, seed)[:most_rows]
        wanted = stream(seed, "held out").permutation(len(task.validation))[:held_out_rows]
        sight = eyes.see_at(task.train.subset(order))  # what is not read is not encoded
        alike = len({raw.shape[0] for raw in task.train.raws}) == 1  # all of them, as a head takes them
        self.pooling, self.channels = default_pooling(base, task), sight.channels if alike else 1
        self._most, self._train = len(order), replace(sight, channels=self.channels)
        self._task, self._order = task, torch.from_numpy(np.asarray(order, dtype=np.int64))
        self._judge, self.held_out_rows = Judge(task, metric), len(wanted)
        held_out = task.validation.subset(np.sort(wanted))
        self._others = eyes.see_at(held_out, self.channels)(np.arange(len(wanted))) if len(wanted) else None
        self._seen: list[Seen] = []
        self._curve: list[CurvePoint] = []
        self._moments: Moments | None = None
        self.rows = 0
        self.spent = clock() - begun
        self._reading = self.spent if len(wanted) else 0.0

    @property
    def ahead(self) -> int:
        """Rows of the next stretch; 0 at the end."""
        if self._seen and words(self._seen) > MOST_WORDS:
            return 0
        return min(max(FIRST_ROWS, self.rows), self._most - self.rows)

    def go(self) -> None:
        """Read the next stretch."""
        begun, stop = self._clock(), self.rows + self.ahead
        block = self._train(np.arange(self.rows, stop))
        self._reading += self._clock() - begun
        self._seen.append(block)
        self._moments = self._moments or Moments(block.layers.shape[2], block.y.shape[1])
        self._moments.add(block.last, block.y)
        self.rows = stop
        if self._others is not None:
            self._curve.append(CurvePoint(stop, crossed(self._moments, self._others, self._judge)))
        self.spent += self._clock() - begun

    def features(self) -> dict[Part, Tensor]:
        """(N, F) of every part that was read whole, in the order of its rows, as the head of a probe takes them."""
        found: dict[Part, Tensor] = {}
        train = [seen.inputs for seen in self._seen if seen.inputs is not None]
        if train and self.rows == len(self._task.train):
            rows = torch.cat(train)
            found["train"] = torch.empty_like(rows)
            found["train"][self._order] = rows
        others = None if self._others is None else self._others.inputs
        if others is not None and len(others) == len(self._task.validation):
            found["validation"] = others
        return found

    def reading(self) -> Reading:
        """What the rows so far say."""
        begun = self._clock()
        rows = [s.rows for s in self._seen if s.rows is not None]
        whole = Seen(
            torch.cat([s.layers for s in self._seen], dim=1),
            np.concatenate([s.y for s in self._seen]),
            rows=np.concatenate(rows) if rows else None,
        )
        estimates = estimate(whole, self._judge)
        per_row = 1000 * self._reading / (self.rows + self.held_out_rows)
        seconds = self.spent + self._clock() - begun
        return Reading(self.rows, len(whole.y), seconds, per_row, estimates, list(self._curve), self.held_out_rows)


def words(seen: list[Seen]) -> int:
    return sum(len(s.y) for s in seen)


# --- features -------------------------------------------------------------------------------------------------------


class _Eyes:
    """A base's trunk ready to read a task's rows layer by layer."""

    def __init__(self, base: Base, task: Task, max_length: int) -> None:
        self._base, self._task, self._settings = base, task, FitSettings(max_length=max_length)
        self._device = pick_device()
        self._trunk: Trunk = (
            copy.deepcopy(base.trunk).to(device=self._device, dtype=training_dtype(self._device)).eval()
        )
        self._pooling = default_pooling(base, task)

    def see_at(self, part: Examples, channels: int | None = None) -> _Sight:
        """channels: that the rows must have, of another part; None: as they have."""
        data = supervised(self._base, self._task, part, "probe", self._settings)
        if not isinstance(data.encoded, PatchRows):
            return _Sight(self, data)
        if channels is not None:
            try:
                data.encoded.expect_channels(channels)
            except DataError as problem:
                raise DataError(f"validation: {problem}") from problem
        return _Sight(self, data, data.encoded.channels if channels is None else channels)

    @torch.inference_mode()
    def layers(self, batch: Batch) -> list[Tensor]:
        """(L) hidden states (B, T, D) after every block."""
        return self._trunk.hidden_states(batch.to(self._device))[1:]

    def pooled(self, data: Supervised, channels: int = 1) -> Tensor:
        """(L, N, channels D) float32, one vector a row and layer, as a head would take it."""
        found: Tensor | None = None
        front = 0 if self._trunk.patches is None else self._trunk.patches.prefix

        def one(state: Tensor, lengths: Tensor) -> Tensor:
            many = channels > 1
            return pool_channels(state, lengths, channels, front) if many else pool(state, lengths, self._pooling)

        for rows in bucket_batches(data.encoded.lengths, batch_tokens=PASS_TOKENS):
            batch = collate(data.encoded, rows, pattern=data.pattern, pad=data.pad)
            states = self.layers(batch)
            lengths = batch.lengths.to(self._device)
            block = torch.stack([one(state, lengths).float().cpu() for state in states])
            if found is None:
                found = torch.empty(len(block), len(data), block.shape[2])
            found[:, torch.from_numpy(rows)] = block
        assert found is not None, "a block has rows"
        return found

    def by_word(self, data: Supervised) -> tuple[Tensor, Ints, Ints]:
        """((L, words, D) float32, (words,) tags, (words,) row of each, those of a row one after the other)."""
        blocks, tags, owners = [], [], []
        for rows in bucket_batches(data.encoded.lengths, batch_tokens=PASS_TOKENS):
            batch = data.batch(rows)
            assert batch.targets is not None
            counted = batch.targets != IGNORE
            blocks.append(torch.stack([state.cpu()[counted].float() for state in self.layers(batch)]))
            tags.append(batch.targets[counted].numpy())
            owners.append(np.repeat(rows, counted.sum(dim=1).numpy()))
        return torch.cat(blocks, dim=1), np.concatenate(tags), np.concatenate(owners)


@dataclass(frozen=True, slots=True)
class _Sight:
    """Some part's rows, encoded; called with row numbers it reads them. channels: as `TaskHead` has them."""

    eyes: _Eyes
    data: Supervised
    channels: int = 1

    def __call__(self, rows: Ints) -> Seen:
        data = self.data.subset(np.asarray(rows, dtype=np.int64))
        if data.kind == "tags":
            layers, tags, owners = self.eyes.by_word(data)
            return Seen(layers, np.eye(data.num_outputs)[tags], rows=rows[owners])
        if data.second is None:
            layers = self.eyes.pooled(data, self.channels)
            inputs = layers[-1]
        else:
            first, second = self.eyes.pooled(data), self.eyes.pooled(replace(data, encoded=data.second))
            layers = torch.cat([(first - second).abs(), first * second], dim=2)  # half of what a head compares
            inputs = paired(first[-1], second[-1])
        targets = data.target_tensor(np.arange(len(data)), 0)
        if data.kind == "choice":
            return Seen(layers, np.eye(data.num_outputs)[targets.numpy()], inputs)
        return Seen(layers, targets.double().numpy().reshape(len(data), -1), inputs)


# --- judgement ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judge:
    """Outputs (N, K) against answers (N, K), in the task's metric. rows: as `Seen` has them."""

    task: Task
    metric: str

    def __call__(self, outputs: Floats, y: Floats, rows: Ints | None = None) -> float:
        kind = self.task.kind
        if kind == "score":
            return score_task(kind, self.metric, y[:, 0].tolist(), outputs[:, 0].tolist())
        if kind == "labels":
            wanted, said = (
                [tuple(np.flatnonzero(row).tolist()) for row in table] for table in (y > 0.5, given(outputs, y))
            )
            return score_task(kind, self.metric, wanted, said, labels=self.task.labels)
        wanted_class, said_class = y.argmax(axis=1).tolist(), outputs.argmax(axis=1).tolist()
        if kind == "tags":
            assert rows is not None, "words stand in rows"
            ends = [*(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
            begins = [0, *ends[:-1]]
            wanted_class, said_class = (
                [tuple(tags[begin:end]) for begin, end in zip(begins, ends, strict=True)]
                for tags in (wanted_class, said_class)
            )
        return score_task(kind, self.metric, wanted_class, said_class, labels=self.task.labels)


def given(outputs: Floats, y: Floats) -> NDArray[np.bool_]:
    """(N, K) true for the labels that outputs give: as many in all as there are among the answers."""
    share = float(y.mean())
    threshold = float(np.quantile(outputs, 1.0 - share)) if 0.0 < share < 1.0 else 0.5
    return outputs > threshold


def crossed(moments: Moments, held_out: Seen, judge: Judge) -> float:
    """The score on held-out rows of the probe of all rows so far; each half's strength is chosen on the other half."""
    x, y, rows = held_out.last, held_out.y, held_out.rows
    outputs = [probe(x) for probe in moments.probes()]
    number = np.arange(len(y)) if rows is None else np.cumsum(np.diff(rows, prepend=rows[:1]) != 0)
    if number[-1] < 1:
        return judge(outputs[0], y, rows)
    halves = number % 2
    picked = np.empty_like(outputs[0])
    for half in (0, 1):
        mine, other = halves == half, halves != half
        values = [judge(o[other], y[other], None if rows is None else rows[other]) for o in outputs]
        picked[mine] = outputs[int(np.argmax(values))][mine]
    return judge(picked, y, rows)


def estimate(seen: Seen, judge: Judge) -> Estimates:
    """Every estimator on the rows that were read."""
    y, mean, rows = seen.y, seen.mean, seen.rows
    few = slice(0, LAYER_ROWS)
    some = None if rows is None else rows[few]
    by_layer = [best_left_out(layer[few].double().numpy(), y[few], judge, some) for layer in seen.layers]
    best_layer = int(np.argmax(by_layer))
    last = best_left_out(seen.last, y, judge, rows)
    at_end = best_layer == len(seen.layers) - 1
    return Estimates(
        h_score=h_score_of(mean, y, judge.task.kind),
        logme=logme(mean, y),
        neighbours=judge(neighbour_outputs(mean, y), y, rows),
        probe_last=last,
        probe_mean=best_left_out(mean, y, judge, rows),
        probe_best=last if at_end else best_left_out(seen.layers[best_layer].double().numpy(), y, judge, rows),
        best_layer=best_layer,
    )


def best_left_out(x: Floats, y: Floats, judge: Judge, rows: Ints | None) -> float:
    """The best score over strengths of the probe that never saw the row it answers."""
    return max(judge(outputs, y, rows) for outputs in left_out_outputs(x, y))


def h_score_of(x: Floats, y: Floats, kind: str) -> float:
    """The shrunk H-score by kind: over classes, over fifths of a number, or the mean over labels."""
    if kind == "score":
        ranks = np.argsort(np.argsort(y[:, 0], kind="stable"), kind="stable")
        return shrunk_h_score(x, ranks * SCORE_BINS // len(ranks))
    if kind == "labels":
        given_once = [column for column in y.T if 0 < column.sum() < len(column)]
        return float(np.mean([shrunk_h_score(x, column.astype(np.int64)) for column in given_once] or [0.0]))
    return shrunk_h_score(x, y.argmax(axis=1))
