"""Texts to words and word n-grams as 64-bit numbers, for many texts at once.

A word is a run of letters and digits, in lower case; everything else only separates. The number of a word is a
polynomial over its characters, taken from prefix sums, so that no word is ever cut out as a string; the number of an
n-gram is a polynomial over its words. What cleaning, duplicates and decontamination call "the same text" is the same
sequence of these numbers. Two different words share one with a probability of about 2^-64 a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
STEP = 0xD1342543DE82EF95  # odd; an n-gram's polynomial
MANY = 1 << 20
CODES = 1 << 16  # UTF-16 code units; letters above them (emoji, rare scripts) separate


@dataclass(frozen=True, slots=True)
class Words:
    """The words of several texts.

    starts, ends: (W,) code units in `lowered`. numbers: (W,) the words as numbers. first: (D + 1,) text d has the words
    first[d] to first[d + 1]. begins: (D + 1,) code unit in `lowered` at which text d begins.
    """

    lowered: NDArray[np.uint16]
    starts: I64
    ends: I64
    numbers: U64
    first: I64
    begins: I64

    def __len__(self) -> int:
        return len(self.first) - 1

    def span(self, text: int) -> slice:
        """The words of one text."""
        return slice(int(self.first[text]), int(self.first[text + 1]))

    def per_text(self, values: NDArray[np.int64]) -> I64:
        """Sums of a value per word over the words of each text."""
        sums = np.concatenate([[0], np.cumsum(values)])
        found: I64 = sums[self.first[1:]] - sums[self.first[:-1]]
        return found

    def byte_offset(self, text: int, code_unit: int) -> int:
        """Where a code unit of `lowered` lies in the UTF-8 of its text."""
        before = self.lowered[self.begins[text] : code_unit].tobytes()
        return len(before.decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass"))


def find_words(texts: Sequence[str]) -> Words:
    """The words of all `texts`."""
    pieces = [_lower(text).encode("utf-16-le", "surrogatepass") for text in texts]
    sizes = np.fromiter((len(piece) // 2 + 1 for piece in pieces), dtype=np.int64, count=len(pieces))
    begins = np.concatenate([[1], 1 + np.cumsum(sizes)])
    newline = "\n".encode("utf-16-le")
    codes = np.frombuffer(newline + newline.join(pieces) + newline, dtype=np.uint16)
    edges = np.flatnonzero(np.diff(_word_codes()[codes])) + 1  # a newline at both ends: starts and ends alternate
    starts, ends = edges[0::2], edges[1::2]
    powers, inverses = _powers(1 << max(16, len(codes).bit_length()))
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum(_code_numbers()[codes] * powers[: len(codes)], out=sums[1:])
    numbers = _mix((sums[ends] - sums[starts]) * inverses[starts])
    return Words(codes, starts, ends, numbers, np.searchsorted(starts, begins), begins)


def find_words_of_many(texts: Sequence[str]) -> Words:
    """Like `find_words`, with the memory of a part of the texts besides the result."""
    parts = []
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= MANY:
            parts.append(find_words(chunk))
            chunk, size = [], 0
    return join_words([*parts, find_words(chunk)])


def join_words(parts: Sequence[Words]) -> Words:
    """The words of several parts as those of all their texts."""
    codes = np.cumsum([0, *(len(part.lowered) for part in parts)])
    words = np.cumsum([0, *(len(part.numbers) for part in parts)])
    return Words(
        lowered=np.concatenate([part.lowered for part in parts]),
        starts=np.concatenate([part.starts + at for part, at in zip(parts, codes, strict=False)]),
        ends=np.concatenate([part.ends + at for part, at in zip(parts, codes, strict=False)]),
        numbers=np.concatenate([part.numbers for part in parts]),
        first=np.concatenate([*(part.first[:-1] + at for part, at in zip(parts, words, strict=False)), words[-1:]]),
        begins=np.concatenate([*(part.begins[:-1] + at for part, at in zip(parts, codes, strict=False)), codes[-1:]]),
    )


def grams(numbers: U64, length: int) -> U64:
    """(W - length + 1,) the n-grams of `length` words, one for each word that has enough words after it."""
    return next(found for n, found in all_grams(numbers, length) if n == length)


def all_grams(numbers: U64, longest: int) -> Iterator[tuple[int, U64]]:
    """(n, the n-grams) for n from 1 to `longest`, each made from the one before."""
    found = numbers
    for n in range(1, longest + 1):
        if n > 1:
            found = found[:-1] * np.uint64(STEP) + numbers[n - 1 :] if len(found) else found
        yield n, found


def distinct(numbers: U64, length: int) -> U64:
    """The set of a text's n-grams, sorted and spread over all 64 bits."""
    return np.unique(_mix(grams(numbers, length)))


def spread(numbers: U64) -> U64:
    """The numbers with all their bits mixed, for what looks at a few of them."""
    return _mix(numbers)


def _lower(text: str) -> str:
    """Lower case without a change of length: a few capitals (U+0130) have two small letters, and stay as they are."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(low if len(low := c.lower()) == 1 else c for c in text)
    return lowered


@cache
def _word_codes() -> NDArray[np.bool_]:
    """(65536,) whether a code unit belongs to a word."""
    return np.fromiter((chr(code).isalnum() for code in range(CODES)), dtype=np.bool_, count=CODES)


@cache
def letter_codes() -> NDArray[np.bool_]:
    """(65536,) whether a code unit is a letter."""
    return np.fromiter((chr(code).isalpha() for code in range(CODES)), dtype=np.bool_, count=CODES)


@cache
def _code_numbers() -> U64:
    return _mix(np.arange(1, CODES + 1, dtype=np.uint64) * np.uint64(BASE))


@cache
def _powers(size: int) -> tuple[U64, U64]:
    """Powers of the base and of its inverse modulo 2^64, from 0 to size - 1."""
    found = []
    for base in (BASE, pow(BASE, -1, 1 << 64)):
        powers = np.full(size, base, dtype=np.uint64)
        powers[0] = 1
        found.append(np.cumprod(powers, out=powers))
    return found[0], found[1]


def _mix(numbers: U64) -> U64:
    """splitmix64's finish (Steele et al. 2014): a one-to-one map that lets every bit reach every other."""
    mixed = numbers ^ (numbers >> np.uint64(30))
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
