"""A table of a labelled set says which controls are not in it, and the flags that it names put them there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.evaluate.made_sets import write_sets

from headstart.base.base import Base
from headstart.evaluate.suite.leaderboard import human_lines, plain_lines
from headstart.evaluate.suite.page import render_page
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import Evaluation, Missing
from headstart.evaluate.suite.specs import Method, check_methods

CURVE = "--label-curve"


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("made") / "sets")


def run(base: Base, sets: Path, out: Path, *methods: Method, label_curve: bool = False) -> Evaluation:
    settings = Settings(tasks=("moods", "facts"), methods=methods, label_curve=label_curve, limit=40)
    return evaluate([base], data=sets, out=out, settings=settings)


@pytest.mark.parametrize(
    ("methods", "missing"),
    [
        ((), [("from scratch", CURVE), ("labels saved", CURVE)]),
        (("full",), [("random weights", "--method full,probe"), ("labels saved", CURVE)]),
        (("zero-shot",), [("from scratch", CURVE), ("labels saved", f"--method zero-shot,probe {CURVE}")]),
        (("probe", "full"), [("labels saved", CURVE)]),
    ],
)
def test_what_is_missing_is_said_and_can_be_had(
    tiny_base: Base, sets: Path, tmp_path: Path, methods: tuple[Method, ...], missing: list[tuple[str, str]]
) -> None:
    found = run(tiny_base, sets, tmp_path, *methods)
    labelled, asked = found.tasks
    assert (labelled.task.name, asked.task.name) == ("moods", "facts")
    assert labelled.missing == [Missing(control, add) for control, add in missing]
    assert asked.missing == [], "what is asked without training has no such controls"
    human, piped = [line.plain for line in human_lines(found)], list(plain_lines(found))
    (line,) = (line for line in human if line.startswith("no "))
    assert all(control in line and add in line for control, add in missing)
    assert sum(line.startswith("missing task=moods") for line in piped) == len(missing)
    assert "Controls that nobody asked for on moods:" in render_page(found)

    flags = [shlex.split(add) for _, add in missing]
    more = [check_methods(words[words.index("--method") + 1]) for words in flags if "--method" in words]
    again = run(
        tiny_base, sets, tmp_path, *(more[0] if more else methods), label_curve=any(CURVE in words for words in flags)
    )
    table = again.tasks[0]
    assert table.missing == []
    assert {"base", "random", "scratch", "majority", "tfidf"} <= {row.role for row in table.candidates}
    assert any(row.label_curve is not None for row in table.candidates)
    assert not any(line.plain.startswith("no ") for line in human_lines(again))
    assert "Controls that nobody asked for" not in render_page(again)
