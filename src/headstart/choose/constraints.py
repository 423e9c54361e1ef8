"""Stage 0: which bases may be used at all, why the others may not, and what they are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from headstart.base.told import NOT_STATED
from headstart.choose.work import Looked
from headstart.ground.errors import ConfigError

Licence = Literal["any", "stated", "permissive"]
TRAINING_BYTES = {  # a weight
    "full": 20,  # fp32 master, gradient and two moments, the working copy, the best weights so far
    "lora": 10,  # fp32, the working copy, and what leaves the trunk whole again
}
READING_BYTES = 6  # fp32 and the working copy


class Excluded(msgspec.Struct, frozen=True):
    """A base that is left out, and the reason."""

    base: str
    reason: str


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a base must keep to. None: no limit. memory: bytes that training may take; the machine's by default."""

    max_ms_per_row: float | None = None
    max_mb: float | None = None
    licence: Licence = "any"
    modality: str = "text"
    memory: int | None = None

    def __post_init__(self) -> None:
        for flag, value in (("--max-ms-per-row", self.max_ms_per_row), ("--max-mb", self.max_mb)):
            if value is not None and not value > 0:
                raise ConfigError(f"{flag} is {value}; expected a positive number. Leave it out for no limit.")


def refuse(looked: Looked, limits: Constraints, methods: Sequence[str]) -> str | None:
    """Why a base is left out, None where it is not. methods: that it would be tried with."""
    facts = looked.facts
    memory = limits.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if facts.modality != limits.modality:
        return f"it reads {facts.modality}, the task is {limits.modality}"
    if limits.licence != "any" and facts.licence == NOT_STATED:
        return f"its licence is not stated, and --licence is {limits.licence}"
    if limits.licence == "permissive" and not facts.permissive:
        return f"its licence is {facts.licence}, and --licence is permissive"
    if limits.max_mb is not None and facts.megabytes > limits.max_mb:
        return f"{facts.megabytes:,.0f} MB, and --max-mb is {limits.max_mb:g}"
    if limits.max_ms_per_row is not None and looked.ms_per_row > limits.max_ms_per_row:
        return f"{looked.ms_per_row:.1f} ms a row measured here, and --max-ms-per-row is {limits.max_ms_per_row:g}"
    needed = {method: facts.params * TRAINING_BYTES.get(method, READING_BYTES) for method in methods}
    dearest = max(needed, key=lambda method: needed[method])
    if needed[dearest] > memory:
        return f"{dearest} takes about {needed[dearest] / 1e9:.1f} GB, and there are {memory / 1e9:.1f}"
    return None


def divide(
    named: Sequence[str], looked: Sequence[Looked | str], limits: Constraints, methods: Sequence[str]
) -> tuple[list[Looked], list[Excluded]]:
    """(the bases that are left, in their order; those left out with reasons). A text says why a base did not load."""
    kept: list[Looked] = []
    out: list[Excluded] = []
    for name, one in zip(named, looked, strict=True):
        reason = one if isinstance(one, str) else refuse(one, limits, methods)
        if reason is not None:
            out.append(Excluded(name if isinstance(one, str) else one.facts.name, reason))
        elif isinstance(one, Looked):
            kept.append(one)
    return kept, out


def told_apart(looked: Sequence[Looked | str], given: Mapping[str, str]) -> list[Looked | str]:
    """Bases of one name get what they were given by behind it, so that a row of the decision is one candidate.

    looked: as `divide` takes them. given: as `Plan.given`.
    """
    count = Counter(one.facts.name for one in looked if isinstance(one, Looked))

    def named(one: Looked) -> Looked:
        facts = one.facts
        if count[facts.name] == 1:
            return one
        name = f"{facts.name} ({given.get(facts.source, facts.source)})"
        return msgspec.structs.replace(one, facts=msgspec.structs.replace(facts, name=name))

    return [named(one) if isinstance(one, Looked) else one for one in looked]
