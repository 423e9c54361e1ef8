"""zero-shot and few-shot on a labelled set: a base is asked by one prompt a seed, and answers every test row.

One prompt is an anecdote, so seeds take the place of prompts: seed s asks with the s-th template of the kind and the
s-th draw of demonstrations, and the spread over seeds is the spread over prompts. The calibration is chosen on the
validation rows; what the same scores say without it is kept beside it (`Cell.raw`).
"""

from __future__ import annotations

from dataclasses import dataclass

from headstart.base.base import Base
from headstart.data.task import Task
from headstart.evaluate.asking import rows_of
from headstart.evaluate.prompting import prompt_of, try_prompt
from headstart.evaluate.trial import Trial, score
from headstart.prompt.asking import Prompting, pattern_for, prompted
from headstart.prompt.templates import templates_for


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt's trial, the metric of its raw scores on the test rows, and a line for the set's card."""

    trial: Trial
    raw: float
    note: str


def ask_task(base: Base, task: Task, *, shots: int, seed: int, metric: str) -> Answered:
    """One prompt's answers.

    Raises:
        CapabilityError: the base cannot score, or the set tags words.
        DataError: a prompt is longer than the base has positions for.
    """
    pattern = pattern_for(base, None)
    templates = templates_for(task.kind, pair=task.train.pairs is not None, pattern=pattern)
    prompting = Prompting(shots=shots, templates=(templates[seed % len(templates)],))
    (one,) = prompted(base, task, prompting, seed=seed)
    one.check_prompts([*rows_of(task.validation), *rows_of(task.test)])
    tried = try_prompt(one, task, metric=metric, seed=seed, calibration=None)
    assert tried.calibrated.prompted is not None, "a prompt was tried"
    prompt = prompt_of(tried.calibrated.prompted)
    note = f"seed {seed} of {base.name} asks {prompt.template!r}, {shots} shots, calibration {prompt.calibration}"
    return Answered(tried.calibrated, score(task, metric, task.test, tried.raw.test), note)
