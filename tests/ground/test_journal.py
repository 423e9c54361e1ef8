"""A file of lines that loses none: to a kill in the middle of one, or to a disk that is full for a while."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from headstart.ground.journal import Journal


def lines(path: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"st')
    for step in (1, 2):
        with Journal(path, print) as journal:
            journal.add({"step": step})
    assert path.read_text() == '{"step": 0}\n{"st\n{"step": 1}\n{"step": 2}\n'


def test_lines_wait_for_room(tmp_path: Path) -> None:
    """The kernel refuses in the middle of the second line; once there is room again the file is whole."""
    path, told = tmp_path / "metrics.jsonl", list[str]()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path, told.append) as journal:
        journal.add({"step": 0})
        resource.setrlimit(resource.RLIMIT_FSIZE, (17, before[1]))
        try:
            for step in (1, 2, 3):
                journal.add({"step": step})
            assert path.read_text() == '{"step": 0}\n{"ste'
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        journal.add({"step": 4})
        assert lines(path) == [{"step": step} for step in range(5)]
    assert len(told) == 1
    assert "no space left to write" in told[0]


def test_lines_that_wait_to_the_end_are_lost_and_counted(tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.jsonl", list[str]()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
    try:
        with Journal(path, told.append) as journal:
            journal.add({"step": 0})
            journal.add({"step": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(told) == 2
    assert all("no space left to write" in line and "metrics.jsonl" in line for line in told)
    assert told[1].endswith("2 lines are lost")


def test_lines_that_wait_are_written_after_an_exception_too(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def stopped() -> None:
        with Journal(path, str) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
            journal.add({"step": 0})
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stopped()
    assert lines(path) == [{"step": 0}]
