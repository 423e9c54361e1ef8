"""A pre-training recipe: a TOML file read into a closed schema; an unknown key is an error with a suggestion."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from headstart.data.corpus_part import CorpusPart
from headstart.ground.errors import ConfigError, did_you_mean
from headstart.model.config import TrunkConfig


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
    """Causal share of the batches and the masked ones' span settings."""

    causal_share: float
    mask_start: float
    mask_end: float
    z_loss: float


class Optimisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Peak rates and the trapezoid. Units are tokens; `lengths` holds (share of the run, row width)."""

    tokens: int
    tokens_per_step: int
    micro_tokens: int
    lengths: tuple[tuple[float, int], ...]
    muon_lr: float
    adamw_lr: float
    weight_decay: float
    warmup: float
    cooldown: float
    floor: float
    dtype: Literal["float32", "bfloat16"]
    seed: int


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything `pretrain` needs besides the folder of shards."""

    name: str
    shape: Shape
    corpus: CorpusPart
    mixture: Mixture
    optimisation: Optimisation

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return math.ceil(self.optimisation.tokens / self.optimisation.tokens_per_step)

    def trunk_config(self) -> TrunkConfig:
        """The Qwen3-compatible trunk: pre-RMSNorm, RoPE, SwiGLU, query-key norms, no biases, tied output."""
        s = self.shape
        return TrunkConfig(
            s.vocab_size,
            s.dim,
            s.num_layers,
            s.num_heads,
            s.num_kv_heads,
            s.head_dim,
            s.mlp_dim,
            s.max_positions,
            norm="rms",
            norm_place="pre",
            norm_eps=1e-6,
            position="rope",
            rope_theta=s.rope_theta,
            mlp="swiglu",
            bias="none",
            qk_norm=True,
            tied_output=True,
            num_segments=0,
        )


def read_recipe(name_or_path: str) -> Recipe:
    """A recipe that ships with Headstart, by name, or a TOML file."""
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
        return msgspec.convert(tomllib.loads(text), Recipe)
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(
            f"the recipe {name_or_path} is not TOML; expected key = value lines ({problem}). Mend the line."
        ) from problem
    except msgspec.ValidationError as problem:
        raise ConfigError(
            f"the recipe {name_or_path} has a wrong entry: {problem}. Expected the keys of the shipped recipes; "
            f"known top keys: {', '.join(f.name for f in msgspec.structs.fields(Recipe))}."
        ) from problem
