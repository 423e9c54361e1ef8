"""The search: bases and methods in, findings out, within the budget.

Order: look at every base and leave out what may not be used (stage 0); one reading of the task with each (stage 1);
the bases that can be are asked by zero- and few-shot prompts, on few rows (stage 2); then trials up a ladder, each
piece going on where the one before it stopped (stage 3). Who goes on is decided by the belief over final scores, on
validation rows. A trial that fails is a result; Ctrl-C ends the list and keeps what is there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from headstart.choose.belief import load_prior
from headstart.choose.closing import ENOUGH, LEAST_HELD_OUT, closing_rows, rows_fitting, some
from headstart.choose.constraints import Excluded, divide, told_apart
from headstart.choose.findings import BY_PRIOR, Findings, Key, Run, Unasked
from headstart.choose.floor import floor_of
from headstart.choose.ladder import RUNGS, entrants, survivors
from headstart.choose.plan import Plan
from headstart.choose.prompting import Ask, Asked, ask_task, rows_in_the_end, rows_of_saving
from headstart.choose.reading import FIRST_ROWS, HELD_OUT_ROWS, Reading
from headstart.choose.task_file import write_task
from headstart.choose.work import Look, Looked, Read, Train, Trained, look, plain, read_task, train
from headstart.data.examples import Examples
from headstart.data.task import Task
from headstart.evaluate.budget import BACKWARD, FINISH_SECONDS, Budget
from headstart.evaluate.controls import Answers
from headstart.evaluate.metrics import metric_for
from headstart.evaluate.plan import BY_PROMPT
from headstart.evaluate.plots import duration
from headstart.evaluate.progress import Event, OnEvent
from headstart.evaluate.verdict import constant
from headstart.ground.errors import ConfigError, RunError
from headstart.ground.fanout import Crew, Done, Failed, Outcome, fan_out, side_by_side
from headstart.train.methods import MIN_EPOCHS, FitSettings, epochs_of

LOOK_SHARE = 0.2  # of the budget at most, for stage 0; one base is looked at whatever it takes
READING_SHARE = 0.3  # of what is left then at most, for stage 1
ENDING_SHARE = 0.5  # of what is left then at most, for the answers that cannot be cut short
CLOSING_SHARE = 0.3  # of the whole budget for those answers; what takes longer is answered in part
MARGIN = 1.25  # on the time of those answers: a busy machine is never equally busy
FINISHING = 1.0  # CPU seconds of what reads no row: 0.2 in a search over 500 test rows, and ending the process
LOADINGS = 4  # of a base in the end: to answer, as it was trained, to write and to compare, which take about as long
HELD_OUT_SHARE = 0.3  # of a reading's time, for held-out rows
PROMPT_SHARE = 0.15  # of what is left then at most, for stage 2
ANSWERING_SHARE = 0.25  # of it that a prompt may take to answer validation and test rows, if it wins
FIRST_SHARE = 0.6  # of what is left then at most, for the first probe
PROBE_SHARE = 0.2  # of what is left, for probes beyond the first
NO_HOPE = 0.01  # chance of being within a point of the best below which nothing more is spent
SURE = 0.95  # chance of being within a point of the best at which no further seed is run
CLOSE = 0.2  # chance of it from which on a candidate counts as within noise of the best
PROBE_ROWS = 64  # that a probe reads whatever the clock says (train/probe.py), of train as of validation
COMPARED = 4  # trained candidates that a budget should hold, at the cost of fewer passes over the rows
Fan = Callable[..., list[Outcome]]  # as `fan_out`
AskRows = Callable[[Examples], tuple[Answers, float]]  # as `evaluate.asking.ask` of one base
NO_TIME = "no time was left for it"
LATE = Failed("late", "the time was over before it was begun", 0)


@dataclass
class Search:
    """One search under way.

    folder: its scratch, where workers find the task and keep their pieces. fan: who does the jobs; a bench that replays
    recorded trainings gives its own. worth: share of what a training still has to do that must fit, for it to be begun
    at the end of a budget and cut short. nowhere: sources of bases without a folder that a saved prompt could name.
    """

    task: Task
    plan: Plan
    folder: Path
    tell: OnEvent
    budget: Budget
    excluded: list[Excluded] = field(default_factory=list)
    correction: float = 1.0
    slow: float = 1.0  # times that a row took longer lately than when its base was looked at
    interrupted: bool = False
    crew: Crew = field(default_factory=Crew)
    fan: Fan = fan_out
    nowhere: frozenset[str] = frozenset()
    worth: float = 0.3
    path: str = field(init=False)  # of the task, for workers
    settings: FitSettings = field(init=False)  # the plan's, with the passes that the budget leaves room for

    def __post_init__(self) -> None:
        self.metric = metric_for(self.task.kind, self.plan.metric, self.task.labels).name
        self.settings = self.plan.settings
        self.found = Findings(list(self.plan.methods), (0, 0, 0), self.plan.seed, load_prior(), metric=self.metric)
        self.found.constant = constant(self.task.kind)
        self._settle()

    def go(self) -> Findings:
        """All stages; what is finished when the time is over, or on Ctrl-C, stands in the findings."""
        try:
            with self.crew:
                self._look()
                self._shorten_parts()
                if self.found.trained:
                    self._read()
                else:  # nothing that is read says what a prompt gets out of a base
                    self.found.readings = [None] * len(self.found.looked)
                self._ask()
                if self.found.trained:
                    self._probe()
                    self._climb()
                    self._again()
                    self._spend()
        except KeyboardInterrupt:
            self.interrupted = True
            if not self.found.finished():
                raise
        if not self.found.finished():
            reasons = [run.failed for run in self.found.runs if run.failed]
            reasons += [one.reason for one in self.found.unasked if not self.found.trained] or [NO_TIME]
            late = reasons[0] == NO_TIME
            advice = "Give a longer --budget." if late else "Mend that, or give other bases or --methods."
            raise RunError(f"no trial ended ({reasons[0]}); expected at least one. {advice}")
        return self.found

    # -- stages 0 and 1

    def _look(self) -> None:
        """Facts and pace of every base, the smallest first, while they fit the stage's part of the budget."""
        plan, sizes = self.plan, dict(zip(self.plan.bases, self.plan.megabytes, strict=False))
        todo, told = sorted(plan.bases, key=lambda name: sizes.get(name, 0.0)), dict[str, Looked | str]()
        ends, pace = self.budget.used() + LOOK_SHARE * self.budget.left(), 0.0  # seconds a megabyte
        while todo:
            there = any(isinstance(one, Looked) for one in told.values())
            wave, todo = self._next_wave(todo, self.workers if there else 1)
            left = ends - self.budget.used()
            needed = pace * sizes.get(wave[-1], 0.0)
            if there and needed > left:
                reason = f"loading it takes about {duration(needed)} here; {expected(left)}"
                told |= dict.fromkeys((*wave, *todo), reason)
                break
            seconds = None if math.isinf(left) else max(0.0, left - needed)
            jobs = [Look(name, self.path, plan.settings, plan.allow_pickle, seconds) for name in wave]
            end = self._end() if there else None  # without one base there is no answer
            outcomes = self.fan(look, plain(jobs), on=plan.on, deadline=end, crew=self.crew)
            for name, outcome in zip(wave, outcomes, strict=True):
                one = msgspec.convert(outcome.value, Looked) if isinstance(outcome, Done) else outcome.reason
                told[name] = one
                if isinstance(one, Looked) and sizes.get(name):
                    pace = one.loading / sizes[name]
        named = [plan.given.get(name, name) for name in plan.bases]
        looks = told_apart([told[name] for name in plan.bases], plan.given)
        self.found.looked, self.excluded = divide(named, looks, plan.limits, plan.methods)
        for out in self.excluded:
            self.tell(Event("note", f"{out.base} is left out: {out.reason}"))
        if not self.found.looked:
            reasons = "; ".join(f"{e.base}: {e.reason}" for e in self.excluded)
            raise ConfigError(f"no base is left ({reasons}); expected at least one. Loosen a limit, or add a base.")
        methods = ", ".join(plan.methods)
        limit = "" if plan.seconds is None else f" · budget {duration(plan.seconds)}"
        self.tell(Event("plan", f"{len(self.found.looked)} bases x {methods}{limit}"))

    def _next_wave(self, todo: Sequence[Any], most: int) -> tuple[list[Any], list[Any]]:
        """The first `most`, and the rest; without a limit nothing has to wait."""
        number = len(todo) if math.isinf(self.budget.left()) else most
        return list(todo[:number]), list(todo[number:])

    def _shorten_parts(self) -> None:
        """Fewer validation and test rows where even the quickest base could else not answer them in time."""
        quickest = min(range(len(self.found.looked)), key=self.ms_now)
        if self.shorten(quickest, ENDING_SHARE * self.budget.left(), looks=2):
            self._settle()

    def shorten(self, base: int, seconds: float, *, looks: int) -> bool:
        """Leave only as many validation and test rows as `base` can answer, with what else comes after the search, in
        `seconds`. looks: how often it still has to answer validation; 0 leaves that part as it is."""
        task = self.task
        rows = max(0.0, seconds - self._others(base)) / max(self.ms_now(base) / 1000 * MARGIN, 1e-9)
        kept = rows_fitting(rows, len(task.validation), len(task.test), looks=looks)
        if kept == (len(task.validation), len(task.test)):
            return False
        validation, test = self._fewer(task.validation, kept[0], "validation"), self._fewer(task.test, kept[1], "test")
        self.task = replace(self.task, validation=validation, test=test)
        return True

    def answers(self, base: int, title: str, ask: AskRows) -> tuple[tuple[Answers, float], tuple[Answers, float]]:
        """What `ask` says of validation and test rows, with its seconds: of as many as there is time for, which are
        left in `task`. After validation it is known how fast it goes."""
        self.shorten(base, self.budget.left(), looks=1)
        validation = ask(self.task.validation)
        self.pace(self.found.looked[base], 1000 * validation[1] / len(self.task.validation))
        self.shorten(base, self.budget.left(), looks=0)
        self.tell(Event("score", f"{title}: scoring {len(self.task.test):,} test rows"))
        return validation, ask(self.task.test)

    def _fewer(self, rows: Examples, most: int, name: str) -> Examples:
        """At most so many rows of a part; a note in the task says so where it is not all of it."""
        fewer = some(rows, most, seed=self.plan.seed)
        if len(fewer) < len(rows):
            told = f"{len(fewer):,} of {len(rows):,} {name} rows are answered, drawn with the seed"
            note = f"{told}: {'Ctrl-C' if self.interrupted else 'the time'} left room for no more"
            self.task = replace(self.task, notes=(*self.task.notes, note))
            self.tell(Event("note", note))
        return fewer

    def _others(self, base: int) -> float:
        """Seconds of what comes after the search besides answers: loading a base, and what no row is read for."""
        return LOADINGS * self.loading(base) + self.finishing()

    def loading(self, base: int) -> float:
        """Seconds of loading a base, by the pace of late; a worker holds few of them at once."""
        return self.slow * self.found.looked[base].loading

    def finishing(self) -> float:
        """Seconds of intervals, pages and files, beyond those that a budget keeps back, where others want the cores."""
        crowded = self.budget.crowded() if self.plan.on.kind == "here" else 1.0
        return max(0.0, FINISHING * crowded - FINISH_SECONDS)

    def _settle(self) -> None:
        """Write the task for workers, and count its rows."""
        rows = len(self.task.train), len(self.task.validation), len(self.task.test)
        self.path = write_task(self.task, self.folder / f"task-{rows[1]}-{rows[2]}.json")
        self.found.rows, self.found.floor = rows, floor_of(self.task, self.metric)

    def _read(self) -> None:
        """One pass with every base, the quickest first. What no time is left for is ranked without one."""
        told: dict[int, Outcome] = {}
        todo = sorted(range(len(self.found.looked)), key=lambda place: self.found.looked[place].ms_per_row)
        ends = self.budget.used() + READING_SHARE * self.budget.left()
        while todo:
            left, rest = ends - self.budget.used(), todo
            wave, todo = self._next_wave(todo, self.workers)
            if self._least_reading(wave[-1]) > left:
                break
            told |= self._read_wave(wave, self._shares(wave, rest, left))
        found = self.found
        looked, found.looked = found.looked, []
        late: list[str] = []
        for place, one in enumerate(looked):
            outcome = told.get(place, LATE)
            if isinstance(outcome, Done):
                found.readings.append(msgspec.convert(outcome.value, Reading))
            elif outcome.why == "late":
                found.readings.append(None)
                late.append(one.facts.name)
            else:
                self.excluded.append(Excluded(one.facts.name, f"it could not be read: {outcome.reason}"))
                continue
            found.looked.append(one)
        if late:
            self.tell(Event("note", f"{', '.join(late)}: no time to read the task with; ranked by {BY_PRIOR}"))
        if not found.looked:
            raise RunError(
                f"no base could be read ({self.excluded[-1].reason}); expected one. Mend that, or give other bases."
            )

    def _least_reading(self, place: int) -> float:
        """Seconds of the shortest pass with a base: its first rows and the fewest held-out ones."""
        rows = min(FIRST_ROWS, len(self.task.train)) + min(LEAST_HELD_OUT, len(self.task.validation))
        return 1.2 * rows * self.ms_now(place) / 1000 + self.loading(place)

    def _shares(self, wave: Sequence[int], rest: Sequence[int], left: float) -> list[float]:
        """Seconds for each of `wave`, by the roots of their paces and those of the `rest` still to come; none has more
        than is `left`."""
        roots = [math.sqrt(self.found.looked[place].ms_per_row) for place in rest]
        together = left * min(self.workers, len(rest))
        return [
            max(self._least_reading(place), min(left, together * root / sum(roots)))
            for place, root in zip(wave, roots, strict=False)
        ]

    def _read_wave(self, places: Sequence[int], shares: Sequence[float]) -> dict[int, Outcome]:
        looked, plan = [self.found.looked[place] for place in places], self.plan
        jobs = []
        for place, one, share in zip(places, looked, shares, strict=True):
            seconds = 1e9 if math.isinf(share) else share
            affordable = int(HELD_OUT_SHARE * seconds * 1000 / self.ms_now(place))
            held_out = min(HELD_OUT_ROWS, max(LEAST_HELD_OUT, affordable))
            jobs.append(
                Read(
                    one.facts.source,
                    self.path,
                    self.metric,
                    self.settings,
                    seconds,
                    self._kept_at(one) if "probe" in plan.methods else None,
                    held_out,
                    plan.seed,
                    allow_pickle=plan.allow_pickle,
                )
            )

        def hear(index: int, outcome: Outcome) -> None:
            name = looked[index].facts.name
            if isinstance(outcome, Failed):
                self.tell(Event("note", f"{name} is left out: {outcome.reason}"))
                return
            reading = msgspec.convert(outcome.value, Reading)
            self.pace(looked[index], reading.ms_per_row)
            told = f"probe {reading.estimates.probe_last:.3f} on {reading.rows:,} rows in {duration(reading.seconds)}"
            self.tell(Event("choose", told, f"{name}, features", 1.0))
            if reading.unkept:
                self.tell(Event("note", f"{name}'s features are not kept for its probe: {reading.unkept}"))

        outcomes = self.fan(read_task, plain(jobs), on=plan.on, deadline=self._end(), on_outcome=hear, crew=self.crew)
        return dict(zip(places, outcomes, strict=True))

    # -- stage 2

    def _ask(self) -> None:
        """A prompt of every base that can be asked, the cheapest first: what it leaves of its part the dearer get."""
        todo, used = self._askable(), self.budget.used()
        share, answering = (PROMPT_SHARE, ANSWERING_SHARE) if self.found.trained else (0.8, 0.8)
        stage = share * self.left()
        while todo:
            if stage - (self.budget.used() - used) <= 0:
                self.found.unasked += [Unasked(*key, NO_TIME) for key in todo]
                return
            waves = math.ceil(len(todo) / self.workers)
            wave, todo = todo[: self.workers], todo[self.workers :]
            seconds = (stage - (self.budget.used() - used)) / waves
            self._ask_wave(wave, seconds, answering * self.budget.left())

    def _askable(self) -> list[Key]:
        """The prompts to try, in the order of their cost."""
        looked = self.found.looked
        for base, one in enumerate(looked):
            methods = [method for key, method in self.found.prompts if key == base]
            reason = ""
            if not one.facts.scores:
                reason = f"{one.facts.family} has no language-model head here to score answers with"
            elif one.facts.source in self.nowhere:
                reason = "it lies in no folder that a saved prompt could name. Save it, and give the folder"
            if methods and reason:
                self.found.unasked += [Unasked(base, method, reason) for method in methods]
                self.tell(Event("note", f"{one.facts.name} is not asked by {' or '.join(methods)}: {reason}"))
        return sorted(self.found.prompts, key=lambda key: (looked[key[0]].ms_per_row, BY_PROMPT.index(key[1])))

    def _ask_wave(self, keys: Sequence[Key], seconds: float, answering: float) -> None:
        """Ask prompts side by side. seconds: of each. answering: of answering all rows in the end."""
        jobs = [self._question(key, seconds, answering) for key in keys]

        def hear(index: int, outcome: Outcome) -> None:
            key, title = keys[index], self.found.title(keys[index])
            if isinstance(outcome, Failed):
                self.found.run(key, self.plan.seed).failed = outcome.reason
                self.tell(Event("note", f"{title} failed: {outcome.reason}"))
                return
            answer = msgspec.convert(outcome.value, Asked)
            reason = self._refused(answer)
            if reason or answer.trained is None:
                self.found.unasked.append(Unasked(*key, reason))
                self.tell(Event("note", f"{title} is not asked: {reason}"))
                return
            piece = answer.trained
            self.found.run(key, self.plan.seed).pieces.append(piece)
            told = f"validation {piece.value:.3f} on {piece.rows:,} rows in {duration(piece.seconds)}"
            self.tell(Event("choose", told, title, 1.0))

        end = self._end()
        outcomes = self.fan(ask_task, plain(jobs), on=self.plan.on, deadline=end, on_outcome=hear, crew=self.crew)
        for key, outcome in zip(keys, outcomes, strict=True):
            if isinstance(outcome, Failed) and outcome.why == "late":
                self.found.unasked.append(Unasked(*key, NO_TIME))

    def _question(self, key: Key, seconds: float, answering: float) -> Ask:
        base, method = key
        looked = self.found.looked[base]
        return Ask(
            looked.facts.source,
            self.path,
            method,
            self.metric,
            self.plan.seed,
            self.settings.max_length,
            str(self.folder / f"{base}-{method}-{self.plan.seed}"),
            looked.ms_per_row,
            None if math.isinf(seconds) else max(0.0, seconds),
            None if math.isinf(answering) else max(0.0, answering),
            self.plan.allow_pickle,
        )

    def _refused(self, answer: Asked) -> str:
        """Why a prompt is no candidate; nothing where it is one."""
        most = self.plan.limits.max_ms_per_row
        took = None if answer.trained is None else answer.trained.ms_per_row
        if most is not None and took is not None and took > most:
            return f"{took:.1f} ms a row by a prompt measured here, and --max-ms-per-row is {most:g}"
        return answer.unasked

    # -- stage 3

    def _probe(self) -> None:
        """The most promising base's probe, so that there is an answer; others where they are cheap and may be good."""
        order = [key for key in self.found.ranked() if key[1] == "probe"]
        if not order:
            return
        first = self._first(order)
        self._train([first], until=1.0, share=FIRST_SHARE if len(self.found.trained) > 1 else 1.0, anyway=True)
        allowed, chance = PROBE_SHARE * self.left() * self.workers, self.found.chance()
        others = []
        for key in order:
            if key != first and self.cost(key) <= allowed and chance[self.found.place(key)] >= NO_HOPE:
                others.append(key)
                allowed -= self.cost(key)
        self._train(others, until=1.0)

    def _first(self, order: Sequence[Key]) -> Key:
        """The first that fits the time with its answers in the end; the quickest where none does."""
        quickest = min(order, key=lambda key: self.ms_now(key[0]))
        return next(iter(self.fitting(order, lambda key: 2 * self.least(key))), quickest)

    def _climb(self) -> None:
        """Successive halving among the trained candidates."""
        chance = self.found.chance()
        climbing = [key for key in self.found.ranked() if key[1] not in ("probe", *BY_PROMPT)]
        names = [key for key in climbing if chance[self.found.place(key)] >= NO_HOPE]
        left = 0.9 * self.left() * self.workers
        self._shorten(names, left)
        number, nothing = entrants([self.cost(key) for key in names], left), not self.found.finished()
        if not number and names and (nothing or self.worth * self.cost(names[0]) <= left):
            number = 1  # cut short rather than not run
        going = [self._first(names)] if number == 1 and nothing else names[:number]
        entered = list(going)
        for rung in RUNGS:
            last = rung == RUNGS[-1] or len(going) == 1
            self._train(going, until=1.0 if last else rung, hurry=last, anyway=nothing)
            alive = [key for key in self.found.ranked() if key in going and self._alive(key)]
            going = alive[: survivors(len(going))]
            if last or not going:
                break
        self._make_up(entered)

    def _make_up(self, entered: Sequence[Key]) -> None:
        """Where none of those that went on ended, those behind them are carried to their end, until one did."""
        for key in self.found.ranked():
            if any(self.found.ended(one) for one in entered):
                return
            if key in entered and self._alive(key):
                self._train([key], until=1.0, hurry=True)

    def _shorten(self, names: Sequence[Key], left: float) -> None:
        """Fewer passes over the rows, for all alike, where the budget would else hold too few candidates to compare."""
        while (epochs := self.passes()) > MIN_EPOCHS:
            if entrants([self.cost(key) for key in names], left) >= min(COMPARED, len(names)):
                break
            self.settings = replace(self.settings, epochs=epochs - 1)
        if epochs < epochs_of(self.plan.settings, self.found.rows[0], self.task.columns.modality):
            self.tell(Event("note", f"trainings make {epochs} passes over the rows, for the budget's sake"))

    def _alive(self, key: Key) -> bool:
        return all(run.failed is None for run in self.found.runs_of(key))

    def _again(self) -> None:
        """Further seeds where finished candidates are within noise of each other, as long as there is time."""
        while True:
            found, chance = self.found, self.found.chance()
            close = [key for key in found.finished() if chance[found.place(key)] >= CLOSE]
            still_open = [
                key
                for key in close
                if key[1] not in ("probe", *BY_PROMPT)
                and len(found.runs_of(key)) < self.plan.seeds
                and self.cost(key) <= 0.8 * self.left()
            ]
            if len(close) < 2 or not still_open or max(chance[found.place(key)] for key in close) > SURE:
                return
            key = min(still_open, key=lambda k: len(found.runs_of(k)))
            seeds = len(found.runs_of(key))
            self._train([key], until=1.0, seed=self.plan.seed + seeds)
            if len(found.runs_of(key)) == seeds:  # there was no room for it
                return

    def _spend(self) -> None:
        """What is left of a budget goes to the most promising that would else not end, cut short where it must be."""
        tried: set[Key] = set()
        while not math.isinf(self.budget.left()):
            found, chance = self.found, self.found.chance()
            if max((chance[found.place(key)] for key in found.finished()), default=0.0) > SURE:
                return
            todo = [
                key
                for key in found.ranked()
                if key[1] in found.trained
                and key not in tried
                and not found.ended(key)
                and self._alive(key)
                and chance[found.place(key)] >= NO_HOPE
            ]
            todo = self.fitting(todo, lambda key: max(2 * self.least(key), self.worth * self._rest(key)))
            if not todo:
                return
            tried.add(todo[0])
            self._train(todo[:1], until=1.0, hurry=True)

    def _rest(self, key: Key) -> float:
        """Predicted seconds of what a candidate's training still has to do; a probe of few rows is a probe."""
        done = max((run.last.share for run in self.found.runs_of(key) if run.last is not None), default=0.0)
        return 0.0 if key[1] == "probe" else (1.0 - done) * self.cost(key)

    def _train(
        self,
        keys: Sequence[Key],
        *,
        until: float,
        hurry: bool = False,
        share: float = 1.0,
        seed: int | None = None,
        anyway: bool = False,
    ) -> None:
        """Train each candidate until `until` of its steps, best first.

        share: of the time left, at most. anyway: whatever the clock says, because there must be an answer.
        """
        runs = [self.found.run(key, self.plan.seed if seed is None else seed) for key in keys]
        todo = [run for run in runs if run.failed is None and run.ended is None]
        if not anyway:
            fitting = self.fitting([run.key for run in todo], self.least)
            todo = [run for run in todo if run.key in fitting]
        waves = math.ceil(len(todo) / self.workers)
        jobs, reserve, workers = [], self.answering(), self.workers
        for index, run in enumerate(todo):
            wave = (index // workers + 1) / waves if hurry else 1.0
            answers = self.found.rows[1] * self.ms_now(run.base) / 1000  # of validation, after the training itself
            jobs.append(self._job(run, until, hurry, max(0.0, self.room(run.key, reserve) * share * wave - answers)))

        def hear(index: int, outcome: Outcome) -> None:
            run = todo[index]
            title = self.found.title(run.key) + ("" if run.seed == self.plan.seed else f", seed {run.seed}")
            if isinstance(outcome, Failed):
                run.failed = outcome.reason
                self.tell(Event("note", f"{title} failed: {outcome.reason}"))
                return
            piece = msgspec.convert(outcome.value, Trained)
            run.pieces.append(piece)
            self._learn(run.key, piece)
            told = f"validation {piece.value:.3f} after {piece.share:.0%} in {duration(piece.seconds)}"
            self.tell(Event("choose", told, f"{title}, {until:.0%}", 1.0))
            if piece.stopped == "interrupted":
                raise KeyboardInterrupt

        end = None if anyway and not self.found.finished() else self._end()
        self.fan(train, plain(jobs), on=self.plan.on, deadline=end, on_outcome=hear, crew=self.crew)
        self.found.runs = [run for run in self.found.runs if run.pieces or run.failed is not None]

    def _kept_at(self, looked: Looked) -> str:
        """Where the reading with a base leaves the features of parts that it read whole."""
        return str(self.folder / f"{self.plan.bases.index(looked.facts.source)}.features")

    def _unread(self, base: int) -> tuple[int, int]:
        """The train and the validation rows that a probe must still read to be fitted. Where the reading of its base
        read all train rows it left their features, and those of the validation rows where it read all of them."""
        train_rows, held_out, _ = self.found.rows
        reading = self.found.readings[base]
        if reading is None or not reading.kept:
            return train_rows, held_out
        return 0, 0 if reading.held_out == held_out else held_out

    def _job(self, run: Run, until: float, hurry: bool, seconds: float) -> Train:
        looked = self.found.looked[run.base]
        shares = run.method == "probe" and self._unread(run.base)[0] == 0
        return Train(
            looked.facts.source,
            self.path,
            run.method,
            run.seed,
            self.settings,
            self.metric,
            str(self.folder / f"{run.base}-{run.method}-{run.seed}"),
            until,
            None if math.isinf(seconds) else time.time() + seconds,
            hurry,
            self._kept_at(looked) if shares else None,
            self.plan.allow_pickle,
        )

    def _learn(self, key: Key, piece: Trained) -> None:
        """Correct the forecast of time by what a training and its answers really took."""
        if piece.answering and self.found.rows[1]:
            self.pace(self.found.looked[key[0]], 1000 * piece.answering / self.found.rows[1])
        if key[1] == "probe" or piece.epochs < 0.1:
            return
        predicted = self.cost(key) / self.correction * piece.epochs / self.passes()
        self.correction = min(5.0, max(0.1, piece.seconds / max(predicted, 1e-6)))

    # -- time

    @property
    def workers(self) -> int:
        return side_by_side(self.plan.on)

    def cost(self, key: Key) -> float:
        """Predicted seconds of a candidate's whole training on one worker."""
        base, method = key
        train_rows, held_out, _ = self.found.rows
        reading = self.found.readings[base]
        row = (self.found.looked[base].ms_per_row if reading is None else reading.ms_per_row) / 1000
        if method == "probe":
            return row * (sum(self._unread(base)) + held_out)
        return self.correction * row * (held_out + self.passes() * (BACKWARD[method] * train_rows + held_out))

    def passes(self) -> int:
        """Passes over the rows that a training makes, unless it stops before."""
        return epochs_of(self.settings, self.found.rows[0], self.task.columns.modality)

    def pace(self, looked: Looked, ms_per_row: float) -> None:
        """Learn how much slower than at first the machine is; that it is quicker is not counted on."""
        self.slow = max(1.0, ms_per_row / max(looked.ms_per_row, 1e-9))

    def ms_now(self, base: int) -> float:
        """Milliseconds of answering a row, by the pace of late."""
        return self.slow * self.found.looked[base].ms_per_row

    def least(self, key: Key) -> float:
        """Seconds below which a training is not worth starting: few rows, and validation as often as it is read."""
        train_rows, held_out, _ = self.found.rows
        unread = self._unread(key[0])
        rows = sum(min(PROBE_ROWS, some) for some in unread) + held_out
        if not unread[0]:  # shared features know no deadline
            rows = sum(unread) + held_out
        if key[1] != "probe":
            rows = (
                int(0.1 * BACKWARD[key[1]] * train_rows) + 5 * held_out
            )  # timed, kept free twice, looked at, answered
        return self.loading(key[0]) + rows * self.ms_now(key[0]) / 1000

    def ending(self, base: int) -> float:
        """Seconds that come after a search which decides for a training of `base`: it is loaded, answers validation and
        test rows, is written, loaded again and compared. Where all rows would take more than CLOSING_SHARE of the
        budget, time is kept for fewer, but for ENOUGH of each part: a better base is worth that."""
        row = MARGIN * self.ms_now(base) / 1000
        validation, test = len(self.task.validation), len(self.task.test)
        affordable = math.inf if self.plan.seconds is None else CLOSING_SHARE * self.plan.seconds / max(row, 1e-9)
        least = closing_rows(min(ENOUGH, validation), min(ENOUGH, test))
        kept = rows_fitting(max(least, affordable), validation, test)
        return row * closing_rows(*kept) + self._others(base)

    def answering(self) -> float:
        """Seconds that come after the search, if it decides for the dearest of what may win so far."""
        found = self.found
        finished = found.finished()
        if not finished:
            return 0.0
        chance = found.chance()
        hopeful = [key for key in finished if chance[found.place(key)] >= NO_HOPE] or finished
        trained = [self.ending(key[0]) for key in hopeful if key[1] in found.trained]
        prompts = [key for key in hopeful if key[1] not in found.trained]
        rows = rows_in_the_end(self.task) + rows_of_saving(len(self.task.test))
        row = MARGIN * self.slow / 1000
        asked = [rows * row * found.ms_per_row(key) + self._others(key[0]) for key in prompts]
        return max([*trained, *asked], default=0.0)

    def left(self) -> float:
        """Seconds for trials: the budget's rest without what comes after the search."""
        return self.budget.left() - self.answering()

    def room(self, key: Key, reserve: float) -> float:
        """Seconds for a trial of `key`, should it be what the search decides for. reserve: as `answering` says."""
        return self.budget.left() - max(reserve, self.ending(key[0]))

    def fitting(self, keys: Sequence[Key], needed: Callable[[Key], float]) -> list[Key]:
        """Those for which there is room."""
        reserve = self.answering()
        return [key for key in keys if self.room(key, reserve) >= needed(key)]

    def _end(self) -> float | None:
        """The moment at which workers are ended; a running job keeps to its own time before that."""
        left = self.left()
        return None if math.isinf(left) else time.monotonic() + max(0.0, left)


def expected(seconds: float) -> str:
    return f"expected at most {duration(max(0.0, seconds))}, its part of the budget. Give a longer --budget."
