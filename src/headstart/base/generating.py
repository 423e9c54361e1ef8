"""Continuing texts: a Decoder between the two ends of a tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from headstart.base.decoding import Decoder
from headstart.base.sampling import Sampling
from headstart.base.scoring import opening_ids
from headstart.data.text_codec import Ids, TextCodec
from headstart.ground.errors import DataError, RunError


def continue_texts(decoder: Decoder, codec: TextCodec, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """The continuation of every prompt, without the prompt and without special tokens."""
    if isinstance(prompts, str):
        raise DataError("the prompts are one str; expected a list of prompts. Put it into a list.")
    asked: Counter[bytes] = Counter()
    places = {}
    for place, units in enumerate(prompt_units(codec, prompts)):
        name = units.tobytes()
        places[decoder.add(units, sampling, copy=asked[name])] = place
        asked[name] += 1
    written: list[list[int]] = [[] for _ in prompts]
    while decoder.busy:
        for drawn in decoder.step():
            if drawn.finish == "error":
                raise RunError(drawn.failure)
            if drawn.finish != "stop":
                written[places[drawn.request]].append(drawn.unit)
    return [codec.decode(units) for units in written]


def prompt_units(
    codec: TextCodec, prompts: Sequence[str], *, room: int | None = None, opened: bool = False
) -> list[Ids]:
    """Every prompt as the trunk reads it, with what the tokenizer's own template puts before a text.

    room: units at most; a longer prompt loses its beginning, but not its opening. opened: a chat template has written
    the opening.

    Raises:
        DataError: a prompt is empty, or holds what no tokenizer can read.
    """
    opening = np.asarray([] if opened else opening_ids(codec, needed=False), dtype=np.int32)
    found = []
    for place, units in enumerate(codec.encode_plain(list(prompts))):
        if not len(units):
            which = "the prompt" if len(prompts) == 1 else f"prompt {place}"
            what = "has no tokens" if prompts[place] else "is empty"
            raise DataError(f"{which} {what}; expected text to continue. Give some.")
        kept = units if room is None else units[-max(1, room - len(opening)) :]
        found.append(np.concatenate((opening, kept)))
    return found
