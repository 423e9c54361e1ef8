"""In-context learning: cells are kept, a prompt that does not fit is a gap, the table and picture hold every point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.icl import Asked, Curve, curve_of, kept_cell, majority_of, point_of, run_cell, small, table
from bench.icl_picture import picture
from tests.train.tiny_base import tiny_base, toy_task

from bench import icl
from headstart.data.task import Task

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    words = {"negative": "bad", "positive": "good"}
    monkeypatch.setitem(icl.ASKED, "toy", Asked("{{ text }} is {{ label }}", words))
    return small(toy_task(), 20)


def test_a_cell_is_run_once_and_one_that_does_not_fit_says_so(task: Task, tmp_path: Path) -> None:
    base = tiny_base()
    first = kept_cell(base, task, shots=1, seed=0, folder=tmp_path)
    assert {name: len(right) for name, right in first["right"].items()} == dict.fromkeys(icl.CALIBRATIONS, 20)
    assert kept_cell(replace(base, lm=None), task, shots=1, seed=0, folder=tmp_path) == first
    assert "expected at most 32" in run_cell(base, task, shots=16, seed=0)["too_long"]


def test_the_curve_has_a_point_for_what_fits(task: Task, tmp_path: Path) -> None:
    curve = curve_of(tiny_base(), task, shots=(0, 1, 16), seeds=2, folder=tmp_path, until=float("inf"))
    assert sorted(curve.points) == sorted((count, name) for count in (0, 1) for name in icl.CALIBRATIONS)
    assert [len(curve.points[count, "none"].values) for count in (0, 1)] == [1, 2]
    nothing = curve_of(tiny_base(), task, shots=(2,), seeds=2, folder=tmp_path, until=0.0)
    assert nothing.points == {}


def test_the_table_and_the_picture_hold_every_point(task: Task) -> None:
    point = point_of([[1, 1, 0, 1], [1, 0, 0, 1]])
    assert point.value == 0.625
    assert point.values == (0.75, 0.5)
    assert point.low < 0.625 < point.high
    curve = Curve("a base", "toy", {(0, name): point for name in icl.CALIBRATIONS})
    floors = {"toy": majority_of(task)}
    lines = table([curve], floors, (0, 4))
    assert len(lines) == 6
    assert lines[3].startswith("| toy | a base | raw | 62.5 [")
    assert lines[3].endswith("±17.7 | - |")
    drawn = ElementTree.fromstring(picture([curve], floors, (0, 4)))
    assert len(drawn.findall(f".//{SVG}circle[@r='3.5']")) == 2
    assert "62.5 with 0 shots" in (drawn.get("aria-label") or "")
