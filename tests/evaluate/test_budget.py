"""Predictions: the TF-IDF control is timed on the machine, trainings follow what the first one took."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headstart.base.base import Base
from headstart.data.examples import EMPTY
from headstart.data.task import Columns, Examples, Task
from headstart.evaluate import budget as budget_module
from headstart.evaluate.budget import Budget, Pace, measure_pace, plain_seconds
from headstart.train.methods import FitSettings


def made(rows: int) -> Task:
    train = Examples(
        tuple(f"word{i % 17} and word{i % 5}" for i in range(rows)),
        None,
        tuple(i % 2 for i in range(rows)),
        tuple(range(rows)),
    )
    return Task("made", "choice", ("a", "b"), train, EMPTY, train, Columns("text"), "0" * 64)


def test_a_large_table_is_timed_on_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def slow(task: Task, *, method: str) -> Any:
        asked.append(len(task.train))
        return SimpleNamespace(seconds=3.0)

    monkeypatch.setattr(budget_module, "fit_control", slow)
    assert plain_seconds(made(5000), measure=True) == pytest.approx(2 * 3.0 * 10)
    assert asked == [500]
    assert plain_seconds(made(5000)) < 1.0
    assert plain_seconds(made(300), measure=True) < 1.0
    assert asked == [500]


def test_without_a_limit_there_is_no_deadline() -> None:
    assert Budget(None).deadline(0.5) is None
    assert Budget(None).left() == float("inf")
    assert 0 < Budget(10.0).left() <= 9.0  # what finishing needs is kept back


def test_predictions_follow_the_first_training(tiny_base: Base) -> None:
    task = made(200)
    pace = Pace(0.01, tiny_base, task, FitSettings(epochs=2))
    before = pace.fitting("full")
    assert before == pytest.approx(0.01 * 2 * 3 * 200)
    ran: Any = SimpleNamespace(method="full", epochs=1.0, seconds=2 * 0.01 * 3 * 200)
    pace.learn(ran)
    assert pace.fitting("full") == pytest.approx(2 * before)


@pytest.mark.parametrize(("stopped", "row"), [("done", 0.01), ("deadline", 0.5)])
def test_a_probe_that_was_cut_short_says_nothing_about_speed(tiny_base: Base, stopped: str, row: float) -> None:
    pace = Pace(0.5, tiny_base, made(200), FitSettings())
    probe: Any = SimpleNamespace(method="probe", stopped=stopped, seconds=2.0)
    pace.learn(probe)
    assert pace.row == row


def test_reading_speed_is_measured_on_texts_pairs_and_words(tiny_base: Base, tmp_path: Path) -> None:
    task = made(20)
    pairs = Examples(task.train.texts, task.train.texts, task.train.targets, task.train.ids)
    words = Examples(tuple(("a", "b") for _ in range(20)), None, ((0, 1),) * 20, task.train.ids)
    for train in (task.train, pairs, words):
        changed = Task("made", "choice", ("a", "b"), train, EMPTY, EMPTY, Columns("text"), "0" * 64)
        assert 0 < measure_pace(tiny_base, changed, FitSettings()).row < 1
