"""The search: bases and methods in, findings out, within the budget.

Order: look at every base and leave out what may not be used (stage 0); one reading of the task with each (stage 1);
the bases that can be are asked by zero- and few-shot prompts, on few rows (stage 2); then trials up a ladder, each
piece going on where the one before it stopped (stage 3). Who goes on is decided by the belief over final scores, on
validation rows. A trial that fails is a result; Ctrl-C ends the list and keeps what is there.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from headstart.choose.belief import load_prior
from headstart.choose.constraints import Excluded, divide
from headstart.choose.findings import Findings, Key, Run, Unasked
from headstart.choose.ladder import RUNGS, entrants, survivors
from headstart.choose.plan import Plan
from headstart.choose.prompting import Ask, Asked, ask_task, rows_in_the_end, rows_of_saving
from headstart.choose.reading import HELD_OUT_ROWS, Reading
from headstart.choose.work import Look, Looked, Read, Train, Trained, look, read_task, train, write_task
from headstart.data.task import Task
from headstart.evaluate.budget import BACKWARD, Budget
from headstart.evaluate.controls import Answers, fit_control
from headstart.evaluate.metrics import metric_for
from headstart.evaluate.plan import BY_PROMPT
from headstart.evaluate.plots import duration
from headstart.evaluate.progress import Event, OnEvent
from headstart.evaluate.trial import score
from headstart.ground.errors import ConfigError, RunError
from headstart.ground.fanout import Crew, Done, Failed, Outcome, fan_out
from headstart.train.methods import MIN_EPOCHS, FitSettings, epochs_of

READING_SHARE = 0.3  # of the budget at most, for stage 1
HELD_OUT_SHARE = 0.3  # of a reading's time, for held-out rows
LEAST_HELD_OUT = 40
PROMPT_SHARE = 0.15  # of what is left then at most, for stage 2
ANSWERING_SHARE = 0.25  # of it that a prompt may take to answer validation and test rows, if it wins
FIRST_SHARE = 0.6  # of what is left then at most, for the first probe
PROBE_SHARE = 0.2  # of what is left, for probes beyond the first
NO_HOPE = 0.01  # chance of being within a point of the best below which nothing more is spent
SURE = 0.95  # chance of being within a point of the best at which no further seed is run
CLOSE = 0.2  # chance of it from which on a candidate counts as within noise of the best
COMPARED = 4  # trained candidates that a budget should hold, at the cost of fewer passes over the rows
Fan = Callable[..., list[Outcome]]  # as `fan_out`


@dataclass
class Search:
    """One search under way.

    folder: its scratch, where workers find the task and keep their pieces. fan: who does the jobs; a bench that replays
    recorded trainings gives its own. nowhere: sources of bases that lie in no folder which a saved prompt could name.
    """

    task: Task
    plan: Plan
    folder: Path
    tell: OnEvent
    budget: Budget
    excluded: list[Excluded] = field(default_factory=list)
    correction: float = 1.0
    interrupted: bool = False
    crew: Crew = field(default_factory=Crew)
    fan: Fan = fan_out
    nowhere: frozenset[str] = frozenset()
    settings: FitSettings = field(init=False)  # the plan's, with the passes that the budget leaves room for

    def __post_init__(self) -> None:
        self.metric = metric_for(self.task.kind, self.plan.metric, self.task.labels).name
        self.settings = self.plan.settings
        self.path = write_task(self.task, self.folder / "task.json")
        rows = len(self.task.train), len(self.task.validation), len(self.task.test)
        self.found = Findings(list(self.plan.methods), rows, self.plan.seed, load_prior(), metric=self.metric)
        self.found.floor = floor_of(self.task, self.metric)

    def go(self) -> Findings:
        """All stages; what is finished when the time is over, or on Ctrl-C, stands in the findings."""
        try:
            with self.crew:
                self._look()
                self._read()
                self._ask()
                if self.found.trained:
                    self._probe()
                    self._climb()
                    self._again()
        except KeyboardInterrupt:
            self.interrupted = True
            if not self.found.finished():
                raise
        if not self.found.finished():
            reasons = [run.failed for run in self.found.runs if run.failed]
            reasons += [one.reason for one in self.found.unasked if not self.found.trained] or ["no time was left"]
            raise RunError(
                f"no training ended ({reasons[0]}); expected at least one. Give a longer --budget, or --methods probe."
            )
        return self.found

    # -- stages 0 and 1

    def _look(self) -> None:
        names, plan = self.plan.bases, self.plan
        jobs = [Look(name, self.path, plan.settings, plan.allow_pickle) for name in names]
        outcomes = self.fan(look, plain(jobs), on=plan.on, deadline=self._end(), crew=self.crew)
        found = [msgspec.convert(o.value, Looked) if isinstance(o, Done) else o.reason for o in outcomes]
        self.found.looked, self.excluded = divide(names, found, plan.limits)
        for one in self.excluded:
            self.tell(Event("note", f"{one.base} is left out: {one.reason}"))
        if not self.found.looked:
            reasons = "; ".join(f"{e.base}: {e.reason}" for e in self.excluded)
            raise ConfigError(f"no base is left ({reasons}); expected at least one. Loosen a limit, or add a base.")
        methods = ", ".join(plan.methods)
        limit = "" if plan.seconds is None else f" · budget {duration(plan.seconds)}"
        self.tell(Event("plan", f"{len(self.found.looked)} bases x {methods}{limit}"))

    def _read(self) -> None:
        plan, looked = self.plan, self.found.looked
        pace = [one.ms_per_row for one in looked]
        share = READING_SHARE * self.budget.left() * self.workers
        jobs = []
        for one, ms in zip(looked, pace, strict=True):
            seconds = 1e9 if math.isinf(share) else max(1.0, share * math.sqrt(ms) / sum(map(math.sqrt, pace)))
            held_out = min(HELD_OUT_ROWS, max(LEAST_HELD_OUT, int(HELD_OUT_SHARE * seconds * 1000 / ms)))
            jobs.append(
                Read(
                    one.facts.source,
                    self.path,
                    self.metric,
                    seconds,
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
            told = f"probe {reading.estimates.probe_last:.3f} on {reading.rows:,} rows in {duration(reading.seconds)}"
            self.tell(Event("choose", told, f"{name}, features", 1.0))

        outcomes = self.fan(read_task, plain(jobs), on=plan.on, deadline=self._end(), on_outcome=hear, crew=self.crew)
        self.found.looked = []
        for one, outcome in zip(looked, outcomes, strict=True):
            if isinstance(outcome, Done):
                self.found.looked.append(one)
                self.found.readings.append(msgspec.convert(outcome.value, Reading))
            else:
                self.excluded.append(Excluded(one.facts.name, f"it could not be read: {outcome.reason}"))
        if not self.found.looked:
            raise RunError(f"no base could be read ({self.excluded[-1].reason}); expected one. Give a longer --budget.")

    # -- stage 2

    def _ask(self) -> None:
        """A prompt of every base that can be asked, the cheapest first: what it leaves of its part the dearer get."""
        todo, used = self._askable(), self.budget.used()
        share, answering = (PROMPT_SHARE, ANSWERING_SHARE) if self.found.trained else (0.8, 0.8)
        stage = share * self.left()
        while todo:
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
            if isinstance(outcome, Failed):
                self.found.run(key, self.plan.seed).failed = outcome.reason

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
        self._train(order[:1], until=1.0, share=FIRST_SHARE if len(self.found.trained) > 1 else 1.0, anyway=True)
        allowed, chance = PROBE_SHARE * self.left() * self.workers, self.found.chance()
        others = []
        for key in order[1:]:
            if self.cost(key) <= allowed and chance[self.found.place(key)] >= NO_HOPE:
                others.append(key)
                allowed -= self.cost(key)
        self._train(others, until=1.0)

    def _climb(self) -> None:
        """Successive halving among the trained candidates."""
        chance = self.found.chance()
        climbing = [key for key in self.found.ranked() if key[1] not in ("probe", *BY_PROMPT)]
        names = [key for key in climbing if chance[self.found.place(key)] >= NO_HOPE]
        left = 0.9 * self.left() * self.workers
        self._shorten(names, left)
        number, nothing = entrants([self.cost(key) for key in names], left), not self.found.finished()
        if not number and names and (nothing or 0.3 * self.cost(names[0]) <= left):
            number = 1  # cut short rather than not run
        going = names[:number]
        for rung in RUNGS:
            last = rung == RUNGS[-1] or len(going) == 1
            self._train(going, until=1.0 if last else rung, hurry=last, anyway=nothing)
            going = [key for key in self.found.ranked() if key in going and self._alive(key)][: survivors(len(going))]
            if last or not going:
                return

    def _shorten(self, names: Sequence[Key], left: float) -> None:
        """Fewer passes over the rows, for all alike, where the budget would else hold too few candidates to compare."""
        rows = self.found.rows[0]
        while (epochs := epochs_of(self.settings, rows)) > MIN_EPOCHS:
            if entrants([self.cost(key) for key in names], left) >= min(COMPARED, len(names)):
                break
            self.settings = replace(self.settings, epochs=epochs - 1)
        if epochs < epochs_of(self.plan.settings, rows):
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
            self._train([key], until=1.0, seed=self.plan.seed + len(found.runs_of(key)))

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
        waves = math.ceil(len(todo) / self.workers)
        jobs = []
        for index, run in enumerate(todo):
            wave = (index // self.workers + 1) / waves if hurry else 1.0
            jobs.append(self._job(run, until, hurry, max(0.5, self.left() * share * wave)))

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

        end = None if anyway else self._end()
        outcomes = self.fan(train, plain(jobs), on=self.plan.on, deadline=end, on_outcome=hear, crew=self.crew)
        for run, outcome in zip(todo, outcomes, strict=True):
            if isinstance(outcome, Failed) and not run.pieces:
                run.failed = outcome.reason

    def _job(self, run: Run, until: float, hurry: bool, seconds: float) -> Train:
        return Train(
            self.found.looked[run.base].facts.source,
            self.path,
            run.method,
            run.seed,
            self.settings,
            self.metric,
            str(self.folder / f"{run.base}-{run.method}-{run.seed}"),
            until,
            None if math.isinf(seconds) else time.time() + seconds,
            hurry,
            self.plan.allow_pickle,
        )

    def _learn(self, key: Key, piece: Trained) -> None:
        """Correct the forecast of time by what a training really took."""
        if key[1] == "probe" or piece.epochs < 0.1:
            return
        epochs = epochs_of(self.settings, len(self.task.train))
        predicted = self.cost(key) / self.correction * piece.epochs / epochs
        self.correction = min(5.0, max(0.1, piece.seconds / max(predicted, 1e-6)))

    # -- time

    @property
    def workers(self) -> int:
        return self.plan.on.workers

    def cost(self, key: Key) -> float:
        """Predicted seconds of a candidate's whole training on one worker."""
        base, method = key
        train_rows, held_out, _ = self.found.rows
        row = self.found.readings[base].ms_per_row / 1000
        if method == "probe":
            return row * (train_rows + 2 * held_out)
        epochs = epochs_of(self.settings, train_rows)
        return self.correction * row * (held_out + epochs * (BACKWARD[method] * train_rows + held_out))

    def answering(self) -> float:
        """Seconds that validation and test rows will take once more at the end."""
        found, test, held_out = self.found, len(self.task.test), len(self.task.validation)
        every = [key for key in found.keys if key[1] in found.trained]
        ended = found.finished()
        trained = [key for key in ended if key in every] or every
        slowest = max((found.ms_per_row(key) for key in trained), default=0.0) * (test + held_out)
        prompts = [key for key in ended if key not in every]
        if not prompts:
            return slowest / 1000
        chance = found.chance()
        asked = [found.ms_per_row(key) for key in prompts if chance[found.place(key)] >= NO_HOPE]
        rows = rows_in_the_end(self.task) + rows_of_saving(self.task)
        return max(slowest, max(asked, default=0.0) * rows) / 1000

    def left(self) -> float:
        """Seconds for trials: the budget's rest without what answering takes."""
        return self.budget.left() - self.answering()

    def _end(self) -> float | None:
        """The moment at which workers are ended; a running job keeps to its own time before that."""
        left = self.budget.left()
        return None if math.isinf(left) else time.monotonic() + max(0.0, left)


def floor_of(task: Task, metric: str) -> float:
    """What always answering the same scores on validation: train's majority, or the label that is most frequent there,
    since of two labels one that train holds less often may well be the better constant."""
    rows = task.validation
    floor = score(task, metric, rows, fit_control(task, method="majority").answer(rows))
    if task.kind != "choice":
        return floor
    constant = Counter(rows.targets).most_common(1)[0][0]
    return max(floor, score(task, metric, rows, Answers((constant,) * len(rows))))


def plain(jobs: Sequence[msgspec.Struct]) -> list[object]:
    """Jobs as JSON values."""
    return [msgspec.to_builtins(job) for job in jobs]
