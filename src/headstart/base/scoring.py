"""Log-probability of continuations under a causal pattern: one forward pass, tokenised once and split after.

Splitting after tokenising keeps the units that the text really has: tokenising the two parts alone would put a
boundary where the tokenizer never puts one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from headstart.base.forward import Reader
from headstart.data.text_codec import Encoded, Ids, TextCodec
from headstart.ground.errors import CapabilityError, DataError, safe_repr
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk


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
    if isinstance(contexts, str) or isinstance(continuations, str) or len(contexts) != len(continuations):
        raise DataError(
            f"{len(contexts)} contexts came with {len(continuations)} continuations; expected two lists of one length."
        )
    split = [split_ids(codec, a, b, place=i) for i, (a, b) in enumerate(zip(contexts, continuations, strict=True))]
    encoded = Encoded([ids for ids, _ in split])
    scores = [0.0] * len(split)
    embedding = trunk.embed.tokens.weight
    for rows, batch, hidden in Reader(trunk, "causal", codec.special.pad, batch_tokens).batches(encoded):
        for place, row in enumerate(rows):
            ids, start = split[row]
            logits = lm(hidden[place, start - 1 : len(ids) - 1], embedding).float()
            chosen = batch.units[place, start : len(ids)]
            scores[row] = float(torch.log_softmax(logits, dim=-1).gather(1, chosen[:, None]).double().sum())
    return scores


def split_ids(codec: TextCodec, context: str, continuation: str, *, place: int) -> tuple[Ids, int]:
    """(ids of the whole text, index of the first unit of the continuation), cut from the left to max_positions.

    A unit that reaches over the boundary belongs to the continuation.
    """
    if not continuation:
        raise DataError(f"continuation {place} is empty; expected text to score. Drop the pair.")
    encoding = codec.tokenizer.encode(context + continuation, add_special_tokens=False)
    first = next((i for i, (_, end) in enumerate(encoding.offsets) if end > len(context)), len(encoding.ids))
    if first == len(encoding.ids):
        raise DataError(
            f"continuation {place} is {safe_repr(repr(continuation), 80)}, which has no tokens; expected some."
        )
    opening = opening_ids(codec, needed=first == 0)
    room = codec.max_positions - len(opening)
    keep = encoding.ids[-room:]
    start_at = len(opening) + first - (len(encoding.ids) - len(keep))
    if start_at < max(1, len(opening)):
        raise DataError(
            f"continuation {place} has {len(encoding.ids) - first:,} tokens; expected at most {room:,}. Split it."
        )
    return np.asarray([*opening, *keep], dtype=np.int32), start_at


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


def opened(codec: TextCodec, units: Ids) -> Ids:
    """The units of a prompt as the trunk reads them, never none."""
    return np.asarray([*opening_ids(codec, needed=not len(units)), *units], dtype=np.int32)
