"""DistilBERT (Sanh et al. 2019): BERT's trunk without segments and pooler, under other names.

Names as transformers' DistilBertForMaskedLM writes them.
"""

from __future__ import annotations

import re
from typing import Any

from headstart.base.families import bert
from headstart.base.families.family import ANY, Family, Fields, Slot
from headstart.model.config import TrunkConfig

LAYER = {
    "attention.q_lin": ("attn.q", ("dim", "dim")),
    "attention.k_lin": ("attn.k", ("dim", "dim")),
    "attention.v_lin": ("attn.v", ("dim", "dim")),
    "attention.out_lin": ("attn.o", ("dim", "dim")),
    "sa_layer_norm": ("norm1", ("dim",)),
    "ffn.lin1": ("mlp.up", ("mlp_dim", "dim")),
    "ffn.lin2": ("mlp.down", ("dim", "mlp_dim")),
    "output_layer_norm": ("norm2", ("dim",)),
}


def trunk_config(fields: Fields) -> TrunkConfig:
    """DistilBertConfig in our words; sinusoidal tables are stored like learned ones."""
    dim, heads = fields.whole("dim", "hidden_size"), fields.whole("n_heads", "num_attention_heads")
    if dim % heads:
        raise fields.error("n_heads", f"a divisor of dim = {dim}")
    return TrunkConfig(
        vocab_size=fields.whole("vocab_size"),
        dim=dim,
        num_layers=fields.whole("n_layers", "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=dim // heads,
        mlp_dim=fields.whole("hidden_dim"),
        max_positions=fields.whole("max_position_embeddings", default=512),
        norm="layer",
        norm_place="post",
        norm_eps=1e-12,
        position="learned",
        rope_theta=10_000.0,
        mlp=fields.choice("activation", bert.ACTIVATIONS, default="gelu"),
        bias="all",
        qk_norm=False,
        tied_output=fields.flag("tie_word_embeddings", default=True),
        num_segments=0,
    )


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, MLM head and the kept classifiers."""
    c = config
    tied = ("vocab_projector.weight",) if c.tied_output else ()
    found = [
        *bert.embedding_slots(c, output_aliases=tied, skip_rows=0),
        *bert.linear("vocab_transform", "lm.transform", (c.dim, c.dim), part="lm", inside=False),
        *bert.linear("vocab_layer_norm", "lm.norm", (c.dim,), part="lm", inside=False),
        Slot("vocab_projector.bias", ("lm.bias",), (c.vocab_size,), "lm", inside=False),
        *bert.linear("pre_classifier", None, (c.dim, c.dim), part="pre_classifier", inside=False),
        *bert.linear("classifier", None, (ANY, c.dim), part="classifier", inside=False),
        *bert.linear("qa_outputs", None, (ANY, c.dim), part="qa", inside=False),
    ]
    if not c.tied_output:
        found.append(Slot("vocab_projector.weight", ("lm.weight",), (c.vocab_size, c.dim), "lm", inside=False))
    for i in range(c.num_layers):
        for disk, (ours, shape) in LAYER.items():
            sizes = tuple(getattr(c, s) for s in shape)
            found += bert.linear(f"transformer.layer.{i}.{disk}", f"trunk.blocks.{i}.{ours}", sizes)
    return tuple(found)


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """DistilBertConfig of transformers 5."""
    return {
        "model_type": "distilbert",
        "vocab_size": c.vocab_size,
        "dim": c.dim,
        "n_layers": c.num_layers,
        "n_heads": c.num_heads,
        "hidden_dim": c.mlp_dim,
        "activation": bert.HF_ACTIVATIONS[c.mlp],
        "max_position_embeddings": c.max_positions,
        "tie_word_embeddings": c.tied_output,
        "pad_token_id": pad,
    }


DISTILBERT = Family(
    name="distilbert",
    prefix="distilbert.",
    pattern="full",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "DistilBertForSequenceClassification": frozenset({"pre_classifier", "classifier"}),
        "DistilBertForTokenClassification": frozenset({"classifier"}),
        "DistilBertForQuestionAnswering": frozenset({"qa"}),
        "DistilBertForMaskedLM": frozenset({"lm"}),
        "DistilBertModel": frozenset(),
    },
    ignored=re.compile(r"(distilbert\.)?embeddings\.position_ids"),
    lm_transform=True,
    lm_bias=True,
    implied_lm=False,
)
