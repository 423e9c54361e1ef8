"""Pseudo-log-likelihood: what a base that reads both ways thinks of a text (Salazar et al. 2020, arXiv 1910.14659).

Every unit of a continuation is hidden once and predicted from all the others; the sum of the log-probabilities is the
score. BERT-like bases predict the hidden unit at its own position; ours, trained by masked next-token prediction
(arXiv 2410.24159), at the position before it (`shifted`).

Shared without any approximation: texts that are equal, and masked copies that are equal. The two sentences of a
minimal pair that differ in one unit have one copy in common, the one with that unit hidden, asked for both units.
Copies of one length stand in one batch, so there is no padding. A copies asked for, U different ones, T units each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.base.scoring import Asked, Likelihoods, counts, distinct, log_probabilities, read_asked
from headstart.data.text_codec import TextCodec
from headstart.ground.batch import Batch
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk

Whole = NDArray[np.int64]
GROUP_UNITS = 1 << 20  # units of masked copies made at once: 8 MB, and large enough to fill its batches


@dataclass(frozen=True, eq=False, slots=True)
class Copies:
    """Masked copies of texts of one length.

    units: (U, T), all different. positions: (U,), where the hidden unit stands. For each of the A answers: row, the
    text it counts for; copy, the masked copy it is read from; targets, the unit that was hidden.
    """

    units: Whole
    positions: Whole
    row: Whole
    copy: Whole
    targets: Whole


@torch.inference_mode()
def score_hidden(
    trunk: Trunk,
    lm: LMHead,
    codec: TextCodec,
    contexts: Sequence[str],
    continuations: Sequence[str],
    *,
    mask: int,
    shifted: bool,
    truncate: bool,
    batch_tokens: int,
) -> Likelihoods:
    """Sum over the continuation's units of log p(unit | all others), of every pair.

    mask: id of the mask unit. shifted: a unit is predicted at the position before it.
    """
    every = read_asked(codec, contexts, continuations, closed=True, truncate=truncate)
    asked, order = distinct(every)
    scores, misses = np.zeros(len(asked)), np.zeros(len(asked))
    for rows in same_length(asked):
        copies = masked_copies([asked[row] for row in rows], mask=mask)
        found, best = _answers(trunk, lm, copies, shifted=shifted, batch_tokens=batch_tokens)
        scores[rows] = np.bincount(copies.row, weights=found, minlength=len(rows))
        misses[rows] = np.bincount(copies.row, weights=~best, minlength=len(rows))
    return Likelihoods(scores[order], misses[order] == 0, counts(every))


def same_length(asked: Sequence[Asked]) -> Iterator[list[int]]:
    """Groups of texts of one length, neighbours together, whose masked copies are small enough to make at once."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, one in enumerate(asked):
        by_length[len(one.ids)].append(row)
    for length, rows in by_length.items():
        group: list[int] = []
        size = 0
        for row in rows:
            more = (asked[row].stop - asked[row].start) * length
            if group and size + more > GROUP_UNITS:
                yield group
                group, size = [], 0
            group.append(row)
            size += more
        yield group


def masked_copies(asked: Sequence[Asked], *, mask: int) -> Copies:
    """One copy per unit to score, that unit hidden; equal copies once."""
    row = np.repeat(np.arange(len(asked)), [one.stop - one.start for one in asked])
    positions = np.concatenate([np.arange(one.start, one.stop) for one in asked])
    units = np.stack([one.ids for one in asked]).astype(np.int64)[row]
    answers = np.arange(len(row))
    targets = units[answers, positions]
    units[answers, positions] = mask
    # The position belongs to the key: a text may hold the mask unit itself.
    different, copy = np.unique(np.column_stack((positions, units)), axis=0, return_inverse=True)
    return Copies(different[:, 1:], different[:, 0], row, copy.reshape(-1), targets)


def _answers(
    trunk: Trunk, lm: LMHead, copies: Copies, *, shifted: bool, batch_tokens: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(A,) log-probability of every hidden unit, (A,) whether none is likelier."""
    found, best = np.empty(len(copies.copy)), np.empty(len(copies.copy), dtype=np.bool_)
    by_copy = np.argsort(copies.copy, kind="stable")
    size = max(1, batch_tokens // copies.units.shape[1])
    for start in range(0, len(copies.units), size):
        stop = min(start + size, len(copies.units))
        first, last = np.searchsorted(copies.copy[by_copy], (start, stop))
        answers = by_copy[first:last]
        read = _read(trunk, copies.units[start:stop], copies.positions[start:stop] - shifted)
        places = copies.copy[answers] - start
        told = log_probabilities(lm, read, trunk.table, places, copies.targets[answers])
        found[answers], best[answers] = told
    return found, best


def _read(trunk: Trunk, units: Whole, positions: Whole) -> Tensor:
    """(U, D) hidden states, one position a row."""
    device = trunk.device
    tensor = torch.from_numpy(np.ascontiguousarray(units)).to(device)
    lengths = torch.full((len(units),), units.shape[1], dtype=torch.long, device=device)
    hidden: Tensor = trunk(Batch(units=tensor, lengths=lengths, pattern="full"), quick=True)
    return hidden[torch.arange(len(units), device=device), torch.from_numpy(positions).to(device)]
