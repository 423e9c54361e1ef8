"""One transformer block: attention and MLP with residuals, pre- or post-norm.

B rows, T positions, D model width, H heads, K head width. A mixed-in adapter replaces single Linear modules, never a
block (model/adapters.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from headstart.model.attention import attend, rotate
from headstart.model.cache import Past
from headstart.model.config import TrunkConfig
from headstart.model.matrices import QUICK_ROWS, multiplied


@dataclass(frozen=True, slots=True)
class Context:
    """What every block of one forward pass shares."""

    bias: Tensor | None
    rope: tuple[Tensor, Tensor] | None
    past: Past | None = None
    causal: bool = False  # where there is no bias that says so
    quick: bool = False  # products by oneDNN, as `Trunk.forward` says


class Detoured(nn.Module, ABC):
    """A Linear with something added beside it."""

    base: nn.Linear

    @abstractmethod
    def detour(self, x: Tensor) -> Tensor:
        """What is added to the Linear's answer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.detour(x)  # type: ignore[no-any-return]


def project(linear: nn.Module, x_BTI: Tensor, context: Context) -> Tensor:
    """(B, T, O) of a projection, in the way that the pass asks for."""
    if context.quick and x_BTI.shape[0] * x_BTI.shape[1] >= QUICK_ROWS:
        if isinstance(linear, Detoured):
            return project(linear.base, x_BTI, context) + linear.detour(x_BTI)
        if type(linear) is nn.Linear:
            return multiplied(x_BTI.flatten(0, 1), linear.weight, linear.bias).view(*x_BTI.shape[:2], -1)
    return linear(x_BTI)  # type: ignore[no-any-return]


def make_norm(config: TrunkConfig, width: int) -> nn.Module:
    """The family's norm over the last axis of `width`."""
    if config.norm == "layer":
        return nn.LayerNorm(width, eps=config.norm_eps)
    return nn.RMSNorm(width, eps=config.norm_eps)


class Attention(nn.Module):
    """Multi-head attention with grouped keys and values, RoPE and query-key norms as the config says."""

    def __init__(self, config: TrunkConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        inner, kv_inner = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.q = nn.Linear(config.dim, inner, bias=config.bias != "none")
        self.k = nn.Linear(config.dim, kv_inner, bias=config.bias != "none")
        self.v = nn.Linear(config.dim, kv_inner, bias=config.bias != "none")
        self.o = nn.Linear(inner, config.dim, bias=config.bias == "all")
        self.q_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(config.head_dim, eps=config.norm_eps) if config.qk_norm else None

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        rows, width, _ = x_BTD.shape
        q, k, v = (
            project(linear, x_BTD, context).view(rows, width, -1, self.head_dim) for linear in (self.q, self.k, self.v)
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if context.rope is not None:
            q, k = rotate(q, *context.rope), rotate(k, *context.rope)
        if context.past is not None:
            k, v = context.past.extend(self.layer, k, v)
        mixed = attend(q, k, v, context.bias, causal=context.causal)
        return project(self.o, mixed.transpose(1, 2).reshape(rows, width, -1), context)


class Mlp(nn.Module):
    """up -> activation -> down, or the gated form down(silu(gate) * up) for "swiglu" (Shazeer 2020)."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        bias = config.bias == "all"
        self.gate = nn.Linear(config.dim, config.mlp_dim, bias=bias) if config.mlp == "swiglu" else None
        self.up = nn.Linear(config.dim, config.mlp_dim, bias=bias)
        self.down = nn.Linear(config.mlp_dim, config.dim, bias=bias)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        up = project(self.up, x_BTD, context)
        if self.gate is not None:
            return project(self.down, F.silu(project(self.gate, x_BTD, context)) * up, context)
        return project(self.down, activate(up, self.kind), context)


def activate(x: Tensor, kind: str) -> Tensor:
    """The named elementwise activation; "swiglu" trunks use silu wherever no gate exists."""
    if kind == "gelu":
        return F.gelu(x)
    if kind == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    return F.relu(x) if kind == "relu" else F.silu(x)


class Block(nn.Module):
    """post: x = norm1(x + attn(x)); x = norm2(x + mlp(x)). pre: x += attn(norm1(x)); x += mlp(norm2(x))."""

    def __init__(self, config: TrunkConfig, layer: int) -> None:
        super().__init__()
        self.post = config.norm_place == "post"
        self.attn = Attention(config, layer)
        self.mlp = Mlp(config)
        self.norm1 = make_norm(config, config.dim)
        self.norm2 = make_norm(config, config.dim)

    def forward(self, x_BTD: Tensor, context: Context) -> Tensor:
        if self.post:
            x_BTD = self.norm1(x_BTD + self.attn(x_BTD, context))
            return self.norm2(x_BTD + self.mlp(x_BTD, context))  # type: ignore[no-any-return]
        x_BTD = x_BTD + self.attn(self.norm1(x_BTD), context)
        return x_BTD + self.mlp(self.norm2(x_BTD), context)  # type: ignore[no-any-return]
