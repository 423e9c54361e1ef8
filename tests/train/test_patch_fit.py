"""Adapting bases that read patches: every method on every modality, saved and loaded again, and the augmentation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.made_signals import MAKERS, made
from tests.data.media import image_bytes
from tests.train.tiny_base import tiny_base
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.base.base import Base
from headstart.data.augment import USUAL, Augmentation
from headstart.data.patch_rows import encode_patches
from headstart.data.patches import Modality
from headstart.data.raw import keep_raw
from headstart.data.task import Task
from headstart.ground.errors import CapabilityError, DataError
from headstart.train.fit import fit
from headstart.train.methods import FitSettings, resolve

QUICK = FitSettings(epochs=12, batch_rows=8, lr=4e-3, layer_decay=1.0)


@pytest.mark.parametrize(
    ("modality", "method"),
    [
        *((modality, method) for modality in sorted(MAKERS) for method in ("probe", "full")),
        ("image", "scratch"),
        ("series", "lora"),
    ],
)
def test_every_method_learns_and_its_base_answers_the_same_after_loading(
    modality: str, method: str, tmp_path: Path
) -> None:
    base, task = tiny_patch_base(modality), made(modality)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in base.trunk.state_dict().items()}
    longer = replace(QUICK, epochs=40)  # from random weights 12 passes are enough for two seeds of three
    fitted = fit(base, task, method=method, settings=longer if method == "scratch" else QUICK)
    assert all(bool((before[name] == value).all()) for name, value in base.trunk.state_dict().items())
    rows = list(task.test.raws)
    wanted = [task.labels[int(target)] for target in task.test.targets]
    answers = fitted.base.predict(rows)
    if method != "lora":  # rank 8 over random weights learns little of a picture in 25 epochs
        assert np.mean([a == w for a, w in zip(answers, wanted, strict=True)]) >= 0.75
    fitted.base.save(tmp_path / "adapted")
    again = Base.load(tmp_path / "adapted")
    assert again.predict(rows) == answers
    assert again.modality == modality
    assert np.allclose(again.predict_proba(rows), fitted.base.predict_proba(rows), atol=1e-6)  # type: ignore[arg-type]


def test_channels_of_a_series_are_told_apart() -> None:
    """Which of two channels moves is the answer: a mean over channels could not tell."""
    random = np.random.default_rng(0)
    labels = [row % 2 for row in range(80)]
    rows = [np.eye(2)[label][:, None] * np.sin(random.uniform(0, 6) + np.arange(40) / 3) for label in labels]
    task = Task.read({"x": rows, "y": labels}, series="x")
    found = fit(tiny_patch_base("series"), task, method="probe")
    assert found.base.contract is not None
    assert found.base.contract.channels == 2
    answers = found.base.predict(list(task.test.raws))
    assert answers == [task.labels[int(target)] for target in task.test.targets]
    with pytest.raises(DataError, match="input 1 is a series of 3 channels; expected 2"):
        found.base.predict([np.zeros((2, 40)), np.zeros((3, 40))])
    with pytest.raises(DataError, match=r"^s\.csv:9 is a series of 3 channels; expected 2"):
        found.base.predict([keep_raw("series", np.zeros((3, 40)), where="s.csv:9")])


@pytest.mark.parametrize("modality", sorted(MAKERS))
def test_a_base_answers_the_rows_that_its_task_was_read_from(modality: str) -> None:
    """Cells as Hugging Face, Parquet and spreadsheets hold them, in dicts and in a DataFrame."""
    import pandas

    task = made(modality)
    reads = [raw.read() for raw in task.train.raws]
    cells: list[dict[str, Any]]
    if modality == "image":
        cells = [{"x": {"bytes": image_bytes(pixels=read[:, :, 0]), "path": None}} for read in reads]
    elif modality == "audio":
        cells = [{"x": (read.samples * 32_768).astype("<i2").tobytes(), "sample_rate": read.rate} for read in reads]
    else:
        cells = [{"x": json.dumps(read.tolist())} for read in reads]
    rows = [{**cell, "y": task.answer(target)} for cell, target in zip(cells, task.train.targets, strict=True)]
    given = Task.read(rows, label="y", **{modality: "x"})  # type: ignore[arg-type]
    found = fit(tiny_patch_base(modality), given, method="probe").base  # type: ignore[arg-type]
    wanted = found.predict(list(given.train.raws))
    kept = [rows[line - 1] for line in given.train.ids]
    assert found.predict(kept) == wanted
    assert found.predict(pandas.DataFrame(kept)) == wanted


def test_scores_are_learned_from_pictures() -> None:
    task = made("image", answer=lambda label: 3.0 * label + 1, kind="score")
    found = fit(tiny_patch_base("image"), task, method="full", settings=QUICK).base.predict(list(task.test.raws))
    assert np.corrcoef(np.asarray(found, dtype=float), np.asarray(task.test.targets, dtype=float))[0, 1] > 0.9


def test_training_rows_are_changed_anew_every_epoch_and_validation_rows_never() -> None:
    base, task = tiny_patch_base("image"), made("image")
    assert base.trunk.patches is not None
    rows = encode_patches(base.codec, task.train.raws[:4], front=1, table=base.trunk.patches.grid)  # type: ignore[arg-type]
    moved = replace(rows, change=Augmentation(crop=0.3), seed=1)
    plain = rows.batch(range(4), pattern="full").units
    first, again, later = (moved.batch(range(4), pattern="full", epoch=epoch).units for epoch in (0, 0, 1))
    assert bool((first == again).all())
    assert bool((first != later).any())
    assert bool((moved.batch(range(4), pattern="full").units == plain).all())


def test_what_is_left_open_follows_from_the_modality() -> None:
    config = tiny_patch_base("image").trunk.config
    text = resolve(FitSettings(), method="full", config=config, num_rows=100)
    picture = resolve(FitSettings(), method="full", config=config, num_rows=100, modality="image")
    assert (text.epochs, text.patience, text.augment) == (20, 4, Augmentation())
    assert (picture.epochs, picture.patience, picture.augment) == (100, 20, USUAL["image"])
    assert resolve(FitSettings(), method="probe", config=config, num_rows=9, modality="image").augment == Augmentation()


@pytest.mark.parametrize(
    ("modality", "pipeline"), [("image", "image-classification"), ("audio", "audio-classification"), ("series", None)]
)
def test_the_card_of_a_specialist_names_the_hubs_task_and_no_tokens(
    modality: Modality, pipeline: str | None, tmp_path: Path
) -> None:
    fit(tiny_patch_base(modality), made(modality), method="probe").base.save(tmp_path / "adapted")
    card = (tmp_path / "adapted" / "README.md").read_text()
    front = card.split("---")[1]
    assert re.findall("pipeline_tag: (.*)", front) == ([] if pipeline is None else [pipeline])
    assert "token" not in card
    assert "(method probe, temperature 1.000). Labels: " in card


def test_a_base_that_reads_something_else_is_refused() -> None:
    with pytest.raises(CapabilityError, match="tiny reads text and dict holds image"):
        fit(tiny_base(), made("image"), method="probe")
    with pytest.raises(CapabilityError, match="tiny-audio reads audio and dict holds image"):
        fit(tiny_patch_base("audio"), made("image"), method="probe")
