"""Trials: one fit of one method with one seed, answered on validation and test, and what a set of them amounts to.

Test answers are taken as soon as a trial ends, so that an interrupted run still has its evidence; nothing that chooses
or stops anything looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.base.base import Base
from headstart.data.task import Examples, Task
from headstart.evaluate.asking import ask, ask_shared, with_threshold
from headstart.evaluate.controls import Answers, Control
from headstart.evaluate.findings import other_metrics
from headstart.evaluate.intervals import Evidence, compare, interval
from headstart.evaluate.metrics import METRICS, score_task
from headstart.evaluate.report import Candidate, VsBest
from headstart.train.fit import Fitted, Progress, fit
from headstart.train.frozen import Frozen, Part
from headstart.train.methods import FitSettings

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Trial:
    """One seed of one candidate; value is the metric on validation.

    fitted: of a trained method. prompted: the base with its prompt, of zero-shot and few-shot. A control has neither.
    """

    method: str
    seed: int
    validation: Answers
    test: Answers
    value: float
    seconds: float
    ms_per_row: float
    params_trained: int
    fitted: Fitted | None = None
    prompted: Base | None = None

    @property
    def base(self) -> Base | None:
        """The adapted base; None for a control."""
        return self.prompted if self.fitted is None else self.fitted.base

    @property
    def stopped(self) -> bool:
        """Whether the budget or the user ended the training."""
        return self.fitted is not None and self.fitted.stopped in ("deadline", "interrupted")


Trials = Mapping[str, Sequence[Trial]]


def try_method(
    base: Base,
    task: Task,
    *,
    method: str,
    seed: int,
    settings: FitSettings,
    metric: str,
    deadline: float | None = None,
    on_progress: OnProgress | None = None,
    frozen: Frozen | None = None,
) -> Trial:
    """Fit one method with one seed and take its answers. frozen: what a probe shares with others of the same set."""

    def judge(targets: Sequence[Any], predictions: Sequence[Any]) -> float:
        return score_task(task.kind, metric, targets, predictions, labels=task.labels)

    fitted = fit(
        base,
        task,
        method=method,
        seed=seed,
        settings=settings,
        deadline=deadline,
        judge=judge,
        on_progress=on_progress,
        frozen=frozen,
    )

    def answer(part: Part) -> tuple[Answers, float]:
        if frozen is not None:
            return ask_shared(fitted.base, task, part, frozen)
        return ask(fitted.base, task.validation if part == "validation" else task.test)

    if task.kind == "labels":
        fitted = replace(fitted, base=with_threshold(fitted.base, task.validation, answer("validation")[0]))
    validation, _ = answer("validation")
    test, seconds = answer("test")
    return Trial(
        method,
        seed,
        validation,
        test,
        score(task, metric, task.validation, validation),
        fitted.seconds,
        1000 * seconds / max(1, len(task.test)),
        fitted.params_trained,
        fitted,
    )


def try_control(task: Task, control: Control, *, metric: str) -> Trial:
    """Take a fitted control's answers."""
    import time

    validation = control.answer(task.validation) if len(task.validation) else Answers(())
    begin = time.perf_counter()
    test = control.answer(task.test)
    ms_per_row = 1000 * (time.perf_counter() - begin) / max(1, len(task.test))
    return Trial(
        control.method,
        0,
        validation,
        test,
        score(task, metric, task.validation, validation),
        control.seconds,
        ms_per_row,
        control.params_trained,
    )


def score(task: Task, metric: str, examples: Examples, answers: Answers) -> float:
    """The metric on one part; 0 where the part has no rows."""
    if len(examples) == 0:
        return 0.0
    return score_task(task.kind, metric, examples.targets, answers.predictions, labels=task.labels)


def evidence_of(task: Task, metric: str, trials: Sequence[Trial]) -> Evidence:
    """Per-row statistics on the test rows, one layer a seed."""
    statistics = METRICS[metric].statistics
    return Evidence(metric, np.stack([statistics(task.test.targets, t.test.predictions, task.labels) for t in trials]))


def mean_value(trials: Sequence[Trial]) -> float:
    return float(np.mean([t.value for t in trials]))


def choose(trials: Trials, *, among: Sequence[str]) -> str | None:
    """The method with the highest mean validation score; the quicker one where two are equal."""
    present = [m for m in among if trials.get(m)]
    if not present:
        return None
    return max(present, key=lambda m: (round(mean_value(trials[m]), 9), -trials[m][0].seconds))


def candidates(task: Task, metric: str, trials: Trials, *, chosen: str, base_name: str, seed: int) -> list[Candidate]:
    """The rows of the table: the chosen one first, the others by their score."""
    evidence = {method: evidence_of(task, metric, ts) for method, ts in trials.items() if ts}
    rows = [
        candidate(
            task, trials[method], evidence[method], None if method == chosen else evidence[chosen], base_name, seed
        )
        for method in evidence
    ]
    return sorted(rows, key=lambda c: (c.method != chosen, -c.value))


def candidate(
    task: Task, trials: Sequence[Trial], evidence: Evidence, against: Evidence | None, base_name: str, seed: int
) -> Candidate:
    """One row of the table from the trials of one method."""
    first, found, values = trials[0], interval(evidence, seed=seed), evidence.seed_values()
    versus = None
    if against is not None:
        paired = compare(against, evidence, seed=seed)
        versus = VsBest(paired.difference, (paired.low, paired.high), paired.p, paired.tied)
    settings: dict[str, Any] = {"seed_sd": float(np.std(values, ddof=1))} if len(values) > 1 else {}
    return Candidate(
        base=base_name if first.base is not None else None,
        method=first.method,
        metric=evidence.metric,
        value=evidence.value(),
        ci95=(found.low, found.high),
        seconds=float(np.mean([t.seconds for t in trials])),
        ms_per_row=float(np.mean([t.ms_per_row for t in trials])),
        params_trained=first.params_trained,
        n_test=len(evidence),
        seeds=len(trials),
        validation=mean_value(trials),
        vs_best=versus,
        stopped=any(t.stopped for t in trials),
        metrics=other_metrics(task, task.test, [t.test for t in trials]),
        **settings,
    )
