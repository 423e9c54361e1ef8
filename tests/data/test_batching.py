"""Length buckets: every row once, within the budget, dense, and an order that depends on seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart.data.batching import bucket_batches, collate
from headstart.data.text_codec import Encoded
from headstart.ground.errors import ConfigError


def lengths(rows: int = 3000) -> np.ndarray:
    """Like sst2's tokens per row: most short, a long tail."""
    return np.clip(np.random.default_rng(0).lognormal(2.3, 0.7, rows).astype(int) + 2, 3, 64)


@pytest.mark.parametrize("seed", [None, 0, 1])
@pytest.mark.parametrize(("batch_tokens", "max_rows"), [(512, None), (4096, 32), (40, None), (10**9, 7)])
def test_every_row_once_within_the_budget(seed: int | None, batch_tokens: int, max_rows: int | None) -> None:
    sizes = lengths()
    batches = bucket_batches(sizes, batch_tokens=batch_tokens, max_rows=max_rows, seed=seed)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) <= (max_rows or len(sizes))
        assert len(batch) * sizes[batch].max() <= batch_tokens or len(batch) == 1


def test_slots_per_real_token() -> None:
    sizes = lengths()
    for seed, limit in ((None, 1.03), (0, 1.05)):
        batches = bucket_batches(sizes, batch_tokens=10**9, max_rows=32, seed=seed)
        slots = sum(len(batch) * sizes[batch].max() for batch in batches)
        assert slots / sizes.sum() < limit


def test_a_row_of_a_small_table_meets_new_neighbours() -> None:
    """Lengths that nobody shares: without mixing every epoch would have the same batches."""
    sizes = np.arange(3, 103)
    met: list[set[int]] = [set() for _ in sizes]
    for epoch in range(5):
        for batch in bucket_batches(sizes, batch_tokens=10**9, max_rows=32, seed=0, epoch=epoch):
            for row in batch:
                met[row].update(batch.tolist())
    assert np.mean([len(others) - 1 for others in met]) > 45  # 31 in one epoch


def test_order_depends_on_seed_and_epoch() -> None:
    sizes = lengths(500)

    def order(**given: int) -> list[list[int]]:
        return [batch.tolist() for batch in bucket_batches(sizes, batch_tokens=512, **given)]

    assert order(seed=0, epoch=0) == order(seed=0, epoch=0)
    assert order(seed=0, epoch=0) != order(seed=0, epoch=1)
    assert order(seed=0, epoch=0) != order(seed=1, epoch=0)
    assert {tuple(sorted(batch)) for batch in order(seed=0, epoch=0)} != {
        tuple(sorted(batch)) for batch in order(seed=0, epoch=1)
    }


def test_inference_starts_with_the_longest() -> None:
    sizes = lengths(100)
    (first, *_) = bucket_batches(sizes, batch_tokens=200)
    assert sizes[first[0]] == sizes.max()


def test_nothing_in_nothing_out() -> None:
    assert bucket_batches([], batch_tokens=10) == []
    with pytest.raises(ConfigError, match="batch_tokens is 0"):
        bucket_batches([1], batch_tokens=0)


def test_collate_pads_right() -> None:
    ids = [np.array([5, 6, 7], np.int32), np.array([8], np.int32), np.array([9, 9], np.int32)]
    segments = [np.array([0, 0, 1], np.int32), np.array([0], np.int32), np.array([0, 1], np.int32)]
    batch = collate(Encoded(ids, segments), [0, 1], pattern="full", pad=99)
    assert batch.units.tolist() == [[5, 6, 7], [8, 99, 99]]
    assert batch.units.dtype == torch.long
    assert batch.lengths.tolist() == [3, 1]
    assert batch.segments is not None
    assert batch.segments.tolist() == [[0, 0, 1], [0, 0, 0]]
    assert batch.pattern == "full"
    assert collate(Encoded(ids), np.array([2]), pattern="causal", pad=0).units.tolist() == [[9, 9]]
