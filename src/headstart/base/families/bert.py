"""BERT and MiniLM (Devlin et al. 2018): post-norm encoder, learned positions, segments; MLM, NSP and pooler heads.

Names as transformers' BertModel / BertForPreTraining write them.
"""

from __future__ import annotations

import re
from typing import Any

from headstart.base.families.family import ANY, Family, Fields, Slot, Traits
from headstart.model.config import Mlp, TrunkConfig

ACTIVATIONS: dict[str, Mlp] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
HF_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}
LAYER = {  # disk name inside encoder.layer.{i} -> (our name inside blocks.{i}, (out, in) in config fields)
    "attention.self.query": ("attn.q", ("dim", "dim")),
    "attention.self.key": ("attn.k", ("dim", "dim")),
    "attention.self.value": ("attn.v", ("dim", "dim")),
    "attention.output.dense": ("attn.o", ("dim", "dim")),
    "attention.output.LayerNorm": ("norm1", ("dim",)),
    "intermediate.dense": ("mlp.up", ("mlp_dim", "dim")),
    "output.dense": ("mlp.down", ("dim", "mlp_dim")),
    "output.LayerNorm": ("norm2", ("dim",)),
}
# Linear heads that are kept for the way back but not used; the last three are AntiBERTy's (Ruffolo et al. 2021).
KEPT = {
    "nsp": "cls.seq_relationship",
    "classifier": "classifier",
    "qa": "qa_outputs",
    "species": "cls.species",
    "chain": "cls.chain",
    "graft": "cls.graft",
}


def trunk_config(fields: Fields) -> TrunkConfig:
    """BertConfig in our words; decoder use and relative positions are refused."""
    refuse_decoder(fields)
    return encoder_config(fields, max_positions=fields.whole("max_position_embeddings", default=512))


def refuse_decoder(fields: Fields) -> None:
    """What BERT-like configs can ask for and this trunk does not compute."""
    fields.only("is_decoder", False)
    fields.only("add_cross_attention", False)
    fields.only("position_embedding_type", "absolute")


def encoder_config(fields: Fields, *, max_positions: int) -> TrunkConfig:
    """The fields BERT and RoBERTa configs share."""
    dim, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    if dim % heads:
        raise fields.error("num_attention_heads", f"a divisor of hidden_size = {dim}")
    return TrunkConfig(
        vocab_size=fields.whole("vocab_size"),
        dim=dim,
        num_layers=fields.whole("num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=dim // heads,
        mlp_dim=fields.whole("intermediate_size"),
        max_positions=max_positions,
        norm="layer",
        norm_place="post",
        norm_eps=fields.number("layer_norm_eps", default=1e-12),
        position="learned",
        rope_theta=10_000.0,
        mlp=fields.choice("hidden_act", ACTIVATIONS, default="gelu"),
        bias="all",
        qk_norm=False,
        tied_output=fields.flag("tie_word_embeddings", default=True),
        num_segments=fields.whole("type_vocab_size", default=2),
    )


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, pooler, MLM head, and the kept linear heads."""
    c = config
    tied = ("cls.predictions.decoder.weight",) if c.tied_output else ()
    found = [
        *embedding_slots(c, output_aliases=tied, skip_rows=0),
        *layer_slots(c, LAYER),
        *linear("pooler.dense", "pooler.dense", (c.dim, c.dim), part="pooler"),
        *linear("cls.predictions.transform.dense", "lm.transform", (c.dim, c.dim), part="lm", inside=False),
        *linear("cls.predictions.transform.LayerNorm", "lm.norm", (c.dim,), part="lm", inside=False),
        *output_slots(
            c,
            weight="cls.predictions.decoder.weight",
            bias="cls.predictions.decoder.bias",
            tied_bias="cls.predictions.bias",
        ),
    ]
    for part, name in KEPT.items():
        found += linear(name, None, (2 if part == "nsp" else ANY, c.dim), part=part, inside=False)
    return tuple(found)


def output_slots(c: TrunkConfig, *, weight: str, bias: str, tied_bias: str) -> list[Slot]:
    """The output matrix and its bias; a tied head stores one bias under two names, an untied one stores two."""
    if c.tied_output:
        return [Slot(tied_bias, ("lm.bias",), (c.vocab_size,), "lm", inside=False, aliases=(bias,))]
    return [
        Slot(weight, ("lm.weight",), (c.vocab_size, c.dim), "lm", inside=False),
        Slot(bias, ("lm.bias",), (c.vocab_size,), "lm", inside=False),
        Slot(tied_bias, (), (c.vocab_size,), "spare_bias", inside=False),
    ]


def embedding_slots(c: TrunkConfig, *, output_aliases: tuple[str, ...], skip_rows: int) -> list[Slot]:
    """The three tables and their norm."""
    found = [
        Slot(
            "embeddings.word_embeddings.weight",
            ("trunk.embed.tokens.weight",),
            (c.vocab_size, c.dim),
            aliases=output_aliases,
        ),
        Slot(
            "embeddings.position_embeddings.weight",
            ("trunk.embed.positions.weight",),
            (c.max_positions + skip_rows, c.dim),
            skip_rows=skip_rows,
        ),
        *linear("embeddings.LayerNorm", "trunk.embed.norm", (c.dim,)),
    ]
    if c.num_segments:
        found.append(
            Slot("embeddings.token_type_embeddings.weight", ("trunk.embed.segments.weight",), (c.num_segments, c.dim))
        )
    return found


def layer_slots(c: TrunkConfig, layer: dict[str, tuple[str, tuple[str, ...]]]) -> list[Slot]:
    """All blocks."""
    return [
        slot
        for i in range(c.num_layers)
        for disk, (ours, shape) in layer.items()
        for slot in linear(f"encoder.layer.{i}.{disk}", f"trunk.blocks.{i}.{ours}", tuple(getattr(c, s) for s in shape))
    ]


def linear(
    disk: str, ours: str | None, shape: tuple[int, ...], *, part: str = "trunk", inside: bool = True
) -> list[Slot]:
    """Weight and bias of a Linear (out, in) or a LayerNorm (dim,); `ours` None keeps them for the way back."""
    return [
        Slot(
            f"{disk}.{kind}",
            (f"{ours}.{kind}",) if ours else (),
            shape if kind == "weight" else shape[:1],
            part,
            inside,
        )
        for kind in ("weight", "bias")
    ]


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """BertConfig of transformers 5."""
    return {
        "model_type": "bert",
        "vocab_size": c.vocab_size,
        "hidden_size": c.dim,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "intermediate_size": c.mlp_dim,
        "hidden_act": HF_ACTIVATIONS[c.mlp],
        "max_position_embeddings": c.max_positions,
        "type_vocab_size": c.num_segments,
        "layer_norm_eps": c.norm_eps,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": c.tied_output,
        "pad_token_id": pad,
    }


BERT = Family(
    name="bert",
    prefix="bert.",
    pattern="full",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "BertForPreTraining": frozenset({"lm", "nsp", "pooler"}),
        "BertForSequenceClassification": frozenset({"classifier", "pooler"}),
        "BertForTokenClassification": frozenset({"classifier"}),
        "BertForQuestionAnswering": frozenset({"qa"}),
        "BertForNextSentencePrediction": frozenset({"nsp", "pooler"}),
        "BertForMaskedLM": frozenset({"lm"}),
        "BertModel": frozenset(),
    },
    ignored=re.compile(r"(bert\.)?embeddings\.position_ids"),
    lm_transform=True,
    lm_bias=True,
    implied_lm=False,
    traits=Traits("layer", "post", 1e-12, "learned", "gelu", "all", num_segments=2),
)
