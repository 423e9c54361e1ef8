"""Policies replayed on recorded trainings: what each would have chosen by when, and how far below the best.

Enter: a `Table` a task. Leave: mean regret and share of the exhaustive seconds, by policy and budget. `choose` is the
package's own search with recorded answers in the place of workers; its clock is the seconds that those answers took.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headstart.choose.decision import decide
from headstart.choose.plan import Plan
from headstart.choose.search import Search
from headstart.choose.work import Looked, look, read_task
from headstart.data.task import Task
from headstart.evaluate.budget import Budget
from headstart.evaluate.progress import silent
from headstart.ground.errors import HeadstartError
from headstart.ground.fanout import Done, Failed, Outcome
from headstart.ground.seeds import stream
from headstart.train.methods import FitSettings

BUDGETS = (0.05, 0.15, 0.5)
KEPT_BASES = 0.75  # of the bases in a resample
EPOCHS = 3  # of the recorded trainings
Pair = tuple[str, str]


@dataclass
class Table:
    """All that was recorded of one task. ended: by base, method and seed."""

    task: Task
    looked: dict[str, Looked] = field(default_factory=dict)
    readings: dict[str, Any] = field(default_factory=dict)
    ended: dict[tuple[str, str, int], dict[str, Any]] = field(default_factory=dict)

    def add_base(self, name: str, looked: Looked, reading: Any) -> None:
        facts = msgspec.structs.replace(looked.facts, source=name)
        self.looked[name], self.readings[name] = msgspec.structs.replace(looked, facts=facts), reading

    def add(self, base: str, method: str, seed: int, ended: dict[str, Any]) -> None:
        self.ended[base, method, seed] = ended

    def pieces(self, base: str, method: str, seed: int) -> Any:
        """Of one of the recorded trainings; which one, the seed decides."""
        recorded = sorted(s for b, m, s in self.ended if (b, m) == (base, method))
        return self.ended[base, method, recorded[seed % len(recorded)]]["pieces"]

    def seconds(self, base: str, method: str) -> float:
        return float(self.ended[base, method, 0]["pieces"][-1]["seconds"])

    def validation(self, base: str, method: str) -> float:
        return float(self.ended[base, method, 0]["pieces"][-1]["value"])

    def test(self, base: str, method: str) -> float:
        """The mean over seeds of the test score."""
        values = [end["test"] for (b, m, _), end in self.ended.items() if (b, m) == (base, method)]
        return float(np.mean(values))


@dataclass
class Clock(Budget):
    """A budget whose time passes by what recorded answers took. paid: seconds of each candidate's pieces so far."""

    spent: float = 0.0
    paid: dict[Pair, float] = field(default_factory=dict)

    def left(self) -> float:
        return (self.seconds or 0.0) - self.spent

    def used(self) -> float:
        return self.spent


def choose(table: Table, bases: Sequence[str], methods: Sequence[str], seconds: float, seed: int) -> tuple[Pair, float]:
    """(what the package's search decides for, the seconds it spent)."""
    clock = Clock(seconds)

    def fan(
        function: Callable[[Any], Any], jobs: Sequence[Any], *, on_outcome: Any = None, **others: Any
    ) -> list[Outcome]:
        hear, found = on_outcome, []
        for index, job in enumerate(jobs):
            found.append(_answer(table, function, job, clock))
            if hear is not None:
                hear(index, found[-1])
        return found

    plan = Plan(
        bases=tuple(bases),
        methods=tuple(methods),  # type: ignore[arg-type]
        seconds=seconds,
        settings=FitSettings(epochs=EPOCHS),
        seed=seed,
        seeds=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        search = Search(table.task, plan, Path(folder), silent, clock, fan=fan)
        decision = decide(search.go())
    return (decision.source, decision.method), clock.spent


def _answer(table: Table, function: Callable[[Any], Any], job: Any, clock: Clock) -> Outcome:
    if function is look:
        clock.spent += 68 * table.looked[job["base"]].ms_per_row / 1000
        return Done(msgspec.to_builtins(table.looked[job["base"]]), 0.0)
    if function is read_task:
        reading = table.readings[job["base"]]
        clock.spent += min(reading["seconds"], job["seconds"])
        return Done(reading, 0.0)
    pieces = table.pieces(job["base"], job["method"], job["seed"])
    place = next((i for i, piece in enumerate(pieces) if piece["share"] >= job["until"] - 0.02), len(pieces) - 1)
    who = (job["base"], job["method"])
    cost, first = pieces[place]["seconds"] - clock.paid.get(who, 0.0), not clock.paid
    if cost > clock.left() and not first:  # the first is run whatever the clock says, as in the package
        clock.spent += max(0.0, clock.left())
        return Failed("late", "the time was over before it was done")
    clock.spent += cost
    clock.paid[who] = pieces[place]["seconds"]
    return Done(pieces[place], cost)


def in_order(table: Table, order: Sequence[Pair], seconds: float, spent: float = 0.0) -> tuple[Pair, float]:
    """Train candidates one after the other until the time is over; the best on validation."""
    tried: list[Pair] = []
    for pair in order:
        if tried and spent + table.seconds(*pair) > seconds:
            continue
        spent += table.seconds(*pair)
        tried.append(pair)
        if spent > seconds:
            break
    return max(tried, key=lambda pair: table.validation(*pair)), spent


def policies(
    table: Table, bases: Sequence[str], methods: Sequence[str], seconds: float, seed: int
) -> dict[str, tuple[Pair, float]]:
    """What every policy takes, and what it spent."""
    pairs = [(base, method) for base in bases for method in methods]
    strong = [*methods[::-1]]
    size = sorted(bases, key=lambda base: -table.looked[base].facts.params)
    bits = sorted(bases, key=lambda base: table.looked[base].facts.bits_per_byte or 9.0)
    scored = sorted(bases, key=lambda base: -table.readings[base]["estimates"]["h_score"])
    reading = sum(table.readings[base]["seconds"] for base in bases)
    shuffled = [pairs[i] for i in stream(seed, "random order").permutation(len(pairs))]
    return {
        "choose": choose(table, bases, methods, seconds, seed),
        "random order": in_order(table, shuffled, seconds),
        "size order": in_order(table, [(b, m) for b in size for m in strong], seconds),
        "pre-training loss order": in_order(table, [(b, m) for b in bits for m in strong], seconds),
        "H-score order": in_order(table, [(b, m) for b in scored for m in strong], seconds, reading),
    }


def curves(tables: Sequence[Table], *, methods: Sequence[str], resamples: int) -> list[dict[str, Any]]:
    """Regret in points and share spent, a row a policy and budget, over tasks and draws of the bases."""
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for table in tables:
        for draw in range(resamples):
            names = list(table.looked)
            number = max(2, round(KEPT_BASES * len(names)))
            bases = [names[i] for i in np.sort(stream(draw, "bases").permutation(len(names))[:number])]
            whole = sum(table.seconds(b, m) for b in bases for m in methods)
            best = max(table.test(b, m) for b in bases for m in methods)
            for budget in BUDGETS:
                try:
                    told = policies(table, bases, methods, budget * whole, draw)
                except HeadstartError as problem:
                    raise RuntimeError(f"{table.task.name}, draw {draw}, budget {budget}: {problem}") from problem
                for policy, (pair, spent) in told.items():
                    regret = 100 * (best - table.test(*pair))
                    found.setdefault((policy, budget), []).append((regret, spent / whole))
    return [
        {
            "policy": policy,
            "budget": budget,
            "share": float(np.mean([share for _, share in cases])),
            "regret": float(np.mean([regret for regret, _ in cases])),
            "ci95": interval([regret for regret, _ in cases]),
            "cases": len(cases),
        }
        for (policy, budget), cases in found.items()
    ]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Percentiles of the mean under 1,000 resamples of the cases."""
    random = np.random.default_rng(0)
    means = np.asarray(values)[random.integers(0, len(values), (1000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
