"""`headstart pretrain` on pictures: a recipe in a file, a folder of photographs, a base that the other verbs take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.train.test_masked_patches import recipe

from headstart.base.base import Base
from headstart.cli import run
from headstart.train.recipe_file import recipe_text

STEPS = 8


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(40):
        file = tmp_path / "photos" / "abc"[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file)
    return tmp_path / "photos"


def test_a_folder_of_photographs(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "toy.toml", tmp_path / "toy"
    file.write_text(recipe_text(recipe("image", steps=STEPS)))
    line = ["pretrain", str(file), "--data", str(photos), "--out", str(out)]
    assert run([*line, "--verify-resume"]) == 0
    assert "the same: " in capsys.readouterr().out
    assert run([*line, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["objective"] == "patches"
    assert run([*line, "--from", "text-tiny"]) == 2
    assert "expected a recipe for text" in capsys.readouterr().err
    assert run([*line, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps"] == STEPS
    assert facts["parameters"] == Base.load(out).trunk.num_parameters
    curve = [point["patch_error"] for point in facts["curve"]]
    assert all(0.0 < error < 3.0 for error in curve)
