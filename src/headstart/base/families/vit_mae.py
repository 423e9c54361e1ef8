"""The encoder of ViT-MAE (He et al. 2021): a ViT with sine-cosine positions; the decoder is left behind.

transformers' class hides patches at random whenever it runs; the trunk here reads what it is given. A row's features
are the mean over all its positions, the cls vector among them: MAE trained none to stand for the whole.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from headstart.base.families import vit
from headstart.base.families.bert import layer_slots, linear
from headstart.base.families.family import Fields, PatchMap, Slot
from headstart.model.config import TrunkConfig
from headstart.model.patches import PatchConfig


def trunk_config(fields: Fields) -> TrunkConfig:
    """ViTMAEConfig in our words."""
    return vit.encoder_config(fields, mlp_dim=fields.whole("intermediate_size", default=3072), patches=patches(fields))


def patches(fields: Fields) -> PatchConfig:
    """As ViT's, pooled by the mean."""
    return replace(vit.patches(fields), pooling="mean")


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """The encoder."""
    return (
        *vit.embedding_slots(config, patches(fields)),
        *layer_slots(config, vit.LAYER),
        *linear("layernorm", "trunk.norm", (config.dim,)),
    )


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """ViTMAEConfig of transformers 5, but for the patches."""
    return vit.hf_config(c, pad) | {"model_type": "vit_mae"}


VIT_MAE = replace(
    vit.VIT,
    name="vit_mae",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={"ViTMAEModel": frozenset()},
    ignored=re.compile(r"decoder\..*"),
    traits=None,
    patches=PatchMap(patches, vit.hf_patches),
)
