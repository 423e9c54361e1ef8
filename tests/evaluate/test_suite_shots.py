"""few-shot of sets scored by likelihood: the requests of lm-evaluation-harness, what is shown, and what is passed by.

`shots/requests.json` is what lm_eval 0.4.13 made of the task files beside it, with two examples and its seed 1234
(tests/extra/lm_eval_requests.py; tests/extra/test_lm_eval_shots.py makes them anew).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.evaluate.forwards import Forwards
from tests.evaluate.made_sets import write_sets

from headstart.base.base import Base
from headstart.base.scoring import read_asked
from headstart.evaluate.progress import Event
from headstart.evaluate.suite.cells import Side, Work, read_cell, read_samples
from headstart.evaluate.suite.computing import Room, compute
from headstart.evaluate.suite.harness import find_tasks
from headstart.evaluate.suite.index import SetOnDisk, find_sets
from headstart.evaluate.suite.items import Item
from headstart.evaluate.suite.protocols import protocol_of
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.shots import DELIMITER, why_none
from headstart.evaluate.suite.specs import check_methods
from headstart.ground.errors import DataError, RunError

SHOTS = Path(__file__).parent / "shots"
THEIRS = json.loads((SHOTS / "requests.json").read_text(encoding="utf-8"))


def one(name: str, folder: Path = SHOTS) -> SetOnDisk:
    (found,), _ = find_sets(folder, suite="all", tasks=(name,))
    return found


def shown(name: str, *, shots: int = 2, seed: int = 0, limit: int | None = None) -> list[Item]:
    found = one(name)
    items: list[Item] = protocol_of(found.spec).shown(found, limit=limit, shots=shots, seed=seed)
    return items


@pytest.mark.parametrize("name", ["quiz", "riddles", "trips", "holes"])
def test_items_are_the_requests_of_the_harness(name: str) -> None:
    ours = [list(option) for item in shown(name) for option in item.options]
    assert ours == THEIRS[name]


@pytest.mark.parametrize("name", ["quiz", "riddles", "trips", "holes"])
def test_its_task_files_give_the_same_requests(name: str, tmp_path: Path) -> None:
    """Both ways to the harness' requests: a set of an index with --shots, and its own file with num_fewshot."""
    folder = shutil.copytree(SHOTS, tmp_path / "shots")
    file = folder / f"{name}.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "\nnum_fewshot: 2\n", encoding="utf-8")
    (found,), unread = find_tasks(file)
    assert not unread
    assert found.rows is not None
    items: Any = found.rows(None)
    assert [list(option) for item in items for option in item.options] == THEIRS[name]


def test_answers_and_lines_are_those_of_the_items_without_demonstrations() -> None:
    found = one("riddles")
    plain = protocol_of(found.spec).read(found, limit=None)
    for bare, item in zip(plain, shown("riddles"), strict=True):
        assert (bare.id, bare.answer) == (item.id, item.answer)
        for (context, answer), (longer, same) in zip(bare.options, item.options, strict=True):
            assert longer.endswith(DELIMITER + context)
            assert same == answer


def test_every_seed_draws_others_and_the_same_again() -> None:
    assert shown("quiz", seed=1) == shown("quiz", seed=1)
    assert shown("quiz", seed=1) != shown("quiz", seed=0)


def test_no_row_is_shown_its_own_answer() -> None:
    """Row 5 of the riddles is a copy of row 2, so that the text of either would give the other away."""
    for seed in range(20):
        for item in shown("riddles", shots=5, seed=seed):
            context, answer = item.options[item.answer]
            question = context.split(DELIMITER)[-1]
            assert question + answer not in context.split(DELIMITER)


def test_more_shots_than_rows_are_refused() -> None:
    assert len(shown("riddles", shots=5)) == 7
    with pytest.raises(DataError, match=r"7 rows to draw from and --shots is 7; expected at most 6\. Give fewer\."):
        shown("riddles", shots=7)
    with pytest.raises(DataError, match="5 rows are unlike this one and --shots is 6"):
        shown("riddles", shots=6)


def test_what_cannot_be_shown_is_said_by_name_and_nothing_else_is_lost(tiny_base: Base, tmp_path: Path) -> None:
    told: list[Event] = []
    settings = Settings(methods=check_methods("few-shot"), shots=2, seeds=2, suite="language")
    found = evaluate([tiny_base], data=SHOTS, out=tmp_path, settings=settings, on_event=told.append)
    assert [t.task.name for t in found.tasks] == ["quiz", "riddles", "trips", "holes"]
    (gone,) = found.skipped
    assert (gone.task, gone.entry) == ("lone", "")
    assert gone.reason.startswith("lone has a test part alone; expected a train or a validation part")
    assert sum("lone is passed by: lone has a test part alone" in event.text for event in told) == 1
    for table in found.tasks:
        rows = {row.entry: row for row in table.candidates}
        assert {"tiny", "tiny, random"} < set(rows)
        assert (rows["tiny"].method, rows["tiny"].seeds) == ("few-shot", 2)
    with pytest.raises(RunError, match=r"nothing could be evaluated .*lone has a test part alone"):
        evaluate(
            [tiny_base], data=SHOTS, out=tmp_path / "lone", settings=Settings(tasks=("lone",), methods=("few-shot",))
        )


def test_zero_shot_stays_where_few_shot_cannot_be(tiny_base: Base, tmp_path: Path) -> None:
    settings = Settings(tasks=("facts", "grammar"), methods=check_methods("zero-shot,few-shot"), limit=8)
    found = evaluate([tiny_base], data=write_sets(tmp_path / "sets"), out=tmp_path, settings=settings)
    assert [(gone.task, gone.entry) for gone in found.skipped] == [("facts", "few-shot")]
    rows = [(row.entry, row.method) for t in found.tasks for row in t.candidates if row.role == "base"]
    assert rows == [("tiny, zero-shot", "zero-shot"), ("tiny, zero-shot", "zero-shot")]  # pairs know no other method


def test_a_task_file_says_itself_how_much_is_shown() -> None:
    sets, _ = find_tasks(SHOTS.parent / "dialect")
    assert "Set it in the file." in str(why_none(sets[0]))


def test_samples_hold_what_was_read_and_the_cell_its_number_of_shots(tiny_base: Base, tmp_path: Path) -> None:
    settings = Settings(tasks=("quiz",), methods=("few-shot",), shots=2, lm_eval=True)
    evaluate([tiny_base], data=SHOTS, out=tmp_path, settings=settings)
    work = Work(one("quiz"), Side("base", "tiny", "tiny", tiny_base.identity, "few-shot", 2))
    cell, _ = read_cell(work, tmp_path / "cells")
    assert cell.method == "few-shot"
    samples = read_samples(work, tmp_path / "cells")
    assert [option for sample in samples for option in sample.prompt] == THEIRS["quiz"]
    results: dict[str, Any] = json.loads(next((tmp_path / "lm-eval" / "tiny").glob("results_*.json")).read_text())
    assert results["n-shot"] == {"quiz": 2}


def test_what_options_share_is_read_once(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk reads every item's demonstrations and question once, and after them every option's own units."""
    work = Work(one("quiz"), Side("base", "tiny", "tiny", tiny_base.identity, "few-shot", 2))
    with Forwards(monkeypatch) as read:
        _, samples = compute(Room(work.found, None), work, tiny_base)
    once = whole = 0
    for sample in samples:
        contexts, answers = zip(*sample.prompt, strict=True)
        rows = [one.ids[:-1].tolist() for one in read_asked(tiny_base.text_codec, contexts, answers, closed=False)]
        once += len({tuple(row[: stop + 1]) for row in rows for stop in range(len(row))})
        whole += sum(map(len, rows))
    assert read.units <= once < 0.6 * whole
