"""Duplicates that cross the parts of a Task.

Exact: the same words in the same order, whatever case and punctuation. Near: MinHash (rensa, 126 permutations in 21
bands of 6) over character 5-grams proposes pairs, and the true Jaccard similarity of the 5-gram sets decides.

Character 5-grams rather than word 5-grams, because most labelled texts are short: at a threshold of 0.8 one replaced
word ends the match below about 18 words, and one replaced letter below about 9, whereas one word 5-gram chain breaks
on any change below 49 words. Texts under 5 words are compared exactly only, and a near-duplicate counts only where
both rows have the same answer: "activate my card" and "activate my app" are two intents and no leak.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.data.examples import Examples, Target, as_text
from headstart.data.raw import Raw

NEAR = 0.8  # Jaccard similarity from which two texts count as one
MIN_WORDS = 5
SHINGLE = 5
BANDS, ROWS_PER_BAND = 21, 6  # finds 99.8 % of pairs at 0.8 similarity, 28 % of those at 0.5
CHUNK_CHARS = 4 << 20
REACH = 16
PATIENCE = 40  # after so many near misses a row is compared no more: in a table of templates every pair is a near miss
MARGIN = 0.1  # 2.8 standard deviations of the similarity that 126 permutations estimate at 0.8
PIECE_PAIRS = 1 << 16
MULTIPLIER = 0x9E3779B97F4A7C15  # odd, bits well spread (2^64 over the golden ratio)
MEMBER_GAP = "\x1f"  # stands between the members of a pair, so that their 5-grams never mix

_NOT_WORD = re.compile(r"[^\w]+", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """groups: (N,) int64, rows with one number are duplicates. exact: (N,) int64, the same for exact ones."""

    groups: NDArray[np.int64]
    exact: NDArray[np.int64]


def find_duplicates(examples: Examples, *, any_answer: bool = False, threshold: float = NEAR) -> Duplicates:
    """Groups of exact and near duplicates among all rows; `any_answer` drops the demand for the same answer."""
    keys = [row_key(examples, row) for row in range(len(examples))]
    first: dict[str, int] = {}
    exact = np.fromiter((first.setdefault(key, row) for row, key in enumerate(keys)), dtype=np.int64, count=len(keys))
    singles = [row for key, row in first.items() if _enough_words(key)]
    answers: dict[int, set[Target]] = {}
    for row, owner in enumerate(exact.tolist()):
        answers.setdefault(owner, set()).add(examples.targets[row])
    parent = exact.copy()
    _join_similar(keys, singles, threshold, parent, None if any_answer else answers)
    roots = np.fromiter((_root(parent, row) for row in range(len(keys))), dtype=np.int64, count=len(keys))
    return Duplicates(groups=roots, exact=exact)


def row_key(examples: Examples, row: int) -> str:
    """The words of a row in lower case; a text without any word stands for itself, a picture's digest for it."""
    given = examples.texts[row]
    members = [given.digest if isinstance(given, Raw) else as_text(given)]
    if examples.pairs is not None:
        members.append(examples.pairs[row])
    return MEMBER_GAP.join(normalise(member) for member in members)


def normalise(text: str) -> str:
    """Lower-case words with single spaces; punctuation alone (a smiley) is kept as it is."""
    words = _NOT_WORD.sub(" ", text.lower()).strip()
    return words or text.strip()


def _enough_words(key: str) -> bool:
    return all(member.count(" ") + 1 >= MIN_WORDS for member in key.split(MEMBER_GAP))


def _join_similar(
    keys: Sequence[str],
    rows: Sequence[int],
    threshold: float,
    parent: NDArray[np.int64],
    answers: Mapping[int, set[Target]] | None,
) -> None:
    """Joins in `parent` the rows whose true similarity reaches the threshold (and, with `answers`, that share one)."""
    if len(rows) < 2:
        return
    digests = np.concatenate([_digests([keys[row] for row in chunk]) for chunk in _chunks(keys, rows)])
    sets: dict[int, list[frozenset[str]]] = {}
    failures = np.zeros(len(rows), dtype=np.int64)
    for i, j in _candidates(digests, threshold).tolist():
        a, b = rows[i], rows[j]
        if failures[i] >= PATIENCE or failures[j] >= PATIENCE or _root(parent, a) == _root(parent, b):
            continue
        if answers is not None and not answers[a] & answers[b]:
            continue
        if _jaccard(_shingles(keys, a, sets), _shingles(keys, b, sets)) >= threshold:
            _union(parent, a, b)
        else:
            failures[i] += 1
            failures[j] += 1


def _candidates(digests: NDArray[np.uint32], threshold: float) -> NDArray[np.int64]:
    """(M, 2) pairs with an equal band and an estimated similarity near the threshold, the most similar first.

    In a large bucket a row meets only the next REACH rows; chains of joined pairs close the group.
    """
    found: list[NDArray[np.int64]] = []
    count = len(digests)
    for band in range(BANDS):
        packed = np.zeros(count, dtype=np.uint64)
        for column in range(band * ROWS_PER_BAND, (band + 1) * ROWS_PER_BAND):
            packed = packed * np.uint64(MULTIPLIER) + digests[:, column]
        order = np.argsort(packed, kind="stable")
        packed = packed[order]
        for step in range(1, min(REACH, count - 1) + 1):
            same = np.flatnonzero(packed[step:] == packed[:-step])
            if not len(same):
                break
            first, second = order[same], order[same + step]  # stable order: first < second
            found.append(first.astype(np.int64) * count + second)
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    both = np.stack([pairs // count, pairs % count], axis=1)
    pieces = np.array_split(both, len(both) // PIECE_PAIRS + 1)
    shared = np.concatenate([(digests[piece[:, 0]] == digests[piece[:, 1]]).mean(axis=1) for piece in pieces])
    near = shared >= threshold - MARGIN
    return both[near][np.argsort(-shared[near], kind="stable")]


def _chunks(keys: Sequence[str], rows: Sequence[int]) -> list[list[int]]:
    chunks: list[list[int]] = [[]]
    size = 0
    for row in rows:
        if size > CHUNK_CHARS:
            chunks.append([])
            size = 0
        chunks[-1].append(row)
        size += len(keys[row])
    return chunks


def _digests(texts: Sequence[str]) -> NDArray[np.uint32]:
    """(N, BANDS * ROWS_PER_BAND) MinHash signatures of the character 5-grams, hashed for all texts at once."""
    from rensa import RMinHash

    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):
        hashes = hashes * np.uint64(MULTIPLIER) + codes[offset : offset + len(hashes)]
    hashes ^= hashes >> np.uint64(29)  # splitmix64's finish: spreads the low bits of short alphabets
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(32)
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    inside = np.ones(len(hashes), dtype=bool)
    for back in range(1, SHINGLE):  # 5-grams that reach into the next text
        ends = starts[1:-1] - back
        inside[ends[(ends >= 0) & (ends < len(inside))]] = False
    offsets = np.concatenate([[0], np.cumsum(lengths - SHINGLE + 1)])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(hashes[inside]), offsets.astype(np.uint64), num_perm=BANDS * ROWS_PER_BAND, seed=42
    )
    return np.asarray(matrix.to_rows(), dtype=np.uint32)


def _shingles(keys: Sequence[str], row: int, sets: dict[int, list[frozenset[str]]]) -> list[frozenset[str]]:
    """5-gram sets by member; a pair is as similar as its less similar member."""
    if row not in sets:
        sets[row] = [
            frozenset(member[i : i + SHINGLE] for i in range(len(member) - SHINGLE + 1))
            for member in keys[row].split(MEMBER_GAP)
        ]
    return sets[row]


def _jaccard(a: Sequence[frozenset[str]], b: Sequence[frozenset[str]]) -> float:
    return min(len(x & y) / max(1, len(x | y)) for x, y in zip(a, b, strict=True))


def _root(parent: NDArray[np.int64], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row


def _union(parent: NDArray[np.int64], a: int, b: int) -> None:
    a, b = _root(parent, a), _root(parent, b)
    parent[max(a, b)] = min(a, b)
