"""Untrained bases of a few thousand parameters that read pictures, clips or series."""

from __future__ import annotations

from headstart.base.base import Base
from headstart.data.patches import Modality, PatchCodec
from headstart.model.config import TrunkConfig
from headstart.model.patches import PatchConfig
from headstart.model.trunk import Trunk, initialise

CODECS: dict[Modality, PatchCodec] = {
    "image": PatchCodec("image", (12, 12), 1, (4, 4), (4, 4), (0.3,), (0.3,)),
    "audio": PatchCodec(
        "audio", (16, 32), 1, (16, 4), (16, 4), (-6.0,), (3.0,), "free", sample_rate=8_000, window=200, hop=80
    ),
    "series": PatchCodec("series", (32,), 1, (8,), (8,), fit="stretch", levels=True),
}


def tiny_patch_base(modality: Modality, *, seed: int = 0) -> Base:
    """A ViT of two layers with random weights."""
    codec = CODECS[modality]
    rows, columns = codec.whole_grid
    if modality == "series":
        patches = PatchConfig(1, (1, columns * codec.patch_dim), (1, codec.patch_dim), (1, codec.patch_dim), 1, "mean")
    else:
        high, wide = codec.patch
        patches = PatchConfig(codec.channels, codec.size[:2], (high, wide), (high, wide), 1, "mean")  # type: ignore[arg-type]
    config = TrunkConfig(
        vocab_size=0, dim=32, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=16, mlp_dim=64,
        max_positions=1 + rows * columns, norm="layer", norm_place="pre", norm_eps=1e-12, position="learned",
        rope_theta=10_000.0, mlp="gelu", bias="all", qk_norm=False, tied_output=True, num_segments=0,
    )  # fmt: skip
    trunk = Trunk(config, patches)
    initialise(trunk, seed=seed)
    return Base(trunk=trunk.eval(), codec=codec, family="vit", pattern="full", name=f"tiny-{modality}")
