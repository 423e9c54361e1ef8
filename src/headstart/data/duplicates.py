"""Documents that repeat earlier ones, found on disk: memory stays the same whatever their number.

Exact: the same words in the same order. Near: MinHash (rensa, 126 permutations in 21 bands of 6; Broder 1997) over word
5-grams proposes pairs, and the true Jaccard similarity of the two 5-gram sets decides. A document goes only where an
earlier one that stays is that similar, so every dropped document has a witness. Rows are in the order of reading, the
held-out shard first: what is held out is never dropped, and training text that repeats it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.data.leakage import BANDS, MARGIN, MULTIPLIER, PATIENCE, REACH, ROWS_PER_BAND
from headstart.data.scratch import KEYED, Column, Parts, Records, groups, keyed_parts, part_of
from headstart.data.words import I64, U64, Words, distinct, find_words, grams, spread

SHINGLE = 5
PERMUTATIONS = BANDS * ROWS_PER_BAND
SIGNATURE = np.dtype(np.uint32)
PIECE = 1 << 13  # rows: 4 MB of signatures
BLOCK = 1 << 13  # rows whose pairs are looked at together; at most 21 x 17 pairs of 16 bytes a row
CACHED_SETS = 16
PAIR = np.dtype([("earlier", np.int64), ("later", np.int64)])


def digest(text: str, numbers: U64) -> tuple[int, int]:
    """128 bits of a text's words; a text without any word stands for itself."""
    content = numbers.tobytes() or text.encode("utf-8", "surrogatepass")
    found = hashlib.blake2b(content, digest_size=16).digest()
    return int.from_bytes(found[:8], "little"), int.from_bytes(found[8:], "little")


def signatures(words: Words) -> NDArray[np.uint32]:
    """(D, 126) MinHash signatures of the texts' word 5-grams; a text below 5 words has an empty set."""
    from rensa import RMinHash

    counts = np.diff(words.first)
    sizes = np.maximum(counts - SHINGLE + 1, 0)
    place = np.arange(len(words.numbers)) - np.repeat(words.first[:-1], counts)
    inside = place < np.repeat(sizes, counts)
    found = spread(grams(words.numbers, SHINGLE))
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(found[inside[: len(found)]]),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64),
        num_perm=PERMUTATIONS,
        seed=42,
    )
    return np.asarray(matrix.to_rows(), dtype=np.uint32).reshape(len(words), PERMUTATIONS)


def exact_repeats(rows: Column, scratch: Path) -> Iterator[tuple[int, int]]:
    """(row, the first row with the same digest), in no particular order."""
    parts, shift = keyed_parts(scratch / "exact", len(rows))
    for first, piece in rows.pieces(PIECE):
        records = np.zeros(len(piece), dtype=KEYED)
        records["key"], records["check"] = piece["digest"], piece["check"]
        records["row"] = np.arange(first, first + len(piece))
        parts.add(records, part_of(records["key"], shift))
    for part in range(parts.count):
        ordered, begins = groups(parts.read(part))
        for i in np.flatnonzero(begins != np.arange(len(ordered))).tolist():
            yield int(ordered["row"][i]), int(ordered["row"][begins[i]])


def near_repeats(
    signs: Column,
    *,
    threshold: float,
    stays: Callable[[int], bool],
    may_go: Callable[[int], bool],
    text_of: Callable[[int], str],
    scratch: Path,
) -> Iterator[tuple[int, int]]:
    """(row, the earlier row that it repeats), by ascending row. What was yielded must not stay from then on.

    stays: whether a row is still kept. may_go: whether it may be dropped at all.
    """
    if not len(signs):
        return
    shingles = lru_cache(maxsize=CACHED_SETS)(lambda row: distinct(find_words([text_of(row)]).numbers, SHINGLE))
    pairs = _candidates(signs, scratch, stays)
    for block in range(pairs.count):
        found = np.unique(pairs.read(block))
        found, shared = _likely(found, signs, threshold)
        failures, settled = 0, -1
        for i in np.lexsort((-shared, found["later"])).tolist():
            earlier, later = int(found["earlier"][i]), int(found["later"][i])
            if later != settled:
                failures, settled = 0, later
            if failures >= PATIENCE or not (stays(later) and may_go(later) and stays(earlier)):
                continue
            if jaccard(shingles(earlier), shingles(later)) >= threshold:
                yield later, earlier
            else:
                failures += 1


def jaccard(a: U64, b: U64) -> float:
    """Similarity of two sorted sets."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / max(1, len(a) + len(b) - both)


def _candidates(signs: Column, scratch: Path, stays: Callable[[int], bool]) -> Parts:
    """Pairs of rows with an equal band, in parts by the later row: the first of a bucket, and the REACH rows before."""
    parts, shift = keyed_parts(scratch / "bands", len(signs) * BANDS)
    for first, piece in signs.pieces(PIECE):
        rows = np.arange(first, first + len(piece))
        kept = np.fromiter(map(stays, rows.tolist()), dtype=np.bool_, count=len(rows))
        records = np.zeros((int(kept.sum()), BANDS), dtype=KEYED)
        records["key"], records["check"] = _band_keys(piece[kept]), np.arange(BANDS, dtype=np.uint64)
        records["row"] = rows[kept][:, None]
        flat = records.reshape(-1)
        parts.add(flat, part_of(flat["key"], shift))
    pairs = Parts(scratch / "pairs", PAIR, (len(signs) - 1) // BLOCK + 1)
    for part in range(parts.count):
        ordered, begins = groups(parts.read(part))
        for near in _pairs(ordered["row"], begins):
            pairs.add(near, near["later"] // BLOCK)
    return pairs


def _pairs(rows: I64, begins: I64) -> Iterator[Records]:
    here = np.arange(len(rows))
    for step in range(1, REACH + 1):
        later = np.flatnonzero(here - step > begins)
        if len(later):
            yield _pair(rows[later - step], rows[later])
    later = np.flatnonzero(here > begins)
    yield _pair(rows[begins[later]], rows[later])


def _pair(earlier: I64, later: I64) -> Records:
    found = np.zeros(len(later), dtype=PAIR)
    found["earlier"], found["later"] = earlier, later
    return found


def _band_keys(signs: NDArray[np.uint32]) -> U64:
    """(N, BANDS) one number per row and band."""
    keys = np.zeros((len(signs), BANDS), dtype=np.uint64)
    by_band = signs.reshape(len(signs), BANDS, ROWS_PER_BAND).astype(np.uint64)
    for column in range(ROWS_PER_BAND):
        keys = keys * np.uint64(MULTIPLIER) + by_band[:, :, column]
    return spread(keys)


def _likely(pairs: Records, signs: Column, threshold: float) -> tuple[Records, NDArray[np.float64]]:
    """The pairs whose signatures agree often enough, with the share of them that agrees."""
    shares = [
        (signs.take(piece["earlier"]) == signs.take(piece["later"])).mean(axis=1)
        for piece in np.array_split(pairs, len(pairs) // PIECE + 1)
        if len(piece)
    ]
    shared = np.concatenate(shares) if shares else np.zeros(0)
    keep = shared >= threshold - MARGIN
    return pairs[keep], shared[keep]
