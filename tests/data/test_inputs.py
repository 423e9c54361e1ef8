"""Rows to predict, in every shape people hand them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headstart.data.examples import Columns, Kind
from headstart.data.task import inputs_from_rows
from headstart.ground.errors import DataError

SINGLE, PAIR, TAGS = Columns("text"), Columns("a", "b"), Columns("tokens")


@pytest.mark.parametrize(
    "rows",
    [["x y", "z"], ("x y", "z"), [{"text": "x y", "other": 1}, {"text": "z"}], np.array(["x y", "z"]),
     {"text": ["x y", "z"]},
     pa.table({"text": ["x y", "z"]}), iter(["x y", "z"])],
)  # fmt: skip
def test_single_texts(rows: Any) -> None:
    assert inputs_from_rows(rows, columns=SINGLE, kind="choice") == (["x y", "z"], None)


def test_pairs() -> None:
    for rows in ([("x", "y")], [["x", "y"]], [{"a": "x", "b": "y"}], pa.table({"b": ["y"], "a": ["x"]})):
        assert inputs_from_rows(rows, columns=PAIR, kind="score") == (["x"], ["y"])


def test_words() -> None:
    for rows in ([["x", "y"]], [("x", "y")], ["x y"], [{"tokens": ["x", "y"]}], pa.table({"tokens": [["x", "y"]]})):
        assert inputs_from_rows(rows, columns=TAGS, kind="tags") == ([("x", "y")], None)


def test_a_path_and_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,text\n1,x y\n2,z\n")
    assert inputs_from_rows(tmp_path / "new.csv", columns=SINGLE, kind="choice") == (["x y", "z"], None)
    assert inputs_from_rows([], columns=SINGLE, kind="choice") == ([], None)
    assert inputs_from_rows([], columns=PAIR, kind="choice") == ([], [])


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["x y", "z"]}, index=[7, 7])
    assert inputs_from_rows(frame, columns=SINGLE, kind="choice") == (["x y", "z"], None)
    assert inputs_from_rows(frame["text"], columns=SINGLE, kind="choice") == (["x y", "z"], None)


@pytest.mark.parametrize(
    ("rows", "columns", "kind", "says"),
    [
        ([{"txt": "x"}], SINGLE, "choice", "row 0 has no 'text', only txt.*Did you mean 'txt'"),
        (["x", None], SINGLE, "choice", "row 1: the text is missing"),
        (["x", 3], SINGLE, "choice", "row 1: the text is 3"),
        ([("x", "y")], SINGLE, "choice", "row 0 is a pair; expected one text"),
        (["x"], PAIR, "choice", r"row 0 is .*expected a pair \(a, b\)"),
        ([("x", "y", "z")], PAIR, "choice", "expected a pair"),
        ([("x", None)], PAIR, "choice", "row 0: the text is missing"),
        ([[]], TAGS, "tags", "expected a list of words"),
        ([["x", 3]], TAGS, "tags", "expected a list of words"),
        ({"body": ["x"]}, SINGLE, "choice", "no column 'text'"),
        ("no such file.csv", SINGLE, "choice", "does not exist"),
    ],
)
def test_a_bad_row_is_named(rows: Any, columns: Columns, kind: Kind, says: str) -> None:
    with pytest.raises(DataError, match=says):
        inputs_from_rows(rows, columns=columns, kind=kind)


def test_no_row_of_a_file_is_left_out_silently(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text\n" + "x\n" * 300 + '"y\n' + "x\n" * 300)
    with pytest.raises(DataError, match=r"new\.csv:302"):
        inputs_from_rows(tmp_path / "new.csv", columns=SINGLE, kind="choice")
