"""Tiny trunks of every kind, perturbed so that no bias is zero and no norm is one."""

from __future__ import annotations

from dataclasses import replace

import torch

from headstart.model.config import TrunkConfig
from headstart.model.trunk import Trunk

BERT = TrunkConfig(
    vocab_size=61,
    dim=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=4,
    head_dim=6,
    mlp_dim=40,
    max_positions=32,
    norm="layer",
    norm_place="post",
    norm_eps=1e-12,
    position="learned",
    rope_theta=10_000.0,
    mlp="gelu",
    bias="all",
    qk_norm=False,
    tied_output=True,
    num_segments=2,
)
QWEN3 = TrunkConfig(
    vocab_size=61,
    dim=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    mlp_dim=40,
    max_positions=32,
    norm="rms",
    norm_place="pre",
    norm_eps=1e-6,
    position="rope",
    rope_theta=10_000.0,
    mlp="swiglu",
    bias="none",
    qk_norm=True,
    tied_output=True,
    num_segments=0,
)
MPNET = replace(BERT, position="learned_relative", num_segments=0)
KINDS = {"bert": BERT, "qwen3": QWEN3, "mpnet": MPNET}
CONTINUED = ("bert", "qwen3")  # where a past may stand before the units: no decoder has a bias for distances


def perturbed(config: TrunkConfig, seed: int = 0) -> Trunk:
    """A trunk whose every parameter is random."""
    trunk = Trunk(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.copy_(
                torch.randn(parameter.shape, generator=generator) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0)
            )
    return trunk.eval()


def random_units(rows: int, width: int, seed: int = 1) -> torch.Tensor:
    """(rows, width) long."""
    return torch.randint(4, 61, (rows, width), generator=torch.Generator().manual_seed(seed))
