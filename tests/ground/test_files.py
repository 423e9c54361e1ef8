"""A folder that appears whole or not at all, and errors that name the file at fault."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.tiny_base import tiny_base

from headstart.ground.errors import RunError
from headstart.ground.files import publish_folder, sibling, sweep


def test_an_input_that_cannot_be_read_is_named_and_not_the_target(tmp_path: Path) -> None:
    gone = tmp_path / "corpus.sketch"
    with pytest.raises(RunError, match=r"corpus\.sketch cannot be read: No such file.*Check that file") as caught:
        replace(tiny_base(), sketches=(gone,)).save(tmp_path / "out")
    assert "--out" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written_is_the_targets_fault(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"out cannot be written: No such file.*Give another --out"),
        publish_folder(tmp_path / "out") as folder,
    ):
        (folder / "absent" / "file").write_text("x")
    with pytest.raises(RunError, match="out cannot be written"), publish_folder(tmp_path / "out"):
        raise OSError(errno.EIO, "Input/output error")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_onto_a_full_disk_is_no_fault_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_text("x")

    def full(read: str, written: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", read, None, written)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(RunError, match=r"no space left to write .*out"), publish_folder(tmp_path / "out") as folder:
        shutil.copyfile(str(source), str(folder / "copy"))


def test_a_target_below_a_file_is_the_targets_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(RunError, match="out cannot be written: Not a directory"),
        publish_folder(tmp_path / "file" / "out"),
    ):
        pass


def test_a_sweep_takes_what_killed_writers_left_of_a_target_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = sibling(out, "0a")
    for folder in (out, left, sibling(left, "0b"), sibling(tmp_path / "outer", "0c")):
        folder.mkdir()
        (folder / "file").touch()
    sibling(out, "0d").touch()
    sweep(tmp_path, "out", print)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".outer.tmp-0c", "out"]


def test_a_leftover_that_cannot_be_removed_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mark in ("0a", "0b"):
        sibling(tmp_path / "out", mark).touch()
    told, unlink = list[str](), Path.unlink

    def refusing(path: Path) -> None:
        if path.name.endswith("0a"):
            raise PermissionError(1, "Operation not permitted")
        unlink(path)

    monkeypatch.setattr(Path, "unlink", refusing)
    sweep(tmp_path, "out", told.append)
    assert [path.name for path in tmp_path.iterdir()] == [".out.tmp-0a"]
    assert told == [
        f"{tmp_path / '.out.tmp-0a'}, left by a run that was killed, cannot be removed: Operation not permitted"
    ]


def test_a_folder_that_becomes_part_of_another_appears_with_it(tmp_path: Path) -> None:
    """A base saved into a folder that is still being written."""
    with publish_folder(tmp_path / "out") as folder:
        tiny_base().save(folder)
        (folder / "report.html").write_text("page")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {"report.html", "model.safetensors"} <= {path.name for path in (tmp_path / "out").iterdir()}
