"""Where a base is looked for: a path, inside the package, an existing Hugging Face cache; never elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save
from tests.base.tiny_folders import good_folder
from tests.train.tiny_base import tiny_base as toy_base
from tests.train.tiny_base import toy_task

from headstart.base.base import Base
from headstart.ground.errors import BaseError
from headstart.train.fit import fit
from headstart.train.methods import FitSettings


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub lays it out: snapshots of links into blobs."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return cached(good_folder(tmp_path / "plain"), tmp_path / "hub" / "models--someone--tiny")


def cached(folder: Path, root: Path) -> Path:
    """Lay a folder into a cache as the model `root`."""
    (root / "blobs").mkdir(parents=True)
    snapshot = root / "snapshots" / "abc"
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        blob, link = root / "blobs" / str(number), snapshot / path.relative_to(folder)
        shutil.copy(path, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return root


def test_a_cached_model_is_found_by_its_id(cache: Path, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        Base.load("someone/tiny").encode(["w4"]), Base.load(tmp_path / "plain").encode(["w4"])
    )


def test_a_base_that_says_no_name_is_called_as_it_was_asked_for(cache: Path, tmp_path: Path) -> None:
    assert Base.load("someone/tiny").name == "someone/tiny"
    assert Base.load(cache / "snapshots" / "abc").name == "someone/tiny"
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    assert Base.load(tmp_path / "link").name == "link"
    shutil.copytree(tmp_path / "plain", tmp_path / "mine" / "model")
    assert Base.load(tmp_path / "plain" / ".." / "mine" / "model").name == "mine/model"


def test_a_cached_model_with_a_task_and_adapters_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    settings = FitSettings(epochs=1, batch_rows=16, lr=5e-3)
    adapted = fit(toy_base(), toy_task(), method="lora", settings=settings).base
    root = cached(adapted.save(tmp_path / "adapted"), tmp_path / "hub" / "models--someone--adapted")
    texts = list(toy_task().test.texts)
    assert Base.load("someone/adapted").predict(texts) == adapted.predict(texts)
    for name in ("head.safetensors", "adapter/adapter_model.safetensors"):
        link = root / "snapshots" / "abc" / name
        kept = os.readlink(link)
        link.unlink()
        link.symlink_to(tmp_path / "adapted" / name)
        with pytest.raises(BaseError, match="outside the base folder"):
            Base.load("someone/adapted")
        link.unlink()
        link.symlink_to(kept)


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
