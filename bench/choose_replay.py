"""Policies replayed on recorded trainings: what each would have chosen by when, and how far below the best.

Enter: a `Table` a task. Leave: mean regret and share of the exhaustive cost, by policy and budget, and how well scores
order bases of equal size. `choose` is the package's own search with recorded answers in the place of workers; its clock
is what those answers cost, and a reading that it cuts short holds what its first rows told and nothing more.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from scipy.stats import weightedtau

from bench.choose_truth import Cell, Read, Truth, currency, in_flops
from bench.foretold import Foretold
from headstart.choose.belief import Prior
from headstart.choose.decision import LARGER, decide
from headstart.choose.findings import Findings
from headstart.choose.plan import Plan
from headstart.choose.reading import HELD_OUT_ROWS, Estimates, goes_on
from headstart.choose.search import READING_SHARE, Search
from headstart.choose.work import Looked, Trained, look, read_task
from headstart.data.task import Task
from headstart.evaluate.budget import SAMPLE_ROWS, WARMING_ROWS, Budget
from headstart.evaluate.progress import silent
from headstart.ground.errors import HeadstartError
from headstart.ground.fanout import Done, Failed, Outcome
from headstart.ground.seeds import stream
from headstart.train.methods import FitSettings

BUDGETS = (0.05, 0.15, 0.5)
KEPT_BASES = 0.75  # of the bases in a resample
LEAST_RANKED = 3  # bases of about one size, below which an order says nothing
SCORES: dict[str, Callable[[Estimates], float]] = {
    "H-score": lambda told: told.h_score,
    "LogME": lambda told: told.logme,
    "kNN": lambda told: told.neighbours,
}
FITTED = "choose, its prior fitted to the other sets"
RULE = (
    "Every policy pays for all it looks at, reads and trains, within the budget; answering test rows in the end and "
    "saving is in nobody's cost. A training that would end after the budget is left out; where none fits, the cheapest "
    "is run all the same, so that there is always an answer: the share that was spent tells. Orders by a score read "
    "as many rows with every base as 30 % of the budget hold, 100 whatever it is, then train base after base, "
    "best score first; 'top-1' trains the best-scored base alone. transformer-ranker's rule knows no budget: the "
    "shrunk H-score of the mean over layers on all rows, then a full training of the base with the highest; it is a "
    "point, not a curve."
)
Pair = tuple[str, str]
Foreteller = Callable[[str, str], float]  # of a base and a method


@dataclass(frozen=True)
class Table:
    """All that was recorded of one task, its costs in one currency. unit: CPU seconds on which machine, or FLOPs."""

    task: Task
    truth: Truth
    unit: str

    @classmethod
    def of(cls, task: Task, truth: Truth, *, bases: Sequence[str], methods: Sequence[str]) -> Table:
        """Of these candidates: in seconds where one class of machine computed them all, else in FLOPs."""
        unit = currency(truth, bases, methods)
        reads = [read for read in truth.reads if read.base in bases]
        cells = [cell for cell in truth.cells if cell.base in bases and cell.method in methods]
        kept = msgspec.structs.replace(truth, reads=reads, cells=cells)
        return cls(task, in_flops(kept) if unit == "FLOPs" else kept, unit)

    @property
    def bases(self) -> list[str]:
        return list(dict.fromkeys(read.base for read in self.truth.reads))

    def read(self, base: str, *, held_out: int | None = None) -> Read:
        """The pass with a base that held out so many rows at most; all that were recorded where nothing is said."""
        found = self.truth.read(base, self.truth.rows[1] if held_out is None else held_out)
        assert found is not None, "recorded"
        return found

    def estimates(self, base: str, place: int = -1) -> Estimates:
        """Of all rows, or of those of a prefix."""
        return self.read(base).prefixes[place].estimates

    def looked(self, base: str) -> Looked:
        return Looked(self.read(base).facts, self.read(base).prefixes[-1].ms_per_row)

    def cells(self, base: str, method: str) -> list[Cell]:
        """By seed."""
        found = [cell for cell in self.truth.cells if (cell.base, cell.method) == (base, method)]
        return sorted(found, key=lambda cell: cell.seed)

    def cell(self, base: str, method: str, seed: int) -> Cell:
        """One of the recorded trainings; which one, the seed decides."""
        found = self.cells(base, method)
        return found[seed % len(found)]

    def cost(self, base: str, method: str) -> float:
        return self.cell(base, method, 0).pieces[-1].seconds

    def validation(self, base: str, method: str) -> float:
        return self.cell(base, method, 0).pieces[-1].value

    def test(self, base: str, method: str) -> float:
        """The mean over seeds of the test score."""
        return float(np.mean([cell.test for cell in self.cells(base, method)]))

    def reading(self, bases: Sequence[str], seconds: float) -> tuple[int, float]:
        """(the last prefix to which each of them can be read in `seconds`, the first at least, what that costs).

        As few rows are held out as were in any pass: the scores that order by need none.
        """
        reads = [self.read(base, held_out=0) for base in bases]
        number = min(len(read.prefixes) for read in reads)
        costs = [sum(read.prefixes[place].seconds for read in reads) for place in range(number)]
        place = max((place for place, cost in enumerate(costs) if cost <= seconds), default=0)
        return place, costs[place]


@dataclass
class Clock(Budget):
    """A budget whose time passes by what recorded answers cost. paid: for each candidate's pieces so far; read: the
    pass with each base."""

    spent: float = 0.0
    paid: dict[tuple[str, str, int], float] = field(default_factory=dict)
    read: dict[str, Read] = field(default_factory=dict)

    def left(self) -> float:
        return (self.seconds or 0.0) - self.spent

    def used(self) -> float:
        return self.spent

    def crowded(self) -> float:
        return 1.0


class Replayed(Search):
    """The package's search, with nothing after it: answering test rows and saving is in no policy's cost."""

    def ending(self, base: int) -> float:
        return 0.0

    def shorten(self, base: int, seconds: float, *, looks: int) -> bool:
        return False


@dataclass(frozen=True)
class Chosen:
    """What a policy took and what it had spent by then. found: what the package's search knew, None for the others."""

    pair: Pair
    spent: float
    found: Findings | None = None


def choose(
    table: Table, bases: Sequence[str], methods: Sequence[str], seconds: float, seed: int, prior: Prior | None = None
) -> Chosen:
    """What the package's search decides for. prior: another than the package's."""
    clock = Clock(seconds)

    def fan(
        function: Callable[[Any], Any], jobs: Sequence[Any], *, on_outcome: Any = None, **others: Any
    ) -> list[Outcome]:
        hear, found = on_outcome, []
        for index, job in enumerate(jobs):
            found.append(_answer(table, function, job, clock))
            if hear is not None and not (isinstance(found[-1], Failed) and found[-1].why == "late"):
                hear(index, found[-1])
        return found

    plan = Plan(
        bases=tuple(bases),
        methods=tuple(methods),  # type: ignore[arg-type]
        seconds=seconds,
        settings=FitSettings(epochs=table.truth.epochs),
        seed=seed,
        seeds=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        search = Replayed(table.task, plan, Path(folder), silent, clock, fan=fan, worth=1.0)  # none can be cut short
        search.found.prior = prior or search.found.prior
        found = search.go()
        decision = decide(found)
    return Chosen((decision.source, decision.method), clock.spent, found)


def _answer(table: Table, function: Callable[[Any], Any], job: Any, clock: Clock) -> Outcome:
    if function is look:
        looked = table.looked(job["base"])
        clock.spent += (SAMPLE_ROWS + WARMING_ROWS) * looked.ms_per_row / 1000
        return Done(msgspec.to_builtins(looked), 0.0)
    if function is read_task:
        read, place = table.read(job["base"], held_out=job["held_out"]), 0
        for ahead in range(1, len(read.prefixes)):
            at = read.prefixes[place]
            if not goes_on(at.seconds, at.rows, read.prefixes[ahead].rows - at.rows, seconds=job["seconds"]):
                break
            place = ahead
        clock.spent += read.prefixes[place].seconds
        clock.read[job["base"]] = read
        return Done(msgspec.to_builtins(read.reading(place)), 0.0)
    cell = table.cell(job["base"], job["method"], job["seed"])
    last = len(cell.pieces) - 1
    place = next((i for i, piece in enumerate(cell.pieces) if piece.share >= job["until"] - 0.02), last)
    cost, first = cell.pieces[place].seconds - clock.paid.get(cell.key, 0.0), not clock.paid
    if job["features"] is not None and cell.shared is not None:
        cost = cell.shared.seconds + _unread(clock.read[cell.base], table.truth.rows[1])
    if cost > clock.left() and not first:  # the first is run whatever the clock says, as in the package
        clock.spent += max(0.0, clock.left())
        return Failed("late", "the time was over before it was done")
    clock.spent += cost
    clock.paid[cell.key] = cell.pieces[place].seconds
    return Done(msgspec.to_builtins(trained(cell, place)), cost)


def _unread(read: Read, validation: int) -> float:
    """Seconds for the validation rows whose features a probe still has to read: `shared` was recorded with the pass
    that held out the most, and a pass that did not hold out all leaves none."""
    rows = 0 if read.held_out == min(validation, HELD_OUT_ROWS) else validation
    return rows * read.prefixes[-1].ms_per_row / 1000


def trained(cell: Cell, place: int) -> Trained:
    """Piece `place` of a recorded training, as a worker answers it."""
    piece = cell.pieces[place]
    stopped = cell.stopped if piece is cell.pieces[-1] else "paused"
    return Trained(piece.value, piece.share, piece.seconds, 0, 0, piece.epochs, stopped, FitSettings())


def in_order(table: Table, order: Sequence[Pair], seconds: float, spent: float = 0.0) -> Chosen:
    """Train one candidate after the other that fits the time, the cheapest where none does; the best on validation."""
    tried: list[Pair] = []
    for pair in order:
        if spent + table.cost(*pair) <= seconds:
            spent += table.cost(*pair)
            tried.append(pair)
    if not tried:
        tried = [min(order, key=lambda pair: table.cost(*pair))]
        spent += table.cost(*tried[0])
    return Chosen(max(tried, key=lambda pair: table.validation(*pair)), spent)


def policies(
    table: Table, bases: Sequence[str], methods: Sequence[str], seconds: float, seed: int, prior: Prior | None = None
) -> dict[str, Chosen]:
    """What every policy takes, and what it spent (`RULE`). prior: fitted to other sets, for one policy more."""
    pairs = [(base, method) for base in bases for method in methods]
    strong = [*methods[::-1]]
    size = sorted(bases, key=lambda base: -table.read(base).facts.params)
    bits = sorted(bases, key=lambda base: table.read(base).facts.bits_per_byte or 9.0)
    shuffled = [pairs[i] for i in stream(seed, "random order").permutation(len(pairs))]
    place, reading = table.reading(bases, READING_SHARE * seconds)
    found = {
        "choose": choose(table, bases, methods, seconds, seed),
        "random order": in_order(table, shuffled, seconds),
        "size order": in_order(table, [(b, m) for b in size for m in strong], seconds),
        "pre-training loss order": in_order(table, [(b, m) for b in bits for m in strong], seconds),
    }
    if prior is not None:
        found[FITTED] = choose(table, bases, methods, seconds, seed, prior)
    for name, score in SCORES.items():
        best = sorted(bases, key=lambda base: -score(table.estimates(base, place)))
        found[f"{name} order"] = in_order(table, [(b, m) for b in best for m in strong], seconds, reading)
        found[f"{name} top-1"] = in_order(table, [(best[0], m) for m in strong], seconds, reading)
    if "full" in methods:
        top = max(bases, key=lambda base: SCORES["H-score"](table.estimates(base)))
        _, whole = table.reading(bases, math.inf)
        found["transformer-ranker's rule"] = Chosen((top, "full"), whole + table.cost(top, "full"))
    return found


def drawn_bases(table: Table, draw: int) -> list[str]:
    """Three quarters of the bases, in their order."""
    number = max(2, round(KEPT_BASES * len(table.bases)))
    order = np.sort(stream(draw, "bases").permutation(len(table.bases))[:number])
    return [table.bases[i] for i in order]


def curves(
    tables: Sequence[Table], *, methods: Sequence[str], resamples: int, priors: Sequence[Prior | None] = ()
) -> list[dict[str, Any]]:
    """Regret in points and share spent, a row a policy and budget, over tasks and draws of the bases.

    priors: of each table, fitted to the others.
    """
    found: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for table, prior in zip(tables, priors or [None] * len(tables), strict=True):
        for draw in range(resamples):
            bases = drawn_bases(table, draw)
            whole = sum(table.cost(b, m) for b in bases for m in methods)
            best = max(table.test(b, m) for b in bases for m in methods)
            for budget in BUDGETS:
                try:
                    told = policies(table, bases, methods, budget * whole, draw, prior)
                except HeadstartError as problem:
                    raise RuntimeError(f"{table.task.name}, draw {draw}, budget {budget}: {problem}") from problem
                for policy, taken in told.items():
                    regret = 100 * (best - table.test(*taken.pair))
                    found.setdefault((policy, budget), []).append((regret, taken.spent / whole))
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


# --- a larger base ----------------------------------------------------------------------------------------------------


def larger(tables: Sequence[Table], *, methods: Sequence[str], resamples: int) -> dict[float, list[Foretold]]:
    """By budget: what `choose` says that the best larger candidate would add, beside what it adds on the test rows."""
    found: dict[float, list[Foretold]] = {budget: [] for budget in BUDGETS}
    for table in tables:
        for draw in range(resamples):
            bases = drawn_bases(table, draw)
            whole = sum(table.cost(b, m) for b in bases for m in methods)
            for budget in BUDGETS:
                taken = choose(table, bases, methods, budget * whole, draw)
                assert taken.found is not None, "the search knows"
                advice = decide(taken.found).advice
                if advice.larger is None:
                    continue
                pairs = {
                    taken.found.title(key): (taken.found.looked[key[0]].facts.source, key[1])
                    for key in taken.found.keys
                }
                gain = table.test(*pairs[advice.larger_title]) - table.test(*taken.pair)
                found[budget].append(Foretold(advice.larger, gain))
    return found


# --- bases of equal size ----------------------------------------------------------------------------------------------


def equal_sizes(table: Table) -> list[list[str]]:
    """Groups of bases of which none is `LARGER` times another, by parameters from small to large."""
    groups: list[list[str]] = []
    for base in sorted(table.bases, key=lambda base: table.read(base).facts.params):
        params = table.read(base).facts.params
        if groups and params <= LARGER * table.read(groups[-1][0]).facts.params:
            groups[-1].append(base)
        else:
            groups.append([base])
    return [group for group in groups if len(group) >= LEAST_RANKED]


def taus(tables: Sequence[Table], *, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Weighted Kendall tau between what was foretold and the test scores, a row a foreteller: the mean over tasks,
    methods and groups of bases of equal size, each group ordered by itself."""
    found: dict[str, list[float]] = {}
    for table in tables:
        groups = equal_sizes(table)
        whole = sum(table.cost(b, m) for b in table.bases for m in methods)
        foretold = {name: scored(table, score) for name, score in SCORES.items()}
        for budget in BUDGETS if groups else ():
            known = choose(table, table.bases, methods, budget * whole, 0).found
            assert known is not None, "the search knows"
            foretold[f"choose at {budget:.0%}"] = believed(known)
        for name, tell in foretold.items():
            for group in groups:
                for method in methods:
                    told, true = [tell(b, method) for b in group], [table.test(b, method) for b in group]
                    found.setdefault(name, []).append(weighted_tau(told, true))
    return [{"score": name, "tau": float(np.mean(values)), "groups": len(values)} for name, values in found.items()]


def scored(table: Table, score: Callable[[Estimates], float]) -> Foreteller:
    """A base's score on all rows, whatever the method."""
    return lambda base, method: score(table.estimates(base))


def believed(found: Findings) -> Foreteller:
    """(base, method) -> the score that a search believes it ends with; the lowest where the base is no candidate."""
    means = found.draws().mean(axis=0)
    by = {(found.looked[key[0]].facts.source, key[1]): float(means[found.place(key)]) for key in found.keys}
    return lambda base, method: by.get((base, method), found.lowest)


def weighted_tau(told: Sequence[float], true: Sequence[float]) -> float:
    """SciPy's, which weighs exchanges near the top more; 0 where one side is all ties."""
    tau = float(weightedtau(told, true).statistic)
    return 0.0 if np.isnan(tau) else tau


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Percentiles of the mean under 1,000 resamples of the cases."""
    random = np.random.default_rng(0)
    means = np.asarray(values)[random.integers(0, len(values), (1000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
