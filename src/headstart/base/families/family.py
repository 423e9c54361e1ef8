"""What a family is: how its config reads, and where each of its tensors lives on disk and in our trunk.

A Slot is one tensor on disk. Everything the loader checks before it allocates (names, shapes, completeness) comes from
the slots; writing back walks the same slots in the other direction, so the two can never disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from headstart.ground.batch import Pattern
from headstart.ground.errors import BaseError, did_you_mean, safe_repr
from headstart.model.config import Bias, Mlp, Norm, NormPlace, Position, TrunkConfig
from headstart.model.patches import PatchConfig

T = TypeVar("T")
ANY = -1  # a size that no config determines (how many classes a kept classifier has)


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor on disk.

    disk: its name, without the family's prefix where `inside` is true. ours: the parameters it becomes
    ("trunk.blocks.0.attn.q.weight"), several where the family fuses them along the first axis; empty for a tensor that
    is only kept for the way back. shape: on disk. part: "trunk", or the head it belongs to, which is there as a whole
    or not at all. inside: stands below the family's prefix. transposed: stored (in, out). skip_rows: leading rows that
    mean nothing to us. aliases: other full names under which the same values may stand. as_shape: the same values as
    our parameter holds them. scales: it multiplies the rows of `ours`, which have slots of their own; read, it is
    folded into them, and written it is ones.
    """

    disk: str
    ours: tuple[str, ...]
    shape: tuple[int, ...]
    part: str = "trunk"
    inside: bool = True
    transposed: bool = False
    skip_rows: int = 0
    aliases: tuple[str, ...] = ()
    as_shape: tuple[int, ...] | None = None
    scales: bool = False


@dataclass(frozen=True, slots=True)
class Traits:
    """What a new trunk of a family has whatever its size: the enum fields of its TrunkConfig."""

    norm: Norm
    norm_place: NormPlace
    norm_eps: float
    position: Position
    mlp: Mlp
    bias: Bias
    qk_norm: bool = False
    num_segments: int = 0


@dataclass(frozen=True, slots=True)
class PatchMap:
    """How a family's config describes patches, and the same keys on the way back."""

    read: Callable[[Fields], PatchConfig]
    write: Callable[[PatchConfig], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the registry; functions of the config, no state.

    architectures: Hugging Face class -> the parts its files must hold, most specific first. implied_lm: a tied output
    matrix alone makes an LM head (decoders). lm: (transform, bias) of the LM head. traits: of a base that is
    pre-trained here; None where the family is only read. patches: of families that read patches instead of tokens.
    whole_tokenizer: a vocab.txt alone does not say how the family frames texts and pairs; tokenizer.json must be there.
    """

    name: str
    prefix: str
    pattern: Pattern
    architectures: Mapping[str, frozenset[str]]
    trunk_config: Callable[[Fields], TrunkConfig]
    slots: Callable[[TrunkConfig, Fields], tuple[Slot, ...]]
    hf_config: Callable[[TrunkConfig, int], dict[str, Any]]
    ignored: re.Pattern[str]
    lm_transform: bool
    lm_bias: bool
    implied_lm: bool
    fused_lora: bool = False
    traits: Traits | None = None
    patches: PatchMap | None = None
    whole_tokenizer: bool = False

    def architecture(self, parts: frozenset[str]) -> str:
        """The first Hugging Face class all of whose parts are there."""
        return next(name for name, needed in self.architectures.items() if needed <= parts)


class Fields:
    """A config.json, read key by key with the type and the range each key must have."""

    def __init__(self, values: Mapping[str, Any], where: str = "config.json") -> None:
        self.values = values
        self.where = where

    def whole(self, *names: str, default: int | None = None) -> int:
        """The first key that is there and not null, as a positive whole number."""
        name, value = self._first(names, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.error(name, "a whole number above 0")
        return value

    def index(self, name: str, *, default: int) -> int:
        """A token id: a whole number from 0."""
        _, value = self._first((name,), default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.error(name, "a token id (a whole number from 0)")
        return value

    def pair(self, name: str, *, default: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns): two positive whole numbers, or one for both."""
        _, value = self._first((name,), default)
        both = tuple(value) if isinstance(value, list | tuple) else (value, value)
        if len(both) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in both):
            raise self.error(name, "a whole number above 0, or two of them")
        return both[0], both[1]

    def number(self, name: str, *, default: float) -> float:
        """A positive finite number."""
        _, value = self._first((name,), default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
            raise self.error(name, "a positive number")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """true or false."""
        _, value = self._first((name,), default)
        if not isinstance(value, bool):
            raise self.error(name, "true or false")
        return value

    def choice(self, name: str, table: Mapping[str, T], *, default: str) -> T:
        """What `table` says about the key's string."""
        _, value = self._first((name,), default)
        if not isinstance(value, str) or value not in table:
            raise self.error(name, f"one of {', '.join(sorted(table))}", known=table)
        return table[value]

    def mapping(self, name: str) -> Fields | None:
        """A nested object, None where there is none."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(name, "an object")
        return Fields(value, f"{self.where}: {name}")

    def only(self, name: str, *allowed: object) -> None:
        """Refuse a variation this trunk has no field for; an absent key is fine."""
        value = self.values.get(name)
        if name in self.values and not any(value == a and type(value) is type(a) for a in (*allowed, None)):
            raise self.error(name, " or ".join(repr(a) for a in allowed) + ", which is what this trunk computes")

    def error(self, name: str, expected: str, known: Mapping[str, object] | None = None) -> BaseError:
        """The one message shape for a bad key."""
        if name not in self.values:
            return BaseError(f"{self.where} has no {name}; expected {expected}. Check that it is this model's config.")
        value = self.values[name]
        hint = did_you_mean(value, known) if known is not None and isinstance(value, str) else ""
        return BaseError(
            f"{self.where}: {name} is {safe_repr(repr(value), 80)}; expected {expected}.{hint} "
            "Use a base that has it so."
        )

    def _first(self, names: tuple[str, ...], default: object) -> tuple[str, object]:
        for name in names:
            if self.values.get(name) is not None:
                return name, self.values[name]
        return names[0], default
