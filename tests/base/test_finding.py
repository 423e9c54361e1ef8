"""Where a base is looked for: a path, inside the package, an existing Hugging Face cache; never elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save
from tests.base.tiny_folders import good_folder

from headstart.base.base import Base
from headstart.ground.errors import BaseError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub lays it out: snapshots of links into blobs."""
    root = tmp_path / "hub" / "models--someone--tiny"
    (root / "blobs").mkdir(parents=True)
    (root / "snapshots" / "abc").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    good_folder(tmp_path / "plain")
    for number, path in enumerate(sorted((tmp_path / "plain").iterdir())):
        shutil.copy(path, root / "blobs" / str(number))
        (root / "snapshots" / "abc" / path.name).symlink_to(f"../../blobs/{number}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return root


def test_a_cached_model_is_found_by_its_id(cache: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        Base.load("someone/tiny").encode(["w4"]), Base.load(tmp_path / "plain").encode(["w4"])
    )


def test_a_cached_link_may_not_leave_the_model(cache: Path, tmp_path: Path) -> None:
    weights = cache / "snapshots" / "abc" / "model.safetensors"
    weights.unlink()
    weights.symlink_to(tmp_path / "plain" / "model.safetensors")
    with pytest.raises(BaseError, match="outside the base folder"):
        Base.load("someone/tiny")


@pytest.mark.parametrize("name", ["someone/other", "../plain", "a/b/c", "..", "no\nbase"])
def test_other_names_are_refused(name: str, cache: Path) -> None:
    with pytest.raises(BaseError, match=r"is not on this machine|is empty|has no config") as caught:
        Base.load(name)
    assert "\n" not in str(caught.value)


def test_unaligned_data_is_read(tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "base")
    before = Base.load(folder).encode(["w4 w5"])
    content = save(load_file(folder / "model.safetensors"))
    length = int.from_bytes(content[:8], "little")
    shifted = (length + 1).to_bytes(8, "little") + content[8 : 8 + length] + b" " + content[8 + length :]
    (folder / "model.safetensors").write_bytes(shifted)
    np.testing.assert_array_equal(Base.load(folder).encode(["w4 w5"]), before)
