"""Log-probability of continuations under a causal pattern: tokenised once and split after, shared beginnings read once.

Splitting after tokenising keeps the units that the text really has: tokenising the two parts alone would put a
boundary where the tokenizer never puts one. Texts that are equal are read once, so equal texts get equal answers; what
different texts share at their beginning is read once too (`reading`). N units to predict, U different places to predict
them from, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor

from headstart.base.reading import read_tree
from headstart.data.text_codec import Ids, TextCodec
from headstart.ground.errors import CapabilityError, DataError, safe_repr
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk

HEAD_LOGITS = 1 << 23  # logits held at once: 32 MB of fp32, whatever the vocabulary and the number of units


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """One text as units, special ones included; the units from `start` to before `stop` are scored."""

    ids: Ids
    start: int
    stop: int


@dataclass(frozen=True, eq=False, slots=True)
class Likelihoods:
    """What a base thinks of N continuations, in the order they were asked.

    nats: (N,) log-probabilities, 0 or less. likeliest: (N,), whether every unit of a continuation was the likeliest one
    in its place, so that a base that reads from left to right would have written just that. units: (N,), of every
    continuation.
    """

    nats: NDArray[np.float64]
    likeliest: NDArray[np.bool_]
    units: NDArray[np.int64]


def score_continuations(
    trunk: Trunk,
    lm: LMHead,
    codec: TextCodec,
    contexts: Sequence[str],
    continuations: Sequence[str],
    *,
    truncate: bool,
    batch_tokens: int,
) -> Likelihoods:
    """log p(continuation | context) of every pair."""
    asked = read_asked(codec, contexts, continuations, closed=False, truncate=truncate)
    return score_asked(trunk, lm, asked, pad=codec.special.pad, batch_tokens=batch_tokens)


@torch.inference_mode()
def score_asked(trunk: Trunk, lm: LMHead, every: Sequence[Asked], *, pad: int, batch_tokens: int) -> Likelihoods:
    """log p(the units asked for | those before them) of every text."""
    asked, order = distinct(every)
    scores, misses = np.zeros(len(asked)), np.zeros(len(asked))
    embedding = trunk.table
    rows = [one.ids[:-1] for one in asked]  # nothing follows the last unit
    unasked = [one.start - 1 for one in asked]
    for read in read_tree(trunk, rows, unasked, pad=pad, batch_tokens=batch_tokens):
        chosen = [asked[row] for row in read.rows]
        # The unit at a position is predicted from the one before it.
        cells = np.concatenate(
            [
                places[one.start - 1 - read.depth : one.stop - 1 - read.depth]
                for places, one in zip(read.places, chosen, strict=True)
            ]
        )
        targets = np.concatenate([one.ids[one.start : one.stop] for one in chosen])
        different, where = np.unique(cells, return_inverse=True)
        hidden = read.hidden[torch.from_numpy(different).to(read.hidden.device)]
        found, best = log_probabilities(lm, hidden, embedding, where, targets)
        owner = np.repeat(np.arange(len(chosen)), [one.stop - one.start for one in chosen])
        scores[read.rows] = np.bincount(owner, weights=found, minlength=len(chosen))
        misses[read.rows] = np.bincount(owner, weights=~best, minlength=len(chosen))
    return Likelihoods(scores[order], misses[order] == 0, counts(every))


def counts(asked: Sequence[Asked]) -> NDArray[np.int64]:
    """(N,) units asked for, of every text."""
    return np.asarray([one.stop - one.start for one in asked], dtype=np.int64)


def log_probabilities(
    lm: LMHead,
    hidden_UD: Tensor,
    embedding_VD: Tensor,
    places: NDArray[np.integer],
    targets: NDArray[np.integer],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) log p(target) in nats at each target's place in `hidden`, the softmax in fp32; whether no unit is likelier.

    Targets of one place share its logits; the (U, V) logits never exist as a whole.
    """
    found, best = np.empty(len(targets)), np.empty(len(targets), dtype=np.bool_)
    by_place = np.argsort(places, kind="stable")
    ordered = places[by_place]
    step = max(1, HEAD_LOGITS // embedding_VD.shape[0])
    for start in range(0, len(hidden_UD), step):
        first, last = np.searchsorted(ordered, (start, start + step))
        mine = by_place[first:last]
        chances = torch.log_softmax(lm.quick(hidden_UD[start : start + step], embedding_VD).float(), dim=-1)
        rows, columns = (
            torch.from_numpy(indices.astype(np.int64)).to(chances.device)
            for indices in (places[mine] - start, targets[mine])
        )
        told = chances[rows, columns]
        found[mine] = told.double().cpu().numpy()
        best[mine] = (told == chances.amax(dim=-1)[rows]).cpu().numpy()
    return found, best


def distinct(asked: Sequence[Asked]) -> tuple[list[Asked], NDArray[np.int64]]:
    """(every different question once, which of them each of `asked` is)."""
    places: dict[tuple[bytes, int, int], int] = {}
    order = [places.setdefault((one.ids.tobytes(), one.start, one.stop), len(places)) for one in asked]
    first = {place: one for one, place in reversed(list(zip(asked, order, strict=True)))}
    return [first[place] for place in range(len(places))], np.asarray(order, dtype=np.int64)


def read_asked(
    codec: TextCodec, contexts: Sequence[str], continuations: Sequence[str], *, closed: bool, truncate: bool = False
) -> list[Asked]:
    """Every context with its continuation as units.

    closed: what the tokenizer's template puts after a text stands there too (a causal trunk never looks at it).
    truncate: a context that does not fit before its continuation loses its beginning instead of being refused. A unit
    that reaches over the boundary belongs to the continuation.
    """
    for what, texts in (("contexts", contexts), ("continuations", continuations)):
        if isinstance(texts, str):
            raise DataError(f"the {what} are one str; expected a list of texts. Put it into a list.")
    if len(contexts) != len(continuations):
        raise DataError(
            f"{len(contexts)} contexts came with {len(continuations)} continuations; expected two lists of one length."
        )
    for place, (context, continuation) in enumerate(zip(contexts, continuations, strict=True)):
        if not isinstance(context, str) or not isinstance(continuation, str):
            raise DataError(
                f"pair {place} is {safe_repr(repr((context, continuation)), 80)}; expected two texts. Convert them."
            )
        if not continuation:
            raise DataError(f"continuation {place} is empty; expected text to score. Drop the pair.")
    whole = [context + continuation for context, continuation in zip(contexts, continuations, strict=True)]
    try:
        encodings = codec.tokenizer.encode_batch(whole, add_special_tokens=False)
    except (TypeError, UnicodeEncodeError):
        codec.encode_plain(whole)  # names the row that cannot be read
        raise
    frame = opening_ids(codec, needed=False), closing_ids(codec) if closed else []
    return [
        _asked(
            codec,
            encoding,
            continuations[place],
            place=place,
            boundary=len(contexts[place]),
            frame=frame,
            truncate=truncate,
        )
        for place, encoding in enumerate(encodings)
    ]


def _asked(
    codec: TextCodec,
    encoding: Encoding,
    continuation: str,
    *,
    place: int,
    boundary: int,
    frame: tuple[list[int], list[int]],
    truncate: bool,
) -> Asked:
    opening, closing = frame
    first = next((i for i, (_, end) in enumerate(encoding.offsets) if end > boundary), len(encoding.ids))
    if first == len(encoding.ids):
        raise DataError(
            f"continuation {place} is {safe_repr(repr(continuation), 80)}, which has no tokens; expected some."
        )
    opening = opening or opening_ids(codec, needed=first == 0)
    room = codec.max_positions - len(opening) - len(closing)
    keep = encoding.ids[-room:] if room > 0 else []
    start = len(opening) + first - (len(encoding.ids) - len(keep))
    if start < max(1, len(opening)):
        raise DataError(
            f"continuation {place} has {len(encoding.ids) - first:,} tokens; expected at most {room:,}. Split it."
        )
    if len(keep) < len(encoding.ids) and not truncate:
        raise DataError(
            f"pair {place} has {len(encoding.ids):,} tokens; expected at most {room:,}, which is what the base has "
            "positions for. Shorten the context, or ask to truncate it."
        )
    return Asked(np.asarray([*opening, *keep, *closing], dtype=np.int32), start, len(opening) + len(keep))


def opening_ids(codec: TextCodec, *, needed: bool) -> list[int]:
    """What the tokenizer's own template puts before a text; bos or eos where that is nothing and something is `needed`.

    Raises:
        CapabilityError: something is needed, and the tokenizer has no token to start with.
    """
    encoding = codec.tokenizer.encode("a", add_special_tokens=True)
    plain = next((i for i, special in enumerate(encoding.special_tokens_mask) if not special), 0)
    if plain or not needed:
        return list(encoding.ids[:plain])
    start = codec.special.bos if codec.special.bos is not None else codec.special.eos
    if start is None:
        raise CapabilityError("a text to continue is empty and the tokenizer has no start token; expected some text.")
    return [start]


def closing_ids(codec: TextCodec) -> list[int]:
    """What the tokenizer's own template puts after a text: [SEP] or </s> for encoders, mostly nothing for decoders."""
    encoding = codec.tokenizer.encode("a", add_special_tokens=True)
    last = max((i for i, special in enumerate(encoding.special_tokens_mask) if not special), default=-1)
    return list(encoding.ids[last + 1 :]) if last >= 0 else []
