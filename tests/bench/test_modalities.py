"""The sides of the modalities bench: ROCKET against its definition, both specialists on what they must learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.modalities import Cell, few_labels, lines_of, part_of, run_cell, table
from bench.modalities_picture import apart, picture
from bench.rocket import draw_kernels, rocket_answers, transform
from bench.small_cnn import cnn_answers, moved
from tests.data.made_signals import made
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.base.base import Base
from headstart.data.task import Task


def test_features_are_the_largest_value_and_the_share_above_zero() -> None:
    series = np.random.default_rng(0).normal(size=(3, 2, 40)).astype(np.float32)
    kernels = draw_kernels(2, 40, count=60, seed=1)
    features = transform(series, kernels)
    assert features.shape == (3, 120)
    group = next(g for g in kernels if g.padding and g.dilation > 1)
    start = 2 * sum(len(g.bias) for g in kernels[: kernels.index(group)])
    weight, bias = group.weight[0].numpy(), float(group.bias[0])
    assert np.allclose(weight.sum(axis=1), 0, atol=1e-5)
    padded = np.pad(series[1], ((0, 0), (group.padding, group.padding)))
    reach = (weight.shape[1] - 1) * group.dilation
    out = [
        (weight * padded[:, i : i + reach + 1 : group.dilation]).sum() + bias for i in range(padded.shape[1] - reach)
    ]
    assert np.isclose(features[1, start], max(out), atol=1e-4)
    assert np.isclose(features[1, start + len(group.bias)], np.mean(np.array(out) > 0), atol=1e-6)


def test_rocket_tells_waves_by_their_length_whatever_their_phase() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(90) % 3
    time = np.arange(60) / 60
    rows = [np.sin(2 * np.pi * (2 + 2 * label) * time + random.uniform(0, 6)) for label in labels]
    series = (np.stack(rows)[:, None] + random.normal(0, 0.3, (90, 1, 60))).astype(np.float32)
    found = rocket_answers(series[:60], labels[:60], series[60:], count=500)
    assert (found == labels[60:]).mean() > 0.95


def test_series_shorter_than_a_kernel() -> None:
    series = np.random.default_rng(0).normal(size=(4, 1, 3)).astype(np.float32)
    assert np.isfinite(transform(series, draw_kernels(1, 3, count=10))).all()


@pytest.mark.soak
def test_the_small_network_learns_where_a_bar_stands() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(80) % 2
    pictures = random.normal(0, 0.5, (80, 1, 10, 10)).astype(np.float32)
    for row, label in enumerate(labels):
        place = int(random.integers(0, 10))
        pictures[row, 0, place if label else slice(None), slice(None) if label else place] += 2
    found = cnn_answers(pictures[:50], labels[:50], pictures[50:], classes=2, steps=40)
    assert (found == labels[50:]).mean() > 0.85


def test_moving_keeps_shapes_and_stays_within_reach() -> None:
    pictures = torch.arange(2 * 8 * 8.0).view(2, 1, 8, 8)
    found = moved(pictures, 2, torch.Generator().manual_seed(0))
    assert found.shape == pictures.shape
    assert torch.equal(moved(pictures, 0, torch.Generator()), pictures)


def test_few_labels_are_balanced_and_drawn_by_the_seed() -> None:
    train = made("image").train
    few = few_labels(train, 5, seed=0)
    assert np.bincount(np.asarray(few.targets)).tolist() == [5, 5, 5]
    assert few.ids != few_labels(train, 5, seed=1).ids
    assert few_labels(train, None, seed=0) is train


def test_few_labels_have_few_validation_rows() -> None:
    task = made("image", rows=300)
    assert len(task.validation) == 27
    for per_class, validation in ((5, 3), (20, 6), (None, 27)):
        part = part_of(task, per_class, seed=0)
        assert len(part.validation) == validation
        assert len(part.train) == (len(task.train) if per_class is None else 3 * per_class)
        assert part.test is task.test
    drawn = [part_of(task, 20, seed=seed).validation.ids for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("side", ["probe", "nearest"])
def test_a_cell_is_kept_for_its_own_base_epochs_and_test_rows(
    side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, runs = made("image"), []

    def answers(cell: Cell, part: Task, base: Base, *, epochs: int | None) -> list[int]:
        runs.append((len(part.train), len(part.validation)))
        return [0] * len(part.test)

    monkeypatch.setattr("bench.modalities.answers_of", answers)
    cell, base, other = Cell("x", "image", side, 5, 0), tiny_patch_base("image"), tiny_patch_base("image", seed=1)

    def asked(base: Base = base, task: Task = task, epochs: int | None = None) -> dict[str, Any]:
        return run_cell(cell, task, base, tmp_path, epochs=epochs)

    first = asked()
    assert asked() == first
    assert runs == [(15, 3)]
    assert first["conditions"]["validation"] == 3
    asked(base=other)
    asked(epochs=2)
    assert len(runs) == (3 if side == "probe" else 1)
    assert len(asked(task=replace(task, test=task.test.subset([0, 1])))["answers"]) == 2
    del first["conditions"]
    (tmp_path / cell.file).write_text(json.dumps(first))  # as cells were written before
    runs.clear()
    asked()
    assert len(runs) == 1


def test_the_table_marks_the_best_and_the_picture_names_every_side() -> None:
    gold = {"x": [0, 1, 1, 0]}
    records = [
        {"set": "x", "side": side, "per_class": size, "rows": rows, "accuracy": float(np.mean(np.equal(a, gold["x"]))),
         "answers": a, "conditions": {"validation": 0 if side == "cnn" else rows // 10}}
        for side, size, rows, a in (
            ("probe", 10, 20, [0, 1, 1, 0]), ("scratch", 10, 20, [0, 0, 1, 0]), ("cnn", 10, 20, [0, 0, 0, 0]),
            ("probe", None, 90, [0, 1, 1, 1]),
        )
    ]  # fmt: skip
    text = table(records, gold)
    assert "| x | 10 | 2 | **1.000 [1.000, 1.000]** | 0.750" in text
    assert "| x | all | 9 | **0.750" in text
    drawn = picture("x", lines_of(records, "x"))
    assert drawn.startswith("<svg xmlns")
    assert "ours, probe 0.750" in drawn
    assert apart([10.0, 12.0, 50.0]) == [10.0, 27.0, 50.0]
