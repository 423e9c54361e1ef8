"""The nearest-neighbour control: against distances computed one by one, for every modality and kind of answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.data.sound import Clip
from headstart.data.task import Task
from headstart.evaluate import neighbours
from headstart.evaluate.controls import fit_control, plain_control
from headstart.evaluate.neighbours import contrasts, vectors_of


def bars(label: int, random: np.random.Generator) -> Any:
    """A bright bar in one of three places, in a picture whose brightness means nothing."""
    pixels = random.uniform(0, 40, (12, 10)) + random.uniform(0, 100)
    pixels[4 * label : 4 * label + 4] += 80
    return pixels


def tone(label: int, random: np.random.Generator) -> Any:
    time = np.arange(int(random.uniform(0.2, 0.4) * 8_000)) / 8_000
    samples = np.sin(2 * np.pi * (300, 900, 2_700)[label] * time) + random.normal(0, 0.3, len(time))
    return Clip((0.1 * samples).astype(np.float32), 8_000)


def wave(label: int, random: np.random.Generator) -> Any:
    steps = np.linspace(0, 2 * np.pi * (1, 2, 4)[label], int(random.integers(30, 60)))
    return np.stack([np.sin(steps + random.uniform(-0.5, 0.5)), random.normal(size=len(steps))])


MAKERS = {"image": bars, "audio": tone, "series": wave}


def made(modality: str, rows: int = 90, answer: Any = lambda label: "abc"[label], **more: Any) -> Task:
    random = np.random.default_rng(0)
    labels = [row % 3 for row in range(rows)]
    table = {"x": [MAKERS[modality](label, random) for label in labels], "y": [answer(label) for label in labels]}
    return Task.read(table, label="y", **{modality: "x"}, **more)


@pytest.mark.parametrize("modality", sorted(MAKERS))
def test_it_finds_what_is_alike(modality: str) -> None:
    task = made(modality)
    control = fit_control(task, method=plain_control(task))
    assert control.method == "nearest"
    assert control.params_trained == 0
    answers = control.answer(task.test)
    assert answers.probabilities is not None
    assert np.allclose(answers.probabilities.sum(axis=1), 1)
    assert np.mean([a == t for a, t in zip(answers.predictions, task.test.targets, strict=True)]) >= 0.8
    assert control.answer(task.test.subset([])).predictions == ()


def test_one_neighbour_is_the_one_at_the_least_distance() -> None:
    task = made("image", rows=30)
    read = vectors_of(task.train.raws)
    train, test = read(task.train.raws), read(task.test.raws)
    nearest = ((test[:, None] - train[None]) ** 2).sum(axis=2).argmin(axis=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "COUNTS", (1,))
        found, _ = neighbours.fit_nearest(task)
    assert found(task.test)[0] == tuple(task.train.targets[place] for place in nearest)


def test_scores_and_many_labels() -> None:
    task = made("image", answer=lambda label: label / 2 + 0.25, kind="score")
    answers = fit_control(task, method="nearest").answer(task.test)
    assert answers.probabilities is None
    assert np.corrcoef(np.asarray(answers.predictions), np.asarray(task.test.targets))[0, 1] > 0.9
    task = made("image", answer=lambda label: "a|b" if label else "a", kind="labels")
    answers = fit_control(task, method="nearest").answer(task.test)
    assert np.mean([a == t for a, t in zip(answers.predictions, task.test.targets, strict=True)]) > 0.8


def test_brightness_and_contrast_mean_nothing() -> None:
    rows = np.random.default_rng(0).uniform(size=(3, 20))
    assert np.allclose(contrasts(list(rows)), contrasts(list(rows * 9 + 4)), atol=1e-5)
