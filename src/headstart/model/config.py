"""TrunkConfig: everything that tells one transformer family from another, in enum fields.

What does not fit an enum is a new block file, not a flag. Names follow docs/STYLE: num_layers, dim, num_heads, ...
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from headstart.ground.errors import ConfigError

Norm = Literal["layer", "rms"]
NormPlace = Literal["pre", "post"]
Position = Literal["learned", "learned_relative", "rope"]
Mlp = Literal["gelu", "gelu_tanh", "relu", "swiglu"]
Bias = Literal["none", "qkv", "all"]

DISTANCE_BUCKETS = 32  # of "learned_relative": as many before a unit as after it (Raffel et al. 2020, T5)
MAX_PARAMETERS = 20_000_000_000  # refuse absurd configs before any allocation; far above what one machine trains


@dataclass(frozen=True, slots=True)
class TrunkConfig:
    """Shape and kind of one trunk.

    norm_place "post" is the original transformer (BERT): the embedding is normalised and there is no final norm;
    "pre" (GPT-2, Llama, Qwen) has a final norm and no embedding norm. position "rope" rotates the two halves of a
    head (Llama's and Hugging Face's layout); "learned_relative" adds, beside the learned table, a bias for the distance
    of two units, from one table for all layers (MPNet). num_segments is 0 where a family has no segment embedding.
    vocab_size is 0 where units are patches, which a PatchConfig beside this one describes (model/patches.py).
    """

    vocab_size: int
    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    max_positions: int
    norm: Norm
    norm_place: NormPlace
    norm_eps: float
    position: Position
    rope_theta: float
    mlp: Mlp
    bias: Bias
    qk_norm: bool
    tied_output: bool
    num_segments: int

    def __post_init__(self) -> None:
        limits = {
            "vocab_size": 2_000_000,
            "dim": 65_536,
            "num_layers": 1_000,
            "num_heads": 1_024,
            "num_kv_heads": 1_024,
            "head_dim": 4_096,
            "mlp_dim": 1_000_000,
            "max_positions": 10_000_000,
        }
        for name, top in limits.items():
            value, least = getattr(self, name), 0 if name == "vocab_size" else 1
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= top:
                raise ConfigError(
                    f"{name} is {value!r}; expected a whole number from {least} to {top:,}. "
                    "Check the base's config.json."
                )
        enums = {"norm": Norm, "norm_place": NormPlace, "position": Position, "mlp": Mlp, "bias": Bias}
        for name, kind in enums.items():
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(get_args(kind))}.")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(
                f"num_heads is {self.num_heads}; expected a multiple of num_kv_heads = {self.num_kv_heads}."
            )
        if self.position == "rope" and self.head_dim % 2:
            raise ConfigError(f"head_dim is {self.head_dim}; expected an even number, because RoPE rotates two halves.")
        if not 0.0 < self.norm_eps < 1.0:
            raise ConfigError(f"norm_eps is {self.norm_eps!r}; expected a number between 0 and 1.")
        if self.num_parameters > MAX_PARAMETERS:
            raise ConfigError(
                f"the config describes {self.num_parameters:,} parameters; expected at most {MAX_PARAMETERS:,}. "
                "Check num_layers, dim and vocab_size."
            )

    @property
    def num_parameters(self) -> int:
        """Parameters of the trunk and of an untied output matrix, from the shape alone; a PatchConfig has its own."""
        attn = self.dim * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        mlp = self.dim * self.mlp_dim * (3 if self.mlp == "swiglu" else 2)
        bias = {
            "none": 0,
            "qkv": self.head_dim * (self.num_heads + 2 * self.num_kv_heads),
            "all": self.head_dim * (self.num_heads + 2 * self.num_kv_heads) + 2 * self.dim + self.mlp_dim,
        }[self.bias]
        norm = self.dim * (2 if self.norm == "layer" else 1)
        per_layer = attn + mlp + bias + 2 * norm + (2 * self.head_dim if self.qk_norm else 0)
        embed = self.vocab_size * self.dim * (1 if self.tied_output else 2) + self.num_segments * self.dim
        positions = {
            "learned": self.max_positions * self.dim,
            "learned_relative": self.max_positions * self.dim + DISTANCE_BUCKETS * self.num_heads,
            "rope": 0,
        }[self.position]
        return embed + positions + self.num_layers * per_layer + norm

    def as_dict(self) -> dict[str, int | float | str | bool]:
        """Plain values by field name, for lineage and reports."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
