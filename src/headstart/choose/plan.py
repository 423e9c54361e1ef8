"""What a search was asked for, resolved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from headstart.choose.constraints import Constraints
from headstart.data.examples import Kind
from headstart.data.raw import Modality
from headstart.evaluate.plan import BY_PROMPT, LARGEST_SEED
from headstart.ground.errors import CapabilityError, ConfigError, did_you_mean
from headstart.ground.fanout import Place
from headstart.train.methods import FitSettings

ChooseMethod = Literal["probe", "lora", "full", "zero-shot", "few-shot"]
METHODS: tuple[ChooseMethod, ...] = get_args(ChooseMethod)
MOST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """bases: names or paths; given: what each is called where it was given as a Base, and lies in a scratch folder.

    seconds: the budget, None for none. seeds: of a candidate at most, where others are near.

    metric: None for the kind's default. command: the line that does it again. megabytes: of the files that each base is
    read from, in the order of `bases`; they are looked at from small to large. (): not known.
    """

    bases: tuple[str, ...]
    methods: tuple[ChooseMethod, ...] = METHODS
    seconds: float | None = None
    limits: Constraints = field(default_factory=Constraints)
    settings: FitSettings = field(default_factory=FitSettings)
    metric: str | None = None
    seed: int = 0
    seeds: int = MOST_SEEDS
    on: Place = field(default_factory=lambda: Place("here"))
    allow_pickle: bool = False
    command: str = ""
    megabytes: tuple[float, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.bases:
            raise ConfigError("no base is given; expected at least one. Give --bases NAME..., or --bases all.")
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


def check_methods(names: tuple[str, ...], kind: Kind, modality: Modality | None = None) -> tuple[ChooseMethod, ...]:
    """The named methods in our order; where none is named, all of them that a task of this kind allows.

    modality: of a task that is not over text.

    Raises:
        ConfigError: an unknown name.
        CapabilityError: a prompt for tags, or for what is no text, which are not asked by prompting.
    """
    for name in names:
        if name not in METHODS:
            raise ConfigError(
                f"--methods names {name!r}; expected some of {', '.join(METHODS)}.{did_you_mean(name, METHODS)}"
            )
    what = "tags words" if kind == "tags" else None if modality is None else f"is over {modality}"
    asked = [name for name in names if name in BY_PROMPT]
    if what is not None and asked:
        raise CapabilityError(
            f"--methods names {asked[0]} and this task {what}; expected probe, lora or full. Leave it out."
        )
    wanted = names or [method for method in METHODS if what is None or method not in BY_PROMPT]
    return tuple(method for method in METHODS if method in wanted)
