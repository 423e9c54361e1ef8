"""A budget is kept on machines of any pace, by a fake clock: whatever bases there are, and whatever slows down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.train.tiny_base import toy_task

from headstart.base.facts import BaseFacts
from headstart.choose import search as search_module
from headstart.choose.closing import closing_rows, rows_fitting
from headstart.choose.decision import Decision, decide
from headstart.choose.plan import Plan
from headstart.choose.prompting import rows_of_saving
from headstart.choose.reading import CurvePoint, Estimates, Reading, goes_on
from headstart.choose.search import FINISHING, LOADINGS, Search
from headstart.choose.work import Looked, Trained, look, read_task
from headstart.data.task import Task
from headstart.evaluate.budget import BACKWARD, FINISH_SECONDS, SAMPLE_ROWS, WARMING_ROWS, Budget
from headstart.evaluate.controls import Answers
from headstart.evaluate.progress import Event
from headstart.ground.fanout import Done, Failed, Outcome, Place
from headstart.ground.seeds import stream
from headstart.train.methods import FitSettings

ROWS = (4896, 544, 500)  # trec6
EPOCHS = 3


@dataclass(frozen=True)
class Paced:
    """A base as a machine at rest has it: ms a row, seconds to load, its file's MB, how well it does."""

    ms: float
    loading: float
    megabytes: float
    level: float


QUICK = {
    "tiny": Paced(2, 0.1, 10, 0.60),
    "mid": Paced(5, 0.3, 90, 0.70),
    "strong": Paced(15, 0.5, 120, 0.85),
}
HUGE = {"huge": Paced(600, 3, 540, 0.95)}
SHELVES = {"quick": QUICK, "quick and huge": {**HUGE, **QUICK}, "huge alone": HUGE, "mid alone": {"mid": QUICK["mid"]}}
MACHINES: dict[
    str, Callable[[float], float]
] = {  # how much slower than at rest, by the share of the budget that is over
    "at rest": lambda share: 1.0,
    "five times slower": lambda share: 5.0,
    "three times slower from a third on": lambda share: 1.0 if share < 1 / 3 else 3.0,
    "slower and slower": lambda share: 1.0 + 1.5 * share,
}


@dataclass
class World(Budget):
    """A machine on which time passes by what is done. As `Budget`, with its own clock."""

    slower: Callable[[float], float] = MACHINES["at rest"]
    bases: dict[str, Paced] = field(default_factory=dict)
    now: float = 0.0
    done: dict[str, float] = field(default_factory=dict)  # seconds of trainings so far, by folder

    def left(self) -> float:
        assert self.seconds is not None
        return self.seconds - min(FINISH_SECONDS, 0.1 * self.seconds) - self.now

    def used(self) -> float:
        return self.now

    def crowded(self) -> float:
        return self.slower(min(1.0, self.now / (self.seconds or 1.0)))

    def pass_by(self, seconds: float) -> float:
        """Do what takes so long at rest; the seconds that it takes now."""
        assert self.seconds is not None
        took = seconds * self.slower(min(1.0, self.now / self.seconds))
        self.now += took
        return took

    def answer(self, rows: float, base: str) -> float:
        return self.pass_by(rows * self.bases[base].ms / 1000)

    def fan(
        self, function: Callable[[Any], Any], jobs: Sequence[Any], *, on_outcome: Any = None, **others: Any
    ) -> list[Outcome]:
        late = others["deadline"] is not None and others["deadline"] < time.monotonic() - 1e-3
        found: list[Outcome] = []
        for index, job in enumerate(jobs):
            found.append(Failed("late", "no time", 0) if late else Done(msgspec.to_builtins(self.do(function, job)), 0))
            if on_outcome is not None and not late:
                on_outcome(index, found[-1])
        return found

    def do(self, function: Callable[[Any], Any], job: Any) -> Looked | Reading | Trained:
        if function is look:
            return self.look(job)
        return self.read(job) if function is read_task else self.train(job)

    def look(self, job: Any) -> Looked:
        paced = self.bases[job["base"]]
        loading = self.pass_by(paced.loading)
        each = self.answer(WARMING_ROWS, job["base"]) / WARMING_ROWS
        rows = SAMPLE_ROWS if job["seconds"] is None else min(SAMPLE_ROWS, int(job["seconds"] / each) - WARMING_ROWS)
        if rows >= WARMING_ROWS:
            each = self.answer(rows, job["base"]) / rows
        params = round(250_000 * paced.megabytes)
        facts = BaseFacts(job["base"], job["base"], "bert", "text", params, paced.megabytes, "mit", True, [])
        return Looked(facts, 1000 * each, loading)

    def read(self, job: Any) -> Reading:
        """As `reading.read`: by stretches, the first of them whatever the seconds are."""
        held_out, rows, level = job["held_out"], 0, self.bases[job["base"]].level
        spent, curve = self.answer(held_out, job["base"]), []
        while rows < ROWS[0]:
            ahead = min(max(100, rows), ROWS[0] - rows)
            if not goes_on(spent, rows, ahead, seconds=job["seconds"]):
                break
            spent, rows = spent + self.answer(ahead, job["base"]), rows + ahead
            curve.append(CurvePoint(rows, level - 10 / rows))
        return Reading(rows, rows, spent, 1000 * spent / (rows + held_out), Estimates(*[level] * 6, 0), curve, held_out)

    def train(self, job: Any) -> Trained:
        """As `fit`: it keeps to its own end but for the rows that it reads whatever the clock says."""
        base, method, held_out = job["base"], job["method"], self.validation
        room = float("inf") if job["ends"] is None else job["ends"] - time.time()
        if method == "probe":
            least, whole = 64 + min(64, held_out), ROWS[0] + held_out
        else:
            least, whole = 2 * held_out + 32 * BACKWARD[method], EPOCHS * (BACKWARD[method] * ROWS[0] + held_out)
        done = self.done.get(job["folder"], 0.0)
        todo = max(1.0, job["until"] * whole - done)
        share = self.slower(min(1.0, self.now / (self.seconds or 1.0))) * self.bases[base].ms / 1000  # seconds a row
        rows = min(todo, max(least, room / share))
        spent, self.done[job["folder"]] = self.answer(rows, base), done + rows
        ended = rows < todo or job["until"] == 1.0
        answering = self.answer(held_out, base)
        reached = min(1.0, (done + rows) / whole)
        value = self.bases[base].level + 0.05 * (method != "probe") - 0.1 * (1.0 - reached)
        stopped = "paused" if not ended else "done" if rows == todo else "deadline"
        told = 1.0 if method == "probe" else reached
        return Trained(
            value,
            told,
            spent,
            1,
            0,
            EPOCHS * reached * (method != "probe"),
            stopped,
            FitSettings(),
            answering=answering,
        )

    validation: int = ROWS[1]


def task_of_size() -> Task:
    parts = {}
    for name, rows in zip(("train", "validation", "test"), ROWS, strict=True):
        part = getattr(toy_task(), name)
        parts[name] = part.subset(stream(0, name).integers(0, len(part), rows).tolist())
    return replace(toy_task(), **parts)


@pytest.fixture(scope="module")
def task() -> Task:
    return task_of_size()


def searched(task: Task, world: World, folder: Path, said: list[str], **plan: Any) -> tuple[Search, Decision]:
    """What a search comes to, with the answers that follow it."""

    def tell(event: Event) -> None:
        said.append(event.text)

    names = tuple(world.bases)
    asked = Plan(
        names,
        ("probe", "lora", "full"),
        world.seconds,
        settings=FitSettings(epochs=EPOCHS),
        megabytes=tuple(world.bases[name].megabytes for name in names),
        **plan,
    )
    search = Search(task, asked, folder, tell, world, fan=world.fan)
    settle = search._settle

    def settled() -> None:
        settle()
        world.validation = len(search.task.validation)

    search._settle = settled  # type: ignore[method-assign]
    decision = decide(search.go())
    place = next(at for at, one in enumerate(search.found.looked) if one.facts.source == decision.source)
    search.answers(place, "the winner", lambda rows: (Answers(()), world.answer(len(rows), decision.source)))
    world.answer(rows_of_saving(len(search.task.test)), decision.source)
    world.pass_by(LOADINGS * world.bases[decision.source].loading + FINISHING)
    return search, decision


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("seconds", "shelf"),
    [(30.0, "quick and huge"), (30.0, "mid alone"), (120.0, "quick"), (120.0, "quick and huge"), (600.0, "quick")],
)
def test_a_budget_is_kept_and_there_is_an_answer(
    seconds: float, shelf: str, machine: str, task: Task, tmp_path: Path
) -> None:
    world = World(seconds, slower=MACHINES[machine], bases=SHELVES[shelf])
    _, decision = searched(task, world, tmp_path, [])
    assert world.now <= 1.05 * seconds
    assert decision.best.status in ("finished", "stopped")
    assert decision.source != "huge"
    if machine == "at rest" and shelf != "mid alone":
        assert world.now >= 0.5 * seconds, "a budget is there to be spent"


@pytest.mark.parametrize("seconds", [300.0, 600.0])
def test_a_base_too_slow_for_all_rows_answers_fewer(seconds: float, task: Task, tmp_path: Path) -> None:
    """A row takes 0.6 s: 544 and 500 rows alone are more than ten minutes."""
    world, said = World(seconds, bases=HUGE), list[str]()
    search, decision = searched(task, world, tmp_path, said)
    assert world.now <= 1.05 * seconds
    assert (decision.base, decision.method) == ("huge", "probe")
    assert len(search.task.test) < 500
    assert 40 <= len(search.task.validation) <= search.found.rows[1] < 544
    assert any("of 500 test rows are answered, drawn with the seed" in line for line in said)


@pytest.mark.parametrize("seconds", [110.0, 120.0])
def test_a_better_base_is_worth_fewer_answered_rows(seconds: float, task: Task, tmp_path: Path) -> None:
    """All rows, and those compared after saving, would take the better base 47 seconds, with the margin 58."""
    bases = {"tiny": QUICK["tiny"], "better": Paced(30, 0.5, 120, 0.85)}
    world = World(seconds, bases=bases)
    search, decision = searched(task, world, tmp_path, [])
    assert decision.base == "better"
    assert 200 <= len(search.task.test) <= 500
    assert world.now <= 1.05 * seconds


@pytest.mark.parametrize(("validation", "test"), [(544, 500), (0, 500), (150, 10_000), (600, 40)])
@pytest.mark.parametrize("rows", [300.0, 900.0, 1400.0, 5000.0])
def test_rows_are_fitted_to_what_there_is_time_for(rows: float, validation: int, test: int) -> None:
    kept = rows_fitting(rows, validation, test)
    assert closing_rows(*kept) <= rows
    assert kept == (validation, test) or closing_rows(*kept) >= 0.97 * rows - 3, "what there is time for is used"
    if rows >= closing_rows(min(200, validation), min(200, test)):
        assert kept >= (min(200, validation), min(200, test))
    assert rows_fitting(rows, validation, test, looks=0)[0] == validation
    assert rows_fitting(1.0, validation, test) == (min(40, validation), min(40, test))


def test_few_validation_rows_do_not_reserve_all_of_a_large_test_part(task: Task, tmp_path: Path) -> None:
    small = replace(task, validation=task.validation.subset(range(150)))
    large = replace(small, test=task.test.subset(stream(0, "large").integers(0, len(task.test), 10_000).tolist()))
    bases = {"tiny": Paced(1, 0.1, 10, 0.5), "better": Paced(5, 0.3, 90, 0.8)}
    world = World(60.0, bases=bases)
    search, decision = searched(large, world, tmp_path, [])
    assert decision.base == "better"
    assert len(search.task.validation) == 150
    assert world.now <= 1.05 * 60.0


def test_a_base_too_large_to_load_is_left_out_with_the_reason(task: Task, tmp_path: Path) -> None:
    search, _ = searched(task, World(30.0, bases=SHELVES["quick and huge"]), tmp_path, [])
    assert [one.base for one in search.excluded] == ["huge"] or any(
        reading is None for reading in search.found.readings
    )
    search, _ = searched(task, World(8.0, bases={**QUICK, "heavy": Paced(2, 30, 9000, 0.9)}), tmp_path, [])
    assert search.excluded[-1].base == "heavy"
    assert "loading it takes about" in search.excluded[-1].reason
    assert "--budget" in search.excluded[-1].reason


def test_without_time_to_read_bases_are_ranked_by_size_and_it_is_said(task: Task, tmp_path: Path) -> None:
    slow = {"small": Paced(20, 0.1, 40, 0.6), "large": Paced(25, 0.1, 120, 0.7)}
    world, said = World(12.0, bases=slow), list[str]()
    search, decision = searched(task, world, tmp_path, said)
    assert search.found.readings == [None, None]
    assert any("no time to read the task with; ranked by size" in line for line in said)
    before = msgspec.structs.replace(search.found, runs=[])
    assert before.ranked()[0][0] == 1, "the larger one is believed to be better"
    assert decision.best.value is not None
    assert world.now <= 1.05 * 12.0
    assert decide(msgspec.json.decode(msgspec.json.encode(search.found), type=type(search.found))) == decision


def test_a_cluster_is_given_as_many_jobs_at_once_as_it_has_cores(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Place.workers` of a cluster is 1, and says nothing."""
    monkeypatch.setattr(search_module, "side_by_side", lambda on: 3)
    world, sizes = World(600.0, bases=QUICK), list[tuple[str, int]]()
    fan = world.fan

    def counting(function: Callable[[Any], Any], jobs: Sequence[Any], **others: Any) -> list[Outcome]:
        sizes.append((function.__name__, len(jobs)))
        return fan(function, jobs, **others)

    world.fan = counting  # type: ignore[method-assign]
    searched(task, world, tmp_path, [], on=Place("ray", address="auto"))
    assert sizes[:3] == [("look", 1), ("look", 2), ("read_task", 3)], "what one look takes is known before others begin"


def test_a_pass_takes_no_stretch_that_does_not_fit() -> None:
    assert goes_on(0.0, 0, 100, seconds=0.0), "the first rows are read whatever the clock says"
    assert goes_on(1.0, 100, 100, seconds=2.2)
    assert not goes_on(1.0, 100, 100, seconds=2.19)
