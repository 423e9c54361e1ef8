"""DINOv2 (Oquab et al. 2023) as a ViT: its layer scale is folded into the two outputs of every block.

lambda * (W x + b) is one linear map, so the folded trunk computes the same; on the way back the scales are ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headstart.base.families import vit
from headstart.base.families.bert import layer_slots, linear
from headstart.base.families.family import ANY, Fields, PatchMap, Slot
from headstart.model.config import TrunkConfig

LAYER = {
    "attention.attention.query": ("attn.q", ("dim", "dim")),
    "attention.attention.key": ("attn.k", ("dim", "dim")),
    "attention.attention.value": ("attn.v", ("dim", "dim")),
    "attention.output.dense": ("attn.o", ("dim", "dim")),
    "mlp.fc1": ("mlp.up", ("mlp_dim", "dim")),
    "mlp.fc2": ("mlp.down", ("dim", "mlp_dim")),
    "norm1": ("norm1", ("dim",)),
    "norm2": ("norm2", ("dim",)),
}
SCALED = {"layer_scale1": "attn.o", "layer_scale2": "mlp.down"}


def trunk_config(fields: Fields) -> TrunkConfig:
    """Dinov2Config in our words; the gated MLP of the largest model is refused."""
    fields.only("use_swiglu_ffn", False)
    width = fields.whole("hidden_size", default=768)
    return vit.encoder_config(fields, mlp_dim=width * fields.whole("mlp_ratio", default=4), patches=vit.patches(fields))


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk with its scales, the mask vector of its training, the kept classifier (over cls and mean, side by side)."""
    found = [
        *vit.embedding_slots(config, vit.patches(fields)),
        *layer_slots(config, LAYER),
        *linear("layernorm", "trunk.norm", (config.dim,)),
        Slot("embeddings.mask_token", (), (1, config.dim), "mask"),
        *linear("classifier", None, (ANY, 2 * config.dim), part="classifier", inside=False),
    ]
    for i in range(config.num_layers):
        for disk, ours in SCALED.items():
            scaled = tuple(f"trunk.blocks.{i}.{ours}.{kind}" for kind in ("weight", "bias"))
            found.append(Slot(f"encoder.layer.{i}.{disk}.lambda1", scaled, (config.dim,), scales=True))
    return tuple(found)


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """Dinov2Config of transformers 5, but for the patches."""
    written = vit.hf_config(c, pad) | {"model_type": "dinov2", "mlp_ratio": c.mlp_dim // c.dim, "use_swiglu_ffn": False}
    del written["intermediate_size"]
    return written


DINOV2 = replace(
    vit.VIT,
    name="dinov2",
    prefix="dinov2.",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "Dinov2ForImageClassification": frozenset({"classifier"}),
        "Dinov2Model": frozenset(),
    },
    traits=None,
    patches=PatchMap(vit.patches, vit.hf_patches),
)
