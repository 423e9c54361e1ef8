"""Continuing texts: a Decoder between the two ends of a tokenizer.

What a unit spells depends on what stands before it: decoders of SentencePiece and WordPiece drop the space in front of
a text's first unit, and an answer's first unit is not a text's. So answers are spelled behind the end of their prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from headstart.base.decoding import Decoder
from headstart.base.sampling import Sampling
from headstart.base.scoring import opening_ids
from headstart.data.text_codec import Ids, TextCodec
from headstart.ground.errors import DataError, RunError

BROKEN = "\ufffd"  # what a decoder gives for bytes that are no character
MAX_END_UNITS = 16  # a prompt's last character has 4 bytes at most; special units may stand behind it


def continue_texts(decoder: Decoder, codec: TextCodec, prompts: Sequence[str], sampling: Sampling) -> list[str]:
    """The continuation of every prompt, without the prompt and without special tokens."""
    if isinstance(prompts, str):
        raise DataError("the prompts are one str; expected a list of prompts. Put it into a list.")
    asked: Counter[bytes] = Counter()
    places = {}
    read = prompt_units(codec, prompts)
    for place, units in enumerate(read):
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
    return [spell(codec, units, after=end_units(codec, ids)) for units, ids in zip(written, read, strict=True)]


def end_units(codec: TextCodec, prompt: Ids) -> list[int]:
    """The fewest last units of a prompt that spell whole characters; none where there are no such."""
    ends = (prompt[-count:].tolist() for count in range(1, min(len(prompt), MAX_END_UNITS) + 1))
    return next((end for end in ends if (text := codec.decode(end)) and BROKEN not in text), [])


def spell(codec: TextCodec, units: Sequence[int], *, after: Sequence[int], skip_special: bool = True) -> str:
    """What `units` add to the text that the units `after` spell."""
    before = codec.decode(after, skip_special=skip_special)
    text = codec.decode([*after, *units], skip_special=skip_special)
    # Byte units that are no character spoil those of a whole character before them.
    return text[len(before) :] if text.startswith(before) else codec.decode(units, skip_special=skip_special)


def prompt_units(codec: TextCodec, prompts: Sequence[str], *, opened: bool = False) -> list[Ids]:
    """Every prompt as the trunk reads it, with what the tokenizer's own template puts before a text.

    opened: a chat template has written the opening.

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
        found.append(np.concatenate((opening, units)))
    return found
