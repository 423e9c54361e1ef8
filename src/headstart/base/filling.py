"""Filling words in: how likely is each word between a text and what follows it, for a base that reads both ways?

A word of L units is L mask units, predicted at once; its score is the sum of their log-probabilities (Schick and
Schuetze 2021, arXiv 2001.07676, for one unit: the same number as the pseudo-log-likelihood). So a row is read once for
all words of one length, whatever their number. BERT-like bases predict a hidden unit at its own position; ours, trained
by masked next-token prediction (arXiv 2410.24159), at the position before it (`shifted`). N rows, K words.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.base.scoring import closing_ids, log_probabilities, opening_ids
from headstart.data.batching import bucket_batches, pad_rows
from headstart.data.text_codec import Ids, TextCodec
from headstart.ground.batch import Batch
from headstart.ground.errors import DataError, safe_repr
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk


@torch.inference_mode()
def fill_words(
    trunk: Trunk,
    lm: LMHead,
    codec: TextCodec,
    befores: Sequence[str],
    words: Sequence[str],
    afters: Sequence[str],
    *,
    mask: int,
    shifted: bool,
    batch_tokens: int,
) -> NDArray[np.float64]:
    """(N, K) log p(word | before, after) in nats, 0 or less; see `Base.score_words`."""
    spelt = word_units(codec, words)
    sides = codec.encode_plain(list(befores)), codec.encode_plain(list(afters))
    found = np.empty((len(befores), len(words)))
    for size in sorted({len(units) for units in spelt}):
        columns = [place for place, units in enumerate(spelt) if len(units) == size]
        rows, starts = masked_rows(codec, *sides, mask=mask, size=size)
        targets = np.stack([spelt[place] for place in columns]).astype(np.int64)  # (k, size)
        places = np.asarray(starts)[:, None] + np.arange(size) - shifted
        for batch in bucket_batches([len(row) for row in rows], batch_tokens=batch_tokens):
            hidden = _read(trunk, [rows[row] for row in batch], places[batch], pad=codec.special.pad)
            # Every row's masks stand together in `hidden`; each is asked once a word.
            where = np.arange(len(batch) * size).reshape(len(batch), 1, size)
            asked = np.broadcast_to(where, (len(batch), *targets.shape)).reshape(-1)
            sought = np.broadcast_to(targets, (len(batch), *targets.shape)).reshape(-1)
            nats, _ = log_probabilities(lm, hidden, trunk.table, asked, sought)
            found[np.ix_(batch, np.asarray(columns))] = nats.reshape(len(batch), *targets.shape).sum(axis=-1)
    return found


def word_units(codec: TextCodec, words: Sequence[str]) -> list[Ids]:
    """The units of every word.

    Raises:
        DataError: a word has none.
    """
    found = codec.encode_plain(list(words))
    for word, units in zip(words, found, strict=True):
        if not len(units):
            raise DataError(f"the word {safe_repr(repr(word), 60)} has no tokens; expected some. Choose another word.")
    return found


def masked_rows(
    codec: TextCodec, befores: Sequence[Ids], afters: Sequence[Ids], *, mask: int, size: int
) -> tuple[list[Ids], list[int]]:
    """(every row with `size` masks between its two texts, the position of the first mask).

    Raises:
        DataError: a row is longer than the base has positions for.
    """
    bare = any(not len(before) for before in befores)
    openings = [opening_ids(codec, needed=False), opening_ids(codec, needed=bare)]  # the second before an empty text
    closing = np.asarray(closing_ids(codec), dtype=np.int32)
    masks = np.full(size, mask, dtype=np.int32)
    begun = [np.concatenate((openings[not len(before)], before)).astype(np.int32) for before in befores]
    rows = [np.concatenate((begin, masks, after, closing)) for begin, after in zip(begun, afters, strict=True)]
    for place, row in enumerate(rows):
        if len(row) > codec.max_positions:
            raise DataError(
                f"prompt {place} has {len(row):,} tokens; expected at most {codec.max_positions:,}, which is what the "
                "base has positions for. Shorten it."
            )
    return rows, [len(begin) for begin in begun]


def _read(trunk: Trunk, rows: Sequence[Ids], places: NDArray[np.int64], *, pad: int) -> torch.Tensor:
    """(rows * size, D) hidden states at the given positions of every row."""
    device = trunk.device
    lengths = torch.tensor([len(row) for row in rows])
    batch = Batch(units=pad_rows(rows, filler=pad), lengths=lengths, pattern="full").to(device)
    hidden = trunk(batch, quick=True)
    lines = torch.arange(len(rows), device=device)[:, None]
    return hidden[lines, torch.from_numpy(places).to(device)].reshape(-1, hidden.shape[-1])  # type: ignore[no-any-return]
