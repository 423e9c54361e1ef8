"""What a reading leaves to the probe of the same base: features of parts that it read whole, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.evaluate.forwards import Forwards
from tests.train.tiny_base import tiny_base, toy_task

from headstart.base.base import Base
from headstart.choose import reading as reading_module
from headstart.choose.plan import Plan
from headstart.choose.reading import Pass
from headstart.choose.search import Search
from headstart.choose.task_file import write_task
from headstart.choose.work import Read, Train, Trained, base_of, read_task, train
from headstart.data.examples import Kind
from headstart.data.task import Task
from headstart.evaluate.budget import Budget
from headstart.evaluate.metrics import metric_for
from headstart.evaluate.progress import silent
from headstart.ground.errors import RunError
from headstart.ground.fanout import Outcome, fan_out
from headstart.train.frozen import in_order
from headstart.train.methods import FitSettings
from headstart.train.prepared import prepare

QUICK = FitSettings(epochs=2, batch_rows=16)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_base().save(tmp_path_factory.mktemp("bases") / "tiny"))


def paired(task: Task) -> Task:
    """The same rows, each with the text of the next as its second member."""

    def part(rows: Any) -> Any:
        return replace(rows, pairs=(*rows.texts[1:], rows.texts[0]))

    return replace(task, train=part(task.train), validation=part(task.validation), test=part(task.test))


def read(base: Base, task: Task, **settings: Any) -> Pass:
    metric = metric_for(task.kind, None, task.labels).name
    way = Pass(base, task, metric=metric, seed=0, **settings)
    while way.ahead:
        way.go()
    return way


@pytest.mark.parametrize("kind", ["choice", "score"])
@pytest.mark.parametrize("pairs", [False, True])
def test_features_are_those_that_a_probe_reads_itself(kind: Kind, pairs: bool) -> None:
    task = paired(toy_task(kind, rows=230)) if pairs else toy_task(kind, rows=230)
    way = read(tiny_base(), task)
    parts = prepare(tiny_base(), task, "probe", FitSettings(), 0)
    found = way.features()
    for part, data in (("train", parts.train), ("validation", parts.validation)):
        own = in_order(parts.trunk, data, pooling=parts.pooling, channels=1)
        apart = float((found[part] - own).abs().max() / own.abs().max())  # type: ignore[index]
        assert apart < 0.02, "bfloat16 in other batches"


def test_only_what_was_read_whole_is_left() -> None:
    task = toy_task(rows=230)
    assert set(read(tiny_base(), task).features()) == {"train", "validation"}
    assert set(read(tiny_base(), task, most_rows=200).features()) == {"validation"}
    assert set(read(tiny_base(), task, held_out_rows=20).features()) == {"train"}
    assert read(tiny_base(), toy_task("tags", rows=230)).features() == {}, "a probe draws its own words"


def test_a_probe_reads_the_validation_rows_once_more_and_no_other(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = toy_task(rows=230)
    path, kept = write_task(task, tmp_path / "task.json"), str(tmp_path / "tiny.features")
    base_of(base, False)
    told, rows = [], []
    reading = read_task(msgspec.to_builtins(Read(base, path, "accuracy", QUICK, math.inf, kept)))
    for features in (None, kept):
        job = Train(base, path, "probe", 0, QUICK, "accuracy", str(tmp_path / f"run-{features is None}"))
        with Forwards(monkeypatch) as seen:
            job = msgspec.structs.replace(job, features=features)
            told.append(msgspec.convert(train(msgspec.to_builtins(job)), Trained))
        rows.append(seen.rows)
    assert rows == [230 + 32 + 32, 32]
    heads = [head for one in told if (head := Base.load(one.saved).head) is not None]
    weights = [head.out.weight.detach() for head in heads]
    assert float((weights[0] - weights[1]).abs().max() / weights[0].abs().max()) < 0.05
    assert abs(told[0].value - told[1].value) <= 1 / 32
    assert told[1].seconds > 0.5 * reading["ms_per_row"] * (230 + 32) / 1000, "what others read is in its seconds"
    fewer = write_task(replace(task, validation=task.validation.subset(range(16))), tmp_path / "fewer.json")
    with pytest.raises(RunError, match=r"kept features are of 32 validation rows; expected 16, as toy has them"):
        train(msgspec.to_builtins(msgspec.structs.replace(job, task=fewer)))


def test_a_full_disk_costs_the_features_and_not_the_base(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *others: Any) -> None:
        raise RunError(f"there is no space left to write {path}")

    monkeypatch.setattr(reading_module, "write_features", full)
    said = list[str]()
    plan = Plan(bases=(base,), methods=("probe",), settings=QUICK)
    search = Search(toy_task(rows=230), plan, tmp_path, lambda event: said.append(event.text), Budget(None))
    found = search.go()
    assert found.finished() == [(0, "probe")]
    assert found.readings[0] is not None
    assert not found.readings[0].kept
    assert any("features are not kept for its probe: there is no space left" in line for line in said)


def test_a_search_counts_on_it(base: str, tmp_path: Path) -> None:
    """The forecast of a probe behind a whole reading, and what its job is given."""
    asked: list[Train] = []

    def fan(function: Any, jobs: Sequence[Any], **others: Any) -> list[Outcome]:
        if function is train:
            asked.extend(msgspec.convert(job, Train) for job in jobs)
        return fan_out(function, jobs, **others)

    task = toy_task(rows=230)
    plan = Plan(bases=(base,), methods=("probe",), settings=QUICK)
    search = Search(task, plan, tmp_path, silent, Budget(None), fan=fan)
    found = search.go()
    reading = found.readings[0]
    assert reading is not None
    assert (reading.rows, reading.held_out, reading.kept) == (230, 32, True)
    assert [Path(job.features or "").is_file() for job in asked] == [True]
    assert search.cost((0, "probe")) == pytest.approx(32 * reading.ms_per_row / 1000)
    found.readings[0] = msgspec.structs.replace(reading, rows=200, kept=False)
    assert search.cost((0, "probe")) == pytest.approx((230 + 2 * 32) * reading.ms_per_row / 1000), "nothing was kept"
    found.readings[0] = None
    row = found.looked[0].ms_per_row / 1000
    assert search.cost((0, "probe")) == pytest.approx((230 + 2 * 32) * row)
