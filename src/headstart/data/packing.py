"""Documents to a flat file of units, `<s> units </s>` each, whatever their length: text is tokenised piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from headstart.data.corpus import BOS_ID, EOS_ID

CALL_BYTES = 1 << 19  # of text in one call of the tokenizer, where a unit costs about 100 bytes of memory
_LINE_END = re.compile(r"\n(?=\S)")


def write_units(texts: Iterable[str], tokenizer: Tokenizer, out: BinaryIO) -> Iterator[int]:
    """Append every text to `out` as uint16; yields the units of each, its borders included."""
    for group in _groups(texts):
        pieces = [cut(text) for text in group]
        encodings = iter(tokenizer.encode_batch_fast([p for some in pieces for p in some], add_special_tokens=False))
        for some in pieces:
            ids = [np.array(next(encodings).ids, dtype=np.uint16) for _ in some]
            units: NDArray[np.uint16] = np.concatenate([_BEGIN, *ids, _END])
            out.write(units.tobytes())
            yield len(units)


def cut(text: str) -> list[str]:
    """A text in pieces of about CALL_BYTES characters that are tokenised to the same units as the whole.

    Our tokenizers split words first, and no word crosses from a line's end to a letter or mark (`corpus.WORDS`).
    """
    if len(text) <= CALL_BYTES:
        return [text]
    pieces, begin = [], 0
    for found in _LINE_END.finditer(text):
        if found.end() - begin >= CALL_BYTES:
            pieces.append(text[begin : found.end()])
            begin = found.end()
    return [*pieces, text[begin:]]


_BEGIN = np.array([BOS_ID], dtype=np.uint16)
_END = np.array([EOS_ID], dtype=np.uint16)


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= CALL_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
