"""AST (Gong et al. 2021): a ViT over overlapping patches of a log-mel spectrogram, with cls and distillation vectors.

Rows are mel bands, columns time; a row's features are the mean of the two vectors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headstart.base.families import vit
from headstart.base.families.bert import layer_slots, linear
from headstart.base.families.family import ANY, Fields, PatchMap, Slot
from headstart.model.config import TrunkConfig
from headstart.model.patches import PatchConfig


def trunk_config(fields: Fields) -> TrunkConfig:
    """ASTConfig in our words."""
    return vit.encoder_config(fields, mlp_dim=fields.whole("intermediate_size", default=3072), patches=patches(fields))


def patches(fields: Fields) -> PatchConfig:
    """Mel bands x frames, and the strides of the patches."""
    return PatchConfig(
        channels=1,
        size=(fields.whole("num_mel_bins", default=128), fields.whole("max_length", default=1024)),
        patch=fields.pair("patch_size", default=(16, 16)),
        stride=(fields.whole("frequency_stride", default=10), fields.whole("time_stride", default=10)),
        prefix=2,
        pooling="first_two",
    )


def slots(config: TrunkConfig, fields: Fields) -> tuple[Slot, ...]:
    """Trunk and the kept classifier with its norm."""
    return (
        *vit.embedding_slots(config, patches(fields), front=("cls_token", "distillation_token")),
        *layer_slots(config, vit.LAYER),
        *linear("layernorm", "trunk.norm", (config.dim,)),
        *linear("classifier.layernorm", None, (config.dim,), part="classifier", inside=False),
        *linear("classifier.dense", None, (ANY, config.dim), part="classifier", inside=False),
    )


def hf_config(c: TrunkConfig, pad: int) -> dict[str, Any]:
    """ASTConfig of transformers 5, but for the patches."""
    return vit.hf_config(c, pad) | {"model_type": "audio-spectrogram-transformer"}


def hf_patches(p: PatchConfig) -> dict[str, Any]:
    """Mel bands, frames and strides."""
    return {
        "num_mel_bins": p.size[0],
        "max_length": p.size[1],
        "patch_size": vit.side(p.patch),
        "frequency_stride": p.stride[0],
        "time_stride": p.stride[1],
    }


AST = replace(
    vit.VIT,
    name="audio-spectrogram-transformer",
    prefix="audio_spectrogram_transformer.",
    trunk_config=trunk_config,
    slots=slots,
    hf_config=hf_config,
    architectures={
        "ASTForAudioClassification": frozenset({"classifier"}),
        "ASTModel": frozenset(),
    },
    traits=None,
    patches=PatchMap(patches, hf_patches),
)
