"""Saving a base: what a full disk leaves (one sentence, and no folder), and who may read the files."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from tests.base.tiny_bases import tiny_base

from headstart.ground.errors import RunError


@pytest.mark.parametrize("room", [0, 2_000, 20_000])
def test_a_disk_without_room_is_one_message_and_no_folder(room: int, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: the write fails inside the library that writes."""
    base = tiny_base("llama")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(RunError, match=r"no space left to write .*out; nothing half-written was kept"):
            base.save(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_who_may_read_the_config_may_read_the_weights(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        tiny_base("llama").save(tmp_path / "out")
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {0o666 & ~mask}, modes
