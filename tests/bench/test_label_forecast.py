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
from headstart.choose.decision import Gain
from headstart.choose.reading import CurvePoint, Estimates, Reading
from headstart.data.task import Task

CELL = Cell("toy", "a base", 0, CLOSED)


def told(test: dict[int, float], *, last: float = 0.0) -> dict[str, Any]:
    """The record of a curve whose error falls as labels^-0.3; last: added to its end at 1,600 labels."""
    curve = [CurvePoint(n, 1 - 0.5 * (n / 100) ** -0.3 + last * (n == 1600)) for n in (100, 200, 400, 800, 1600)]
    reading = Reading(1600, 1600, 1.0, 1.0, Estimates(*[0.5] * 6, 0), curve, 500)
    return {
        "metric": "accuracy",
        "rows": [1600, 500, 1000],
        "reading": msgspec.to_builtins(reading),
        "floor": 0.3,
        "test": {str(labels): value for labels, value in test.items()},
    }


def test_a_law_is_foretold_and_what_lies_behind_the_labels_is_not_used() -> None:
    law = {n: 1 - 0.5 * (n / 100) ** -0.3 for n in (200, 400, 800, 1600)}
    found = cases(CELL, told(law), told(law))
    assert [case.labels for case in found] == [200, 400, 800]
    of = summary([case.gain for case in found])
    assert of.off < 1.0
    assert (of.inside, of.with_noise) == (1.0, None)
    assert cases(CELL, told(law, last=-0.4), told(law)) == found


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


def test_a_cell_is_measured_once_and_trainings_are_scored_on_the_same_test_rows(task: Task, tmp_path: Path) -> None:
    curves = kept(CELL, "tiny", task, tmp_path)
    assert sorted(curves["test"], key=int) == ["100", "200", "400"]
    probe = kept(replace(CELL, side="probe"), "tiny", task, tmp_path)
    assert sorted(probe["test"]) == ["200", "400"]
    assert probe["rows"] == curves["rows"] == [400, len(task.validation), len(task.test)]
    assert np.isfinite(probe["noise"]["200"])
    again = kept(CELL, "tiny", replace(task, test=task.test.subset([0])), tmp_path)
    assert again == curves
