"""Heads and FLOP counts against their definitions."""

from __future__ import annotations

import torch
from tests.model.shapes import BERT, QWEN3

from headstart.model.flops import forward_flops, train_flops
from headstart.model.heads import LMHead, TaskHead, pool, pool_channels


def test_pooling_reads_real_positions_only() -> None:
    hidden = torch.arange(2 * 4 * 3, dtype=torch.float32).view(2, 4, 3)
    lengths = torch.tensor([4, 2])
    assert torch.equal(pool(hidden, lengths, "mean")[1], hidden[1, :2].mean(0))
    assert torch.equal(pool(hidden, lengths, "last")[1], hidden[1, 1])
    assert torch.equal(pool(hidden, lengths, "first")[0], hidden[0, 0])


def test_channels_are_pooled_one_by_one() -> None:
    """Two channels of 3 and of 2 steps behind one vector in front; the second row is padded."""
    hidden = torch.arange(2 * 7 * 2, dtype=torch.float32).view(2, 7, 2)
    found = pool_channels(hidden, torch.tensor([7, 5]), 2, 1)
    assert torch.equal(found[0], torch.cat((hidden[0, 1:4].mean(0), hidden[0, 4:7].mean(0))))
    assert torch.equal(found[1], torch.cat((hidden[1, 1:3].mean(0), hidden[1, 3:5].mean(0))))


def test_token_head_answers_per_position() -> None:
    assert TaskHead(3, 5, "token")(torch.zeros(2, 4, 3), torch.tensor([4, 2])).shape == (2, 4, 5)
    assert TaskHead(3, 5, "mean")(torch.zeros(2, 4, 3), torch.tensor([4, 2])).shape == (2, 5)


def test_tied_head_multiplies_with_the_embedding() -> None:
    head, embedding, hidden = LMHead(QWEN3), torch.randn(61, 24), torch.randn(2, 24)
    assert head.weight is None
    assert torch.equal(head(hidden, embedding), hidden @ embedding.t())
    assert LMHead(BERT, transform=True, bias=True).bias is not None


def test_flops_count_matrix_products() -> None:
    attention = 24 * 8 * (2 * 4 + 2 * 2) + 2 * 16 * 4 * 8
    by_hand = 2 * (100 * 2 * (attention + 3 * 24 * 40) + 10 * 61 * 24)
    assert forward_flops(QWEN3, units=100, context=16, head_units=10) == by_hand
    assert train_flops(QWEN3, units=100, context=16, head_units=10) == 3 * by_hand
