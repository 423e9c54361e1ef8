"""The end of a study: the chosen trial becomes an adapted base with a temperature, a lineage record and a Report.

Enter: an Outcome, all trials with their answers. Leave: a Study. Nothing is trained here.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import DataRef, Record, code_version, hardware
from headstart.data.patches import PatchCodec
from headstart.data.task import Task
from headstart.evaluate import findings, prompting
from headstart.evaluate.calibration import calibrate, fit_temperature, selective, warmed
from headstart.evaluate.plan import BY_PROMPT, Plan
from headstart.evaluate.report import (
    CONTROLS,
    CalibrationFacts,
    CheckRow,
    Chosen,
    Environment,
    LabelCurve,
    PromptFacts,
    ReliabilityBin,
    Report,
    RowCounts,
    Skipped,
    SureOnly,
    TaskFacts,
    for_lineage,
)
from headstart.evaluate.trial import Trial, Trials, candidates
from headstart.evaluate.verdict import sentences


@dataclass(frozen=True, eq=False)
class Study:
    """What a run of `adapt` leaves: the adapted base, whose last lineage record holds the evidence, and the Report."""

    base: Base
    report: Report


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that a study did. chosen: the method to keep; trials: by method, one a seed."""

    base: Base
    task: Task
    plan: Plan
    metric: str
    chosen: str
    trials: Trials
    skipped: list[Skipped]
    curve: LabelCurve | None
    interrupted: bool

    @property
    def best(self) -> Trial:
        """The chosen method's seed with the highest validation score: the weights that are kept."""
        return max(self.trials[self.chosen], key=lambda t: t.value)

    @property
    def adapted(self) -> Base:
        """The best trial's base."""
        base = self.best.base
        assert base is not None, "a chosen candidate has a base"
        return base

    @property
    def settings(self) -> dict[str, Any]:
        """How the best trial was trained, or how it asks."""
        fitted = self.best.fitted
        return prompting.settings_of(self.adapted) if fitted is None else asdict(fitted.settings)

    @property
    def prompts(self) -> list[PromptFacts]:
        """Every prompt that was tried; none where nothing was prompted."""
        return [
            one
            for method in BY_PROMPT
            if self.trials.get(method)
            for one in prompting.facts_of(
                self.task, self.metric, self.trials[method], self.trials[f"{method} {prompting.RAW}"]
            )
        ]


def conclude(outcome: Outcome, *, used: Callable[[], float]) -> Study:
    """Calibrate, compare, write down. used() tells the seconds of the study so far."""
    adapted, calibration = calibrated(outcome)
    parent = outcome.base.digest
    report = build_report(outcome, calibration, parent=parent, seconds=used())
    record = Record(
        verb="adapt",
        config={"method": outcome.chosen, "metric": outcome.metric, **outcome.settings},
        parent=parent,
        data=(DataRef(outcome.task.name, outcome.task.digest),),
        code=code_version(),
        seed=outcome.best.seed,
        hardware=hardware(),
        seconds=used(),
        results=for_lineage(report),
    )
    return Study(replace(adapted, lineage=(*outcome.base.lineage, record)), report)


def calibrated(outcome: Outcome) -> tuple[Base, CalibrationFacts | None]:
    """The base with the temperature in its contract, and what that did to the probabilities of the test rows."""
    base, task, best = outcome.adapted, outcome.task, outcome.best
    before, validation = best.test.probabilities, best.validation.probabilities
    if before is None or validation is None or base.contract is None:
        return base, None
    temperature = fit_temperature(task.kind, validation, task.validation.targets)
    after = warmed(task.kind, before, temperature)
    old, new = (calibrate(task.kind, p, task.test.targets) for p in (before, after))
    sure = selective(after, task.test.targets) if task.kind == "choice" else ()
    facts = CalibrationFacts(
        temperature=temperature,
        ece_before=old.ece,
        ece_after=new.ece,
        nll_before=old.nll,
        nll_after=new.nll,
        brier_before=old.brier,
        brier_after=new.brier,
        bins=[ReliabilityBin(b.confidence, b.accuracy, (b.low, b.high), b.count) for b in new.bins],
        sure_only=[SureOnly(s.threshold, s.coverage, s.accuracy) for s in sure],
    )
    # A label that was given before must be given after: the threshold goes through the same temperature.
    threshold = 1.0 / (1.0 + (1.0 / base.contract.threshold - 1.0) ** (1.0 / temperature))
    return replace(base, contract=replace(base.contract, temperature=temperature, threshold=threshold)), facts


def build_report(outcome: Outcome, calibration: CalibrationFacts | None, *, parent: str, seconds: float) -> Report:
    """The Report but for what saving adds."""
    task, plan, best, columns = outcome.task, outcome.plan, outcome.best, outcome.task.columns
    answers = best.test
    if calibration is not None and answers.probabilities is not None:
        # The confidence shown beside an error is the one the saved base will give: after the temperature.
        answers = replace(answers, probabilities=warmed(task.kind, answers.probabilities, calibration.temperature))
    report = Report(
        task=TaskFacts(
            name=task.name,
            kind=task.kind,
            metric=outcome.metric,
            labels=list(task.labels),
            columns={"text": columns.text, "pair": columns.pair, "label": columns.label},
            digest=task.digest,
            notes=list(task.notes),
        ),
        rows=RowCounts(len(task.train), len(task.validation), len(task.test)),
        candidates=candidates(
            task, outcome.metric, outcome.trials, chosen=outcome.chosen, base_name=outcome.base.name, seed=plan.seed
        ),
        chosen=Chosen(outcome.base.name, outcome.chosen, best.seed),
        checks=[],
        skipped=outcome.skipped,
        label_curve=outcome.curve,
        calibration=calibration,
        confusion=findings.confusion(task, answers),
        label_counts=findings.label_counts(task),
        errors=findings.worst_errors(task, answers),
        prompts=outcome.prompts,
        environment=environment(plan, seconds),
        lineage=[*(step(r) for r in outcome.base.lineage), this_step(outcome, parent, seconds)],
        command=plan.command,
        interrupted=outcome.interrupted,
    )
    report = msgspec.structs.replace(report, checks=checks(outcome, report))
    return msgspec.structs.replace(report, verdict=" ".join(sentences(report)))


def checks(outcome: Outcome, report: Report) -> list[CheckRow]:
    """The data's own checks, cut rows, the comparisons with every control, calibration."""
    found = [*map(findings.as_row, outcome.task.checks), cut_rows(outcome)]
    spread = prompting.check_spread(report.prompts, outcome.chosen)
    found += [] if spread is None else [spread]
    for method in ("probe", *CONTROLS) if report.prompts else CONTROLS:
        control = report.candidate(method)
        if control is not None and method != outcome.chosen:
            found.append(findings.check_beats(report.best, control))
    if report.calibration is not None:
        found.append(findings.check_calibration(report.calibration))
    return found


def cut_rows(outcome: Outcome) -> CheckRow:
    """How many rows lost their end or were shrunk: train rows of a training, test rows of a prompt."""
    contract, codec, fitted, task = outcome.adapted.contract, outcome.base.codec, outcome.best.fitted, outcome.task
    assert contract is not None, "an adapted base has a contract"
    units = f"are longer than {contract.max_length} units and lose their end"
    if fitted is None:
        return findings.check_truncation(prompting.cut_rows(outcome.adapted, task.test), len(task.test), units, "test")
    what = codec.too_long if isinstance(codec, PatchCodec) else units
    return findings.check_truncation(fitted.truncated, len(task.train), what, "train")


def environment(plan: Plan, seconds: float) -> Environment:
    finished = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Environment(code_version(), hardware(), plan.seed, plan.seeds, seconds, plan.seconds, finished)


def step(record: Record) -> dict[str, Any]:
    """One earlier step of the base's life, without its results."""
    data = [{"name": d.name, "digest": d.digest, "licence": d.licence} for d in record.data]
    return {
        "verb": record.verb,
        "seconds": record.seconds,
        "code": record.code,
        "parent": record.parent,
        "data": data,
    }


def this_step(outcome: Outcome, parent: str, seconds: float) -> dict[str, Any]:
    data = [{"name": outcome.task.name, "digest": outcome.task.digest, "licence": "not stated"}]
    return {"verb": "adapt", "seconds": seconds, "code": code_version(), "parent": parent, "data": data}
