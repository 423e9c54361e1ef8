"""Choosing a base for pictures, clips and series: workers get the inputs, features are those of a head, prompts are no
candidates."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.made_signals import made
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.choose import task_file, work
from headstart.choose.choose import choose
from headstart.choose.reading import read
from headstart.choose.task_file import task_of, write_task
from headstart.data.raw import Modality
from headstart.data.sound import Clip
from headstart.data.task import Task
from headstart.ground.errors import CapabilityError, DataError, RunError
from headstart.train.methods import FitSettings

QUICK = FitSettings(epochs=12, batch_rows=8, lr=4e-3, layer_decay=1.0)


@pytest.fixture(autouse=True)
def _no_tasks_of_other_tests() -> Iterator[None]:
    yield
    work.base_of.cache_clear()
    task_file.task_of.cache_clear()


def contents(folder: Path) -> dict[str, tuple[Modality, list[Any]]]:
    """Whatever an input may come as, twelve of each."""
    random = np.random.default_rng(0)
    grey = [random.integers(0, 255, (12, 12), dtype=np.uint8) for _ in range(12)]
    paths = [folder / f"{place}.png" for place in range(12)]
    for path, picture in zip(paths, grey, strict=True):
        Image.fromarray(picture).save(path)

    def png(picture: Any) -> bytes:
        held = io.BytesIO()
        Image.fromarray(picture).save(held, "png")
        return held.getvalue()

    clips = [Clip(random.normal(size=4000).astype(np.float32) / 10, 8000) for _ in range(12)]
    return {
        "paths": ("image", paths),
        "bytes": ("image", [png(picture) for picture in grey]),
        "pixels": ("image", grey),
        "clips": ("audio", clips),
        "series": ("series", [random.normal(size=(2, 40)) for _ in range(12)]),
    }


@pytest.mark.parametrize("kind", ["paths", "bytes", "pixels", "clips", "series"])
def test_workers_read_the_inputs_as_they_came(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modality, inputs = contents(tmp_path)[kind]
    task = Task.read({"x": inputs, "y": [0, 1] * 6}, **{modality: "x"})
    path = write_task(task, tmp_path / "task.json")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = task_of(path)
    assert again == task
    for mine, theirs in zip(task.train.raws, again.train.raws, strict=True):
        one, other = mine.read(), theirs.read()
        if isinstance(one, Clip):
            assert (one.rate, one.samples.tolist()) == (other.rate, other.samples.tolist())
        else:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("modality", ["image", "audio", "series"])
def test_the_base_that_sees_is_chosen(modality: Modality, tmp_path: Path) -> None:
    good, blind = tiny_patch_base(modality), tiny_patch_base(modality)
    with torch.no_grad():
        for parameter in blind.trunk.embed.parameters():
            parameter.zero_()
    bases = [replace(base, name=name).save(tmp_path / name) for name, base in (("blind", blind), ("good", good))]
    found = choose(made(modality), bases, methods=["probe", "full"], settings=QUICK)
    assert found.report.decision.base == "good"
    assert found.report.winner.best.value >= 0.75
    assert {one.method for one in found.report.winner.candidates} == {
        found.report.decision.method,
        "majority",
        "nearest",
    }
    rows = list(made(modality).test.raws)
    found.base.save(tmp_path / "out")
    assert type(good).load(tmp_path / "out").predict(rows) == found.base.predict(rows)


def test_a_text_base_is_left_out_of_a_search_over_pictures(tmp_path: Path) -> None:
    base = tiny_patch_base("image").save(tmp_path / "eyes")
    report = choose(made("image"), ["text-tiny", base], methods=["probe"]).report
    assert [(out.base, "reads text" in out.reason) for out in report.excluded] == [("text-tiny", True)]


def test_prompts_are_no_candidates_for_pictures(tmp_path: Path) -> None:
    base = tiny_patch_base("image").save(tmp_path / "eyes")
    wanted = "names few-shot and this task is over image; expected probe, lora or full"
    with pytest.raises(CapabilityError, match=wanted):
        choose(made("image"), [base], methods=["probe", "few-shot"])
    assert choose(made("image"), [base], settings=FitSettings(epochs=1)).report.findings.methods == [
        "probe",
        "lora",
        "full",
    ]


def two_channels(rows: int) -> Task:
    """Which of two channels moves is the answer: a mean over channels could not tell."""
    random = np.random.default_rng(0)
    labels = [row % 2 for row in range(rows)]
    series = [np.eye(2)[label][:, None] * np.sin(random.uniform(0, 6) + np.arange(40) / 3) for label in labels]
    return Task.read({"x": series, "y": labels}, series="x")


def test_channels_of_a_series_are_read_apart(tmp_path: Path) -> None:
    task = two_channels(80)
    found = read(tiny_patch_base("series"), task, metric="accuracy", seed=0, seconds=1e9)
    assert found.estimates.probe_last == 1.0
    assert found.curve[-1].value == 1.0
    more = [np.random.default_rng(row).normal(size=(3, 40)) for row in range(12)]
    odd = replace(task, validation=Task.read({"x": more, "y": [0, 1] * 6}, series="x").train)
    with pytest.raises(DataError, match=r"validation: dict:\d+ is a series of 3 channels; expected 2"):
        read(tiny_patch_base("series"), odd, metric="accuracy", seed=0, seconds=1e9)
    base = tiny_patch_base("series").save(tmp_path / "base")
    with pytest.raises(RunError, match=r"validation: dict:\d+ .*; expected one\. Mend that, or give other bases"):
        choose(odd, [base], methods=["probe"])


def test_channels_are_those_of_all_training_rows_as_a_head_takes_them() -> None:
    task = two_channels(80)
    more = [np.random.default_rng(row).normal(size=(3, 40)) for row in range(12)]
    other = Task.read({"x": more, "y": [0, 1] * 6}, series="x").train
    both = replace(
        task.train,
        texts=(*task.train.texts, *other.texts),
        targets=(*task.train.targets, *other.targets),
        ids=tuple(range(len(task.train) + len(other))),
    )
    mixed = replace(task, train=both, validation=other)
    for most in (8, len(both)):
        found = read(tiny_patch_base("series"), mixed, metric="accuracy", seed=0, seconds=1e9, most_rows=most)
        assert found.rows == most
