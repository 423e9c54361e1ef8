"""What twice the labels bring: forecasts use nothing beyond their labels, and are told beside what happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from bench.foretold import Foretold, Summary, summary
from bench.label_forecast import CLOSED, Case, Cell, cases, drawn, kept, sizes, table
from tests.train.tiny_base import tiny_base, toy_task

from bench import label_forecast
from headstart.choose import reading
from headstart.choose.decision import Gain
from headstart.choose.reading import CurvePoint, Estimates, Reading
from headstart.data.task import Task
from headstart.evaluate.label_curve import nested_order
from headstart.evaluate.trial import try_method
from headstart.train.methods import FitSettings

CELL = Cell("toy", "a base", 0, CLOSED)


def record(test: dict[int, float], *, last: float = 0.0) -> dict[str, Any]:
    """The record of a curve whose error falls as labels^-0.3; last: added to its end at 1,600 labels."""
    curve = [CurvePoint(n, 1 - 0.5 * (n / 100) ** -0.3 + last * (n == 1600)) for n in (100, 200, 400, 800, 1600)]
    told = Reading(1600, 1600, 1.0, 1.0, Estimates(*[0.5] * 6, 0), curve, 500)
    return {
        "metric": "accuracy",
        "conditions": {"rows": [1600, 500, 1000]},
        "reading": msgspec.to_builtins(told),
        "floor": 0.3,
        "test": {str(labels): value for labels, value in test.items()},
    }


def test_a_law_is_foretold_and_what_lies_behind_the_labels_is_not_used() -> None:
    law = {n: 1 - 0.5 * (n / 100) ** -0.3 for n in (200, 400, 800, 1600)}
    found = cases(CELL, record(law), record(law))
    assert [case.labels for case in found] == [200, 400, 800]
    of = summary([case.gain for case in found])
    assert of.off < 1.0
    assert (of.inside, of.with_noise) == (1.0, None)
    assert cases(CELL, record(law, last=-0.4), record(law)) == found


def test_what_happened_is_told_in_points_beside_what_was_foretold() -> None:
    gain = Gain(0.02, (0.01, 0.04))
    found = [Foretold(gain, 0.03, 0.0), Foretold(gain, 0.0, 0.01)]
    assert summary(found) == Summary(2, *(pytest.approx(v) for v in (2.0, 1.5, 1.5, 1.5, 3.0, 0.5, 0.5)))
    assert [one.inside_with_noise for one in found] == [True, False]
    assert Foretold(gain, 0.005, 0.01).inside_with_noise
    lines = table([Case(CELL, 200, found[0]), Case(CELL, 400, found[1])])
    assert lines[2] == "| closed form | 2 | +2.00 | +1.50 | 1.50 | 1.50 | 3.00 | 50% | 50% |"
    assert [line.split(" |")[0] for line in lines[3:]] == [
        "| closed form: toy",
        "| closed form: a base",
        "| closed form: 200 labels",
        "| closed form: 400 labels",
    ]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """400 train rows, and a base that is a value."""
    monkeypatch.setattr(label_forecast, "loaded", lambda source: tiny_base())
    given = toy_task()
    return replace(given, train=given.train.subset([row % len(given.train) for row in range(400)]))


def test_draws_nest_and_differ(task: Task) -> None:
    numbered = replace(task, train=replace(task.train, targets=tuple(range(400))))
    few, many = (drawn(replace(numbered, kind="score"), most, 0).train.targets for most in (200, 400))
    assert few == many[:200]
    assert sorted(many) == list(range(400))
    assert drawn(replace(numbered, kind="score"), 200, 1).train.targets != few
    assert (sizes(399), sizes(400), sizes(1600)) == ([], [200], [200, 400, 800])


def test_trainings_have_the_labels_that_the_forecast_has_read(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(task, train=replace(task.train, ids=tuple(range(400))))
    trained_on, read_by_pass = list[set[int]](), list[int]()
    real, go = label_forecast.try_method, reading.Pass.go

    def trying(base: Any, part: Task, **others: Any) -> Any:
        trained_on.append({int(one) for one in part.train.ids})
        return real(base, part, **others)

    def going(way: Any) -> None:
        before = way.rows
        go(way)
        read_by_pass.extend(way._order[before : way.rows].tolist())

    monkeypatch.setattr(label_forecast, "try_method", trying)
    label_forecast.trained(tiny_base(), task, metric="accuracy", method="probe", seed=0)
    monkeypatch.setattr(reading.Pass, "go", going)
    label_forecast.passed(tiny_base(), task, metric="accuracy")
    assert trained_on == [set(read_by_pass[:200]), set(read_by_pass[:400])]
    assert [len(ids) for ids in trained_on] == [200, 400]


def test_what_happened_is_of_test_rows_and_its_noise_of_their_differences(task: Task) -> None:
    turned = replace(task.test, targets=tuple(1 - int(answer) for answer in task.test.targets))  # type: ignore[arg-type]
    parts = [replace(task, test=test) for test in (task.test, turned)]
    curves = [label_forecast.read(tiny_base(), part, metric="accuracy") for part in parts]
    assert curves[0]["reading"]["curve"] == curves[1]["reading"]["curve"], "the forecast has seen validation alone"
    assert all(curves[0]["test"][n] > 0.6 > 0.4 > curves[1]["test"][n] for n in ("200", "400"))
    told = label_forecast.trained(tiny_base(), task, metric="accuracy", method="probe", seed=0)
    right = {}
    for labels in (200, 400):
        part = replace(task, train=task.train.subset(nested_order(task.train, task.kind, 0)[:labels]))
        trial = try_method(tiny_base(), part, method="probe", seed=0, settings=FitSettings(), metric="accuracy")
        right[labels] = np.asarray(trial.test.predictions) == np.asarray(part.test.targets)
    apart = right[400].astype(float) - right[200].astype(float)
    assert told["test"] == {str(labels): pytest.approx(float(one.mean())) for labels, one in right.items()}
    assert told["noise"]["200"] == pytest.approx(apart.std() / np.sqrt(len(apart)), rel=0.15, abs=1e-9)


def test_a_cell_is_measured_once_and_anew_on_other_rows(task: Task, tmp_path: Path) -> None:
    curves = kept(CELL, "tiny", task, tmp_path)
    assert sorted(curves["test"], key=int) == ["100", "200", "400"]
    probe = kept(replace(CELL, side="probe"), "tiny", task, tmp_path)
    assert sorted(probe["test"]) == ["200", "400"]
    assert probe["conditions"] == curves["conditions"]
    assert curves["conditions"]["rows"] == [400, len(task.validation), len(task.test)]
    assert kept(CELL, "tiny", task, tmp_path) == curves
    fewer = kept(CELL, "tiny", replace(task, test=task.test.subset([0, 1])), tmp_path)
    assert fewer["conditions"]["rows"][2] == 2
    assert fewer != curves
