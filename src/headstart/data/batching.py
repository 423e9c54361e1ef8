"""Rows to Batches: length buckets under a token budget, and right-padding.

A batch costs rows x longest row, so rows of like length go together. With a seed, rows are shuffled among those of
their length and then change places within a batch's worth of ranks: tables of many rows stay dense (8,000 rows of sst2:
1.5 % padding), and in small ones, where few lengths are alike, rows still meet new neighbours every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.data.patch_rows import PatchRows
from headstart.data.text_codec import Encoded
from headstart.ground.batch import Batch, Pattern
from headstart.ground.errors import ConfigError
from headstart.ground.seeds import stream

Rows = NDArray[np.int64]


def bucket_batches(
    lengths: Sequence[int] | NDArray[np.integer],
    *,
    batch_tokens: int,
    max_rows: int | None = None,
    seed: int | None = None,
    epoch: int = 0,
) -> list[Rows]:
    """Row indices of every batch; each row stands in exactly one.

    No batch has more than `max_rows` rows or more than `batch_tokens` slots (rows x longest), except a single row
    that is longer than the budget. seed None gives a fixed order, longest rows first (so that memory runs out at
    once or never); a seed gives an order that depends on (seed, epoch) alone.
    """
    if batch_tokens < 1 or (max_rows is not None and max_rows < 1):
        raise ConfigError(f"batch_tokens is {batch_tokens} and max_rows {max_rows}; expected at least 1. Raise them.")
    sizes = np.asarray(lengths, dtype=np.int64)
    if seed is None:
        order = np.argsort(-sizes, kind="stable")
        return _cut(order, sizes, batch_tokens, max_rows)
    if not len(sizes):
        return []
    random = stream(seed, "batches", epoch)
    ranked = np.lexsort((random.random(len(sizes)), -sizes))
    reach = batch_tokens / max(sizes.mean(), 1.0) if max_rows is None else max_rows
    mixed = np.argsort(np.arange(len(sizes)) + random.uniform(0.0, reach, len(sizes)), kind="stable")
    batches = _cut(ranked[mixed], sizes, batch_tokens, max_rows)
    return [batches[i] for i in random.permutation(len(batches))]


def _cut(order: Rows, sizes: Rows, batch_tokens: int, max_rows: int | None) -> list[Rows]:
    batches: list[Rows] = []
    start = longest = 0
    for place, size in enumerate(sizes[order].tolist()):
        count = place - start
        widest = max(longest, size)
        if count and ((count + 1) * widest > batch_tokens or count == max_rows):
            batches.append(order[start:place])
            start, widest = place, size
        longest = widest
    if len(order) > start:
        batches.append(order[start:])
    return batches


def collate(
    encoded: Encoded | PatchRows, rows: Sequence[int] | Rows, *, pattern: Pattern, pad: int, epoch: int | None = None
) -> Batch:
    """The given rows of `encoded`, right-padded with `pad` (patches: with zeros) to the longest of them.

    epoch: for training on patches, whose rows are then augmented as that epoch draws them.
    """
    if isinstance(encoded, PatchRows):
        return encoded.batch(rows, pattern=pattern, epoch=epoch)
    chosen = [int(row) for row in rows]
    lengths = torch.tensor([len(encoded.ids[row]) for row in chosen], dtype=torch.long)
    units = pad_rows([encoded.ids[row] for row in chosen], filler=pad)
    segments = None if encoded.segments is None else pad_rows([encoded.segments[row] for row in chosen], filler=0)
    return Batch(units=units, lengths=lengths, pattern=pattern, segments=segments)


def pad_rows(rows: Sequence[NDArray[np.integer]], *, filler: int, width: int | None = None) -> torch.Tensor:
    """(B, width) long, each row followed by `filler`; as wide as the longest where no width is given."""
    widest = max((len(row) for row in rows), default=0)
    table = np.full((len(rows), widest if width is None else width), filler, dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)
