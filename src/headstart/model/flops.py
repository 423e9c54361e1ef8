"""FLOPs from the shape: 2 per multiply-add; training costs three forward passes (Kaplan et al. 2020)."""

from __future__ import annotations

from headstart.model.config import TrunkConfig


def forward_flops(config: TrunkConfig, *, units: int, context: int, head_units: int = 0) -> int:
    """FLOPs of one forward pass over `units` units in rows of `context`, of which `head_units` go through the LM head.

    Attention counts the whole (T, T) score matrix, as the explicit kernel computes it whatever the pattern.
    """
    inner = config.num_heads * config.head_dim
    attn = config.dim * config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads) + 2 * context * inner
    mlp = config.dim * config.mlp_dim * (3 if config.mlp == "swiglu" else 2)
    return 2 * (units * config.num_layers * (attn + mlp) + head_units * config.vocab_size * config.dim)


def train_flops(config: TrunkConfig, *, units: int, context: int, head_units: int = 0) -> int:
    """FLOPs of forward and backward over the same."""
    return 3 * forward_flops(config, units=units, context=context, head_units=head_units)
