"""A pre-training recipe: a TOML file read into a closed schema; an unknown key is an error with a suggestion."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import torch

from headstart.base.families import FAMILIES, Family
from headstart.data.corpus import MAX_VOCABULARY
from headstart.data.corpus_part import CorpusPart
from headstart.ground.device import pick_device, training_dtype
from headstart.ground.errors import ConfigError, did_you_mean
from headstart.model.config import TrunkConfig
from headstart.model.flops import train_flops

AnyRecipe = TypeVar("AnyRecipe", bound=msgspec.Struct)


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The trunk, in Qwen3's terms; every engine that loads Qwen3 loads the result."""

    vocab_size: int
    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    max_positions: int
    rope_theta: float = 10_000.0


class Mixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Causal share of the batches and the masked ones' settings: share hidden at the start and the end, spans.

    targets: a hidden unit is predicted from the position before it (next), so that both halves share one head, or
    where it stands (same), as BERT does.
    """

    causal_share: float
    mask_start: float
    mask_end: float
    z_loss: float
    longest_span: int = 3
    targets: Literal["next", "same"] = "next"

    @property
    def predicted_share(self) -> float:
        """Share of a run's units that goes through the head: every causal one, of the masked ones the hidden."""
        return self.causal_share + (1.0 - self.causal_share) * (self.mask_start + self.mask_end) / 2

    def __post_init__(self) -> None:
        if not 0.0 <= self.causal_share <= 1.0:
            raise ConfigError(f"causal_share is {self.causal_share}; expected a share from 0 to 1. Mend [mixture].")
        if not (0.0 < self.mask_start < 1.0 and 0.0 < self.mask_end < 1.0 and self.longest_span >= 1):
            raise ConfigError(
                f"mask_start, mask_end and longest_span are {self.mask_start}, {self.mask_end} and "
                f"{self.longest_span}; expected shares between 0 and 1 and spans of at least 1. Mend [mixture]."
            )
        if self.targets == "same" and self.causal_share > 0.0:
            raise ConfigError(
                f"targets is 'same' with a causal_share of {self.causal_share}; expected 'next', because both halves "
                "share one head."
            )


class Optimisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Peak rates and their schedule. Units are tokens or patches; `lengths` (text) holds (share of the run, row width).

    rule: Muon for the blocks' matrices, or AdamW (adamw_lr) for everything. schedule: the cosine has no flat part.
    """

    tokens: int
    tokens_per_step: int
    micro_tokens: int
    muon_lr: float
    adamw_lr: float
    weight_decay: float
    warmup: float
    cooldown: float
    floor: float
    dtype: Literal["float32", "bfloat16"]
    seed: int
    lengths: tuple[tuple[float, int], ...] = ()
    rule: Literal["muon", "adamw"] = "muon"
    schedule: Literal["trapezoid", "cosine"] = "trapezoid"

    def __post_init__(self) -> None:
        if not 1 <= self.micro_tokens <= self.tokens_per_step <= self.tokens:
            raise ConfigError(
                f"tokens, tokens_per_step and micro_tokens are {self.tokens:,}, {self.tokens_per_step:,} and "
                f"{self.micro_tokens:,}; expected each at least as large as the next, and the last at least 1. Mend "
                "[optimisation]."
            )
        self._check_lengths()

    def _check_lengths(self) -> None:
        shares, widths = [share for share, _ in self.lengths], [width for _, width in self.lengths]
        if shares and not (shares[-1] == 1.0 and shares[0] > 0.0 and shares == sorted(set(shares))):
            raise ConfigError(
                f"the shares in lengths are {shares}; expected rising ones, the last of them 1.0, such as "
                "[[0.8, 128], [1.0, 256]]. Mend [optimisation]."
            )
        wrong = [w for w in widths if w < 1 or w > self.micro_tokens or self.tokens_per_step % w]
        if wrong:
            raise ConfigError(
                f"lengths has rows of {wrong[0]:,}; expected at most micro_tokens ({self.micro_tokens:,}) and a "
                f"divisor of tokens_per_step ({self.tokens_per_step:,}). Mend [optimisation]."
            )


def in_fast_numbers(settings: Optimisation) -> Optimisation:
    """The settings as this machine computes them: in float32 where they ask for bfloat16 and it is only emulated."""
    if settings.dtype == "bfloat16" and training_dtype(pick_device()) == torch.float32:
        return msgspec.structs.replace(settings, dtype="float32")
    return settings


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything `pretrain` needs besides the folder of shards."""

    name: str
    shape: Shape
    corpus: CorpusPart
    mixture: Mixture
    optimisation: Optimisation
    family: str = "qwen3"

    def __post_init__(self) -> None:
        if not self.optimisation.lengths:
            raise ConfigError(
                "the recipe has no lengths; expected pairs such as [1.0, 128]. Add lengths under [optimisation]."
            )
        widest = max(width for _, width in self.optimisation.lengths)
        if widest > self.shape.max_positions:
            raise ConfigError(
                f"lengths has rows of {widest:,}; expected at most max_positions ({self.shape.max_positions:,}). Mend "
                "[optimisation] or [shape]."
            )
        if self.shape.vocab_size > MAX_VOCABULARY:
            raise ConfigError(
                f"shape.vocab_size is {self.shape.vocab_size:,}; expected at most {MAX_VOCABULARY:,}: units are stored "
                "in two bytes. Mend [shape]."
            )

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return math.ceil(self.optimisation.tokens / self.optimisation.tokens_per_step)

    def width(self, step: int) -> int:
        """Row width at a step, from the curriculum."""
        progress = step / self.num_steps
        return next(width for until, width in self.optimisation.lengths if progress < until or until >= 1.0)

    def step_flops(self, step: int) -> int:
        """Training FLOPs of a step; masked batches send only their targets through the head."""
        units = self.optimisation.tokens_per_step
        predicted = int(units * self.mixture.predicted_share)
        return train_flops(self.trunk_config(), units=units, context=self.width(step), head_units=predicted)

    def known_family(self) -> Family:
        """The family the trunk is made like; ConfigError where it is none that can be made here."""
        family = FAMILIES.get(self.family)
        if family is None or family.traits is None:
            made = [name for name, one in FAMILIES.items() if one.traits is not None]
            raise ConfigError(
                f"the recipe's family is {self.family!r}; expected one of {', '.join(made)}."
                f"{did_you_mean(self.family, made)}"
            )
        return family

    def trunk_config(self) -> TrunkConfig:
        """The trunk: the recipe's shape with its family's traits, the output tied to the embedding."""
        traits, s = self.known_family().traits, self.shape
        assert traits is not None, "known_family refuses families without traits"
        return TrunkConfig(
            s.vocab_size,
            s.dim,
            s.num_layers,
            s.num_heads,
            s.num_kv_heads,
            s.head_dim,
            s.mlp_dim,
            s.max_positions,
            norm=traits.norm,
            norm_place=traits.norm_place,
            norm_eps=traits.norm_eps,
            position=traits.position,
            rope_theta=s.rope_theta,
            mlp=traits.mlp,
            bias=traits.bias,
            qk_norm=traits.qk_norm,
            tied_output=True,
            num_segments=traits.num_segments,
        )


def read_recipe(name_or_path: str) -> Recipe:
    """A recipe for text that ships with Headstart, by name, or a TOML file."""
    values = recipe_values(name_or_path)
    if "objective" in values:
        raise ConfigError(
            f"the recipe {name_or_path} is for {values['objective']!r}; expected one for text. Write text-tiny."
        )
    return convert_recipe(values, name_or_path, Recipe)


def recipe_values(name_or_path: str) -> dict[str, Any]:
    """What the TOML of a recipe says, before it is checked; ConfigError where there is none of that name."""
    shipped = {
        Path(r.name).stem: r for r in resources.files("headstart.train.recipes").iterdir() if r.name.endswith(".toml")
    }
    if name_or_path in shipped:
        text = shipped[name_or_path].read_text(encoding="utf-8")
    elif Path(name_or_path).is_file():
        text = Path(name_or_path).read_text(encoding="utf-8")
    else:
        raise ConfigError(
            f"the recipe is {name_or_path!r}; expected one of {', '.join(sorted(shipped))} or a TOML file."
            f"{did_you_mean(name_or_path, shipped)} Run `headstart pretrain --help`."
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(
            f"the recipe {name_or_path} is not TOML; expected key = value lines ({problem}). Mend the line."
        ) from problem


def convert_recipe(values: dict[str, Any], name_or_path: str, kind: type[AnyRecipe]) -> AnyRecipe:
    """The values as a recipe; ConfigError names the entry that is wrong."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as problem:
        raise ConfigError(
            f"the recipe {name_or_path} has a wrong entry: {problem}. Expected the keys of the shipped recipes; "
            f"known top keys: {', '.join(f.name for f in msgspec.structs.fields(kind))}."
        ) from problem
