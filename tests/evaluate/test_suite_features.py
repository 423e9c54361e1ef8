"""Features that probes of a set share: read once, the same to the bit, bounded in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tests.evaluate.forwards import Forwards
from tests.evaluate.made_sets import write_sets

from headstart.base.base import Base
from headstart.data.task import Task
from headstart.evaluate.label_curve import nested_rows, with_rows
from headstart.evaluate.suite.adapting import SETTINGS, read_task
from headstart.evaluate.suite.cells import Cell, Sample, Side, Work
from headstart.evaluate.suite.computing import Room, compute, job_of, run_job
from headstart.evaluate.suite.index import SetOnDisk, find_sets
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import TIMING
from headstart.evaluate.trial import Trial, try_method
from headstart.train.frozen import FeatureStore, Frozen, Key

POOLED = ("moods", "twins", "grades", "topics")  # choice, a pair, a score of a pair, labels
LABELS = (None, 27, 40)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("features") / "sets")


def one(sets: Path, name: str) -> SetOnDisk:
    (found,), _ = find_sets(sets, suite="all", tasks=(name,))
    return found


def works(found: SetOnDisk, base: Base) -> list[Work]:
    """Two seeds of a probe, and what it makes of fewer labels."""
    side = Side("base", "tiny", "tiny", base.identity, "probe")
    return [Work(found, side, seed) for seed in (0, 1)] + [Work(found, side, labels=few) for few in LABELS[1:]]


def plain(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(cell).items() if name not in TIMING}


@pytest.mark.parametrize("name", POOLED)
def test_every_probe_of_a_set_is_the_same_with_and_without(
    name: str, tiny_base: Base, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = one(sets, name)
    shared = Room(found, None)
    told: list[tuple[Cell, list[Sample]]] = []
    rows: list[int] = []
    for work in works(found, tiny_base):
        with Forwards(monkeypatch) as read:
            told.append(compute(shared, work, tiny_base))
        rows.append(read.rows)
    task: Task = shared.rows
    members = 1 if task.train.pairs is None else 2
    once = len(task.train) + 2 * len(task.validation) + len(task.test)  # validation is fitted on, and answered
    assert rows == [members * once, 0, 0, 0]
    for work, (cell, samples) in zip(works(found, tiny_base), told, strict=True):
        alone, theirs = compute(Room(found, None, feature_bytes=0), work, tiny_base)
        assert plain(cell) == plain(alone)
        assert samples == theirs


@pytest.mark.parametrize("name", POOLED)
def test_the_first_seed_is_that_of_a_probe_that_shares_nothing(name: str, tiny_base: Base, sets: Path) -> None:
    task = read_task(one(sets, name), limit=None)
    metric = {"choice": "accuracy", "score": "pearson", "labels": "micro_f1"}[task.kind]

    def probe(frozen: Frozen | None) -> Trial:
        return try_method(tiny_base, task, method="probe", seed=0, settings=SETTINGS, metric=metric, frozen=frozen)

    alone, shared = probe(None), probe(Frozen(FeatureStore(), tiny_base.digest, task))
    assert alone.fitted is not None
    assert shared.fitted is not None
    assert shared.fitted.validation == alone.fitted.validation
    for mine, other in ((shared.test, alone.test), (shared.validation, alone.validation)):
        assert mine.predictions == other.predictions
        if other.probabilities is not None:
            np.testing.assert_array_equal(mine.probabilities, other.probabilities)


def test_fewer_labels_are_those_of_the_curve_and_scores_are_standardised_by_them(tiny_base: Base, sets: Path) -> None:
    task = read_task(one(sets, "grades"), limit=None)
    few = nested_rows(task, 30, seed=0)
    seen = replace(task, train=task.train.subset(few))
    assert seen == with_rows(task, 30, seed=0)
    store = FeatureStore()
    trials = [
        try_method(tiny_base, seen, method="probe", seed=0, settings=SETTINGS, metric="pearson", frozen=frozen)
        for frozen in (None, Frozen(store, tiny_base.digest, task, few))
    ]
    alone, shared = (trial.fitted.base for trial in trials if trial.fitted is not None)
    assert alone.contract == shared.contract
    assert alone.head is not None
    assert shared.head is not None
    torch.testing.assert_close(shared.head.out.weight, alone.head.out.weight, rtol=1e-3, atol=1e-4)


def test_a_store_holds_no_more_than_it_may() -> None:
    def key(part: Any) -> Key:
        return Key("d", part, False, "mean", 256, 1)

    def read(rows: int) -> Any:
        return lambda: (torch.ones(rows, 4), [np.arange(rows)])

    store = FeatureStore(most_bytes=10 * 4 * 4)
    first = store.of(key("train"), read(6))
    assert store.of(key("train"), read(1)) is first
    large = store.of(key("test"), read(5))  # 11 rows do not fit
    assert store.of(key("test"), read(5)) is not large
    assert store.num_bytes == 6 * 4 * 4
    assert store.of(key("validation"), read(4)) is store.of(key("validation"), read(4))
    assert store.num_bytes == store.most_bytes


def test_random_twins_share_with_nobody(tiny_base: Base, sets: Path) -> None:
    room = Room(one(sets, "moods"), None)
    compute(room, Work(room.found, Side("random", "twin", "tiny", tiny_base.digest, "probe")), tiny_base)
    assert room.features.num_bytes == 0


def test_a_worker_reads_a_set_once(tiny_base_folder: Path, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Base.load(tiny_base_folder)
    rows = []
    for work in works(one(sets, "moods"), base):
        with Forwards(monkeypatch) as read:
            run_job(job_of(work, data=sets, base=str(tiny_base_folder)))
        rows.append(read.rows)
    assert rows[0] > 0
    assert rows[1:] == [0, 0, 0]


def test_an_evaluation_writes_the_same_cells_with_and_without(
    tiny_base: Base, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tasks=("moods", "words"), methods=("probe",), seeds=2, label_curve=True, limit=40)
    read = []
    for name, most in (("with", 1 << 20), ("without", 0)):
        with Forwards(monkeypatch) as forwards:
            evaluate([tiny_base], data=sets, out=tmp_path / name, settings=settings, feature_bytes=most)
        read.append(forwards.rows)
    assert read[0] < read[1]
    written = sorted((tmp_path / "with" / "cells").rglob("*.jsonl"))
    assert any("-l20-" in path.name for path in written)
    for path in written:
        other = tmp_path / "without" / path.relative_to(tmp_path / "with")
        assert path.read_bytes() == other.read_bytes()
        cells = [json.loads(one.with_suffix(".json").read_text()) for one in (path, other)]
        assert len({json.dumps({k: v for k, v in cell.items() if k not in TIMING}) for cell in cells}) == 1
