"""ViT (Dosovitskiy et al. 2020): pre-norm encoder over patches with a cls vector; classifier and pooler are kept.

Names as transformers' ViTModel writes them to disk. Our own image, audio and series bases are of this family, too: a
spectrogram is an image of mel bands x frames, a series one of a single row.
"""

from __future__ import annotations

import re
from typing import Any

from headstart.base.families.bert import ACTIVATIONS, HF_ACTIVATIONS, layer_slots, linear
from headstart.base.families.family import ANY, Family, Fields, PatchMap, Slot, Traits
from headstart.model.config import TrunkConfig
from headstart.model.heads import Pooling
from headstart.model.patches import PatchConfig

LAYER = {  # disk name inside encoder.layer.{i} -> (our name inside blocks.{i}, (out, in) in config fields)
    "attention.attention.query": ("attn.q", ("dim", "dim")),
    "attention.attention.key": ("attn.k", ("dim", "dim")),
    "attention.attention.value": ("attn.v", ("dim", "dim")),
    "attention.output.dense": ("attn.o", ("dim", "dim")),
    "intermediate.dense": ("mlp.up", ("mlp_dim", "dim")),
    "output.dense": ("mlp.down", ("dim", "mlp_dim")),
    "layernorm_before": ("norm1", ("dim",)),
    "layernorm_after": ("norm2", ("dim",)),
}


POOLINGS: dict[str, Pooling] = {"first": "first", "mean": "mean"}  # our own key, which transformers keeps unread


def trunk_config(fields: Fields) -> TrunkConfig:
    """ViTConfig in our words."""
    fields.only("pooler_act", "tanh")
    return encoder_config(fields, mlp_dim=fields.whole("intermediate_size", default=3072), patches=patches(fields))


def encoder_config(fields: Fields, *, mlp_dim: int, patches: PatchConfig) -> TrunkConfig:
    """The fields that ViT, ViT-MAE, DINOv2 and AST configs share."""
    fields.only("qkv_bias", True)
    dim, heads = fields.whole("hidden_size", default=768), fields.whole("num_attention_heads", default=12)
    if dim % heads:
        raise fields.error("num_attention_heads", f"a divisor of hidden_size = {dim}")
    return TrunkConfig(
        vocab_size=0,
        dim=dim,
        num_layers=fields.whole("num_hidden_layers", default=12),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=dim // heads,
        mlp_dim=mlp_dim,
        max_positions=patches.prefix + patches.num_patches,
        norm="layer",
        norm_place="pre",
        norm_eps=fields.number("layer_norm_eps", default=1e-12),
        position="learned",
        rope_theta=10_000.0,
        mlp=fields.choice("hidden_act", ACTIVATIONS, default="gelu"),
        bias="all",
        qk_norm=False,
        tied_output=True,
        num_segments=0,
    )


def patches(fields: Fields) -> PatchConfig:
    """Image and patch size of ViTConfig, whole or (rows, columns); pixels that fill no whole patch are left out."""
    patch = fields.pair("patch_size", default=(16, 16))
    return PatchConfig(
        channels=fields.whole("num_channels", default=3),
        size=fields.pair("image_size", default=(224, 224)),
        patch=patch,
        stride=patch,
        prefix=1,
        pooling=fields.choice("pooling", POOLINGS, default="first"),
    )


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk, pooler and the kept classifier."""
    return (
        *embedding_slots(config, patches(fields)),
        *layer_slots(config, LAYER),
        *linear("layernorm", "trunk.norm", (config.dim,)),
        *linear("pooler.dense", "pooler.dense", (config.dim, config.dim), part="pooler"),
        *linear("classifier", None, (ANY, config.dim), part="classifier", inside=False),
    )


def embedding_slots(c: TrunkConfig, p: PatchConfig, *, front: tuple[str, ...] = ("cls_token",)) -> list[Slot]:
    """The convolution as a matrix, the vectors in front, the position table."""
    disk, ours = "embeddings.patch_embeddings.projection", "trunk.embed.proj"
    places = p.prefix + p.num_patches
    found = [
        Slot(f"{disk}.weight", (f"{ours}.weight",), (c.dim, p.channels, *p.patch), as_shape=(c.dim, p.unit_size)),
        Slot(f"{disk}.bias", (f"{ours}.bias",), (c.dim,)),
        Slot(
            "embeddings.position_embeddings", ("trunk.embed.positions",), (1, places, c.dim), as_shape=(places, c.dim)
        ),
    ]
    for i, name in enumerate(front):
        found.append(Slot(f"embeddings.{name}", (f"trunk.embed.prefix.{i}",), (1, 1, c.dim), as_shape=(1, c.dim)))
    return found


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """ViTConfig of transformers 5, but for the patches."""
    return {
        "model_type": "vit",
        "hidden_size": c.dim,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "intermediate_size": c.mlp_dim,
        "hidden_act": HF_ACTIVATIONS[c.mlp],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": c.norm_eps,
        "qkv_bias": True,
    }


def hf_patches(p: PatchConfig) -> dict[str, Any]:
    """Image and patch size; a pair only where the sides differ, because transformers expects one number for squares."""
    return {
        "num_channels": p.channels,
        "image_size": side(p.size),
        "patch_size": side(p.patch),
        "pooling": p.pooling,
    }


def side(pair: tuple[int, int]) -> int | list[int]:
    """One number for a square, else (rows, columns)."""
    return pair[0] if pair[0] == pair[1] else list(pair)


VIT = Family(
    name="vit",
    prefix="vit.",
    pattern="full",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "ViTForImageClassification": frozenset({"classifier"}),
        "ViTModel": frozenset(),
    },
    ignored=re.compile(r"$^"),
    lm_transform=False,
    lm_bias=False,
    implied_lm=False,
    traits=Traits("layer", "pre", 1e-6, "learned", "gelu", "all"),
    patches=PatchMap(patches, hf_patches),
)
