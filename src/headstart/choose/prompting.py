"""Stage 2: a base is asked by a prompt, on few rows; what comes of it is a finished trial without a training.

Enter: a base, a task, the seconds that may be spent. Leave: a `Trained` piece, or why the base is not asked. Template
and calibration are chosen on train rows that are no demonstrations and the score is of validation rows, so that nothing
that is scored has chosen anything. (A training keeps the best of its passes by those rows, which flatters it a little.)
The engine is that of `adapt --method few-shot` (evaluate/prompting.py); this file only says which rows it gets.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.references import require_plain
from headstart.choose.task_file import task_of
from headstart.choose.work import Trained, base_of
from headstart.data.examples import Examples, as_text
from headstart.data.task import Task
from headstart.evaluate.asking import PARITY_ROWS, ask, rows_of
from headstart.evaluate.plots import duration
from headstart.evaluate.prompting import (
    CHOOSING_ROWS,
    PromptPace,
    cut_rows,
    fewer_validation,
    prompt_pace,
    prompts_of,
    settings_of,
    try_prompt,
)
from headstart.evaluate.trial import Trial, score
from headstart.ground.errors import CapabilityError, ConfigError, DataError
from headstart.ground.seeds import stream
from headstart.prompt.asking import SHOTS, Prompting
from headstart.prompt.correcting import NO_CONTENT
from headstart.train.methods import FitSettings

FITTING_ROWS, LEAST_FITTING = 48, 16  # train rows on which template and calibration are chosen
SCORING_ROWS, LEAST_SCORING = 128, 32  # validation rows that are scored: 4 to 9 points of standard error at 0.5
TEMPLATES = 3  # at most; one where the time holds no three
SAMPLE = (1, 6)  # rows whose asking is timed
LONGEST = 64  # rows of the other parts whose prompts are tried for length before anything is asked


class Ask(msgspec.Struct, frozen=True):
    """Job: zero-shot or few-shot. ms_per_row: of reading a row, a floor of what asking costs.

    seconds: that it may take. answering: that validation and test rows may take in the end. None: no limit.
    """

    base: str
    task: str
    method: str
    metric: str
    seed: int
    max_length: int
    folder: str
    ms_per_row: float
    seconds: float | None = None
    answering: float | None = None
    allow_pickle: bool = False


class Asked(msgspec.Struct, frozen=True):
    """Answer to `Ask`: what it came to, or the reason for which the base is not asked."""

    trained: Trained | None
    unasked: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is asked: templates x fitting rows to choose by, then scoring rows of the one that was chosen."""

    templates: int
    fitting: int
    scoring: int

    @property
    def readings(self) -> int:
        """Rows that are read in all, the texts without content of a calibration included."""
        return self.templates * (self.fitting + len(NO_CONTENT)) + self.scoring


def ask_task(job: Any) -> Any:
    """An `Asked`. That a base cannot be asked, or not in the time, is no failure."""
    asked = msgspec.convert(job, Ask)
    try:
        return msgspec.to_builtins(Asked(_ask(asked, time.monotonic())))
    except (CapabilityError, ConfigError, DataError) as problem:
        return msgspec.to_builtins(Asked(None, str(problem)))


def _ask(asked: Ask, begun: float) -> Trained:
    """The stages of one trial; CapabilityError or DataError where it ends before anything is scored."""
    if asked.allow_pickle:
        require_plain(asked.base)
    task, ends = task_of(asked.task), begun + limit(asked.seconds)
    most = Size(TEMPLATES, min(FITTING_ROWS, len(task.train) // 2), min(SCORING_ROWS, len(task.validation)))
    floor = PromptPace(0.0, asked.ms_per_row / 1000)
    size_within(most, floor, ends - time.monotonic() - floor.seconds(2 * SAMPLE[0] + SAMPLE[1]))
    check_answering(floor, task, asked)
    part = part_of(task, most.fitting, asked.seed)
    prompts = prompts_that_fit(base_of(asked.base, asked.allow_pickle), task, part, asked)
    pace = prompt_pace(prompts[0], part, sample=SAMPLE)
    check_answering(pace, task, asked)
    size = size_within(most, pace, ends - time.monotonic())
    chosen = chosen_prompt(prompts, part, size, asked, ends)
    assert chosen.prompted is not None, "a prompt was tried"
    ending = fewer_validation(task)  # what it answers if it wins
    chosen.prompted.check_prompts([*rows_of(ending.validation), *rows_of(ending.test)])
    each = max(pace.row, chosen.seconds / max(1, size.fitting))
    rows = scored_rows(task, size, (ends - time.monotonic()) / max(each, 1e-9), asked.seed)
    return scored(chosen.prompted, task, rows, asked, begun)


def limit(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds


# -- what the time allows


def least(most: Size) -> Size:
    """Below this a prompt is not asked at all."""
    return Size(1, min(LEAST_FITTING, most.fitting), min(LEAST_SCORING, most.scoring))


def size_within(most: Size, pace: PromptPace, seconds: float) -> Size:
    """`most`, with fewer rows where `seconds` hold no more, and with one template before too few rows.

    Raises:
        CapabilityError: they do not hold the least.
    """
    fewest = least(most)
    for templates in (most.templates, 1):
        full, few = replace(most, templates=templates), replace(fewest, templates=templates)
        room = (seconds - (templates + 1) * pace.start) / max(pace.row, 1e-9)  # in rows
        if room >= few.readings:
            share = min(1.0, (room - few.readings) / max(1, full.readings - few.readings))
            more = int(share * (full.fitting - few.fitting)), int(share * (full.scoring - few.scoring))
            return Size(templates, few.fitting + more[0], few.scoring + more[1])
    needed = 2 * pace.start + pace.row * fewest.readings
    raise CapabilityError(
        f"asking {fewest.readings} rows takes about {duration(needed)} here; expected at most "
        f"{duration(max(0.0, seconds))}, its part of the budget. Give a longer --budget."
    )


def check_answering(pace: PromptPace, task: Task, asked: Ask) -> None:
    """CapabilityError where the rows in the end, if this wins, would take too long: they cannot be stopped."""
    needed = pace.seconds(rows_in_the_end(task) + rows_of_saving(len(task.test)))
    if needed > limit(asked.answering):
        raise CapabilityError(
            f"answering validation and test rows in the end takes about {duration(needed)} here; expected at most "
            f"{duration(max(0.0, limit(asked.answering)))}. Give a longer --budget, or fewer test rows."
        )


def rows_in_the_end(task: Task) -> int:
    """How many rows a prompt answers once it is decided for: some validation rows for its temperature, all of test."""
    return min(CHOOSING_ROWS, len(task.validation)) + len(task.test)


def rows_of_saving(test: int) -> int:
    """How many of so many test rows are answered when a saved folder is compared with what it was saved from: twice."""
    return 2 * min(PARITY_ROWS, test)


# -- which rows are read


def part_of(task: Task, fitting: int, seed: int) -> Task:
    """The task as the engine gets it for choosing: as validation, train rows that are no demonstrations; as test, the
    longest test rows, which are tried for length and not asked."""
    order = stream(seed, "fitting").permutation(len(task.train))
    train = task.train.subset(sorted(order[fitting:].tolist()))
    held_out = task.train.subset(order[:fitting].tolist())  # as drawn: whatever they begin with is a sample
    return replace(task, train=train, validation=held_out, test=longest(task.test))


def longest(examples: Examples) -> Examples:
    """The rows with the most characters."""
    sizes = [len(as_text(text)) for text in examples.texts]
    if examples.pairs is not None:
        sizes = [size + len(pair) for size, pair in zip(sizes, examples.pairs, strict=True)]
    return examples.subset(sorted(range(len(sizes)), key=lambda row: -sizes[row])[:LONGEST])


def scored_rows(task: Task, size: Size, room: float, seed: int) -> Examples:
    """The validation rows that are scored, the same first ones for every candidate. room: rows that the time holds."""
    order = stream(seed, "scored").permutation(len(task.validation))
    count = int(min(size.scoring, max(least(size).scoring, room)))
    return task.validation.subset(sorted(order[:count].tolist()))


# -- asking


def prompts_that_fit(base: Base, task: Task, part: Task, asked: Ask) -> list[Base]:
    """A prompted base a template; half the demonstrations, and half again, where they are too long for the base."""
    shots = min(SHOTS, len(part.train)) if asked.method == "few-shot" else 0
    while True:
        how = Prompting(shots=shots, max_length=asked.max_length)
        try:
            found = [one for _, one in prompts_of(base, part, how, seeds=[asked.seed])]
            for one in found:
                one.check_prompts(rows_of(longest(task.validation)))
        except DataError:
            if shots <= 1:
                raise
            shots //= 2
        else:
            return found


def chosen_prompt(prompts: Sequence[Base], part: Task, size: Size, asked: Ask, ends: float) -> Trial:
    """The best prompt with its best calibration on the fitting rows; further templates only while there is time."""
    rows = part.validation.subset(range(size.fitting))
    part = replace(part, validation=rows, test=part.test.subset([]))
    tried: list[Trial] = []
    for one in prompts[: size.templates]:
        tried.append(try_prompt(one, part, metric=asked.metric, seed=asked.seed, calibration=None).calibrated)
        each = tried[-1].seconds
        if time.monotonic() + each * (1.0 + size.scoring / max(1, size.fitting)) > ends:
            break
    return max(tried, key=lambda trial: trial.value)


def scored(base: Base, task: Task, rows: Examples, asked: Ask, begun: float) -> Trained:
    """The chosen prompt's answers to some validation rows; it is saved beside the trainings."""
    found, seconds = ask(base, rows)
    folder = Path(asked.folder) / "base"
    shutil.rmtree(folder, ignore_errors=True)
    base.save(folder)
    return Trained(
        value=score(task, asked.metric, rows, found),
        share=1.0,
        seconds=time.monotonic() - begun,
        params_trained=0,
        truncated=cut_rows(base, rows),
        epochs=0.0,
        stopped="done",
        settings=FitSettings(max_length=asked.max_length),
        predictions=list(found.predictions),
        saved=str(folder),
        rows=len(rows),
        ms_per_row=1000 * seconds / max(1, len(rows)),
        prompt=settings_of(base),
    )
