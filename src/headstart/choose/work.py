"""What a search asks of workers, as messages: look at a base, read a task with it, train it a piece further.

Each is a plain function from a JSON job to a JSON answer (ground/fanout.py), so that it runs here, in a process or on
another machine, where bases and the folder of the search must lie at the same paths. A piece whose kept state is gone
is trained from its beginning, with the same result.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.facts import BaseFacts, facts_of
from headstart.choose.reading import HELD_OUT_ROWS, MOST_ROWS, Reading, read
from headstart.choose.task_file import task_of
from headstart.data.task import Task
from headstart.evaluate.asking import ask, with_threshold
from headstart.evaluate.budget import measure_pace
from headstart.evaluate.metrics import score_task
from headstart.train.fit import check_inputs, fit
from headstart.train.frozen import FeatureStore, Frozen
from headstart.train.methods import FitSettings
from headstart.train.pieces import Piece

BASES_HELD = 2  # in memory at once; one is being asked, the next may be the same one with another method


class Look(msgspec.Struct, frozen=True):
    """Job: the facts of a base and how fast it reads. seconds: that reading a sample may take, None for no limit."""

    base: str
    task: str
    settings: FitSettings
    allow_pickle: bool = False
    seconds: float | None = None


class Looked(msgspec.Struct, frozen=True):
    """Answer to `Look`. ms_per_row: of answering one row of this task, beside what other workers do meanwhile.

    loading: seconds that it took to load the base.
    """

    facts: BaseFacts
    ms_per_row: float
    loading: float = 0.0


class Read(msgspec.Struct, frozen=True):
    """Job: one encoding pass over a growing sample of the rows. keep: a file for features that a probe can take."""

    base: str
    task: str
    metric: str
    settings: FitSettings
    seconds: float
    keep: str | None
    held_out: int = HELD_OUT_ROWS
    seed: int = 0
    most_rows: int = MOST_ROWS
    allow_pickle: bool = False


class Train(msgspec.Struct, frozen=True):
    """Job: train until `until` of all steps, from where the state in `folder` stands.

    ends: seconds since the epoch by which to end with the best so far; hurry: cool down in time for it. A training that
    ends leaves its adapted base in `folder`/base. features: of all train rows as the base reads them, for a probe; None
    where nothing read them all.
    """

    base: str
    task: str
    method: str
    seed: int
    settings: FitSettings
    metric: str
    folder: str
    until: float = 1.0
    ends: float | None = None
    hurry: bool = False
    features: str | None = None
    allow_pickle: bool = False


class Trained(msgspec.Struct, frozen=True):
    """Answer to `Train`. share: of all steps that were run. value: the metric on validation; predictions only of a
    training that ended. saved: the folder of the adapted base. answering: seconds that all validation rows took.

    Of a prompt, where nothing is trained: rows, the validation rows that it answered; ms_per_row, what one took;
    prompt, its settings. All three are None of a training, which answers all rows as fast as its base reads.
    """

    value: float
    share: float
    seconds: float
    params_trained: int
    truncated: int
    epochs: float
    stopped: str
    settings: FitSettings
    predictions: list[Any] = []
    saved: str | None = None
    rows: int | None = None
    ms_per_row: float | None = None
    prompt: dict[str, Any] | None = None
    answering: float = 0.0


def plain(jobs: Sequence[msgspec.Struct]) -> list[object]:
    """Jobs as JSON values."""
    return [msgspec.to_builtins(job) for job in jobs]


def look(job: Any) -> Any:
    """Facts of a base, and the time it takes a row."""
    asked, begun = msgspec.convert(job, Look), time.monotonic()
    base, loading = base_of(asked.base, asked.allow_pickle), time.monotonic() - begun
    task = task_of(asked.task)
    check_inputs(base, task)
    pace = measure_pace(base, task, asked.settings, seconds=math.inf if asked.seconds is None else asked.seconds)
    return msgspec.to_builtins(Looked(facts_of(base, asked.base), 1000 * pace.row, loading))


def read_task(job: Any) -> Any:
    """A `Reading`."""
    asked = msgspec.convert(job, Read)
    reading: Reading = read(
        base_of(asked.base, asked.allow_pickle),
        task_of(asked.task),
        metric=asked.metric,
        seed=asked.seed,
        seconds=asked.seconds,
        held_out_rows=asked.held_out,
        most_rows=asked.most_rows,
        max_length=asked.settings.max_length,
        keep=None if asked.keep is None else Path(asked.keep),
    )
    return msgspec.to_builtins(reading)


def train(job: Any) -> Any:
    """Train a piece further; a training that ended answers the validation rows and is saved."""
    asked = msgspec.convert(job, Train)
    base, task = base_of(asked.base, asked.allow_pickle), task_of(asked.task)
    folder = Path(asked.folder)

    def judge(targets: Sequence[Any], predictions: Sequence[Any]) -> float:
        return score_task(task.kind, asked.metric, targets, predictions, labels=task.labels)

    fitted = fit(
        base,
        task,
        method=asked.method,
        seed=asked.seed,
        settings=asked.settings,
        deadline=None if asked.ends is None else time.monotonic() + asked.ends - time.time(),
        hurry=asked.hurry,
        piece=None if asked.method == "probe" else Piece(folder / "kept", asked.until),
        judge=judge,
        frozen=shared(asked, task),
    )
    epochs = 1 if asked.method == "probe" else fitted.settings.epochs or 1
    predictions: list[Any] = []
    saved, value, answering = None, fitted.validation, 0.0
    if fitted.stopped != "paused":
        adapted = with_threshold(fitted.base, task.validation)
        answers, answering = ask(adapted, task.validation)
        predictions = list(answers.predictions)
        value = judge(task.validation.targets, predictions) if predictions else 0.0
        saved = folder / "base"
        shutil.rmtree(folder / "kept", ignore_errors=True)
        shutil.rmtree(saved, ignore_errors=True)
        adapted.save(saved)
    return msgspec.to_builtins(
        Trained(
            value,
            1.0 if fitted.stopped in ("done", "probe") else min(1.0, fitted.epochs / epochs),
            fitted.seconds,
            fitted.params_trained,
            fitted.truncated,
            fitted.epochs,
            fitted.stopped,
            fitted.settings,
            predictions,
            None if saved is None else str(saved),
            answering=answering,
        )
    )


def shared(asked: Train, task: Task) -> Frozen | None:
    """What the reading of a task leaves to a probe of the same base."""
    if asked.features is None:
        return None
    return Frozen(FeatureStore.from_file(Path(asked.features), base=asked.base), asked.base, task)


@lru_cache(maxsize=BASES_HELD)
def base_of(source: str, allow_pickle: bool) -> Base:
    """The base, loaded once a worker."""
    return Base.load(source, allow_pickle=allow_pickle)
