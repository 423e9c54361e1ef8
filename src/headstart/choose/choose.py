"""The verb `choose`: a task, bases and a budget in; the base to take, adapted, and the decision with its evidence out.

The search learns and judges by train and validation rows alone; of test rows it reads only how long they are, for
prompts. When it is over, the candidate that was decided for answers them, once, beside the controls without a base.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from headstart.base.base import Base
from headstart.base.folder import find_folder
from headstart.base.lineage import DataRef, Record, code_version, hardware
from headstart.base.prompt import BaseReference
from headstart.base.references import read_prompted
from headstart.choose.constraints import Constraints, Licence
from headstart.choose.decision import Decision, decide
from headstart.choose.findings import Findings
from headstart.choose.plan import Plan, check_methods
from headstart.choose.prompting import rows_of_saving
from headstart.choose.report import ChoiceReport, asked_of, for_lineage, to_keep
from headstart.choose.search import LOADINGS, MARGIN, Search
from headstart.choose.task_file import task_of
from headstart.choose.work import Trained, base_of
from headstart.data.task import Task
from headstart.evaluate.asking import ask
from headstart.evaluate.budget import Budget, plain_seconds
from headstart.evaluate.conclude import Outcome, Study, conclude
from headstart.evaluate.controls import ControlMethod, fit_control, plain_control
from headstart.evaluate.plan import BY_PROMPT, require_seconds, require_task
from headstart.evaluate.plan import Plan as StudyPlan
from headstart.evaluate.progress import Event, OnEvent, silent
from headstart.evaluate.prompting import fewer_validation, score_prompt
from headstart.evaluate.report import METHOD_TITLES, RowCounts, Skipped
from headstart.evaluate.trial import Trial, try_control
from headstart.ground.errors import ConfigError, DataError, safe_repr
from headstart.ground.fanout import parse_place
from headstart.train.fit import Fitted
from headstart.train.methods import FitSettings

WEIGHTS = (".safetensors", ".bin", ".pt")
CONTROL_SHARE = 0.1  # of the budget that the control which learns from the inputs alone may take


@dataclass(frozen=True, eq=False)
class Choice:
    """What `choose` leaves: the chosen base, adapted, with its lineage, and the report.

    task: with the rows that were answered, where time held not all of them.
    """

    base: Base
    report: ChoiceReport
    task: Task


def choose(
    task: Task,
    bases: Sequence[str | Path | Base],
    *,
    methods: Sequence[str] = (),
    budget: float | None = None,
    max_ms_per_row: float | None = None,
    max_mb: float | None = None,
    licence: Licence = "any",
    metric: str | None = None,
    seed: int = 0,
    settings: FitSettings | None = None,
    on: str = "here",
    allow_pickle: bool = False,
    command: str = "",
    clock: Budget | None = None,
    on_event: OnEvent = silent,
) -> Choice:
    """Which of `bases`, by which of `methods`, for this task, within `budget` seconds.

    budget: of everything, saving what was chosen and comparing its answers once included. clock: the budget under way,
    where it began before this call.
    methods: some of probe, lora, full, zero-shot and few-shot; none given: all, without the last two for kind tags and
    for pictures, clips and series, which are not asked by prompts.
    bases: names, folders, .gguf files, or Bases. on: here, local:N or ray://HOST:PORT, where the folder of the bases
    and the temporary folder must be the same everywhere.

    Raises:
        ConfigError: nothing is left to choose from, or an argument is wrong.
        BaseError: a base is not on this machine. One that is there and fails is left out with its reason.
        DataError: a part of the task has no rows.
        RunError: no training ended in time.
    """
    require_task(task)
    require_seconds(budget)
    clock = clock or Budget(budget)
    if isinstance(bases, str | Path | Base):
        raise ConfigError(f"the bases are {safe_repr(str(bases), 60)}; expected a list of them. Put it in brackets.")
    for part, rows in (("train", task.train), ("validation", task.validation), ("test", task.test)):
        if len(rows) == 0:
            raise DataError(
                f"the {part} part of {task.name} has no rows; expected at least one. "
                f"Give more rows, or --{part} with a file."
            )
    scratch = Path(tempfile.mkdtemp(prefix="headstart-choose-"))
    try:
        require_there(bases)
        sources = [path_of(base, scratch / f"given-{place}") for place, base in enumerate(bases)]
        values = {source: base for source, base in zip(sources, bases, strict=True) if isinstance(base, Base)}
        plan = Plan(
            bases=tuple(sources),
            methods=check_methods(tuple(methods), task.kind, task.columns.modality),
            seconds=budget,
            limits=Constraints(max_ms_per_row, max_mb, licence, task.columns.modality or "text"),
            settings=settings or FitSettings(),
            metric=metric,
            seed=seed,
            on=parse_place(on),
            allow_pickle=allow_pickle,
            command=command,
            megabytes=tuple(map(megabytes_of, sources)),
            given=given_as(values, sources),
        )
        return _choose(task, plan, scratch, values, clock, on_event)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        base_of.cache_clear()  # what lies there may be another base by the next search
        task_of.cache_clear()


def require_there(bases: Sequence[str | Path | Base]) -> None:
    """BaseError where a base is not on this machine: a misspelt name must not cost a search without it. ConfigError
    where two of them are one."""
    known: dict[Path, str] = {}
    for base in bases:
        if isinstance(base, Base):
            continue
        path = Path(base).expanduser()
        place = (path if path.exists() else find_folder(base)[0]).resolve()
        if place in known:
            also = "twice" if str(base) == known[place] else f"and {known[place]}, which are one"
            raise ConfigError(f"--bases names {base} {also}; expected different bases. Leave one out.")
        known[place] = str(base)


def given_as(values: Mapping[str, Base], sources: Sequence[str]) -> dict[str, str]:
    """What the bases that were given as such are called: where each lies, or its number where that says nothing."""
    places = Counter([*sources, *(base.place for base in values.values())])
    return {
        source: base.place if base.place and places[base.place] == 1 else f"base {sources.index(source) + 1}"
        for source, base in values.items()
    }


def path_of(base: str | Path | Base, scratch: Path) -> str:
    """What workers load a base by: its name or path, or the folder that a Base is written to for them."""
    return str(base.save(scratch)) if isinstance(base, Base) else str(base)


def megabytes_of(source: str) -> float:
    """Of the weight files that a base is read from; a link to nowhere has none, and loading says what is wrong."""
    path = Path(source).expanduser()
    files = [path] if path.is_file() else [one for one in find_folder(source)[0].iterdir() if one.suffix in WEIGHTS]
    return sum(one.stat().st_size for one in files if one.is_file()) / 1e6


def _choose(task: Task, plan: Plan, scratch: Path, values: Mapping[str, Base], budget: Budget, tell: OnEvent) -> Choice:
    """values: the bases that were given as such, by where they were written for the workers."""
    nowhere = frozenset(source for source, base in values.items() if not base.place)
    search = Search(task, plan, scratch, tell, budget, nowhere=nowhere)
    found = search.go()
    decision = decide(found)
    base = values.get(decision.source) or Base.load(decision.source, allow_pickle=plan.allow_pickle)
    study = _conclude(base, search, found, decision)
    report = study.report
    assert report.environment is not None, "conclude fills it in"
    return Choice(
        study.base,
        ChoiceReport(
            task=report.task,
            rows=RowCounts(*found.rows[:2], len(search.task.test)),
            asked=asked_of(plan),
            decision=msgspec.structs.replace(decision, source=plan.given.get(decision.source, decision.source)),
            excluded=search.excluded,
            findings=to_keep(found, plan.given),
            winner=report,
            environment=report.environment,
            command=plan.command,
            interrupted=search.interrupted,
        ),
        search.task,
    )


def _conclude(base: Base, search: Search, found: Findings, decision: Decision) -> Study:
    """The decided candidate and the controls on the test rows, which nothing before has seen the labels of."""
    plan, budget, skipped = search.plan, search.budget, list[Skipped]()
    tried = _trials(base, search, found, decision)
    task = search.task
    trials = {"majority": [_control(task, search, "majority")], **tried}
    plain, needed = plain_control(task), plain_seconds(task, measure=plan.seconds is not None)
    left = budget.left() - saving_seconds(search, decision)
    reason = f"about {needed:.0f} s needed, {max(0.0, left):.0f} s left"
    if needed <= left or plan.seconds is None or needed <= CONTROL_SHARE * plan.seconds <= left:
        reason = ""
        try:
            trials[plain] = [_control(task, search, plain)]
        except KeyboardInterrupt:  # the winner has answered, and is worth more than a control
            reason, search.interrupted = "interrupted", True
    if reason:
        skipped.append(Skipped(METHOD_TITLES[plain], reason))
    record = Record(
        verb="choose",
        config=for_lineage(decision, asked_of(plan)),
        parent=base.digest,
        data=(DataRef(task.name, task.digest),),
        code=code_version(),
        seed=plan.seed,
        hardware=hardware(),
        seconds=budget.used(),
    )
    outcome = Outcome(
        replace(base, lineage=(*base.lineage, record)),
        task,
        StudyPlan(
            method=decision.method,  # type: ignore[arg-type]
            seconds=plan.seconds,
            seed=decision.seed,
            settings=plan.settings,
            metric=search.metric,
            command=plan.command,
        ),
        metric=search.metric,
        chosen=decision.method,
        trials=trials,
        skipped=skipped,
        curve=None,
        interrupted=search.interrupted,
    )
    return conclude(outcome, used=budget.used)


def saving_seconds(search: Search, decision: Decision) -> float:
    """What writing the folder, loading it again and comparing its answers will take, by the pace of late."""
    looked = next(one for one in search.found.looked if one.facts.source == decision.source)
    row = search.slow * decision.best.ms_per_row / 1000
    loading = LOADINGS / 2 * search.slow * looked.loading
    return MARGIN * row * rows_of_saving(len(search.task.test)) + loading + search.finishing()


def _trials(base: Base, search: Search, found: Findings, decision: Decision) -> dict[str, list[Trial]]:
    """What was decided for, with its answers; a prompt has its raw answers beside them, as `adapt` shows them.

    Leaves in `search.task` the rows that were answered: after Ctrl-C the fewest that say something.
    """
    try:
        return _answered(base, search, found, decision)
    except KeyboardInterrupt:  # what was found is worth a few rows more; a second one ends it all
        search.interrupted = True
        search.shorten(_place(search, decision), 0.0, looks=1)
        return _answered(base, search, found, decision)


def _answered(base: Base, search: Search, found: Findings, decision: Decision) -> dict[str, list[Trial]]:
    """`_trials`, as far as it comes."""
    ended = _ended(found, decision)
    if decision.method not in BY_PROMPT:
        return {decision.method: [_trial(base, search, ended, decision)]}
    search.task = fewer_validation(search.task, what="set the temperature")
    search.tell(Event("score", f"{decision.best.title}: scoring {len(search.task.test):,} test rows"))
    asking = _asking(base, ended)
    tried = score_prompt(asking, search.task, metric=search.metric, seed=decision.seed)
    return {one.method: [one] for one in (tried.calibrated, tried.raw)}


def _asking(base: Base, ended: Trained) -> Base:
    """`base` with the prompt that was decided for, which refers to where `base` lies and not to a scratch folder."""
    assert ended.saved is not None, "a trial that ended is saved"
    manifest = read_prompted(Path(ended.saved))
    assert manifest is not None, "saved as a prompt"
    assert manifest.contract is not None, "saved as a prompt"
    assert manifest.contract.prompt is not None, "saved as a prompt"
    bare = base.bare
    prompt = replace(manifest.contract.prompt, base=BaseReference(base.name, base.place, bare.digest))
    return replace(bare, contract=replace(manifest.contract, prompt=prompt, asked=bare.fingerprint))


def _ended(found: Findings, decision: Decision) -> Trained:
    """The last piece of the run that was decided for."""
    run = next(
        run
        for run in found.runs
        if run.seed == decision.seed
        and run.ended is not None
        and (found.looked[run.base].facts.source, run.method) == (decision.source, decision.method)
    )
    assert run.ended is not None, "chosen because it ended"
    return run.ended


def _trial(base: Base, search: Search, ended: Trained, decision: Decision) -> Trial:
    """The training of `base` that was decided for, with its answers; of fewer rows where time would run out."""
    assert ended.saved is not None, "a training that ended is saved"
    adapted = replace(Base.load(ended.saved), sketches=base.sketches, place="")  # where it lies now is soon gone
    fitted = Fitted(
        adapted,
        decision.method,  # type: ignore[arg-type]
        ended.settings,
        ended.seconds,
        ended.params_trained,
        ended.epochs,
        ended.truncated,
        ended.stopped,  # type: ignore[arg-type]
        ended.value,
        (),
    )
    place = _place(search, decision)
    (validation, _), (test, seconds) = search.answers(place, decision.best.title, partial(ask, adapted))
    return Trial(
        decision.method,
        decision.seed,
        validation,
        test,
        ended.value,
        ended.seconds,
        1000 * seconds / max(1, len(search.task.test)),
        ended.params_trained,
        fitted,
    )


def _place(search: Search, decision: Decision) -> int:
    """Of the base that was decided for."""
    return next(at for at, one in enumerate(search.found.looked) if one.facts.source == decision.source)


def _control(task: Task, search: Search, method: ControlMethod) -> Trial:
    control = fit_control(task, method=method, seed=search.plan.seed)
    return try_control(task, control, metric=search.metric)
