"""Llama, Mistral, Qwen2, Qwen3 and what shares their layout (SmolLM2): pre-norm RMS decoder, RoPE, SwiGLU.

The four differ in biases, query-key norms and the window of attention; a row of ROWS each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from headstart.base.families.family import ANY, Family, Fields, Slot, Traits
from headstart.model.config import Bias, TrunkConfig


@dataclass(frozen=True, slots=True)
class Row:
    """What tells one of these families from the others. window: keys beyond which it would stop to look.

    new_bias: of a trunk that is made here.
    """

    hf_name: str
    bias: Callable[[Fields], Bias]
    qk_norm: bool
    head_dim: int | None
    new_bias: Bias
    window: Callable[[Fields], int | None]


def _llama_bias(fields: Fields) -> Bias:
    biased = fields.flag("attention_bias", default=False)
    if fields.flag("mlp_bias", default=False) != biased:
        raise fields.error("mlp_bias", f"{str(biased).lower()}, the same as attention_bias")
    return "all" if biased else "none"


def _qwen2_bias(fields: Fields) -> Bias:
    return "qkv"


def _no_bias(fields: Fields) -> Bias:
    fields.only("attention_bias", False)
    return "none"


def _no_window(fields: Fields) -> None:
    return None


def _mistral_window(fields: Fields) -> int | None:
    """Absent means 4,096 in MistralConfig; an explicit null means no window."""
    if "sliding_window" in fields.values and fields.values["sliding_window"] is None:
        return None
    return fields.whole("sliding_window", default=4096)


def _qwen_window(fields: Fields) -> int | None:
    if not fields.flag("use_sliding_window", default=False):
        return None
    return fields.whole("sliding_window", default=4096)


ROWS = {
    "llama": Row("Llama", _llama_bias, False, None, "none", _no_window),
    "mistral": Row("Mistral", _no_bias, False, None, "none", _mistral_window),
    "qwen2": Row("Qwen2", _qwen2_bias, False, None, "qkv", _qwen_window),
    "qwen3": Row("Qwen3", _no_bias, True, 128, "none", _qwen_window),
}


def trunk_config(row: Row, fields: Fields) -> TrunkConfig:
    """A Llama-like config in our words; a window caps max_positions, because up to it both attend alike."""
    fields.only("pretraining_tp", 1)
    dim, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    if row.head_dim is None and fields.values.get("head_dim") is None and dim % heads:
        raise fields.error("num_attention_heads", f"a divisor of hidden_size = {dim}")
    window, positions = row.window(fields), fields.whole("max_position_embeddings", default=2048)
    return TrunkConfig(
        vocab_size=fields.whole("vocab_size"),
        dim=dim,
        num_layers=fields.whole("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=fields.whole("num_key_value_heads", default=heads),
        head_dim=fields.whole("head_dim", default=row.head_dim or dim // heads),
        mlp_dim=fields.whole("intermediate_size"),
        max_positions=min(positions, window or positions),
        norm="rms",
        norm_place="pre",
        norm_eps=fields.number("rms_norm_eps", default=1e-6),
        position="rope",
        rope_theta=rope_theta(fields),
        mlp=fields.choice("hidden_act", {"silu": "swiglu"}, default="silu"),
        bias=row.bias(fields),
        qk_norm=row.qk_norm,
        tied_output=fields.flag("tie_word_embeddings", default=False),
        num_segments=0,
    )


def rope_theta(fields: Fields) -> float:
    """transformers 5 writes rope_parameters, transformers 4 rope_theta and rope_scaling; RoPE must be plain."""
    theta = fields.number("rope_theta", default=10_000.0)
    for name in ("rope_scaling", "rope_parameters"):
        nested = fields.mapping(name)
        if nested is None:
            continue
        for kind in ("rope_type", "type"):
            nested.only(kind, "default")
        nested.only("partial_rotary_factor", 1.0, 1)
        theta = nested.number("rope_theta", default=theta)
    return theta


def slots(row: Row, config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, an untied output matrix, and the kept classifier."""
    c = config
    inner, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    shapes = {
        "self_attn.q_proj": ("attn.q", (inner, c.dim)),
        "self_attn.k_proj": ("attn.k", (kv, c.dim)),
        "self_attn.v_proj": ("attn.v", (kv, c.dim)),
        "self_attn.o_proj": ("attn.o", (c.dim, inner)),
        "mlp.gate_proj": ("mlp.gate", (c.mlp_dim, c.dim)),
        "mlp.up_proj": ("mlp.up", (c.mlp_dim, c.dim)),
        "mlp.down_proj": ("mlp.down", (c.dim, c.mlp_dim)),
        "input_layernorm": ("norm1", (c.dim,)),
        "post_attention_layernorm": ("norm2", (c.dim,)),
    }
    if c.qk_norm:
        shapes |= {
            "self_attn.q_norm": ("attn.q_norm", (c.head_dim,)),
            "self_attn.k_norm": ("attn.k_norm", (c.head_dim,)),
        }
    biased = {
        "none": (),
        "qkv": ("attn.q", "attn.k", "attn.v"),
        "all": ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"),
    }[c.bias]
    found = [
        Slot(
            "embed_tokens.weight",
            ("trunk.embed.tokens.weight",),
            (c.vocab_size, c.dim),
            aliases=("lm_head.weight",) if c.tied_output else (),
        ),
        Slot("norm.weight", ("trunk.norm.weight",), (c.dim,)),
        Slot("score.weight", (), (ANY, c.dim), "classifier", inside=False),
    ]
    if not c.tied_output:
        found.append(Slot("lm_head.weight", ("lm.weight",), (c.vocab_size, c.dim), "lm", inside=False))
    for i in range(c.num_layers):
        for disk, (ours, shape) in shapes.items():
            found.append(Slot(f"layers.{i}.{disk}.weight", (f"trunk.blocks.{i}.{ours}.weight",), shape))
            if ours in biased:
                found.append(Slot(f"layers.{i}.{disk}.bias", (f"trunk.blocks.{i}.{ours}.bias",), shape[:1]))
    return tuple(found)


def hf_config(name: str, c: TrunkConfig, pad: int) -> dict[str, Any]:
    """The config in transformers 5 spelling, with rope_theta at the top as well, where transformers 4 reads it."""
    written: dict[str, Any] = {
        "model_type": name,
        "vocab_size": c.vocab_size,
        "hidden_size": c.dim,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.num_kv_heads,
        "head_dim": c.head_dim,
        "intermediate_size": c.mlp_dim,
        "hidden_act": "silu",
        "max_position_embeddings": c.max_positions,
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": {"rope_theta": c.rope_theta, "rope_type": "default"},
        "rope_theta": c.rope_theta,
        "tie_word_embeddings": c.tied_output,
        "pad_token_id": pad,
    }
    if name == "llama":
        written |= {"attention_bias": c.bias == "all", "mlp_bias": c.bias == "all"}
    if name == "mistral":
        written["sliding_window"] = None
    if name == "qwen3":
        written["attention_bias"] = False
    return written


def _family(name: str, row: Row) -> Family:
    return Family(
        name=name,
        prefix="model.",
        pattern="causal",
        trunk_config=partial(trunk_config, row),
        slots=partial(slots, row),
        hf_config=partial(hf_config, name),
        architectures={
            f"{row.hf_name}ForSequenceClassification": frozenset({"classifier"}),
            f"{row.hf_name}ForCausalLM": frozenset({"lm"}),
            f"{row.hf_name}Model": frozenset(),
        },
        ignored=re.compile(r".*rotary_emb\.inv_freq"),
        lm_transform=False,
        lm_bias=False,
        implied_lm=True,
        traits=Traits("rms", "pre", 1e-6, "rope", "swiglu", row.new_bias, row.qk_norm),
    )


LLAMA_LIKE = {name: _family(name, row) for name, row in ROWS.items()}
