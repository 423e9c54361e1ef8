"""Which rows of a table a base has read: every text cell held against the sketches that travel with the base.

The items are those of `contamination`: a text of 6 to 12 words counts as found where all of it was read ("short"), a
longer one where 13 words of it in a row were. A text below 6 words says nothing and is not looked for, nor is one whose
6-grams a thinned sketch left out: that is "unchecked", never "clean". `expected_false` is what chance alone would find
among the items, from the sketch's rate of false hits; found items beyond that were read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from headstart.data.contamination import LONG, SHORTEST, TaskItems, read_task_items
from headstart.data.sketch import GRAM, Sketch, gram_hashes
from headstart.data.words import I64

Flags = NDArray[np.bool_]


class Overlap(msgspec.Struct, frozen=True):
    """How much of a table a base has read, counted in rows. Frozen JSON keys.

    found: rows with a found text; short: those of them found by texts of 6 to 12 words alone. unchecked: rows without
    any text that could be looked for. expected_false: rows that chance alone would find, at most. not_sampled: those of
    the unchecked that have 6 words or more, of which the sketch kept none; the others are too short. share: of all
    6-grams that the sketch kept, of several the smallest.
    """

    rows: int
    found: int
    short: int
    unchecked: int
    expected_false: float
    not_sampled: int = 0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Checked:
    """Rows of a table against a sketch. found, unchecked: line numbers of rows, as in `Table.lines`."""

    overlap: Overlap
    found: frozenset[int]
    unchecked: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Looked:
    """(items,) what was found, what could be looked for, and the probability of a find by chance."""

    found: Flags
    checked: Flags
    chance: NDArray[np.float64]


def check_file(file: Path, sketches: Sequence[Sketch]) -> Checked:
    """Every row of a table against the sketches of a base, one or more.

    Raises:
        DataError: the file cannot be read as a table or holds no text.
    """
    return check_items(read_task_items(file), sketches)


def check_items(items: TaskItems, sketches: Sequence[Sketch], *, rows: Sequence[int] | None = None) -> Checked:
    """The rows of a table that was read, or those of them that `rows` names.

    Found: in any sketch. Checked: every sketch can tell.
    """
    looked = _in_any([_look_up(items, sketch) for sketch in sketches])
    every, number = np.unique(items.rows, return_inverse=True)
    asked = np.isin(every, np.asarray(rows)) if rows is not None else np.ones(len(every), dtype=np.bool_)
    found, long_found = (_any(number, flags, len(every)) for flags in (looked.found, looked.found & ~items.short))
    unchecked = ~_any(number, looked.checked, len(every))
    not_sampled = unchecked & _any(number, items.short | items.long, len(every))
    chance = np.minimum(1.0, np.bincount(number, weights=looked.chance, minlength=len(every)))
    return Checked(
        Overlap(
            rows=int(asked.sum()),
            found=int((found & asked).sum()),
            short=int((found & ~long_found & asked).sum()),
            unchecked=int((unchecked & asked).sum()),
            expected_false=round(float(chance[asked].sum()), 4),
            not_sampled=int((not_sampled & asked).sum()),
            share=min(sketch.facts.share for sketch in sketches),
        ),
        frozenset(every[found & asked].tolist()),
        frozenset(every[unchecked & asked].tolist()),
    )


def untold(unchecked: int, not_sampled: int, share: float) -> str:
    """Why rows cannot be told, for people; see `Overlap`."""
    short = f"{unchecked - not_sampled:,} too short"
    return f"{short}, {not_sampled:,} not sampled (the sketch keeps {kept_words(share)})" if not_sampled else short


def kept_words(share: float) -> str:
    """How much of what was read a sketch kept."""
    return f"{100 * share:.2g} % of the 6-grams" if share < 1 else "all 6-grams"


@dataclass(frozen=True, slots=True)
class Comparable:
    """Rows of a table, and how many of them have no text of 6 words: those are in no comparison with other tables."""

    rows: int
    too_short: int


def comparable(items: TaskItems) -> Comparable:
    """How much of a table can be compared. Scripts without spaces between words give long texts of few words, too."""
    every, number = np.unique(items.rows, return_inverse=True)
    enough = _any(number, np.diff(items.words.first) >= SHORTEST, len(every))
    return Comparable(len(every), int((~enough).sum()))


def shared_texts(one: Sequence[Path], other: Sequence[Path]) -> int:
    """How many different texts of at least 6 words stand whole in tables of both lists, whatever case and punctuation.

    Raises:
        DataError: a file cannot be read as a table or holds no text.
    """
    return len(_whole_texts(one) & _whole_texts(other))


def _whole_texts(files: Sequence[Path]) -> set[bytes]:
    found: set[bytes] = set()
    for file in files:
        items = read_task_items(file)
        numbers, borders = items.words.numbers, items.words.first
        chosen = np.flatnonzero(np.diff(borders) >= SHORTEST).tolist()
        found |= {numbers[borders[i] : borders[i + 1]].tobytes() for i in chosen}
    return found


def _any(number: I64, flags: Flags, count: int) -> Flags:
    """(count,) whether any of a row's items is flagged."""
    return np.bincount(number, weights=flags, minlength=count) > 0


def _in_any(looks: Sequence[_Looked]) -> _Looked:
    return _Looked(
        found=np.any([look.found for look in looks], axis=0),
        checked=np.all([look.checked for look in looks], axis=0),
        chance=np.sum([look.chance for look in looks], axis=0),
    )


def _look_up(items: TaskItems, sketch: Sketch) -> _Looked:
    words, count = items.words, len(items.words)
    hashes, places = gram_hashes(words)
    kept = hashes <= np.uint64(sketch.facts.limit)
    hashes, places = hashes[kept], places[kept]
    owner = np.searchsorted(words.first, places, side="right") - 1
    hit, rate = sketch.holds(hashes), sketch.facts.false_rate
    many = np.bincount(owner, minlength=count)
    hits = np.bincount(owner, weights=hit, minlength=count).astype(np.int64)
    end, reaches = _windows(places, owner)
    window_chance = np.where(reaches, rate ** (end - np.arange(len(places)) + 1.0), 0.0)
    long_checked = _any(owner, reaches, count)
    short_checked = items.short & (many > 0)
    return _Looked(
        found=np.where(
            items.short, short_checked & (hits == many), items.long & _any(owner, _runs(hit, end, reaches), count)
        ),
        checked=short_checked | (items.long & long_checked),
        chance=np.where(
            items.short,
            np.where(many > 0, rate ** many.astype(np.float64), 0.0),
            np.where(items.long, np.bincount(owner, weights=window_chance, minlength=count), 0.0),
        ),
    )


def _windows(places: I64, owner: I64) -> tuple[I64, Flags]:
    """For every gram that was looked at: the first one of the same item with which it spans 13 words, and whether
    there is one. Where all grams are kept that is the seventh after it."""
    reach = places + (LONG - GRAM)
    end = np.searchsorted(places, reach)  # places ascend, over the borders of items too
    inside = end < len(places)
    end = np.minimum(end, max(0, len(places) - 1))
    return end, inside & (owner[end] == owner) if len(places) else inside


def _runs(hit: Flags, end: I64, reaches: Flags) -> Flags:
    """Whether all grams from each to the end of its window are hits."""
    misses = np.concatenate([[0], np.cumsum(~hit)])
    return reaches & (misses[end + 1] == misses[:-1]) if len(hit) else reaches
