"""The nearest-neighbour control: against distances computed one by one, for every modality and kind of answer."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data.made_signals import MAKERS, made, wave

from headstart.data.raw import keep_raw
from headstart.data.task import Task
from headstart.evaluate import neighbours
from headstart.evaluate.controls import fit_control, plain_control
from headstart.evaluate.neighbours import contrasts, vectors_of


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


def test_series_far_from_zero_have_the_same_neighbours() -> None:
    random = np.random.default_rng(0)
    rows = [wave(row % 3, random) for row in range(60)]
    near, far = (
        Task.read({"x": [row + offset for row in rows], "y": [place % 3 for place in range(60)]}, series="x")
        for offset in (0.0, 1e9)
    )
    found = [fit_control(task, method="nearest").answer(task.test).predictions for task in (near, far)]
    assert found[0] == found[1]
    read = vectors_of(far.train.raws)
    sentinel = keep_raw("series", rows[0] + 1e90, where="x")
    assert np.isfinite((read([sentinel]) ** 2).sum())


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
