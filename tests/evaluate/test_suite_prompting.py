"""zero-shot and few-shot in evaluate: a prompt a seed, controls and raw scores beside it, cells by shots."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluate.made_sets import write_sets

from headstart.base.base import Base
from headstart.evaluate.suite.cells import Side, Work, read_cell
from headstart.evaluate.suite.computing import Computed, job_of, run_job
from headstart.evaluate.suite.index import find_sets
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import Evaluation
from headstart.evaluate.suite.specs import check_methods
from headstart.ground.errors import ConfigError

TASKS = ("moods", "twins", "grades", "topics", "words", "facts")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prompts")


@pytest.fixture(scope="module")
def done(tiny_base: Base, place: Path) -> Evaluation:
    settings = Settings(tasks=TASKS, methods=check_methods("zero-shot,few-shot"), seeds=2, shots=1)
    return evaluate([tiny_base], data=write_sets(place / "sets"), out=place, settings=settings)


def test_every_kind_but_tags_is_asked(done: Evaluation) -> None:
    tables = {table.task.name: table.candidates for table in done.tasks}
    for name in ("moods", "twins", "grades", "topics"):
        rows = {row.entry: row for row in tables[name]}
        entries = {"tiny, zero-shot", "tiny, few-shot", "tiny, zero-shot, random", "tiny, few-shot, random"}
        assert set(rows) == {*entries, "majority", "TF-IDF"}
        for entry in entries:
            assert rows[entry].seeds == 2
            assert rows[entry].params_trained == 0
            assert -1 <= rows[entry].metrics["raw"] <= 1
    assert {row.method for row in tables["facts"] if row.role == "base"} == {"zero-shot"}
    assert "words" not in tables
    assert any(one.task == "words" and "tags words" in one.reason for one in done.skipped)


def test_a_cell_knows_its_prompt_and_every_seed_asks_another(done: Evaluation, place: Path) -> None:
    cells = [json.loads(path.read_text()) for path in sorted((place / "cells").glob("moods-*/base-*-few-shot1-*.json"))]
    told = [cell["notes"][-1] for cell in cells]
    assert len(told) == 2
    assert "1 shots, calibration" in told[0]
    assert told[0].split(" asks ")[1].split(", 1 shots")[0] != told[1].split(" asks ")[1].split(", 1 shots")[0]
    raw = next(
        row
        for table in done.tasks
        if table.task.name == "moods"
        for row in table.candidates
        if row.entry == "tiny, few-shot"
    )
    assert raw.metrics["raw"] == pytest.approx(np.mean([cell["raw"] for cell in cells]))


def test_a_number_of_shots_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="--shots is 0; expected 1 to"):
        Settings(shots=0)


def test_another_process_asks_with_the_same_shots(tiny_base_folder: Path, done: Evaluation, place: Path) -> None:
    """A cell as a job and back is the cell that was kept, wall clock aside."""
    assert done.seeds == 2
    (found,), _ = find_sets(place / "sets", suite="all", tasks=("moods",))
    base = Base.load(tiny_base_folder)
    work = Work(found, Side("base", "tiny", "tiny", base.identity, "few-shot", 1), seed=1)
    computed = msgspec.convert(run_job(job_of(work, data=place / "sets", base=str(tiny_base_folder))), Computed)
    kept, samples = read_cell(work, place / "cells")
    still = {"seconds": 0.0, "ms_per_row": 0.0, "samples": len(samples)}
    assert msgspec.structs.replace(computed.cell, **still) == msgspec.structs.replace(kept, **still)
    assert [one.prediction for one in computed.samples] == [one.prediction for one in samples]
