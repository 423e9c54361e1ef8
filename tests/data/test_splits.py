"""Seeded, stratified splits: shares, minima and determinism as properties over many shapes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from headstart.data.examples import Examples, Kind, Target
from headstart.data.splits import take_share


def examples(targets: list[Target]) -> Examples:
    return Examples(tuple(f"t{i}" for i in range(len(targets))), None, tuple(targets), tuple(range(len(targets))))


@pytest.mark.parametrize("seed", range(20))
def test_every_row_once_and_every_class_in_train(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(1, 60, size=random.integers(2, 12))
    targets: list[Target] = [label for label, count in enumerate(counts.tolist()) for _ in range(count)]
    kept, taken = take_share(examples(targets), kind="choice", share=0.1, seed=seed, name="test")
    assert sorted([*kept.tolist(), *taken.tolist()]) == list(range(len(targets)))
    left = Counter(targets[row] for row in kept)
    took = Counter(targets[row] for row in taken)
    for label, count in enumerate(counts.tolist()):
        assert left[label] >= (count - count // 3)
        assert abs(took[label] - 0.1 * count) <= 1 or took[label] == count // 3
    if (counts // 3).sum() >= round(0.1 * len(targets)):
        assert len(taken) == max(1, round(0.1 * len(targets)))


@pytest.mark.parametrize("kind", ["labels", "score", "tags"])
def test_other_kinds_take_their_share(kind: Kind) -> None:
    random = np.random.default_rng(0)
    values: dict[str, list[Target]] = {
        "score": list(random.normal(size=200)),
        "labels": [(0,), (1,), ()] * 66 + [(0,), (1,)],
        "tags": [(0, 1)] * 200,
    }
    kept, taken = take_share(examples(values[kind]), kind=kind, share=0.1, seed=0, name="test")
    assert (len(kept), len(taken)) == (180, 20)
    if kind == "score":
        ranks = np.argsort(np.argsort(np.array(values["score"])))[taken]
        assert Counter((ranks // 20).tolist()) == dict.fromkeys(range(10), 2)


def test_depends_on_seed_and_name_alone() -> None:
    data = examples([i % 3 for i in range(90)])
    first = take_share(data, kind="choice", share=0.1, seed=0, name="test")[1].tolist()
    assert take_share(data, kind="choice", share=0.1, seed=0, name="test")[1].tolist() == first
    assert take_share(data, kind="choice", share=0.1, seed=1, name="test")[1].tolist() != first
    assert take_share(data, kind="choice", share=0.1, seed=0, name="validation")[1].tolist() != first
