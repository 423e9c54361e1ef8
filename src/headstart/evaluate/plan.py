"""Plan: what was asked of a study, resolved once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from headstart.base.base import Base
from headstart.data.task import Task
from headstart.ground.errors import ConfigError, did_you_mean, safe_repr
from headstart.prompt.asking import SHOTS, Prompting
from headstart.train.methods import FitSettings

StudyMethod = Literal["auto", "probe", "lora", "full", "scratch", "zero-shot", "few-shot"]
STUDY_METHODS: tuple[StudyMethod, ...] = get_args(StudyMethod)
BY_PROMPT: tuple[StudyMethod, ...] = ("zero-shot", "few-shot")
LARGEST_SEED = 2**32 - 1  # what NumPy's and scikit-learn's generators take


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study does. seconds: the budget, None for no limit. seeds: fits of each trained method, from `seed` up.

    metric: None for the kind's default. label_curve: also where no budget has room for it. twin: also from scratch.
    command: the line that does it again. prompting: how zero-shot and few-shot ask.
    """

    method: StudyMethod = "auto"
    seconds: float | None = None
    seeds: int = 1
    seed: int = 0
    settings: FitSettings = field(default_factory=FitSettings)
    metric: str | None = None
    label_curve: bool = False
    twin: bool = True
    command: str = ""
    prompting: Prompting = field(default_factory=Prompting)

    def __post_init__(self) -> None:
        require_seconds(self.seconds)
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(
                f"the budget is {self.seconds}; expected a positive number of seconds. Give for instance --budget 2m."
            )
        if not 1 <= self.seeds <= 100:
            raise ConfigError(f"the number of seeds is {self.seeds}; expected 1 to 100. Give for instance --seeds 3.")
        if not 0 <= self.seed <= LARGEST_SEED - self.seeds + 1:
            raise ConfigError(
                f"the first seed is {self.seed}; expected 0 to {LARGEST_SEED - self.seeds + 1}. "
                "Leave --seed out, or give a small number."
            )


def require_seconds(budget: object) -> None:
    """ConfigError for a budget such as "20s": the verbs of the package take numbers."""
    if budget is not None and not isinstance(budget, int | float):
        raise ConfigError(
            f"the budget is {safe_repr(repr(budget), 60)}; expected seconds as a number. Write for instance budget=20."
        )


def require_task(task: object) -> None:
    """ConfigError for a table or its path where a Task is due."""
    if not isinstance(task, Task):
        raise ConfigError(
            f"the task is {safe_repr(repr(task), 60)}; expected a Task. Read one with "
            'headstart.Task.read("reviews.csv").'
        )


def require_base(base: object) -> None:
    """ConfigError for a name or a folder where a Base is due."""
    if not isinstance(base, Base):
        raise ConfigError(
            f"the base is {safe_repr(repr(base), 60)}; expected a Base. Load one with "
            'headstart.Base.load("text-small").'
        )


def check_method(name: str) -> StudyMethod:
    """`name` as a method of a study, or an error with a suggestion."""
    for method in STUDY_METHODS:
        if name == method:
            return method
    expected = ", ".join(STUDY_METHODS)
    raise ConfigError(
        f"the method is {name!r}; expected one of {expected}.{did_you_mean(name, STUDY_METHODS)} Give one."
    )


def prompting_for(method: StudyMethod, prompting: Prompting | None) -> Prompting:
    """How a method asks: with no demonstrations for zero-shot, with some for few-shot.

    Raises:
        ConfigError: shots for zero-shot, none for few-shot, or a prompt for a method that trains.
    """
    if method not in BY_PROMPT:
        if prompting is not None and prompting != Prompting():
            raise ConfigError(
                f"a prompt is described for the method {method}; expected zero-shot or few-shot. "
                "Give --method few-shot, or leave the prompt's flags out."
            )
        return Prompting()
    found = prompting or Prompting(shots=SHOTS if method == "few-shot" else 0)
    if (found.shots > 0) != (method == "few-shot"):
        wanted = "none for zero-shot" if found.shots else "at least 1 for few-shot"
        raise ConfigError(f"--shots is {found.shots}; expected {wanted}. Change --shots or --method.")
    return found
