"""Rows and seeds as two kinds of noise: against the two-way analysis of variance, and where one of them is nought."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.evaluate.intervals import Evidence
from headstart.evaluate.spread import separate


def of_scores(scores: np.ndarray) -> Evidence:
    """(seeds, N) of anything averaged over rows."""
    return Evidence("accuracy", np.stack([scores, np.ones_like(scores)], axis=-1))


def made(rows: float, seeds: float, both: float, *, random: np.random.Generator) -> np.ndarray:
    """(5, 400) scores with these deviations of a row, of a seed, and of a row under a seed."""
    return (
        0.6
        + rows * random.normal(size=(1, 400))
        + seeds * random.normal(size=(5, 1))
        + both * random.normal(size=(5, 400))
    )


def test_it_is_the_two_way_analysis_of_variance() -> None:
    scores = made(0.3, 0.05, 0.3, random=np.random.default_rng(0))
    count, rows = scores.shape
    by_row, by_seed = scores.mean(axis=0), scores.mean(axis=1)
    residual = scores - by_row - by_seed[:, None] + scores.mean()
    mean_square = (residual**2).sum() / ((count - 1) * (rows - 1))
    seeds = by_seed.var(ddof=1) - mean_square / rows
    found = separate(of_scores(scores))
    assert found is not None
    assert found.rows == pytest.approx(by_row.std(ddof=1) / np.sqrt(rows), rel=0.07)
    assert found.seeds == pytest.approx(np.sqrt(seeds), rel=0.03)
    assert found.both == pytest.approx(np.sqrt(found.rows**2 + found.seeds**2 / count))


def test_seeds_that_differ_by_rows_alone_have_no_noise_of_their_own() -> None:
    random = np.random.default_rng(1)
    found = [separate(of_scores(made(0.3, 0.0, 0.4, random=random)), seed=i) for i in range(30)]
    raw = 0.4 / np.sqrt(400)  # what the deviation between seeds shows although no seed is better than another
    assert np.median([one.seeds for one in found if one is not None]) < 0.5 * raw


def test_the_same_answers_by_every_seed_are_noise_of_the_rows() -> None:
    hits = (np.random.default_rng(2).random(200) < 0.8).astype(float)
    found = separate(of_scores(np.repeat(hits[None], 3, axis=0)))
    assert found is not None
    assert found.seeds == pytest.approx(0.0, abs=1e-9)
    assert found.both == pytest.approx(hits.std(ddof=1) / np.sqrt(200), rel=0.07)


def test_one_seed_has_no_spread() -> None:
    assert separate(of_scores(np.ones((1, 10)))) is None
