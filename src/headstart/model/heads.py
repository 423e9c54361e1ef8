"""Heads: hidden states to vocabulary logits (LMHead) or to a task's outputs (TaskHead).

One LMHead serves causal and masked objectives, because masked mode predicts the next position's token (Charpentier &
Samuel 2024, GPT-BERT). BERT-like families add a dense-activation-norm transform before the output matrix.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from headstart.model.blocks import activate, make_norm
from headstart.model.config import TrunkConfig
from headstart.model.matrices import QUICK_ROWS, has_quick, multiplied

Pooling = Literal["mean", "first", "first_two", "last", "token"]


class LMHead(nn.Module):
    """(.., D) -> (.., V), over the embedding matrix (tied) or one of its own."""

    def __init__(self, config: TrunkConfig, *, transform: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.kind = config.mlp
        self.weight = None if config.tied_output else nn.Parameter(torch.zeros(config.vocab_size, config.dim))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size)) if bias else None
        self.transform = nn.Linear(config.dim, config.dim) if transform else None
        self.norm = make_norm(config, config.dim) if transform else None

    def prepare(self, hidden: Tensor) -> Tensor:
        """What is multiplied with the output matrix: (.., D) -> (.., D)."""
        if self.transform is None or self.norm is None:
            return hidden
        return self.norm(activate(self.transform(hidden), self.kind))  # type: ignore[no-any-return]

    def matrix(self, embedding: Tensor) -> Tensor:
        """The (V, D) output matrix."""
        return embedding if self.weight is None else self.weight

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        return nn.functional.linear(self.prepare(hidden), self.matrix(embedding), self.bias)

    def quick(self, hidden_RD: Tensor, embedding: Tensor) -> Tensor:
        """The same for rows, by the products of model/matrices.py where there are such."""
        matrix = self.matrix(embedding)
        if len(hidden_RD) < QUICK_ROWS or not has_quick(matrix):
            return self(hidden_RD, embedding)  # type: ignore[no-any-return]
        return multiplied(self.prepare(hidden_RD), matrix, self.bias)


class Pooler(nn.Module):
    """BERT's pooler: tanh(dense(first position)), (B, T, D) -> (B, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        return torch.tanh(self.dense(hidden_BTD[:, 0]))


class TaskHead(nn.Module):
    """(B, T, D) -> (B, O) over a pooled row, or (B, T, O) where pooling is "token".

    apart: the head of pairs whose members are read one by one; it takes their `paired` vectors, `out` (B, 4 D).
    channels: above 1, of series whose channels stand one after the other behind `front` positions; each is pooled by
    itself, `out` takes (B, channels D).
    """

    def __init__(
        self, dim: int, num_outputs: int, pooling: Pooling, *, apart: bool = False, channels: int = 1, front: int = 0
    ) -> None:
        super().__init__()
        self.pooling, self.channels, self.front = pooling, channels, front
        self.out = nn.Linear(4 * dim if apart else channels * dim, num_outputs)

    def forward(self, hidden_BTD: Tensor, lengths: Tensor) -> Tensor:
        if self.channels > 1:
            return self.out(pool_channels(hidden_BTD, lengths, self.channels, self.front))  # type: ignore[no-any-return]
        pooled = hidden_BTD if self.pooling == "token" else pool(hidden_BTD, lengths, self.pooling)
        return self.out(pooled)  # type: ignore[no-any-return]


def paired(first: Tensor, second: Tensor) -> Tensor:
    """Two members' vectors (B, D) as [u, v, |u - v|, u v], (B, 4 D): Conneau et al. 2017, InferSent, section 3.1."""
    return torch.cat((first, second, (first - second).abs(), first * second), dim=-1)


def pool_channels(hidden_BTD: Tensor, lengths: Tensor, channels: int, front: int) -> Tensor:
    """The mean over every channel's positions, side by side, (B, T, D) -> (B, channels D)."""
    places = torch.arange(hidden_BTD.shape[1], device=lengths.device)[None] - front
    steps = (lengths - front)[:, None] // channels
    channel = torch.where(places >= 0, places // steps, -1)  # past the end: `channels` and above
    inside = channel[:, None] == torch.arange(channels, device=lengths.device)[None, :, None]  # (B, C, T)
    means = inside.to(hidden_BTD.dtype) @ hidden_BTD / steps[:, :, None].to(hidden_BTD.dtype)
    return means.flatten(1)


def pool(hidden_BTD: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """One vector a row, (B, T, D) -> (B, D), over the row's real positions only; first_two: their mean (AST)."""
    if pooling == "first":
        return hidden_BTD[:, 0]
    if pooling == "first_two":
        return hidden_BTD[:, :2].mean(1)
    if pooling == "last":
        return hidden_BTD[torch.arange(len(lengths), device=lengths.device), lengths - 1]
    real = torch.arange(hidden_BTD.shape[1], device=lengths.device)[None] < lengths[:, None]
    return (hidden_BTD * real[..., None]).sum(1) / lengths[:, None].to(hidden_BTD.dtype)
