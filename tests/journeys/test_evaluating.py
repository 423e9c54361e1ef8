"""`headstart evaluate` as scripts see it: killed for good and given again, one JSON object, exit codes, one message."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.made_sets import write_sets

from headstart.base.base import Base
from headstart.cli import run
from headstart.evaluate.suite.scoreboard import without_timing
from headstart.evaluate.untrained import untrained


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("made") / "sets")


def command(base: Path, sets: Path, *words: str) -> list[str]:
    asked = ("--suite", "all", "--data", str(sets), "--tasks", "moods,grammar,pictures", "--json")
    return [sys.executable, "-m", "headstart", "evaluate", str(base), *asked, *words]


def plain(content: str) -> Any:
    return without_timing(json.loads(content))


def test_sigkill_costs_the_cell_under_way_and_nothing_else(tiny_base_folder: Path, sets: Path, tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    asked = command(tiny_base_folder, sets)
    process = subprocess.Popen(asked, cwd=tmp_path / "killed", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cells = tmp_path / "killed" / "runs" / "evaluate" / "cells"
    until = time.monotonic() + 60
    while len(list(cells.rglob("*.json"))) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.kill()
    process.wait()
    kept = {path: path.read_bytes() for path in cells.rglob("*.json")}
    assert kept
    found = [
        subprocess.run(asked, cwd=tmp_path / name, capture_output=True, text=True, timeout=120, check=False)
        for name in ("killed", "whole")
    ]
    assert [one.returncode for one in found] == [0, 0], found[0].stderr
    assert plain(found[0].stdout) == plain(found[1].stdout)
    assert all(path.read_bytes() == content for path, content in kept.items())
    report = json.loads(found[0].stdout)
    assert {"suite", "bases", "tasks", "overall", "comparisons", "skipped", "samples"} <= set(report)
    assert [t["task"]["name"] for t in report["tasks"]] == ["moods", "grammar"]
    assert "pictures" in found[0].stderr
    assert json.loads((cells.parent / "evaluation.json").read_text()) == report


def test_what_is_wrong_is_said_before_a_base_is_loaded(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "no-such-base", "--data", str(tmp_path)]) == 2
    assert "has no INDEX.json" in capsys.readouterr().err
    assert run(["evaluate", "no-such-base", "--data", str(sets), "--suite", "adept"]) == 2
    assert "Did you mean 'adapt'" in capsys.readouterr().err
    assert run(["evaluate", "no-such-base", "--data", str(sets), "--tasks", "mood"]) == 2
    assert "Did you mean 'moods'" in capsys.readouterr().err
    assert run(["evaluate", "no-such-base", "--data", str(sets), "--tasks", ","]) == 2
    assert "--tasks is ','; expected names of sets" in capsys.readouterr().err
    assert run(["evaluate", "no-such-base", "--data", str(sets), "--method", ","]) == 2
    assert "--method is ','; expected some of" in capsys.readouterr().err
    assert run(["evaluate", "no-such-base", "--data", str(sets), "--shots", "3"]) == 2
    assert "no base is asked by few-shot; expected both. Add --method few-shot" in capsys.readouterr().err
    assert run(["evaluate", "", "--data", str(sets)]) == 2
    assert "a base is ''" in capsys.readouterr().err
    assert run(["evaluate", "no-such-base", "--data", str(sets), "--suite", "adapt"]) == 2
    assert "is not on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("thesis.txt", "keep me", "holds something and no evaluation; expected a new or empty folder"),
        ("evaluation.json", '{"mine": 1}', "is no result of evaluate"),
        (
            "evaluation.json",
            '{"tasks": [{"task": {"name": "facts"}}, {"task": {"name": "moods"}}], "schema_version": 1}',
            "holds an evaluation of facts, which would be lost; expected the same sets again, or more",
        ),
    ],
)
def test_a_folder_that_holds_something_else_is_left_alone(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    asked = ["evaluate", "text-tiny", "--data", str(sets), "--tasks", "moods", "--out", str(tmp_path)]
    assert run(asked) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content


def test_a_finished_evaluation_is_not_overwritten_with_less(
    tiny_base: Base, tiny_base_folder: Path, sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Less is refused before a base is loaded where it can be seen; the same, more methods and more bases go on."""
    other = replace(untrained(tiny_base, seed=9), name="other").save(tmp_path / "other")
    where = ["--data", str(sets), "--tasks", "moods,facts", "--out", str(tmp_path / "out")]
    base = str(tiny_base_folder)
    assert run(["evaluate", base, *where, "--seeds", "2"]) == 0
    last = tmp_path / "out" / "evaluation.json"
    whole = last.read_bytes()
    capsys.readouterr()
    for name, words, message in (
        (str(other), ["--seeds", "2"], "an evaluation of tiny, which would be lost; expected the same bases again"),
        ("none", ["--seeds", "2", "--limit", "9"], "an evaluation of all rows, which would be lost; expected as many"),
        ("none", [], "an evaluation of 2 seeds, which would be lost; expected as many seeds again, or more"),
        ("none", ["--seeds", "2", "--method", "zero-shot"], "an evaluation of moods by probe, which would be lost"),
    ):
        assert run(["evaluate", name, *where, *words]) == 2
        assert message in capsys.readouterr().err
        assert last.read_bytes() == whole
    assert run(["evaluate", base, *where, "--seeds", "2", "--method", "zero-shot,probe"]) == 0
    assert run(["evaluate", base, str(other), *where, "--seeds", "2", "--method", "zero-shot,probe"]) == 0
    assert [one["name"] for one in json.loads(last.read_text())["bases"]] == ["tiny", "other"]
    assert run(["evaluate", base, str(other), *where, "--seeds", "2"]) == 2
    assert "an evaluation of moods by zero-shot" in capsys.readouterr().err
    more = ["--data", str(sets), "--tasks", "moods", "--out", str(tmp_path / "more"), "--method", "few-shot,probe"]
    assert run(["evaluate", base, *more, "--shots", "2", "--label-curve"]) == 0
    for words, message in (
        (["--shots", "2"], "an evaluation of label curves, which would be lost; expected --label-curve again"),
        (
            ["--shots", "3", "--label-curve"],
            "of few-shot with 2 demonstrations, which would be lost; expected --shots 2",
        ),
    ):
        assert run(["evaluate", base, *more, *words]) == 2
        assert message in capsys.readouterr().err
