"""What a search was asked for, resolved once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from headstart.choose.constraints import Constraints
from headstart.evaluate.plan import LARGEST_SEED
from headstart.ground.errors import ConfigError, did_you_mean
from headstart.ground.fanout import Place
from headstart.train.methods import FitSettings

TrainedMethod = Literal["probe", "lora", "full"]
METHODS: tuple[TrainedMethod, ...] = get_args(TrainedMethod)
MOST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """bases: names or paths. seconds: the budget, None for none. seeds: of a candidate at most, where others are near.

    metric: None for the kind's default. command: the line that does it again.
    """

    bases: tuple[str, ...]
    methods: tuple[TrainedMethod, ...] = METHODS
    seconds: float | None = None
    limits: Constraints = field(default_factory=Constraints)
    settings: FitSettings = field(default_factory=FitSettings)
    metric: str | None = None
    seed: int = 0
    seeds: int = MOST_SEEDS
    on: Place = field(default_factory=lambda: Place("here"))
    allow_pickle: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if not self.bases:
            raise ConfigError("no base is given; expected at least one. Give --bases NAME..., or --bases all.")
        twice = [name for place, name in enumerate(self.bases) if name in self.bases[:place]]
        if twice:
            raise ConfigError(f"--bases names {twice[0]} twice; expected different bases. Leave one out.")
        if not self.methods:
            raise ConfigError(
                f"no method is given; expected some of {', '.join(METHODS)}. Leave --methods out for all."
            )
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(
                f"the budget is {self.seconds}; expected a positive number of seconds. Give --budget 10m."
            )
        if not 0 <= self.seed <= LARGEST_SEED - MOST_SEEDS:
            raise ConfigError(f"--seed is {self.seed}; expected 0 to {LARGEST_SEED - MOST_SEEDS}. Leave it out.")


def check_methods(names: tuple[str, ...]) -> tuple[TrainedMethod, ...]:
    """The named methods in the order of their cost; all of them where none is named."""
    for name in names:
        if name not in METHODS:
            raise ConfigError(
                f"--methods names {name!r}; expected some of {', '.join(METHODS)}.{did_you_mean(name, METHODS)}"
            )
    return tuple(method for method in METHODS if method in names or not names)
