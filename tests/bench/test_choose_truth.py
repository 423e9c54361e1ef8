"""The truth of the choosing bench: small, growing, of one task, and its costs of one machine or in FLOPs."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from bench.choose import Gathering, source_of
from bench.choose_replay import Table
from bench.choose_truth import Truth, currency, load, machine_class, rounded, row_flops, save
from bench.places import Places
from tests.bench.test_choose_replay import GAIN, LEVELS, cell_of, truth_of
from tests.train.tiny_base import tiny_base, toy_task

from bench import choose
from headstart.base.base import Base
from headstart.choose import task_file, work


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path, tmp_path, tmp_path, "", "")


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    truth, path = truth_of(LEVELS), tmp_path / "deep" / "toy.json"
    save(truth, path)
    found = load(path, Truth("toy", truth.rows, truth.digest, "accuracy", 3))
    assert msgspec.to_builtins(found) == rounded(truth), "six digits of every number"
    assert found.cells[-1].test == pytest.approx(truth.cells[-1].test, abs=1e-6)
    written = path.read_bytes()
    save(found, path)
    assert path.read_bytes() == written
    assert len(path.read_text().splitlines()) == 5 + 2 * 2 + len(truth.reads) + len(truth.cells), "a line a cell"
    assert path.stat().st_size < 800 * (len(truth.reads) * 4 + len(truth.cells))


@pytest.mark.parametrize("change", [{"digest": "1" * 64}, {"rows": (9, 9, 9)}, {"epochs": 4}, {"metric": "f1"}])
def test_the_truth_of_other_rows_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "toy.json"
    truth = truth_of(LEVELS)
    save(truth, path)
    with pytest.raises(ValueError, match=f"{next(iter(change))} in .* expected .* --truth"):
        load(path, msgspec.structs.replace(truth, **change))


def test_shares_are_of_seconds_of_one_machine_or_of_flops() -> None:
    truth = truth_of(LEVELS)
    everything = list(LEVELS), list(GAIN)
    assert currency(truth, *everything) == "one"
    truth.cells[-1] = cell_of("other", "full", LEVELS["other"], machine="two")
    assert currency(truth, *everything) == "FLOPs"
    assert currency(truth, ["small", "big"], list(GAIN)) == "one", "the other machine's cell is not asked for"
    slow = truth_of(LEVELS)
    slow.cells = [
        msgspec.structs.replace(cell, pieces=[msgspec.structs.replace(p, seconds=99.0) for p in cell.pieces])
        for cell in truth.cells
    ]
    tables = [Table.of(toy_task(), one, bases=everything[0], methods=everything[1]) for one in (truth, slow)]
    costs = [[table.cost(b, m) for b in LEVELS for m in GAIN] for table in tables]
    assert costs[0] == costs[1], "what a machine took is not looked at"
    assert costs[0][2] / costs[0][0] == pytest.approx(30.0)


def test_it_grows_and_no_cell_is_computed_twice(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path, task = tmp_path / "tiny", tmp_path / "toy.json", toy_task(rows=150)
    tiny_base().save(folder)
    first = Gathering(task, path, places, ends=math.inf)
    assert first.complete([str(folder)], ["probe"], 1)
    again = Gathering(task, path, places, ends=math.inf)
    assert again.truth == load(path, first.truth)
    assert again.complete([str(folder)], ["probe", "full"], 1)
    read, (probe, full) = again.truth.reads[0], again.truth.cells
    assert probe == load(path, first.truth).cells[0]
    assert {read.machine, probe.machine, full.machine} == {machine_class()}
    assert [prefix.rows for prefix in read.prefixes] == [100, 150]
    assert [point.labels for point in read.curve] == [100, 150]
    assert read.reading(0).curve == read.curve[:1]
    assert [read.reading(place).kept for place in (0, 1)] == [False, True]
    assert [one.held_out for one in again.truth.reads] == [len(task.validation)], "40, 150 and 500 are all there are"
    seconds, flops = ([getattr(piece, what) for piece in full.pieces] for what in ("seconds", "flops"))
    assert seconds == sorted(seconds)
    per_row = row_flops(Base.load(folder), task.train)
    assert flops == sorted(flops)
    assert full.pieces[-1].share == 1.0
    assert flops[-1] >= 3 * 3 * len(task.train) * per_row * 0.999

    def never(*args: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(choose, "read", never)
    monkeypatch.setattr(choose, "cell", never)
    assert Gathering(task, path, places, ends=math.inf).complete([str(folder)], ["probe", "full"], 1)
    assert not Gathering(task, path, places, ends=0.0).complete([str(folder)], ["probe", "lora"], 1)


def test_a_base_of_the_ladder_is_kept_by_its_short_name(tmp_path: Path, places: Places) -> None:
    rung, task = "200k-r20-s0", toy_task(rows=60)
    folder = places.results / "ladder" / "bases" / rung
    folder.parent.mkdir(parents=True)
    tiny_base().save(folder)
    gathering = Gathering(task, tmp_path / "toy.json", places, ends=math.inf)
    assert gathering.complete([rung], ["probe"], 1)
    (read,), (cell,) = gathering.truth.reads, gathering.truth.cells
    assert {read.base, read.facts.name, read.facts.source, cell.base} == {rung}
    assert source_of(rung, places) == str(folder)
    assert source_of(str(folder), places) == str(folder)
    assert source_of("text-tiny", places) == "text-tiny"
    assert source_of("mpnet", places) == str(places.bases / "mpnet")


def test_a_base_with_other_weights_under_a_known_name_is_refused(tmp_path: Path, places: Places) -> None:
    folder, path, task = tmp_path / "tiny", tmp_path / "toy.json", toy_task(rows=60)
    tiny_base().save(folder)
    assert Gathering(task, path, places, ends=math.inf).complete([str(folder)], ["probe"], 1)
    work.base_of.cache_clear()
    folder.rename(tmp_path / "old")
    tiny_base(seed=1).save(folder)
    with pytest.raises(ValueError, match=r"has weights .* another name"):
        Gathering(task, path, places, ends=math.inf).complete([str(folder)], ["full"], 1)


@pytest.fixture(autouse=True)
def _no_bases_of_other_tests() -> None:
    work.base_of.cache_clear()
    task_file.task_of.cache_clear()
