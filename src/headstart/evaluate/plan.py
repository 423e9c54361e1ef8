"""Plan: what was asked of a study, resolved once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from headstart.ground.errors import ConfigError, did_you_mean
from headstart.train.methods import FitSettings

StudyMethod = Literal["auto", "probe", "lora", "full", "scratch"]
STUDY_METHODS: tuple[StudyMethod, ...] = get_args(StudyMethod)
LARGEST_SEED = 2**32 - 1  # what NumPy's and scikit-learn's generators take


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study does. seconds: the budget, None for no limit. seeds: fits of each trained method, from `seed` up.

    metric: None for the kind's default. label_curve: also where no budget has room for it. twin: also from scratch.
    command: the line that does it again.
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

    def __post_init__(self) -> None:
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


def check_method(name: str) -> StudyMethod:
    """`name` as a method of a study, or an error with a suggestion."""
    for method in STUDY_METHODS:
        if name == method:
            return method
    expected = ", ".join(STUDY_METHODS)
    raise ConfigError(f"the method is {name!r}; expected one of {expected}.{did_you_mean(name, STUDY_METHODS)}")
