"""The trunk: Batch -> (B, T, D). One class is BERT, GPT-2, Llama, ViT and our own; the config and the Batch decide.

Parameter names are the contract with base/families: embed.*, blocks.{i}.attn.{q,k,v,o}, blocks.{i}.mlp.{gate,up,down},
blocks.{i}.norm1/norm2, norm, relative.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from headstart.ground.batch import Batch
from headstart.ground.errors import CapabilityError, DataError
from headstart.model.attention import attention_bias, distance_buckets, is_plainly_causal, rope_angles
from headstart.model.blocks import Block, Context, make_norm
from headstart.model.cache import Past
from headstart.model.config import DISTANCE_BUCKETS, TrunkConfig
from headstart.model.embed import TokenEmbedder, table
from headstart.model.matrices import has_quick
from headstart.model.patches import PatchConfig, PatchEmbedder, sine_table


class Trunk(nn.Module):
    """Embedder (of tokens, or of what `patches` describes), blocks and (pre-norm families) a final norm.

    relative: (32, H) what the distance of two units adds to their score in every layer, where the config asks for it.
    """

    def __init__(self, config: TrunkConfig, patches: PatchConfig | None = None) -> None:
        super().__init__()
        self.config = config
        self.patches = patches
        self.embed = TokenEmbedder(config) if patches is None else PatchEmbedder(patches, config.dim)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = make_norm(config, config.dim) if config.norm_place == "pre" else None
        relative = config.position == "learned_relative"
        self.relative = table(DISTANCE_BUCKETS, config.num_heads) if relative else None

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the trunk computes in."""
        return self.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """The device it lies on."""
        return self.embed.weight.device

    @property
    def table(self) -> Tensor:
        """The (V, D) table of tokens, which an LM head may share; CapabilityError where units are patches."""
        if isinstance(self.embed, PatchEmbedder):
            raise CapabilityError(
                "this base reads patches; expected one that reads text, for tokens. Use encode, or a text base."
            )
        return self.embed.tokens.weight

    @property
    def num_parameters(self) -> int:
        """Parameters, from the shape alone; those of an untied output matrix included."""
        own = 0 if self.patches is None else self.patches.num_parameters(self.config.dim)
        return self.config.num_parameters + own

    def forward(self, batch: Batch, past: Past | None = None, *, quick: bool = False) -> Tensor:
        """Hidden states (B, T, D); with a past the units continue what it holds (causal only).

        quick: by the products of model/matrices.py where these can be had; last bits are others.
        """
        x_BTD, context = self._start(batch, past, quick=quick)
        for block in self.blocks:
            x_BTD = block(x_BTD, context)
        return x_BTD if self.norm is None else self.norm(x_BTD)

    def hidden_states(self, batch: Batch) -> list[Tensor]:
        """(B, T, D) after the embedder and after every block; the last one is what `forward` returns."""
        x_BTD, context = self._start(batch, None, quick=False)
        states = [x_BTD]
        for block in self.blocks:
            x_BTD = block(x_BTD, context)
            states.append(x_BTD)
        if self.norm is not None:
            states[-1] = self.norm(x_BTD)
        return states

    def _start(self, batch: Batch, past: Past | None, *, quick: bool) -> tuple[Tensor, Context]:
        positions = batch.positions
        if positions is None:
            width, most = batch.units.shape[1], self._most_positions(batch)
            if self.config.position != "rope" and width > most:
                raise DataError(f"the input is {width} units long; expected at most {most}. Shorten the input.")
            positions = torch.arange(width, device=batch.units.device)[None]
        rope = None
        if self.config.position == "rope":
            rope = rope_angles(positions, self.config.head_dim, self.config.rope_theta, self.dtype)
        causal = past is None and self.relative is None and is_plainly_causal(batch)
        bias = None
        if not causal:
            bias = attention_bias(batch, self.dtype) if past is None else past.bias(batch, self.dtype)
        if self.relative is not None:
            assert past is None, "no decoder has relative positions"
            nearness = self.relative.weight.T[:, distance_buckets(positions)].transpose(0, 1)
            bias = nearness if bias is None else bias + nearness
        context = Context(bias, rope, past, causal, quick and has_quick(self.embed.weight))
        if isinstance(self.embed, PatchEmbedder):
            return self.embed(batch.units, positions, batch.grid), context
        return self.embed(batch.units, positions, batch.segments), context

    def _most_positions(self, batch: Batch) -> int:
        if self.patches is None or batch.grid is None:
            return self.config.max_positions
        return self.patches.prefix + batch.grid[0] * batch.grid[1]


def initialise(trunk: Trunk, *, seed: int, std: float = 0.02, zero_outputs: bool = False) -> None:
    """Random weights: normal(0, std) matrices, zero biases, unit norms.

    Pre-norm trunks scale the two residual outputs by 1/sqrt(2 L) (GPT-2), or start them at zero, which Muon prefers
    (modded-nanogpt record 5). Depends on the seed alone, not on the global generator. Positions of patches start as
    sines and cosines.
    """
    residual = 1.0 if trunk.config.norm_place == "post" else 1.0 / math.sqrt(2 * trunk.config.num_layers)
    outputs = 0.0 if zero_outputs else residual
    fill(
        trunk, seed=seed, std=std, factor=lambda n: outputs if n.endswith(("attn.o.weight", "mlp.down.weight")) else 1.0
    )
    if isinstance(trunk.embed, PatchEmbedder):
        trunk.embed.positions.data.copy_(sine_table(trunk.embed.config, trunk.config.dim))


@torch.no_grad()
def fill(module: nn.Module, *, seed: int, std: float = 0.02, factor: Callable[[str], float] = lambda name: 1.0) -> None:
    """normal(0, std * factor(name)) for matrices, zero for biases, one for norms; depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1:
            parameter.fill_(1.0)
        else:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (std * factor(name)))
