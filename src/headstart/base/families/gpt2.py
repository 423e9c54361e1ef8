"""GPT-2 (Radford et al. 2019): pre-norm decoder, learned positions, tied output; q, k and v are fused on disk.

Its Conv1D layers store matrices as (in, out).
"""

from __future__ import annotations

import re
from typing import Any

from headstart.base.families import bert
from headstart.base.families.family import ANY, Family, Fields, Slot, Traits
from headstart.model.config import TrunkConfig


def trunk_config(fields: Fields) -> TrunkConfig:
    """GPT2Config in our words; attention-scaling variations are refused."""
    fields.only("scale_attn_weights", True)
    fields.only("scale_attn_by_inverse_layer_idx", False)
    fields.only("add_cross_attention", False)
    dim, heads = fields.whole("n_embd", "hidden_size"), fields.whole("n_head", "num_attention_heads")
    if dim % heads:
        raise fields.error("n_head", f"a divisor of n_embd = {dim}")
    return TrunkConfig(
        vocab_size=fields.whole("vocab_size"),
        dim=dim,
        num_layers=fields.whole("n_layer", "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=dim // heads,
        mlp_dim=fields.whole("n_inner", default=4 * dim),
        max_positions=fields.whole("n_positions", "max_position_embeddings", default=1024),
        norm="layer",
        norm_place="pre",
        norm_eps=fields.number("layer_norm_epsilon", default=1e-5),
        position="learned",
        rope_theta=10_000.0,
        mlp=fields.choice("activation_function", bert.ACTIVATIONS, default="gelu_new"),
        bias="all",
        qk_norm=False,
        tied_output=fields.flag("tie_word_embeddings", default=True),
        num_segments=0,
    )


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, an untied output matrix, and the kept classifier."""
    c = config
    found = [
        Slot(
            "wte.weight",
            ("trunk.embed.tokens.weight",),
            (c.vocab_size, c.dim),
            aliases=("lm_head.weight",) if c.tied_output else (),
        ),
        Slot("wpe.weight", ("trunk.embed.positions.weight",), (c.max_positions, c.dim)),
        *bert.linear("ln_f", "trunk.norm", (c.dim,)),
        Slot("score.weight", (), (ANY, c.dim), "classifier", inside=False),
    ]
    if not c.tied_output:
        found.append(Slot("lm_head.weight", ("lm.weight",), (c.vocab_size, c.dim), "lm", inside=False))
    for i in range(c.num_layers):
        disk, ours = f"h.{i}", f"trunk.blocks.{i}"
        found += bert.linear(f"{disk}.ln_1", f"{ours}.norm1", (c.dim,))
        found += bert.linear(f"{disk}.ln_2", f"{ours}.norm2", (c.dim,))
        found += _conv1d(f"{disk}.attn.c_attn", tuple(f"{ours}.attn.{p}" for p in "qkv"), c.dim, 3 * c.dim)
        found += _conv1d(f"{disk}.attn.c_proj", (f"{ours}.attn.o",), c.dim, c.dim)
        found += _conv1d(f"{disk}.mlp.c_fc", (f"{ours}.mlp.up",), c.dim, c.mlp_dim)
        found += _conv1d(f"{disk}.mlp.c_proj", (f"{ours}.mlp.down",), c.mlp_dim, c.dim)
    return tuple(found)


def _conv1d(disk: str, ours: tuple[str, ...], width_in: int, width_out: int) -> list[Slot]:
    return [
        Slot(f"{disk}.weight", tuple(f"{o}.weight" for o in ours), (width_in, width_out), transposed=True),
        Slot(f"{disk}.bias", tuple(f"{o}.bias" for o in ours), (width_out,)),
    ]


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """GPT2Config of transformers 5."""
    return {
        "model_type": "gpt2",
        "vocab_size": c.vocab_size,
        "n_embd": c.dim,
        "n_layer": c.num_layers,
        "n_head": c.num_heads,
        "n_inner": c.mlp_dim,
        "n_positions": c.max_positions,
        "activation_function": bert.HF_ACTIVATIONS[c.mlp],
        "layer_norm_epsilon": c.norm_eps,
        "tie_word_embeddings": c.tied_output,
        "pad_token_id": pad,
    }


GPT2 = Family(
    name="gpt2",
    prefix="transformer.",
    pattern="causal",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "GPT2ForSequenceClassification": frozenset({"classifier"}),
        "GPT2LMHeadModel": frozenset({"lm"}),
        "GPT2Model": frozenset(),
    },
    ignored=re.compile(r"(transformer\.)?h\.\d+\.attn\.(masked_)?bias"),
    lm_transform=False,
    lm_bias=False,
    implied_lm=True,
    traits=Traits("layer", "pre", 1e-5, "learned", "gelu_tanh", "all"),
)
