"""Reading a prefix tree through a causal trunk: forward passes over stems and batches of bushes.

Leaves, batch by batch, hidden states and where in them every row's units stand. B rows of a batch, T columns, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headstart.base.prefixes import BUSH_UNITS, Bush, Stem, Whole, pack, plan_reading
from headstart.data.batching import bucket_batches, pad_rows
from headstart.data.text_codec import Ids
from headstart.ground.batch import Batch
from headstart.model.cache import Prefix, Recorder
from headstart.model.trunk import Trunk

STEM_COPIES = 16  # a stem's keys stand before every row of a batch: so many times batch_tokens at most


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """One batch that was read. hidden: (B * T, D).

    rows: which rows stand in it. places: for each, the place in `hidden` of its units from position `depth` on.
    """

    hidden: Tensor
    rows: list[int]
    places: list[Whole]
    depth: int


def read_tree(
    trunk: Trunk, rows: Sequence[Ids], unasked: Sequence[int], *, pad: int, batch_tokens: int
) -> Iterator[Read]:
    """Every row once; the hidden states of its first `unasked` units may be left out."""
    prefixes: list[Prefix | None] = []
    stems = plan_reading(rows, unasked, bush_units=min(BUSH_UNITS, batch_tokens))
    for number, stem in enumerate(stems):
        prefixes.append(_read_stem(trunk, stem, prefixes[stem.parent]) if stem.parent >= 0 else None)
        yield from _read_bushes(trunk, rows, stem, prefixes[number], pad=pad, batch_tokens=batch_tokens)
        _forget(prefixes, stems, number)


def _read_stem(trunk: Trunk, stem: Stem, before: Prefix | None) -> Prefix:
    device = trunk.device
    recorder = Recorder(before)
    units = torch.from_numpy(stem.ids[stem.start :].astype(np.int64))[None]
    positions = torch.arange(stem.start, len(stem.ids))[None]
    lengths = torch.tensor([units.shape[1]])
    trunk(Batch(units, lengths, "causal", positions=positions).to(device), recorder, quick=True)
    return recorder.prefix()


def _forget(prefixes: list[Prefix | None], stems: list[Stem], number: int) -> None:
    """Drop what no later stem continues: parents come first, so only the next stem's ancestors are still needed."""
    needed = set()
    following = number + 1
    while 0 < following < len(stems):
        following = stems[following].parent
        needed.add(following)
    for place in range(number + 1):
        if place not in needed:
            prefixes[place] = None


def _read_bushes(
    trunk: Trunk, rows: Sequence[Ids], stem: Stem, prefix: Prefix | None, *, pad: int, batch_tokens: int
) -> Iterator[Read]:
    depth = len(stem.ids)
    bushes = [pack([rows[row] for row in bush], depth) for bush in stem.bushes]
    most = None if prefix is None else max(1, STEM_COPIES * batch_tokens // depth)
    for chosen in bucket_batches([len(b.units) for b in bushes], batch_tokens=batch_tokens, max_rows=most):
        group = [bushes[place] for place in chosen]
        batch = _batch(group, depth=depth, pad=pad).to(trunk.device)
        hidden = trunk(batch, prefix, quick=True)
        width = batch.units.shape[1]
        yield Read(
            hidden.reshape(-1, hidden.shape[-1]),
            [row for place in chosen for row in stem.bushes[place]],
            [line * width + columns for line, bush in enumerate(group) for columns in bush.columns],
            depth,
        )


def _batch(bushes: list[Bush], *, depth: int, pad: int) -> Batch:
    units = pad_rows([b.units for b in bushes], filler=pad)
    lengths = torch.tensor([len(b.units) for b in bushes])
    branched = any(b.branches for b in bushes)
    if not branched and not depth:
        return Batch(units, lengths, "causal")
    positions = pad_rows([b.positions for b in bushes], filler=0)
    if not branched:
        return Batch(units, lengths, "causal", positions=positions)
    width = units.shape[1]  # what nobody ends is seen to the end, padding too, because a unit has to see something
    until = pad_rows([np.where(b.until < len(b.units), b.until, width) for b in bushes], filler=width)
    return Batch(units, lengths, "causal", positions=positions, until=until)
