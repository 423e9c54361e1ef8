"""A causal trunk with its head, as decoding asks for them; and the same function in fewer and faster operations.

Enters: a Batch and the Window of a cache that it continues. Leaves: hidden states, and the logits of those asked for.

`Packed` does once what `Whole` does at every step: matrices lie as their kernels want them (`matrices`), queries, keys
and values come from one product, so do gate and up. And it does in one operation what takes several, because a step of
few rows costs what starting its operations costs: the RMS norm of x is the layer norm of (x, -x), whose mean is 0;
rotary positions turn queries and keys together with the values, those by no angle; one write takes keys and values.

Packed matrices are copies, of the weights that they were made from. B rows, T units, R = B T, D width, H and J query
and key-value heads, K head width, M MLP width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.ground.batch import Batch
from headstart.model.attention import attend, rope_angles
from headstart.model.blocks import Attention, Block, activate
from headstart.model.cache import Window
from headstart.model.config import TrunkConfig
from headstart.model.embed import TokenEmbedder
from headstart.model.heads import LMHead
from headstart.model.matrices import Matrix, Precision, pack_all
from headstart.model.trunk import Trunk

Norm = Callable[[Tensor], Tensor]
PER_LAYER = 4  # matrices: to queries, keys and values; from heads; up; down


class CausalModel(ABC):
    """Units in, logits of the next unit out."""

    def __init__(self, trunk: Trunk, lm: LMHead) -> None:
        self._trunk, self._lm = trunk, lm

    @property
    def config(self) -> TrunkConfig:
        """The trunk's shape."""
        return self._trunk.config

    @property
    def dtype(self) -> torch.dtype:
        """Of hidden states, keys and values."""
        return self._trunk.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._trunk.device

    @abstractmethod
    def hidden(self, batch: Batch, past: Window) -> Tensor:
        """(B, T, D) of units that continue what `past` holds, which takes their keys and values."""

    @abstractmethod
    def logits(self, hidden_RD: Tensor) -> Tensor:
        """(R, V)."""


class Whole(CausalModel):
    """Trunk and head as they are: any device, dtype and kind of module."""

    def hidden(self, batch: Batch, past: Window) -> Tensor:
        """See `CausalModel`."""
        return self._trunk(batch, past)  # type: ignore[no-any-return]

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """See `CausalModel`."""
        return self._lm(hidden_RD, self._trunk.table)  # type: ignore[no-any-return]


def packable(trunk: Trunk) -> bool:
    """Whether `Packed` computes this trunk: fp32 on the CPU, pre-norm, every projection a plain Linear."""
    plain = all(
        isinstance(linear, nn.Linear) for block in trunk.blocks for group in _projections(block) for linear in group
    )
    here = trunk.device.type == "cpu" and trunk.dtype == torch.float32
    return plain and here and trunk.config.norm_place == "pre" and isinstance(trunk.embed, TokenEmbedder)


@dataclass(frozen=True, slots=True)
class _Layer:
    """head_gain: (H + J, K) of the query-key norm, None where there is none."""

    norm1: Norm
    norm2: Norm
    to_heads: Matrix
    from_heads: Matrix
    up: Matrix
    down: Matrix
    head_gain: Tensor | None


class Packed(CausalModel):
    """A `packable` trunk and its head with matrices of one precision.

    Raises:
        CapabilityError: this machine cannot compute with that precision.
    """

    @torch.no_grad()
    def __init__(self, trunk: Trunk, lm: LMHead, precision: Precision) -> None:
        super().__init__(trunk, lm)
        blocks = list(trunk.blocks)
        joined = [_joined(group) for block in blocks for group in _projections(block)]
        matrices = pack_all([*joined, (lm.matrix(trunk.table), lm.bias)], precision)
        self._head = matrices[-1]
        self._layers = [
            _layer(block, matrices[PER_LAYER * place : PER_LAYER * (place + 1)], trunk.config)
            for place, block in enumerate(blocks)
        ]
        assert trunk.norm is not None
        assert isinstance(trunk.embed, TokenEmbedder)
        self._norm, self._embed = _norm(trunk.norm), trunk.embed

    def hidden(self, batch: Batch, past: Window) -> Tensor:
        """See `CausalModel`."""
        config = self.config
        assert batch.positions is not None
        x_BTD = self._embed(batch.units, batch.positions, batch.segments)
        turn = self._turn(batch.positions) if config.position == "rope" else None
        bias = past.bias(batch, self.dtype)
        if bias is not None and batch.units.shape[1] == 1:
            bias = bias.expand(-1, -1, config.num_heads // config.num_kv_heads, -1)
        x_RD = x_BTD.view(-1, config.dim)
        for place, layer in enumerate(self._layers):
            heads = layer.to_heads(layer.norm1(x_RD)).view(*batch.units.shape, -1, config.head_dim)
            x_RD = layer.from_heads(self._mixed(place, heads, turn, bias, past)).add_(x_RD)
            x_RD = layer.down(self._activated(layer.up(layer.norm2(x_RD)))).add_(x_RD)
        return self._norm(x_RD).view(x_BTD.shape)

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """See `CausalModel`."""
        return self._head(self._lm.prepare(hidden_RD))

    def _mixed(
        self, place: int, heads: Tensor, turn: tuple[Tensor, Tensor] | None, bias: Tensor | None, past: Window
    ) -> Tensor:
        """Attention over (B, T, H + 2 J, K) queries, keys and values: (R, H K)."""
        config = self.config
        rows, width, _, head_dim = heads.shape
        asking, kv_heads = config.num_heads, config.num_kv_heads
        gain = self._layers[place].head_gain
        if gain is not None:
            normed = _rms(heads[:, :, : asking + kv_heads], None, config.norm_eps).mul_(gain)
            heads = torch.cat((normed, heads[:, :, asking + kv_heads :]), dim=2)
        if turn is not None:
            heads = torch.addcmul(heads * turn[0], heads.roll(head_dim // 2, -1), turn[1])
        pairs = heads[:, :, asking:].view(rows, width, 2, kv_heads, head_dim)
        keys, values = past.write(place, pairs).unbind(0)
        queries = heads[:, :, :asking]
        if width > 1:
            return attend(queries.transpose(1, 2), keys, values, bias).transpose(1, 2).reshape(rows * width, -1)
        # The query heads of a group stand one below the other, so the one unit becomes a few.
        grouped = queries.view(rows, kv_heads, -1, head_dim)
        return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=bias).reshape(rows, -1)

    def _activated(self, x: Tensor) -> Tensor:
        if self.config.mlp != "swiglu":
            return activate(x, self.config.mlp)
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    def _turn(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Factors (B, T, H + 2 J, K) of a head and of its halves exchanged; 1 and 0 for values."""
        config = self.config
        cos, sin = rope_angles(positions, config.head_dim, config.rope_theta, self.dtype)
        turned = config.num_heads + config.num_kv_heads
        shape = (*cos.shape[:1], cos.shape[2], turned + config.num_kv_heads, config.head_dim)
        own, other = cos.new_ones(shape), cos.new_zeros(shape)
        own[:, :, :turned] = torch.cat((cos, cos), dim=-1).transpose(1, 2)
        other[:, :, :turned] = torch.cat((-sin, sin), dim=-1).transpose(1, 2)
        return own, other


def _layer(block: nn.Module, matrices: list[Matrix], config: TrunkConfig) -> _Layer:
    assert isinstance(block, Block)
    to_heads, from_heads, up, down = matrices
    return _Layer(
        _norm(block.norm1), _norm(block.norm2), to_heads, from_heads, up, down, _head_gain(block.attn, config)
    )


def _projections(block: nn.Module) -> tuple[tuple[nn.Module, ...], ...]:
    """The Linears of a block by the packed matrix they are part of."""
    assert isinstance(block, Block)
    attn, mlp = block.attn, block.mlp
    return (attn.q, attn.k, attn.v), (attn.o,), ((mlp.up,) if mlp.gate is None else (mlp.gate, mlp.up)), (mlp.down,)


def _joined(group: tuple[nn.Module, ...]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of Linears that read the same input."""
    linears = [linear for linear in group if isinstance(linear, nn.Linear)]
    biases: list[Tensor] = [linear.bias for linear in linears if linear.bias is not None]
    weights: list[Tensor] = [linear.weight for linear in linears]
    return torch.cat(weights), torch.cat(biases) if biases else None


def _norm(module: nn.Module) -> Norm:
    if not isinstance(module, nn.RMSNorm):
        return module
    assert module.eps is not None
    gain, eps = torch.cat((module.weight, module.weight)), module.eps
    return lambda x: _rms(x, gain, eps)


def _rms(x: Tensor, twice_gain: Tensor | None, eps: float) -> Tensor:
    """The RMS norm over the last axis (Zhang & Sennrich 2019): CPUs have a kernel for the layer norm only."""
    width = x.shape[-1]
    return F.layer_norm(torch.cat((x, -x), dim=-1), (2 * width,), twice_gain, None, eps)[..., :width]


def _head_gain(attn: Attention, config: TrunkConfig) -> Tensor | None:
    if attn.q_norm is None or attn.k_norm is None:
        return None
    return torch.cat(
        (attn.q_norm.weight.expand(config.num_heads, -1), attn.k_norm.weight.expand(config.num_kv_heads, -1))
    )
