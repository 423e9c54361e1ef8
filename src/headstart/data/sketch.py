"""A sealed sketch of what a base has read: enough to tell whether a text stood in it, too little to read it back.

Enter: the texts a base was trained on. Leave: the set of their word 6-grams as sorted, truncated hashes, in a file of a
few megabytes that travels with the base. A stretch of n words is found when all its 6-grams are there, so that one set
answers for whole short items (6 to 12 words) and for the 13 words in a row of long ones, which are 8 hits running:
the same items and the same words as in `contamination`.

Coding: the n smallest of the 6-grams' 64-bit hashes (all of them where they fit the budget: a bottom-k sketch, Broder
1997) fall into b * 2^r slots, b being n to 2n. Of a slot's number the low r bits are stored as they are and the rest in
unary (Elias 1974, Fano 1971): r + 1 + b / n bits a gram, 7 for one false hit in 32, where a Bloom filter takes 7.2; 10
for one in 256, where it takes 11.5. A hash that was never read meets a taken slot with a probability of `false_rate`.

File: one line of JSON (`Facts`), then the low bits, then the unary part, each padded to whole bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from headstart.data.words import U64, Words, find_words, grams, spread
from headstart.ground.errors import BaseError, safe_repr
from headstart.ground.files import write_atomic

FILE = "corpus.sketch"
GRAM = 6
MOST_BITS, FEWEST_BITS = 10, 5  # of a slot's low part: one false hit in 1,024, or in 32 where the budget is small
UNARY_BITS = 2  # a gram, of the high part, at least
CHUNK = 1 << 20  # characters of text looked at together
MAX_HEADER = 4096
PIECE = 1 << 16  # grams whose low bits are packed together; whole bytes whatever r
EVERYTHING = (1 << 64) - 1

Bits = NDArray[np.uint8]


def file_name(place: int) -> str:
    """The file of the sketch of a base's first pre-training (0), second (1), ..."""
    return FILE if place == 0 else f"{Path(FILE).stem}-{place + 1}{Path(FILE).suffix}"


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a sketch says of itself.

    limit: a gram whose hash lies above is not in it, whether it was read or not. grams: taken slots. slots: all of
    them, buckets << bits. words: of the text. covers: what was read, for people.
    """

    format: Literal["headstart-sketch"]
    version: Literal[1]
    gram: Literal[6]
    limit: int
    grams: int
    bits: int
    buckets: int
    words: int
    covers: str

    def __post_init__(self) -> None:
        if not (1 <= self.bits <= 32 and 0 <= self.grams <= self.buckets <= 2**40 and 0 < self.limit <= EVERYTHING):
            raise ValueError("grams, buckets, bits or limit is out of range")

    @property
    def slots(self) -> int:
        return self.buckets << self.bits

    @property
    def false_rate(self) -> float:
        """The probability that a gram which was never read is found all the same."""
        return self.grams / self.slots if self.slots else 0.0

    @property
    def share(self) -> float:
        """The share of all 6-grams that was looked at; below 1 where the text was too long for the budget."""
        return self.limit / EVERYTHING

    @property
    def low_bytes(self) -> int:
        return -(-self.grams * self.bits // 8)

    @property
    def unary_bytes(self) -> int:
        return -(-(self.grams + self.buckets) // 8)


@dataclass(frozen=True)
class Sketch:
    """A sketch in memory. low, unary: the packed bits, mapped from the file; they are unpacked when first asked."""

    facts: Facts
    low: Bits
    unary: Bits

    def holds(self, hashes: U64) -> NDArray[np.bool_]:
        """Whether each hash, all of them at most `facts.limit`, was read (or meets a taken slot by chance)."""
        slots = slots_of(hashes, self.facts)
        place = np.minimum(np.searchsorted(self._taken, slots), max(0, len(self._taken) - 1))
        return self._taken[place] == slots if len(self._taken) else np.zeros(len(slots), dtype=np.bool_)

    @cached_property
    def _taken(self) -> U64:
        """The taken slots, sorted."""
        facts = self.facts
        ones = np.flatnonzero(np.unpackbits(self.unary, count=facts.grams + facts.buckets))
        if len(ones) != facts.grams:
            raise BaseError(
                f"the sketch holds {len(ones):,} grams; expected {facts.grams:,} as its first line says. "
                "Copy the base again from where it came."
            )
        high = (ones - np.arange(facts.grams)).astype(np.uint64) << np.uint64(facts.bits)
        return high | _unpacked(self.low, facts.grams, facts.bits)

    def to_bytes(self) -> bytes:
        """The file."""
        return msgspec.json.encode(self.facts) + b"\n" + self.low.tobytes() + self.unary.tobytes()


def gram_hashes(words: Words) -> tuple[U64, NDArray[np.int64]]:
    """(hashes, places) of the 6-grams that lie inside one text; a place is the number of a gram's first word."""
    hashes = spread(grams(words.numbers, GRAM))
    text = np.repeat(np.arange(len(words)), np.diff(words.first))
    inside = np.flatnonzero(text[: len(hashes)] == text[GRAM - 1 :]) if len(hashes) else np.zeros(0, dtype=np.int64)
    return hashes[inside], inside


def sketch_texts(texts: Iterable[str], *, max_bytes: int, covers: str) -> Sketch:
    """The sketch of all texts, in at most about `max_bytes` (a header of some 200 bytes comes on top).

    Memory: 16 bytes for every gram that the budget has room for, and one chunk of text.
    """
    most = max(1, max_bytes * 8 // (FEWEST_BITS + UNARY_BITS))
    kept, fresh, waiting = np.zeros(0, dtype=np.uint64), list[U64](), 0
    limit, num_words = EVERYTHING, 0
    for chunk in _chunks(texts):
        words = find_words(chunk)
        num_words += len(words.numbers)
        hashes = gram_hashes(words)[0]
        fresh.append(np.unique(hashes[hashes <= np.uint64(limit)]))
        waiting += len(fresh[-1])
        if waiting > most:
            kept, limit = _smallest([kept, *fresh], most, limit)
            fresh, waiting = [], 0
    kept, limit = _smallest([kept, *fresh], most, limit)
    room = max_bytes * 8 / max(1, len(kept))
    bits = min(MOST_BITS, max(FEWEST_BITS, int(room) - UNARY_BITS))
    buckets = int(min(max(room - bits - 1, 1.0), 2.0 if bits < MOST_BITS else 1.0) * len(kept))
    facts = Facts("headstart-sketch", 1, 6, limit, 0, bits, buckets, num_words, covers)
    return _coded(kept, facts)


def _smallest(parts: list[U64], most: int, limit: int) -> tuple[U64, int]:
    """(at most `most` different hashes, the smallest of them all; the limit that they lie within)."""
    hashes = np.unique(np.concatenate(parts))
    return (hashes, limit) if len(hashes) <= most else (hashes[:most], int(hashes[most - 1]))


def _coded(hashes: U64, facts: Facts) -> Sketch:
    """The sorted hashes as low bits and a unary part."""
    slots = np.unique(slots_of(hashes, facts))
    facts = msgspec.structs.replace(facts, grams=len(slots))
    unary = np.zeros(facts.grams + facts.buckets, dtype=np.uint8)
    unary[(slots >> np.uint64(facts.bits)).astype(np.int64) + np.arange(facts.grams)] = 1
    return Sketch(facts, _packed(slots, facts.bits), np.packbits(unary))


def slots_of(hashes: U64, facts: Facts) -> U64:
    """The slot of each hash: its place in [0, limit] in `slots` equal parts. float64 is the same on every machine."""
    found = (hashes.astype(np.float64) * (facts.slots / facts.limit)).astype(np.uint64)
    return np.minimum(found, np.uint64(max(0, facts.slots - 1)))


def write_sketch(sketch: Sketch, path: Path) -> None:
    """Put a sketch into a file, at once or not at all; RunError where the disk refuses."""
    write_atomic(path, sketch.to_bytes())


def open_sketch(path: Path) -> Sketch:
    """A sketch from its file: the first line is read, the rest is mapped.

    Raises:
        BaseError: it is no sketch, of another version, or not whole.
    """
    try:
        with path.open("rb") as handle:
            line = handle.readline(MAX_HEADER)
        facts = msgspec.json.decode(line, type=Facts)
        size = path.stat().st_size
        expected = len(line) + facts.low_bytes + facts.unary_bytes
        if size != expected:
            raise ValueError(f"{size:,} bytes, not {expected:,}")
    except (OSError, ValueError) as problem:
        raise BaseError(
            f"{path} is no sketch of a corpus ({safe_repr(str(problem), 120)}); expected what `headstart pretrain` "
            "writes beside the weights. Copy the base again from where it came."
        ) from problem
    if not facts.grams:
        empty = np.zeros(0, dtype=np.uint8)
        return Sketch(facts, empty, empty)
    mapped = np.memmap(path, dtype=np.uint8, mode="r", offset=len(line))
    return Sketch(facts, mapped[: facts.low_bytes], mapped[facts.low_bytes :])


def _packed(slots: U64, bits: int) -> Bits:
    """The low `bits` of every slot, one behind the other."""
    places = np.arange(bits, dtype=np.uint64)
    pieces = [
        np.packbits(((slots[i : i + PIECE, None] >> places) & np.uint64(1)).astype(np.uint8))
        for i in range(0, len(slots), PIECE)
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.uint8)


def _unpacked(low: Bits, count: int, bits: int) -> U64:
    found = np.zeros(count, dtype=np.uint64)
    places = np.arange(bits, dtype=np.uint64)
    for i in range(0, count, PIECE):
        many = min(PIECE, count - i)
        piece = low[i * bits // 8 : -(-(i + many) * bits // 8)]
        flags = np.unpackbits(piece, count=many * bits).reshape(many, bits).astype(np.uint64)
        found[i : i + many] = (flags << places).sum(axis=1, dtype=np.uint64)
    return found


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
