"""The budget: how long each candidate would take, and the moment by which each has to end.

Enter: the user's seconds (or None), the measured reading speed of the base. Leave: predicted seconds and deadlines on
the monotonic clock. Predictions are corrected by what the first training really took.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from headstart.base.base import Base
from headstart.data.task import Task, as_text
from headstart.evaluate.controls import fit_control
from headstart.evaluate.neighbours import MOST_ROWS
from headstart.ground.seeds import stream
from headstart.train.fit import Fitted
from headstart.train.methods import FitSettings, Method, resolve

READING_RATE, DISTANCE_RATE = 3e-4, 1.5e-7  # seconds to decode and shrink an input, and for one distance
SAMPLE_ROWS, WARMING_ROWS = 64, 4  # rows whose reading is timed, and rows read before
BACKWARD = {"full": 3.0, "scratch": 3.0, "lora": 2.6}  # forward passes that one training pass over a row costs
CONTROL_SAMPLE = 500  # rows; without validation rows only one of the two penalties is fitted
FINISH_SECONDS = 1.5  # kept for intervals, temperature and the report
CONTROL_RATE = (
    6e-6  # seconds per character and (1 + labels / 8) that TF-IDF needs; 3.3e-6 to 7e-6 measured on nine sets
)


@dataclass
class Budget:
    """Seconds of one study. `seconds` None means no limit, and every deadline is then None."""

    seconds: float | None
    started: float = field(default_factory=time.monotonic)
    cpu: float = field(default_factory=time.process_time)

    def left(self) -> float:
        """Seconds until the end, less what finishing needs; infinite without a limit."""
        if self.seconds is None:
            return math.inf
        finish = min(FINISH_SECONDS, 0.1 * self.seconds)
        return self.started + self.seconds - finish - time.monotonic()

    def used(self) -> float:
        return time.monotonic() - self.started

    def crowded(self) -> float:
        """How many times longer than its own CPU seconds this process has taken so far: others want the cores, too."""
        return max(1.0, self.used() / max(time.process_time() - self.cpu, 0.1))

    def deadline(self, share: float, *, after: float = 0.0) -> float | None:
        """The moment at which `share` of what is left is used up, less `after` seconds for what must follow."""
        if self.seconds is None:
            return None
        return time.monotonic() + max(0.0, self.left() * share - after)


@dataclass
class Pace:
    """Predicted seconds. row: of reading one train row; correction: measured over predicted, from trainings so far."""

    row: float
    base: Base
    task: Task
    settings: FitSettings
    correction: float = 1.0

    def answering(self) -> float:
        """Seconds to answer the validation and test rows once."""
        return self.row * (len(self.task.validation) + len(self.task.test))

    def fitting(self, method: Method, *, rows: int | None = None) -> float:
        """Predicted seconds of one fit on `rows` train rows (default all), without answering."""
        rows = len(self.task.train) if rows is None else rows
        if method == "probe":
            return self.row * (rows + len(self.task.validation))
        epochs = resolve(
            self.settings,
            method=method,
            config=self.base.trunk.config,
            num_rows=rows,
            modality=self.base.modality,
        ).epochs
        assert epochs is not None, "resolve fills in the epochs"
        return self.correction * (self.row * len(self.task.validation) + epochs * self.epoch(method, rows))

    def epoch(self, method: Method, rows: int) -> float:
        return self.row * (BACKWARD[method] * rows + len(self.task.validation))

    def least(self, method: Method) -> float:
        """Seconds below which a training is not worth starting: half an epoch and the answers."""
        return self.correction * 0.5 * self.epoch(method, len(self.task.train)) + self.answering()

    def learn(self, fitted: Fitted) -> None:
        """Correct later predictions by what ran. A probe that was cut short says nothing about the speed of reading;
        a training counts by the epochs it really ran."""
        if fitted.method == "probe":
            if fitted.stopped == "done":
                self.row = fitted.seconds / max(1, len(self.task.train) + len(self.task.validation))
            return
        if fitted.epochs < 0.5:
            return
        predicted = fitted.epochs * self.epoch(fitted.method, len(self.task.train))
        self.correction = min(5.0, max(0.2, fitted.seconds / max(predicted, 1e-6)))


def measure_pace(base: Base, task: Task, settings: FitSettings, *, seconds: float = math.inf) -> Pace:
    """Read a sample of train rows and time it; a smaller one where `seconds` hold no more by the pace of the first."""
    picks = stream(0, "pace").permutation(len(task.train))[:SAMPLE_ROWS]
    rows = task.train.subset(picks.tolist())
    texts = [as_text(text) for text in rows.written]
    inputs = texts if rows.pairs is None else list(zip(texts, rows.pairs, strict=True))
    cut: list[Any] = list(rows.raws) or [t[: 12 * settings.max_length] if isinstance(t, str) else t for t in inputs]
    begin = time.perf_counter()
    base.encode(cut[:WARMING_ROWS])
    each = (time.perf_counter() - begin) / max(1, min(WARMING_ROWS, len(cut)))
    count = len(cut) if each * len(cut) <= seconds else min(len(cut), int(seconds / each) - WARMING_ROWS)
    if count >= WARMING_ROWS:  # else the first rows have to do, which warmed up too
        begin = time.perf_counter()
        base.encode(cut[:count])
        each = (time.perf_counter() - begin) / count
    return Pace(each, base, task, settings)


def plain_seconds(task: Task, *, measure: bool = False) -> float:
    """A forecast for the control that learns from the inputs alone, from characters and labels or from distances;
    `measure` times it on a sample of a large table.

    The control cannot be stopped once it runs, so under a budget the speed of this very machine decides.
    """
    if task.columns.modality is not None:
        asked = len(task.validation) + len(task.test)
        return READING_RATE * (len(task.train) + asked) + DISTANCE_RATE * min(len(task.train), MOST_ROWS) * asked
    characters = sum(len(t) if isinstance(t, str) else sum(map(len, t)) for t in task.train.written)
    characters += sum(map(len, task.train.pairs or ()))
    rough = CONTROL_RATE * characters * (1 + len(task.labels) / 8)
    if not measure or len(task.train) <= 2 * CONTROL_SAMPLE:
        return rough
    picks = stream(0, "control pace").permutation(len(task.train))[:CONTROL_SAMPLE]
    sample = replace(task, train=task.train.subset(picks.tolist()), validation=task.train.subset([]))
    return max(0.5 * rough, 2 * fit_control(sample, method="tfidf").seconds * len(task.train) / CONTROL_SAMPLE)
