"""Trials of zero-shot and few-shot: several prompts, each with and without calibration, every row scored once.

Enter: a base, a task, how to ask. Leave: a pair of Trials a prompt, calibrated and raw. The calibration is chosen on
validation rows; it is a bias, so that trying three of them costs no reading but that of the texts without content.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.base.answers import probabilities
from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.base.prompt import Calibration, Prompt
from headstart.base.prompted import Scores, outputs_of
from headstart.data.examples import as_text
from headstart.data.task import Examples, Task
from headstart.evaluate.asking import rows_of
from headstart.evaluate.calibration import best_threshold, given_labels
from headstart.evaluate.controls import Answers
from headstart.evaluate.metrics import Floats
from headstart.evaluate.report import CheckRow, PromptFacts
from headstart.evaluate.trial import Trial, score
from headstart.ground.seeds import stream
from headstart.prompt.asking import Prompting, prompted
from headstart.prompt.correcting import bias_of, contentless

RAW = "raw"  # what stands behind the name of a method without calibration
CHOOSING_ROWS = 500  # validation rows that choose a prompt; more cost as much as test rows and move the choice little
SAMPLE_ROWS = (4, 16)  # rows asked twice over to foretell what all of them take
WIDE = 0.05  # a spread between prompts from which a reader is warned


@dataclass(frozen=True, eq=False, slots=True)
class Prompted:
    """One prompt, tried: calibrated as validation chose, and raw."""

    calibrated: Trial
    raw: Trial


def prompts_of(base: Base, task: Task, prompting: Prompting, *, seeds: Sequence[int]) -> list[tuple[int, Base]]:
    """(seed, prompted base) of every draw of demonstrations and template; all that can be wrong is said here.

    Raises:
        CapabilityError, ConfigError, DataError: see `headstart.prompt.asking.prompted`; a prompt that does not fit.
    """
    draws = seeds if prompting.shots else seeds[:1]
    found = [(seed, one) for seed in draws for one in prompted(base, task, prompting, seed=seed)]
    for _, one in found:
        for part in (task.validation, task.test):
            one.check_prompts(rows_of(part))
    return found


def fewer_validation(task: Task, *, what: str = "choose the prompt") -> Task:
    """The task with at most CHOOSING_ROWS validation rows, drawn with a fixed seed. what: they do, for the note."""
    if len(task.validation) <= CHOOSING_ROWS:
        return task
    rows = stream(0, "choosing").permutation(len(task.validation))[:CHOOSING_ROWS]
    note = f"{CHOOSING_ROWS:,} of {len(task.validation):,} validation rows {what}, drawn with a fixed seed"
    return replace(task, validation=task.validation.subset(sorted(rows.tolist())), notes=(*task.notes, note))


@dataclass(frozen=True, slots=True)
class PromptPace:
    """Seconds of a prompt. start: whatever the number of rows, such as for its demonstrations; row: of each row."""

    start: float
    row: float

    def seconds(self, rows: int) -> float:
        """Of asking `rows` rows at once."""
        return self.start + self.row * rows


def prompt_pace(base: Base, task: Task, *, sample: tuple[int, int] = SAMPLE_ROWS) -> PromptPace:
    """How fast a prompted base answers on this machine, from two samples of train rows, the first asked twice."""
    many = rows_of(task.train.subset(range(min(len(task.train), sample[1]))))
    few = many[: sample[0]]
    base.label_scores(few)
    begin = time.perf_counter()
    base.label_scores(few)
    between = time.perf_counter()
    base.label_scores(many)
    first, second = between - begin, time.perf_counter() - between
    each = max(0.0, second - first) / max(1, len(many) - len(few))
    return PromptPace(max(0.0, first - each * len(few)), each)


def prompt_seconds(base: Base, task: Task) -> float:
    """About what one prompt takes on all validation and test rows."""
    return prompt_pace(base, task).seconds(len(task.validation) + len(task.test))


def try_prompts(
    asked: Sequence[tuple[int, Base]], task: Task, *, metric: str, calibration: Calibration | None
) -> Iterator[Prompted]:
    """Every prompt's answers, one prompt at a time. calibration: None chooses on validation."""
    for seed, base in asked:
        yield try_prompt(base, task, metric=metric, seed=seed, calibration=calibration)


def try_prompt(base: Base, task: Task, *, metric: str, seed: int, calibration: Calibration | None) -> Prompted:
    """One prompt's answers on validation and test."""
    begin = time.perf_counter()
    validation = base.label_scores(rows_of(task.validation))
    contracts = [
        with_threshold(one, validation, task) for one in calibrations(base, task, validation, only=calibration)
    ]
    seconds = time.perf_counter() - begin
    raw, *tried = trials_of(base, task, validation, contracts, metric=metric, seed=seed, seconds=seconds)
    best = max(tried or [raw], key=lambda one: one.value)  # the first of equals: none before batch before contextual
    return Prompted(best, replace(raw, method=f"{raw.method} {RAW}"))


def score_prompt(base: Base, task: Task, *, metric: str, seed: int) -> Prompted:
    """The answers on validation and test of a prompt whose template and calibration are decided, and of it raw."""
    prompt, contract = prompt_of(base), base.contract
    assert contract is not None, "a prompted base has a contract"
    begin = time.perf_counter()
    validation = base.label_scores(rows_of(task.validation))
    plain = replace(contract, prompt=replace(prompt, calibration="none", bias=()))
    contracts = [with_threshold(plain, validation, task), contract]
    seconds = time.perf_counter() - begin
    raw, calibrated = trials_of(base, task, validation, contracts, metric=metric, seed=seed, seconds=seconds)
    return Prompted(calibrated, replace(raw, method=f"{raw.method} {RAW}"))


def trials_of(
    base: Base,
    task: Task,
    validation: Scores,
    contracts: Sequence[TaskContract],
    *,
    metric: str,
    seed: int,
    seconds: float,
) -> list[Trial]:
    """A trial a contract; the test rows are read once for all. validation: raw scores. seconds: what they took."""
    begin = time.perf_counter()
    test = base.label_scores(rows_of(task.test))
    ms_per_row = 1000 * (time.perf_counter() - begin) / max(1, len(task.test))

    def trial(contract: TaskContract) -> Trial:
        held_out, tested = answers(validation, contract), answers(test, contract)
        value = score(task, metric, task.validation, held_out)
        asking = replace(base, contract=contract)
        return Trial(contract.method, seed, held_out, tested, value, seconds, ms_per_row, 0, prompted=asking)

    return [trial(contract) for contract in contracts]


def calibrations(base: Base, task: Task, validation: Scores, *, only: Calibration | None) -> list[TaskContract]:
    """The raw contract, then every one to choose among (or `only` that one)."""
    contract, prompt = base.contract, prompt_of(base)
    assert contract is not None, "a prompted base has a contract"
    found = [(prompt, "none")] if only in (None, "none") else []
    if only in (None, "batch") and len(validation):
        found.append((replace(prompt, calibration="batch", bias=bias_of(task.kind, validation)), "batch"))
    if only in (None, "contextual") and not prompt.nearest:
        empty = base.label_scores(contentless(pair=task.train.pairs is not None))
        found.append((replace(prompt, calibration="contextual", bias=bias_of(task.kind, empty)), "contextual"))
    return [contract, *(replace(contract, prompt=one) for one, _ in found)]


def prompt_of(base: Base) -> Prompt:
    """The prompt of a prompted base."""
    assert base.contract is not None, "a prompted base has a contract"
    assert base.contract.prompt is not None, "a prompted base has a prompt"
    return base.contract.prompt


def with_threshold(contract: TaskContract, validation: Scores, task: Task) -> TaskContract:
    """For kind labels: the threshold with the most micro-F1 on validation, as a trained method has it."""
    if contract.kind != "labels" or not len(validation):
        return contract
    chances = probabilities(outputs_of(validation, contract), contract)
    return replace(contract, threshold=best_threshold(chances, task.validation.targets))


def answers(scores: Scores, contract: TaskContract) -> Answers:
    """What a prompted base says, from raw scores that were read before."""
    if not len(scores):
        return Answers(())
    outputs = outputs_of(scores, contract)
    if contract.kind == "score":
        return Answers(tuple(outputs[:, 0].tolist()))
    chances: Floats = probabilities(outputs, contract)
    if contract.kind == "labels":
        return Answers(given_labels(chances, contract.threshold), chances)
    return Answers(tuple(chances.argmax(axis=1).tolist()), chances)


# --- what the report says about prompts -----------------------------------------------------------------------------


def facts_of(task: Task, metric: str, calibrated: Sequence[Trial], raw: Sequence[Trial]) -> list[PromptFacts]:
    """A line a prompt of one method."""
    found = []
    for one, plain in zip(calibrated, raw, strict=True):
        assert one.prompted is not None, "a prompt was tried"
        prompt = prompt_of(one.prompted)
        found.append(
            PromptFacts(
                method=one.method,
                template=prompt.template,
                shots=prompt.nearest or len(prompt.shots),
                seed=one.seed,
                calibration=prompt.calibration,
                validation=one.value,
                value=score(task, metric, task.test, one.test),
                raw=score(task, metric, task.test, plain.test),
            )
        )
    return found


def check_spread(facts: Sequence[PromptFacts], method: str) -> CheckRow | None:
    """How far the prompts of a method lie apart; one prompt is an anecdote."""
    mine = [one.value for one in facts if one.method == method]
    if len(mine) < 2:
        return None
    spread = float(np.std(mine, ddof=1))
    detail = (
        f"{len(mine)} prompts reach {min(mine):.3f} to {max(mine):.3f} on the test rows (deviation {spread:.3f}); "
        "the one that validation chose is saved, the table shows their mean"
    )
    return CheckRow("prompt.spread", "warn" if spread > WIDE else "ok", spread, detail)


def settings_of(base: Base) -> dict[str, Any]:
    """A prompt's settings for the lineage, without the demonstrations, which the contract holds."""
    prompt = prompt_of(base)
    return {
        "shots": prompt.nearest or len(prompt.shots),
        "nearest": bool(prompt.nearest),
        "template": prompt.template,
        "words": list(prompt.words),
        "pattern": prompt.pattern,
        "calibration": prompt.calibration,
        "max_length": base.contract.max_length if base.contract is not None else None,
    }


def cut_rows(base: Base, examples: Examples) -> int:
    """Rows whose text is longer than the prompt's limit and loses its end."""
    assert base.contract is not None, "a prompted base has a contract"
    limit = base.contract.max_length
    sides = [list(map(as_text, examples.texts)), list(examples.pairs or ())]
    long = [
        {row for row, units in enumerate(base.text_codec.encode_plain(side)) if len(units) > limit} for side in sides
    ]
    return len(long[0] | long[1])
