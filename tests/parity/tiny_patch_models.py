"""Tiny random transformers models that read patches, every parameter perturbed, with a preprocessor beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tests.parity.tiny_models import Tiny

from headstart.ground.batch import Batch
from headstart.model.patches import PatchConfig

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
VIT = {**SHAPE, "intermediate_size": 40, "image_size": 12, "patch_size": 4}
OBLONG = {**VIT, "image_size": [8, 12], "patch_size": [4, 2], "num_channels": 1}
MAE = {**VIT, "decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 24}
AST = {
    **SHAPE,
    "intermediate_size": 40,
    "patch_size": 4,
    "frequency_stride": 3,
    "time_stride": 2,
    "max_length": 14,
    "num_mel_bins": 10,
}

TINY_PATCHES = {
    "vit": Tiny("ViTModel", "ViTConfig", {**VIT, "layer_norm_eps": 1e-6}),
    "vit-classifier": Tiny("ViTForImageClassification", "ViTConfig", {**VIT, "num_labels": 5}),
    "vit-oblong": Tiny("ViTModel", "ViTConfig", OBLONG),
    "vit-mae": Tiny("ViTMAEModel", "ViTMAEConfig", {**MAE, "mask_ratio": 0.0}),
    "vit-mae-pretraining": Tiny("ViTMAEForPreTraining", "ViTMAEConfig", {**MAE, "mask_ratio": 0.0}),
    "dinov2": Tiny("Dinov2Model", "Dinov2Config", {**SHAPE, "mlp_ratio": 2, "image_size": 12, "patch_size": 4}),
    "dinov2-classifier": Tiny(
        "Dinov2ForImageClassification",
        "Dinov2Config",
        {**SHAPE, "mlp_ratio": 2, "image_size": 12, "patch_size": 4, "num_labels": 5},
    ),
    "ast": Tiny("ASTModel", "ASTConfig", AST),
    "ast-classifier": Tiny("ASTForAudioClassification", "ASTConfig", {**AST, "num_labels": 5}),
}


def save(model: Any, folder: Path) -> Path:
    """As transformers writes it, beside the preprocessor_config.json that its processors would write."""
    model.save_pretrained(folder)
    config = model.config
    if config.model_type == "audio-spectrogram-transformer":
        written: dict[str, Any] = {
            "feature_extractor_type": "ASTFeatureExtractor",
            "num_mel_bins": config.num_mel_bins,
            "max_length": config.max_length,
            "sampling_rate": 16_000,
            "do_normalize": True,
            "mean": -4.2677393,
            "std": 4.5689974,
        }
    else:
        size = config.image_size if isinstance(config.image_size, list) else [config.image_size] * 2
        written = {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": size[0], "width": size[1]},
            "image_mean": [0.5] * config.num_channels,
            "image_std": [0.5] * config.num_channels,
        }
    (folder / "preprocessor_config.json").write_text(json.dumps(written))
    return folder


def random_planes(patches: PatchConfig, *, rows: int = 3, seed: int = 1) -> torch.Tensor:
    """(B, C, H, W) of the size the trunk was made for."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((rows, patches.channels, *patches.size), generator=generator)


def cut(planes: torch.Tensor, patches: PatchConfig) -> Batch:
    """The planes as a trunk reads them; unfold is torch's own way to cut patches."""
    units = torch.nn.functional.unfold(planes, patches.patch, stride=patches.stride).transpose(1, 2)
    front = torch.zeros(len(units), patches.prefix, units.shape[2])
    batch = torch.cat((front, units), dim=1)
    return Batch(batch, torch.full((len(batch),), batch.shape[1]), "full")


@torch.no_grad()
def reference(model: Any, planes: torch.Tensor) -> Any:
    """transformers' own outputs with all hidden states; ViT-MAE is told not to hide and not to shuffle."""
    given: dict[str, Any] = {}
    if model.config.model_type == "vit_mae":
        places = (model.config.image_size // model.config.patch_size) ** 2
        given["noise"] = torch.arange(places).float().expand(len(planes), -1)
    if model.config.model_type == "audio-spectrogram-transformer":
        return model(input_values=planes[:, 0].transpose(1, 2), output_hidden_states=True, **given)
    return model(pixel_values=planes, output_hidden_states=True, **given)
