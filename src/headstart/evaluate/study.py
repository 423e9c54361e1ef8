"""The verb `adapt` with its evidence: a base and a task in, an adapted base and a Report out.

The order is probe, controls, full fine-tuning, its from-scratch twin, LoRA, further seeds, label curve; a budget cuts
this list from its end and says so, and the clock stops whatever runs with the best weights so far. zero-shot and
few-shot train nothing: they try several prompts, with a probe beside them. Choices are made on validation rows alone.
Ctrl-C ends the list where it is and everything finished until then is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headstart.base.base import Base
from headstart.data.task import Task
from headstart.evaluate.budget import Budget, Pace, measure_pace, plain_seconds
from headstart.evaluate.conclude import Outcome, Study, conclude
from headstart.evaluate.controls import ControlMethod, fit_control, plain_control
from headstart.evaluate.label_curve import build_curve, curve_sizes, with_rows
from headstart.evaluate.metrics import metric_for
from headstart.evaluate.plan import BY_PROMPT, Plan, check_method, prompting_for, require_base, require_task
from headstart.evaluate.plots import duration
from headstart.evaluate.progress import Event, OnEvent, silent
from headstart.evaluate.prompting import RAW, Prompted, fewer_validation, prompt_seconds, prompts_of, try_prompts
from headstart.evaluate.report import METHOD_TITLES, LabelCurve, Skipped
from headstart.evaluate.trial import Trial, choose, evidence_of, try_control, try_method
from headstart.ground.errors import ConfigError, DataError
from headstart.prompt.asking import Prompting
from headstart.train.fit import Progress, check_inputs
from headstart.train.methods import FitSettings, Method

__all__ = ["Study", "adapt", "study"]

FROM_BASE = ("full", "lora", "probe")
SLACK = 1.25  # a forecast from 16 rows may be off by so much
PROBE_SECONDS = 60.0  # of a probe that stands beside prompts, whatever those took


def adapt(
    base: Base,
    task: Task,
    *,
    method: str = "auto",
    budget: float | None = None,
    seeds: int = 1,
    seed: int = 0,
    settings: FitSettings | None = None,
    metric: str | None = None,
    label_curve: bool = False,
    prompting: Prompting | None = None,
    on_event: OnEvent = silent,
) -> Base:
    """Adapt `base` to `task`: a new base whose `.report` holds the evidence. The argument is not changed.

    budget: seconds, kept. seeds: fits per trained method, draws of demonstrations for few-shot. metric: None for the
    kind's default. prompting: how zero-shot and few-shot ask.

    Raises:
        ConfigError: an unknown method or metric, a budget or a number of seeds that is not positive, or an argument of
            another type, such as a name where a Base is due.
        DataError: a part of the task has no rows.
    """
    return study(
        base,
        task,
        method=method,
        budget=budget,
        seeds=seeds,
        seed=seed,
        settings=settings,
        metric=metric,
        label_curve=label_curve,
        prompting=prompting,
        on_event=on_event,
    ).base


def study(
    base: Base,
    task: Task,
    *,
    method: str = "auto",
    budget: float | None = None,
    seeds: int = 1,
    seed: int = 0,
    settings: FitSettings | None = None,
    metric: str | None = None,
    label_curve: bool = False,
    twin: bool = True,
    command: str = "",
    prompting: Prompting | None = None,
    on_event: OnEvent = silent,
) -> Study:
    """`adapt` that also hands out the Report.

    twin: False leaves the from-scratch control out. command: the line that does it again.
    """
    require_base(base)
    require_task(task)
    for part, rows in (("train", task.train), ("test", task.test)):
        if len(rows) == 0:
            raise DataError(
                f"the {part} part of {task.name} has no rows; expected at least one. "
                f"Give more rows, or --{part} with a file."
            )
    check_inputs(base, task)
    chosen = check_method(method)
    asking = prompting_for(chosen, prompting)
    task = fewer_validation(task) if chosen in BY_PROMPT else task
    plan = Plan(chosen, budget, seeds, seed, settings or FitSettings(), metric, label_curve, twin, command, asking)
    return _Run(base, task, plan, on_event).go()


@dataclass
class _Run:
    """One study under way: what was asked, and the trials so far."""

    base: Base
    task: Task
    plan: Plan
    tell: OnEvent
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    curve: LabelCurve | None = None
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.metric = metric_for(self.task.kind, self.plan.metric, self.task.labels).name
        self.budget = Budget(self.plan.seconds)

    def go(self) -> Study:
        """Run the list; an interruption keeps what is finished and is passed on only where nothing is."""
        try:
            asked = self._asked()
            pace = measure_pace(self.base, self.task, self.plan.settings)
            self._announce(pace, prompts=sum(map(len, asked)))
            self._control("majority")
            for prompts in asked:
                self._prompt(prompts)
            if self.plan.method in ("auto", "probe"):
                self._train("probe", self.plan.seed, pace, share=0.5 if self.plan.method == "auto" else 0.8)
            self._plain()
            self._probe_beside(pace)
            self._work_off(self._queue(), pace)
            self._label_curve(pace)
        except KeyboardInterrupt:
            self.interrupted = True
            if self._chosen() is None:
                raise
        return self._finish()

    # -- prompts

    def _asked(self) -> list[list[tuple[int, Base]]]:
        """The prompts of every method that asks: few-shot stands beside what its prompts do without demonstrations."""
        if self.plan.method not in BY_PROMPT:
            return []
        seeds, own = range(self.plan.seed, self.plan.seed + self.plan.seeds), self.plan.prompting
        without = [replace(own, shots=0)] if own.shots else []
        asked = [prompts_of(self.base, self.task, one, seeds=seeds) for one in (own, *without)]
        if self.plan.seconds is not None:
            needed, left = prompt_seconds(asked[0][0][1], self.task), self.budget.left()
            if needed > SLACK * left:
                raise ConfigError(
                    f"the budget is {duration(self.plan.seconds)}; expected more: one prompt takes about "
                    f"{duration(needed)} here and cannot be stopped. Give a longer --budget, or fewer test rows."
                )
        return asked

    def _prompt(self, asked: list[tuple[int, Base]]) -> None:
        """Try every prompt of a method; the budget may leave further ones out, never the first of what was asked."""
        spent = time.monotonic()
        tried: list[Prompted] = []
        for found in try_prompts(asked, self.task, metric=self.metric, calibration=self.plan.prompting.calibration):
            method = found.calibrated.method
            tried.append(found)
            pair = {method: [one.calibrated for one in tried], f"{method} {RAW}": [one.raw for one in tried]}
            self.trials.update(pair)
            key = f"{METHOD_TITLES[method]}, prompt {len(tried)} of {len(asked)}"
            each = (time.monotonic() - spent) / len(tried)
            self.tell(Event("adapt", f"validation {found.calibrated.value:.3f} in {duration(each)}", key, 1.0))
            if each > self.budget.left():
                break
        if len(tried) < len(asked):
            each = (time.monotonic() - spent) / len(tried)
            self._skip(f"{METHOD_TITLES[method]}, {len(asked) - len(tried)} more prompts", each)

    def _probe_beside(self, pace: Pace) -> None:
        """A probe beside a prompt, which all the labels serve; not where reading the rows takes longer than asking."""
        if self.plan.method not in BY_PROMPT:
            return
        needed = pace.fitting("probe") + pace.answering()
        if needed > min(self.budget.left(), max(PROBE_SECONDS, self.budget.used())):
            self._skip(METHOD_TITLES["probe"], needed)
        else:
            self._train("probe", self.plan.seed, pace, share=0.8)

    # -- the list of trainings

    def _queue(self) -> list[tuple[Method, int]]:
        """Trainings in the order of their worth: every method's first seed before any second one."""
        wanted: dict[str, list[Method]] = {
            "auto": ["full", "scratch", "lora"],
            "probe": ["scratch"],
            "lora": ["lora", "scratch"],
            "full": ["full", "scratch"],
            "scratch": ["scratch"],
            "zero-shot": [],
            "few-shot": [],
        }
        methods = [
            m for m in wanted[self.plan.method] if m != "scratch" or self.plan.twin or self.plan.method == "scratch"
        ]
        return [(m, s) for s in range(self.plan.seed, self.plan.seed + self.plan.seeds) for m in methods]

    def _work_off(self, queue: list[tuple[Method, int]], pace: Pace) -> None:
        """Train the list in order. What the time left cannot hold is skipped, judged anew after every training."""
        while queue:
            (method, seed), kept = queue[0], self._room(queue, pace)
            if kept:
                share = self._cost(method, pace) / sum(self._cost(m, pace) for m, _ in queue[:kept])
                self._train(method, seed, pace, share=share)
            else:
                self._skip(METHOD_TITLES[method], self._cost(method, pace), seed=seed)
            queue = queue[1:]

    def _room(self, queue: list[tuple[Method, int]], pace: Pace) -> int:
        """How many trainings from the head of the list the time left can hold.

        The main comparison (a method and its from-scratch twin) is run shortened rather than not at all, and there is
        always an answer: the first method that uses the base runs whatever the clock says.
        """
        left, costs = self.budget.left(), [self._cost(m, pace) for m, _ in queue]
        whole = max((k for k in range(len(queue) + 1) if sum(costs[:k]) <= left), default=0)
        pair = [m for m, _ in queue[:2] if not self.trials.get(m) and m != self._extra()]
        short = max((k for k in range(len(pair) + 1) if sum(pace.least(m) for m in pair[:k]) <= left), default=0)
        return max(whole, short, 0 if self._chosen() else 1)

    def _extra(self) -> Method | None:
        """The method that is only run where there is time for all of it."""
        return "lora" if self.plan.method == "auto" else None

    def _cost(self, method: Method, pace: Pace) -> float:
        return pace.fitting(method) + pace.answering()

    def _skip(self, title: str, needed: float, *, seed: int | None = None) -> None:
        name = title if seed in (None, self.plan.seed) else f"{title} (seed {seed})"
        reason = f"about {duration(needed)} needed, {duration(max(0.0, self.budget.left()))} left"
        self.skipped.append(Skipped(name, reason))
        self.tell(Event("note", f"{name} is not run for lack of time: {reason}"))

    def _train(self, method: Method, seed: int, pace: Pace, *, share: float) -> None:
        key = METHOD_TITLES[method] if self.plan.seeds == 1 else f"{METHOD_TITLES[method]}, seed {seed}"
        deadline = self.budget.deadline(share, after=1.2 * pace.answering())
        trial = try_method(
            self.base,
            self.task,
            method=method,
            seed=seed,
            settings=self.plan.settings,
            metric=self.metric,
            deadline=deadline,
            on_progress=self._shower("adapt", key),
        )
        assert trial.fitted is not None, "a trained method was fitted"
        self.trials.setdefault(method, []).append(trial)
        pace.learn(trial.fitted)
        self.tell(Event("adapt", f"validation {trial.value:.3f} in {duration(trial.seconds)}", key, 1.0))
        self._forget_weights(method)
        if trial.fitted.stopped == "interrupted":
            raise KeyboardInterrupt

    def _forget_weights(self, method: str) -> None:
        """Keep the weights of the best seed of a method only: a study of large bases must fit into memory."""
        trials = self.trials[method]
        best = max(range(len(trials)), key=lambda i: trials[i].value)
        for i, trial in enumerate(trials):
            if i != best and trial.fitted is not None and trial.fitted.base is not self.base:
                trials[i] = replace(trial, fitted=replace(trial.fitted, base=self.base))

    def _shower(self, stage: Literal["adapt", "curve"], key: str) -> Callable[[Progress], None]:
        def show(progress: Progress) -> None:
            self.tell(
                Event(stage, f"loss {progress.loss:.3f}", key, min(0.999, progress.step / max(1, progress.steps)))
            )

        return show

    def _control(self, method: ControlMethod) -> None:
        control = fit_control(self.task, method=method, seed=self.plan.seed)
        trial = try_control(self.task, control, metric=self.metric)
        self.trials[method] = [trial]
        if method != "majority":
            self.tell(
                Event(
                    "control", f"validation {trial.value:.3f} in {duration(trial.seconds)}", METHOD_TITLES[method], 1.0
                )
            )

    def _plain(self) -> None:
        """The control that learns from the inputs alone."""
        method, needed = plain_control(self.task), plain_seconds(self.task, measure=self.plan.seconds is not None)
        if needed > 0.6 * self.budget.left():
            self._skip(METHOD_TITLES[method], needed)
        else:
            self._control(method)

    def _announce(self, pace: Pace, *, prompts: int) -> None:
        for note in self.task.notes:
            self.tell(Event("data", note))
        queue = self._queue()
        needed = sum(self._cost(m, pace) for m, _ in queue) + pace.fitting("probe") + plain_seconds(self.task)
        needed += 2 * prompts * pace.answering()  # a prompt is longer than its row, and its labels share it
        methods = ["probe"] if self.plan.method in ("auto", "probe") else []
        methods += [self.plan.method, "probe"] if self.plan.method in BY_PROMPT else []
        names = ", ".join(
            METHOD_TITLES[m] for m in dict.fromkeys([*methods, plain_control(self.task), *(m for m, _ in queue)])
        )
        seeds = f" · {self.plan.seeds} seeds" if self.plan.seeds > 1 else ""
        limit = "" if self.plan.seconds is None else f" · budget {duration(self.plan.seconds)}"
        self.tell(Event("plan", f"{self.base.name}: {names}{seeds} · at most about {duration(needed)}{limit}"))

    # -- the label curve

    def _label_curve(self, pace: Pace) -> None:
        """Both sides at every size, when asked for or when the budget has room for all of it."""
        chosen = self._chosen()
        if chosen is None or chosen == "scratch" or not self.trials.get("scratch"):
            return
        sizes, sides = curve_sizes(len(self.task.train)), (chosen, "scratch")
        needed = sum(self._curve_cost(m, size, pace) for size in sizes for m in sides)
        asked = self.plan.label_curve
        if not sizes or (not asked and (self.plan.seconds is None or 1.2 * needed > self.budget.left())):
            return
        found = {m: {len(self.task.train): evidence_of(self.task, self.metric, self.trials[m])} for m in sides}
        try:
            for size in sizes:
                mine = sum(self._curve_cost(m, size, pace) for m in sides)
                if mine > 1.5 * self.budget.left():
                    self._skip(f"label curve at {size:,} rows", mine)
                    continue
                trials = {m: self._curve_point(m, size, needed, pace) for m in sides}
                found = {m: {**found[m], size: evidence_of(self.task, self.metric, [trials[m]])} for m in sides}
                needed -= mine
        finally:
            if len(found[chosen]) > 1:
                self.curve = build_curve(
                    chosen, found[chosen], found["scratch"], floor=self._floor(), seed=self.plan.seed
                )

    def _curve_cost(self, method: Any, size: int, pace: Pace) -> float:
        return pace.fitting(method, rows=size) + pace.answering()

    def _curve_point(self, method: str, size: int, needed: float, pace: Pace) -> Trial:
        part, key = with_rows(self.task, size, seed=self.plan.seed), f"{METHOD_TITLES[method]}, {size:,} labels"
        share = min(1.0, self._curve_cost(method, size, pace) / max(needed, 1e-6))
        trial = try_method(
            self.base,
            part,
            method=method,
            seed=self.plan.seed,
            settings=self.plan.settings,
            metric=self.metric,
            deadline=self.budget.deadline(share, after=1.2 * pace.answering()),
            on_progress=self._shower("curve", key),
        )
        self.tell(Event("curve", f"validation {trial.value:.3f} in {duration(trial.seconds)}", key, 1.0))
        if trial.fitted is not None and trial.fitted.stopped == "interrupted":
            raise KeyboardInterrupt
        return trial

    def _floor(self) -> float:
        majority = self.trials.get("majority")
        return evidence_of(self.task, self.metric, majority).value() if majority else 0.0

    def _chosen(self) -> str | None:
        asked = (self.plan.method,) if self.plan.method in ("scratch", *BY_PROMPT) else FROM_BASE
        return choose(self.trials, among=asked)

    def _finish(self) -> Study:
        chosen = self._chosen()
        if chosen is None:
            raise ConfigError(
                f"the budget of {duration(self.plan.seconds or 0)} is too short to train anything; expected more. "
                "Give a longer --budget, or --method probe."
            )
        self.tell(Event("score", f"scoring {len(self.task.test):,} test rows"))
        outcome = Outcome(
            self.base,
            self.task,
            self.plan,
            metric=self.metric,
            chosen=chosen,
            trials=self.trials,
            skipped=self.skipped,
            curve=self.curve,
            interrupted=self.interrupted,
        )
        return conclude(outcome, used=self.budget.used)
