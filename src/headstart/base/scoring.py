"""Log-probability of continuations under a causal pattern: one forward pass, tokenised once and split after.

Splitting after tokenising keeps the units that the text really has: tokenising the two parts alone would put a
boundary where the tokenizer never puts one. Texts that are equal are read once, so equal texts get equal answers.
N units to predict, D model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor

from headstart.base.forward import Reader
from headstart.data.text_codec import Encoded, Ids, TextCodec
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


@torch.inference_mode()
def score_continuations(
    trunk: Trunk,
    lm: LMHead,
    codec: TextCodec,
    contexts: Sequence[str],
    continuations: Sequence[str],
    *,
    batch_tokens: int,
) -> list[float]:
    """log p(continuation | context) in nats (0 or less), per pair, in the order given."""
    asked, order = distinct(read_asked(codec, contexts, continuations, closed=False))
    if not asked:
        return []
    encoded = Encoded([one.ids[:-1] for one in asked])  # nothing follows the last unit
    scores = np.zeros(len(asked))
    embedding = trunk.embed.tokens.weight
    for rows, _, hidden in Reader(trunk, "causal", codec.special.pad, batch_tokens).batches(encoded):
        chosen = [asked[row] for row in rows]
        places = np.repeat(np.arange(len(chosen)), [one.stop - one.start for one in chosen])
        positions = np.concatenate([np.arange(one.start, one.stop) for one in chosen])
        targets = np.concatenate([one.ids[one.start : one.stop] for one in chosen])
        read = hidden[torch.from_numpy(places), torch.from_numpy(positions - 1)]
        found = log_probabilities(lm, read, embedding, targets)
        scores[rows] = np.bincount(places, weights=found, minlength=len(rows))
    return scores[order].tolist()  # type: ignore[no-any-return]


def log_probabilities(
    lm: LMHead, hidden_ND: Tensor, embedding_VD: Tensor, targets: NDArray[np.integer]
) -> NDArray[np.float64]:
    """(N,) log p(target) in nats, the softmax in fp32; the (N, V) logits never exist as a whole."""
    wanted = torch.from_numpy(targets.astype(np.int64)).to(hidden_ND.device)
    rows = max(1, HEAD_LOGITS // embedding_VD.shape[0])
    found = [
        torch.log_softmax(lm(hidden_ND[start : start + rows], embedding_VD).float(), dim=-1)
        .gather(1, wanted[start : start + rows, None])
        .squeeze(1)
        for start in range(0, len(wanted), rows)
    ]
    return np.asarray(torch.cat(found).double().cpu().numpy())


def distinct(asked: Sequence[Asked]) -> tuple[list[Asked], NDArray[np.int64]]:
    """(every different question once, which of them each of `asked` is)."""
    places: dict[tuple[bytes, int, int], int] = {}
    order = [places.setdefault((one.ids.tobytes(), one.start, one.stop), len(places)) for one in asked]
    first = {place: one for one, place in reversed(list(zip(asked, order, strict=True)))}
    return [first[place] for place in range(len(places))], np.asarray(order, dtype=np.int64)


def read_asked(codec: TextCodec, contexts: Sequence[str], continuations: Sequence[str], *, closed: bool) -> list[Asked]:
    """Every context with its continuation as units, cut from the left to max_positions.

    closed: what the tokenizer's template puts after a text stands there too (a causal trunk never looks at it). A unit
    that reaches over the boundary belongs to the continuation.
    """
    if isinstance(contexts, str) or isinstance(continuations, str) or len(contexts) != len(continuations):
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
        _asked(codec, encoding, continuations[place], place=place, boundary=len(contexts[place]), frame=frame)
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


def opened(codec: TextCodec, units: Ids) -> Ids:
    """The units of a prompt as the trunk reads them, never none."""
    return np.asarray([*opening_ids(codec, needed=not len(units)), *units], dtype=np.int32)
