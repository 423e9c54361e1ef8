"""The protocol of labelled sets: a set becomes a Task, a base is adapted to it, every test row is answered.

Enter: a set, and a base, its random twin or a control. Leave: a `Cell` and its samples. Methods: a linear head on
frozen features (probe), low-rank adapters (lora), all weights (full), and for the last two the same architecture
trained from random weights (scratch); or a prompt and no training (zero-shot, few-shot: asking.py). The budget is the
same for everybody: the train rows up to TRAIN_ROWS, the epochs that `FitSettings` derives from them, penalties and the
pass to keep chosen on validation, the test rows touched once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from headstart.base.base import Base
from headstart.data.raw import Raw
from headstart.data.task import Examples, Kind, Task
from headstart.evaluate.controls import Answers, fit_control
from headstart.evaluate.label_curve import nested_rows
from headstart.evaluate.metrics import METRICS, indicators, metric_for, one_hot
from headstart.evaluate.suite.asking import ask_task
from headstart.evaluate.suite.cells import Cell, Judged, Role, Sample
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.protocol import Ask, Protocol
from headstart.evaluate.suite.specs import TaskSpec
from headstart.evaluate.trial import Trial, try_control, try_method
from headstart.ground.seeds import stream
from headstart.train.frozen import Frozen
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
        text=kind.text if kind.modality is None else None,
        image=kind.text if kind.modality == "image" else None,
        audio=kind.text if kind.modality == "audio" else None,
        series=kind.text if kind.modality == "series" else None,
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


class AdaptProtocol(Protocol[Task]):
    """Labelled rows: a base is adapted on the train rows and answers the test rows."""

    name = "adapt"
    methods = ("probe", "lora", "full", "scratch", "zero-shot", "few-shot")
    by_chance = frozenset(("probe", "lora", "full", "scratch", "zero-shot", "few-shot"))
    in_parts = False

    def read(self, found: SetOnDisk, *, limit: int | None) -> Task:
        return read_task(found, limit=limit)

    def size(self, rows: Task) -> int:
        return len(rows.test)

    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        return "majority", "tfidf" if found.spec.kind.modality is None else "nearest"

    def control(self, role: Role, rows: Task, spec: TaskSpec) -> tuple[Cell, list[Sample]]:
        assert role in ("majority", "tfidf", "nearest"), "no other control needs no base"
        trial = try_control(rows, fit_control(rows, method=role), metric=named(rows, spec.metric))
        return cell_of(rows, trial, spec.metric), samples_of(rows, trial.test, [[] for _ in range(len(rows.test))])

    def run(self, base: Base, rows: Task, spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        if ask.method in ("zero-shot", "few-shot"):
            assert (ask.shots > 0) == (ask.method == "few-shot"), "few-shot shows something, zero-shot nothing"
            asked = ask_task(base, rows, shots=ask.shots, seed=ask.seed, metric=named(rows, spec.metric))
            cell = cell_of(rows, asked.trial, spec.metric)
            cell = msgspec.structs.replace(cell, raw=asked.raw, notes=[*cell.notes, asked.note])
            return cell, samples_of(rows, asked.trial.test, units_of(base, rows.test))
        few = None if ask.labels is None else nested_rows(rows, ask.labels, seed=0)
        seen = rows if few is None else replace(rows, train=rows.train.subset(few))
        trial = try_method(
            base,
            seen,
            method=ask.method,
            seed=ask.seed,
            settings=SETTINGS,
            metric=named(rows, spec.metric),
            frozen=Frozen(ask.features, ask.digest, rows, few) if ask.method == "probe" else None,
        )
        return cell_of(seen, trial, spec.metric), samples_of(rows, trial.test, units_of(base, rows.test))

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        """Every other metric of the kind, and what prompts reach without calibration."""
        first, ones = cells[0], np.ones((1, len(runs[0])))
        raw = [cell.raw for cell in cells if cell.raw is not None]
        return ({"raw": float(np.mean(raw))} if raw else {}) | {
            metric.name: float(
                np.mean(
                    [
                        metric.resample(
                            metric.statistics([s.target for s in run], [s.prediction for s in run], first.labels), ones
                        )[0]
                        for run in runs
                    ]
                )
            )
            for metric in METRICS.values()
            if spec.kind.asks in metric.kinds and (metric.name != "span_f1" or first.metric == "span_f1")
        }


def named(task: Task, metric: str) -> str:
    """The metric of the leaderboard; "" is the default of the Task's kind, which only the rows can tell for tags."""
    return metric_for(task.kind, metric or None, task.labels).name


def cell_of(task: Task, trial: Trial, metric: str) -> Cell:
    name = named(task, metric)
    return Cell(
        metric=name,
        method=trial.method,
        labels=list(task.labels),
        guess=guessing(name, task.test.targets, len(task.labels)),
        rows={"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
        notes=[*task.notes, *(check.detail for check in task.checks if check.value)],
        params_trained=trial.params_trained,
        validation=trial.value,
        seconds=trial.seconds,
        ms_per_row=trial.ms_per_row,
    )


def guessing(metric: str, targets: Sequence[Any], num_labels: int) -> float:
    """What a guess scores that does not look: one label as likely as another, or where a row may have several, each of
    them given or not with probability 1/2. 0 for correlations and spans.

    A label of a share p of the rows that is guessed in a share r of them has precision p and recall r, F1 is
    2 r p / (r + p). macro-F1 is its mean over the K labels with r = 1/K; micro-F1, with r = 1/2 and q labels a row,
    is q / (K/2 + q). Both are of expected counts, and right to about 1 / rows.
    """
    if metric in ("accuracy", "token_accuracy"):
        return 1.0 / num_labels
    if metric == "exact_match":
        return 0.5**num_labels
    if metric == "macro_f1":
        shares, rate = one_hot(targets, num_labels).mean(axis=0), 1.0 / num_labels
        return float((2 * rate * shares / (rate + shares)).mean())
    if metric == "micro_f1":
        given, guessed = float(indicators(targets, num_labels).mean(axis=0).sum()), 0.5 * num_labels
        return given / (guessed + given)
    return 0.0


def samples_of(task: Task, answers: Answers, units: Sequence[list[list[int]]]) -> list[Sample]:
    """One sample a test row."""
    rows, chances = task.test, answers.probabilities
    return [
        Sample(
            rows.ids[row],
            prompt_of(rows, row),
            rows.targets[row],
            answers.predictions[row],
            scores=[] if chances is None else np.round(chances[row], 6).tolist(),
            units=units[row],
        )
        for row in range(len(rows))
    ]


def prompt_of(rows: Examples, row: int) -> Any:
    """The input as a sample keeps it: a text, a pair, words, or what a picture, clip or series is called."""
    given = rows.texts[row]
    if rows.pairs is not None:
        return given, rows.pairs[row]
    return str(given) if isinstance(given, Raw) else given


def units_of(base: Base, rows: Examples) -> list[list[list[int]]]:
    """The token ids of every row as the probe read them: one list a text, the members of a pair apart.

    Patches have none.
    """
    if base.modality is not None:
        return [[] for _ in range(len(rows))]
    sides = [rows.written] if rows.pairs is None else [rows.written, rows.pairs]
    read = [base.text_codec.encode(side, max_length=SETTINGS.max_length).ids for side in sides]
    return [[ids.tolist() for ids in members] for members in zip(*read, strict=True)]
