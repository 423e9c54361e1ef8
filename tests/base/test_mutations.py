"""Random damage to good files: a base either loads or is refused by a HeadstartError, never anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.base.tiny_bases import tiny_base
from tests.base.tiny_folders import good_folder

from headstart.base.base import Base
from headstart.ground.errors import HeadstartError
from headstart.ground.seeds import stream


def damaged(content: bytes, random: np.random.Generator, *, head: int) -> bytes:
    """One of: flipped bits, a cut, a doubled piece, a zeroed piece; mostly within the first `head` bytes."""
    where = int(random.integers(0, min(head, len(content))))
    length = int(random.integers(1, 9))
    kind = random.integers(0, 4)
    if kind == 0:
        flipped = bytearray(content)
        flipped[where] ^= 1 << int(random.integers(0, 8))
        return bytes(flipped)
    if kind == 1:
        return content[:where]
    piece = content[where : where + length] * 2 if kind == 2 else bytes(length)
    return content[:where] + piece + content[where + length :]


def refused(files: dict[str, int], folder: Path, rounds: int) -> int:
    """How many of `rounds` damaged copies are refused; `files`: name -> bytes at its head to damage."""
    count = 0
    for name, head in files.items():
        path = folder / name
        good = path.read_bytes()
        random = stream(0, "mutations", name)
        for _ in range(rounds):
            path.write_bytes(damaged(good, random, head=head))
            try:
                Base.load(folder)
            except HeadstartError:
                count += 1
        path.write_bytes(good)
    return count


FILES = {"model.safetensors": 4000, "config.json": 2000, "headstart.json": 2000, "tokenizer_config.json": 1000}


@pytest.mark.parametrize("rounds", [60, pytest.param(5000, marks=pytest.mark.soak)])
def test_folders(rounds: int, tmp_path: Path) -> None:
    tiny_base("bert").save(tmp_path / "base")
    assert refused(FILES, tmp_path / "base", rounds) > rounds


@pytest.mark.parametrize("rounds", [60, pytest.param(2000, marks=pytest.mark.soak)])
def test_tokenizers(rounds: int, tmp_path: Path) -> None:
    good_folder(tmp_path / "base")
    assert refused({"tokenizer.json": 4000}, tmp_path / "base", rounds) > rounds // 4


def test_shard_indexes(tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "base")
    shutil.move(folder / "model.safetensors", folder / "a.safetensors")
    from safetensors import safe_open

    with safe_open(folder / "a.safetensors", "pt") as shard:
        names = list(shard.keys())
    listing = ",".join(f'"{name}":"a.safetensors"' for name in names)
    (folder / "model.safetensors.index.json").write_text(f'{{"weight_map":{{{listing}}}}}')
    Base.load(folder)
    assert refused({"model.safetensors.index.json": 4000}, folder, 100) > 50
