"""Asking an adapted base the rows of a split, and asking it again after it was saved.

Enter: a Base with a contract, Examples. Leave: predictions as label indices or numbers, probabilities, seconds.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base.answers import probabilities
from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.data.task import Check, Examples, Task
from headstart.evaluate.calibration import best_threshold, given_labels
from headstart.evaluate.controls import Answers
from headstart.evaluate.metrics import Floats
from headstart.train.frozen import Frozen, Part, shared_outputs
from headstart.train.methods import FitSettings
from headstart.train.prepared import supervised

PARITY_ROWS = 256
SCORE_TOLERANCE = 1e-4  # of a score's spread; labels must be equal


def rows_of(examples: Examples) -> list[Any]:
    """The rows as `Base.predict` takes them: a text, a pair, or a list of words."""
    if examples.pairs is not None:
        return list(zip(examples.texts, examples.pairs, strict=True))
    return [list(text) if isinstance(text, tuple) else text for text in examples.texts]


def ask(base: Base, examples: Examples) -> tuple[Answers, float]:
    """Answers in the order of the rows, and the seconds it took."""
    assert base.contract is not None, "only an adapted base is asked"
    kind, begin = base.contract.kind, time.perf_counter()
    if len(examples) == 0:
        return Answers(()), 0.0
    if kind == "score":
        values = np.asarray(base.predict(rows_of(examples)), dtype=np.float64)
        return Answers(tuple(values.tolist())), time.perf_counter() - begin
    found: Any = base.predict_proba(rows_of(examples))
    seconds = time.perf_counter() - begin
    if kind == "tags":
        return Answers(tuple(tuple(p.argmax(axis=-1).tolist()) for p in found)), seconds
    return answers_of(np.asarray(found, dtype=np.float64), base.contract), seconds


def answers_of(chances: Floats, contract: TaskContract) -> Answers:
    """What probabilities (N, K) say: the likeliest label, or every label from the threshold up."""
    if contract.kind == "choice":
        return Answers(tuple(chances.argmax(axis=1).tolist()), chances)
    return Answers(given_labels(chances, contract.threshold), chances)


def ask_shared(base: Base, task: Task, part: Part, frozen: Frozen) -> tuple[Answers, float]:
    """As `ask`, for a probe that shares the features of its set's rows; the seconds are those of reading them too."""
    contract = base.contract
    assert contract is not None, "only an adapted base is asked"
    examples = task.validation if part == "validation" else task.test
    if contract.kind == "tags" or len(examples) == 0:
        return ask(base, examples)
    limit = FitSettings(max_length=contract.max_length)
    begin = time.perf_counter()
    rows = supervised(base, task, examples, "probe", limit)
    encoding = time.perf_counter() - begin
    outputs, reading = shared_outputs(base, rows, frozen, part)
    seconds = encoding + reading
    if contract.kind == "score":
        return Answers(tuple((outputs[:, 0] * contract.target_scale + contract.target_mean).tolist())), seconds
    return answers_of(probabilities(outputs, contract), contract), seconds


def with_threshold(base: Base, examples: Examples, answers: Answers | None = None) -> Base:
    """For kind labels: the threshold with the most micro-F1 on these (validation) rows; other kinds are left alone.

    Rare labels seldom reach one half, least of all after a short training. answers: the base's, where it was asked.
    """
    contract = base.contract
    if contract is None or contract.kind != "labels" or len(examples) == 0:
        return base
    chances = (answers or ask(base, examples)[0]).probabilities
    assert chances is not None, "labels are answered with probabilities"
    return replace(base, contract=replace(contract, threshold=best_threshold(chances, examples.targets)))


def verify_saved(base: Base, folder: str | Path, examples: Examples) -> Check:
    """Load `folder` again and compare its answers with the base's on up to 256 held-out rows.

    status ok: every answer is the same (scores: within 1e-4 of their spread). value: the number of rows that differ.
    """
    rows = examples.subset(range(min(len(examples), PARITY_ROWS)))
    before, _ = ask(base, rows)
    after, _ = ask(Base.load(folder), rows)
    if base.contract is not None and base.contract.kind == "score":
        old, new = np.asarray(before.predictions), np.asarray(after.predictions)
        limit = SCORE_TOLERANCE * max(float(old.std()), 1e-6) if len(old) else 0.0
        different = int(np.count_nonzero(np.abs(old - new) > limit))
    else:
        different = sum(a != b for a, b in zip(before.predictions, after.predictions, strict=True))
    drift = ""
    if before.probabilities is not None and after.probabilities is not None and len(rows):
        drift = f"; largest change of a probability {np.abs(before.probabilities - after.probabilities).max():.1e}"
    same = len(rows) - different
    return Check(
        "reload.parity",
        "fail" if different else "ok",
        float(different),
        f"{same:,} of {len(rows):,} held-out rows answered the same after loading the saved folder{drift}",
    )
