"""The protocol of labelled sets: what is drawn under a limit, and the floors that others measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headstart.data.task import Examples
from headstart.evaluate.metrics import score_task
from headstart.evaluate.suite.adapting import AdaptProtocol, drawn, guessing, read_task
from headstart.evaluate.suite.index import find_sets


def rows(targets: list[object]) -> Examples:
    return Examples(tuple(f"row {i}" for i in range(len(targets))), None, tuple(targets), tuple(range(len(targets))))  # type: ignore[arg-type]


def test_a_limit_keeps_a_row_of_every_label() -> None:
    few = drawn(rows([0] * 500 + [1, 2]), 10, kind="choice", name="train")
    assert len(few) == 10
    assert {*few.targets} == {0, 1, 2}
    assert list(few.ids) == sorted(few.ids)
    assert len(drawn(rows([*range(30)] * 2), 10, kind="choice", name="train")) == 30
    spread = drawn(rows([(0,)] * 300 + [(0, 1), ()]), 20, kind="labels", name="train")
    assert (0, 1) in spread.targets


def test_without_need_nothing_is_drawn() -> None:
    all_rows = rows([0.5, 1.5, 2.5])
    assert drawn(all_rows, None, kind=None, name="test") is all_rows
    assert drawn(all_rows, 3, kind="score", name="test") is all_rows
    assert len(drawn(all_rows, 2, kind="score", name="test")) == 2


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.1), (0.9, 0.1), (0.25, 0.25, 0.25, 0.25, 0.0)])
def test_guessing_one_label_scores_what_a_simulation_says(shares: tuple[float, ...]) -> None:
    random, count = np.random.default_rng(0), len(shares)
    truth = np.repeat(np.arange(count), np.round(2000 * np.asarray(shares)).astype(int))
    labels = [str(label) for label in range(count)]
    for metric in ("macro_f1", "accuracy", "mcc"):
        scored = [
            score_task("choice", metric, truth, random.integers(0, count, 2000), labels=labels) for _ in range(40)
        ]
        assert guessing(metric, truth, count) == pytest.approx(np.mean(scored), abs=0.005)


@pytest.mark.parametrize("shares", [(0.4, 0.3, 0.2), (0.05, 0.02, 0.01, 0.3)])
def test_guessing_several_labels_scores_what_a_simulation_says(shares: tuple[float, ...]) -> None:
    random, count = np.random.default_rng(0), len(shares)
    labels = [str(label) for label in range(count)]

    def drawn_labels(chances: object) -> list[tuple[int, ...]]:
        return [tuple(np.flatnonzero(row).tolist()) for row in random.random((2000, count)) < chances]

    truth = drawn_labels(shares)
    for metric in ("micro_f1", "exact_match"):
        scored = [score_task("labels", metric, truth, drawn_labels(0.5), labels=labels) for _ in range(20)]
        assert guessing(metric, truth, count) == pytest.approx(np.mean(scored), abs=0.005)


@pytest.mark.parametrize("name", ["trec6", "rte"])
def test_the_majority_is_the_one_of_the_published_floors(name: str, shared: Path) -> None:
    floors = json.loads((shared / "tasks" / "FLOORS.json").read_text())
    (found,), _ = find_sets(shared / "tasks", suite="all", tasks=(name,))
    task = read_task(found, limit=None)
    cell, samples = AdaptProtocol().control("majority", task, found.spec)
    right = np.mean([sample.target == sample.prediction for sample in samples])
    assert right == pytest.approx(floors[name]["majority"], abs=5e-5)
    assert cell.guess == pytest.approx(1 / len(task.labels))
    assert cell.rows["test"] == len(samples)
