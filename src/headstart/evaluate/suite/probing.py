"""The probe protocol: a set becomes a Task, a linear head is fitted on frozen features, every test row is answered.

Enter: a set, and a base, its random twin or a control. Leave: a `Cell` and its samples. The budget is the same for
everybody: the train rows up to TRAIN_ROWS, penalties chosen on validation, the test rows touched once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headstart.base.base import Base
from headstart.data.task import Examples, Kind, Task
from headstart.evaluate.controls import Answers, ControlMethod, fit_control
from headstart.evaluate.metrics import metric_for
from headstart.evaluate.suite.cells import Cell, Sample
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.trial import Trial, try_control, try_method
from headstart.ground.seeds import stream
from headstart.train.methods import FitSettings

TRAIN_ROWS = 10_000  # more change a linear head by less than its interval, and the pass over them is the whole bill
SETTINGS = FitSettings()


def read_task(found: SetOnDisk, *, limit: int | None) -> Task:
    """The set as a Task: our rules for leakage and splits, at most `limit` rows a part (a quick look)."""
    kind, files = found.spec.kind, found.files
    task = Task.read(
        files["train"],
        test=files[found.test],
        validation=files["validation"] if "validation" in files and found.test == "test" else None,
        text=kind.text,
        label=kind.label,
        kind=kind.asks,
        drop_missing=True,
        name=found.spec.name,
    )
    most = TRAIN_ROWS if limit is None else min(limit, TRAIN_ROWS)
    notes = list(task.notes)
    if len(task.train) > most:
        notes.append(f"{most:,} of {len(task.train):,} train rows are used, drawn with a fixed seed")
    return replace(
        task,
        train=drawn(task.train, most, kind=task.kind, name="train"),
        validation=drawn(task.validation, limit, kind=None, name="validation"),
        test=drawn(task.test, limit, kind=None, name="test"),
        notes=tuple(notes),
    )


def drawn(rows: Examples, most: int | None, *, kind: Kind | None, name: str) -> Examples:
    """At most `most` rows, drawn with a fixed seed, in order; with `kind` every label keeps a row at least."""
    if most is None or len(rows) <= most:
        return rows
    order = stream(0, "limit", name).permutation(len(rows)).tolist()
    if kind in ("choice", "labels", "tags"):
        seen: set[int] = set()
        first = [row for row in order if fresh(rows.targets[row], seen)]
        order = list(dict.fromkeys([*first, *order]))
        most = max(most, len(first))
    return rows.subset(sorted(order[:most]))


def fresh(target: Any, seen: set[int]) -> bool:
    """Whether a target has a label that was not seen yet; it is then."""
    labels = set(target) if isinstance(target, tuple) else {target}
    new = not labels <= seen
    seen |= labels
    return new


def probe(base: Base, task: Task, *, metric: str, seed: int) -> tuple[Cell, list[Sample]]:
    """A base, frozen, under a linear head."""
    trial = try_method(base, task, method="probe", seed=seed, settings=SETTINGS, metric=named(task, metric))
    return cell_of(task, trial, metric), samples_of(task, trial.test, units_of(base, task.test))


def control(method: ControlMethod, task: Task, *, metric: str) -> tuple[Cell, list[Sample]]:
    """A control that needs no base."""
    trial = try_control(task, fit_control(task, method=method), metric=named(task, metric))
    return cell_of(task, trial, metric), samples_of(task, trial.test, [[] for _ in range(len(task.test))])


def named(task: Task, metric: str) -> str:
    """The metric of the leaderboard; "" is the default of the Task's kind, which only the rows can tell for tags."""
    return metric_for(task.kind, metric or None, task.labels).name


def cell_of(task: Task, trial: Trial, metric: str) -> Cell:
    name = named(task, metric)
    return Cell(
        metric=name,
        method=trial.method,
        labels=list(task.labels),
        guess=1.0 / len(task.labels) if name in ("accuracy", "token_accuracy") else 0.0,
        rows={"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
        notes=[*task.notes, *(check.detail for check in task.checks if check.value)],
        params_trained=trial.params_trained,
        validation=trial.value,
        seconds=trial.seconds,
        ms_per_row=trial.ms_per_row,
    )


def samples_of(task: Task, answers: Answers, units: Sequence[list[list[int]]]) -> list[Sample]:
    """One sample a test row."""
    rows, chances = task.test, answers.probabilities
    return [
        Sample(
            rows.ids[row],
            rows.texts[row] if rows.pairs is None else (rows.texts[row], rows.pairs[row]),
            rows.targets[row],
            answers.predictions[row],
            scores=[] if chances is None else np.round(chances[row], 6).tolist(),
            units=units[row],
        )
        for row in range(len(rows))
    ]


def units_of(base: Base, rows: Examples) -> list[list[list[int]]]:
    """The token ids of every row as the probe read them: one list a text, the members of a pair apart."""
    sides = [rows.texts] if rows.pairs is None else [rows.texts, rows.pairs]
    read = [base.codec.encode(side, max_length=SETTINGS.max_length).ids for side in sides]
    return [[ids.tolist() for ids in members] for members in zip(*read, strict=True)]
