"""Which documents hold text of a task's test side: a 13-gram index of the task files, asked for every document.

Words in order, whatever case and punctuation; 13 of them as in GPT-3 (Brown et al. 2020, appendix C). An item of 6 to
12 words is found where all of it stands in a document ("short"); below 6 words a match says nothing and none is sought.
The n-grams are compared as 64-bit numbers, and the words themselves where two numbers agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headstart.data.table import read_table
from headstart.data.words import I64, U64, Words, all_grams, find_words_of_many, join_words
from headstart.ground.errors import DataError

LONG = 13
SHORTEST = 6
SIEVE_BITS = 24  # 16 MB that turn 97 % of the n-grams away before they are looked up, at 500,000 indexed n-grams


class TaskFile(msgspec.Struct, frozen=True):
    """A task file in the index. items: its text cells; short: those of 6 to 12 words; unchecked: those below 6."""

    name: str
    sha256: str
    items: int
    short: int
    unchecked: int


class Hit(msgspec.Struct, frozen=True):
    """An item found in a document, at bytes `begin` to `end` of its text.

    row: line or row number in the task file. item: number of the text cell among those of all task files.
    """

    file: str
    row: int
    item: int
    kind: str  # "13-gram" or "short"
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Grams:
    """Sorted n-grams of one length; item and word: the first item that holds each, and where among all words."""

    numbers: U64
    item: I64
    word: I64


@dataclass(frozen=True)
class TaskIndex:
    """The n-grams of all items of some task files, ready to be looked up. An n-gram belongs to its first item."""

    files: tuple[TaskFile, ...]
    words: Words
    item_file: I64
    item_row: I64
    by_length: dict[int, _Grams]
    short_sieve: NDArray[np.bool_]
    long_sieve: NDArray[np.bool_]

    def find(self, words: Words) -> dict[int, list[Hit]]:
        """Hits by text number; overlapping 13-grams of one item come as one Hit."""
        found: dict[int, list[Hit]] = {}
        begins = np.zeros(0, dtype=np.int64)
        for length, numbers in all_grams(words.numbers, max(self.by_length, default=0)):
            if length == SHORTEST:  # every short item begins with 6 words, so that one look finds all lengths
                begins = np.flatnonzero(self.short_sieve[_slot(numbers)])
            if length not in self.by_length:
                continue
            if length == LONG:
                likely = np.flatnonzero(self.long_sieve[_slot(numbers)])
            else:
                likely = begins[: np.searchsorted(begins, len(numbers))]
            index = self.by_length[length]
            place = np.minimum(np.searchsorted(index.numbers, numbers[likely]), len(index.numbers) - 1)
            same = index.numbers[place] == numbers[likely]
            at, place = likely[same], place[same]
            texts = np.searchsorted(words.first, at, side="right") - 1
            inside = words.first[texts + 1] >= at + length
            for position, entry, text in zip(at[inside], place[inside], texts[inside], strict=True):
                if _same_words(words, int(position), self.words, int(index.word[entry]), length):
                    hit = self._hit(words, int(text), int(position), int(index.item[entry]), length)
                    _add(found.setdefault(int(text), []), hit)
        return found

    def _hit(self, words: Words, text: int, position: int, item: int, length: int) -> Hit:
        return Hit(
            file=self.files[int(self.item_file[item])].name,
            row=int(self.item_row[item]),
            item=item,
            kind="13-gram" if length == LONG else "short",
            begin=words.byte_offset(text, int(words.starts[position])),
            end=words.byte_offset(text, int(words.ends[position + length - 1])),
        )


def index_tasks(files: Sequence[Path]) -> TaskIndex:
    """The index of every text cell of the given tables (CSV, TSV, JSONL, JSON, Parquet).

    Raises:
        DataError: a file cannot be read as a table or holds no text.
    """
    read = [read_task_items(file) for file in files]
    words = join_words([items.words for items in read] or [find_words_of_many([])])
    short = np.concatenate([*(items.short for items in read), np.zeros(0, dtype=np.bool_)])
    by_length, short_begins = _index(words, short)
    longest = by_length.get(LONG)
    return TaskIndex(
        files=tuple(items.file for items in read),
        words=words,
        item_file=np.repeat(np.arange(len(read)), [len(items.rows) for items in read]),
        item_row=np.concatenate([*(items.rows for items in read), np.zeros(0, dtype=np.int64)]),
        by_length=by_length,
        short_sieve=_sieve(short_begins),
        long_sieve=_sieve(short_begins[:0] if longest is None else longest.numbers),
    )


@dataclass(frozen=True, slots=True)
class TaskItems:
    """The text cells of one task file. rows: of each item its row in the file. short: all of it is looked for (6 to 12
    words). long: 13 words of it in a row are."""

    file: TaskFile
    rows: I64
    words: Words
    short: NDArray[np.bool_]
    long: NDArray[np.bool_]


def read_task_items(file: Path) -> TaskItems:
    """Every text cell of a table (CSV, TSV, JSONL, JSON, Parquet) as an item.

    Raises:
        DataError: the file cannot be read as a table or holds no text.
    """
    table = read_table(file)
    items = [(table.lines[row], text) for cells in table.columns.values() for row, text in _items(cells)]
    if not items:
        raise DataError(
            f"{file} has the columns {', '.join(list(table.columns)[:8])}; expected a table with text in it. "
            "Leave it out: there is nothing to look for."
        )
    words = find_words_of_many([text for _, text in items])
    counts = np.diff(words.first)
    # Six words between spaces, too: "you don't have to worry" is five, though the apostrophe makes six.
    spaced = np.fromiter((len(text.split()) for _, text in items), dtype=np.int64, count=len(items))
    short, long = (counts >= SHORTEST) & (spaced >= SHORTEST) & (counts < LONG), counts >= LONG
    unchecked = len(items) - int(short.sum()) - int(long.sum())
    described = TaskFile(str(file), table.digest, len(items), int(short.sum()), unchecked)
    rows = np.fromiter((row for row, _ in items), dtype=np.int64, count=len(items))
    return TaskItems(described, rows, words, short, long)


def _index(words: Words, short: NDArray[np.bool_]) -> tuple[dict[int, _Grams], U64]:
    """The n-grams of all items by length, and the 6-grams that short items begin with."""
    counts = np.diff(words.first)
    item_of = np.repeat(np.arange(len(words)), counts)
    found = {}
    begins = words.numbers[:0]
    for length, numbers in all_grams(words.numbers, LONG):
        if length < SHORTEST:
            continue
        if length == SHORTEST:
            begins = numbers[words.first[:-1][short]]
        if length == LONG:
            at = np.flatnonzero(item_of[: len(numbers)] == item_of[LONG - 1 :]) if len(numbers) else item_of[:0]
        else:
            at = words.first[:-1][short & (counts == length)]
        if len(at):
            distinct, first = np.unique(numbers[at], return_index=True)
            found[length] = _Grams(distinct, item_of[at[first]], at[first])
    return found, begins


def _items(cells: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """(row, text): a string, a list of words joined, or each of a list of texts; numbers are none."""
    for row, cell in enumerate(cells):
        if isinstance(cell, str):
            yield row, cell
        elif isinstance(cell, list | tuple) and cell and all(isinstance(part, str) for part in cell):
            if any(" " in part for part in cell):
                yield from ((row, part) for part in cell)
            else:
                yield row, " ".join(cell)


def _sieve(numbers: U64) -> NDArray[np.bool_]:
    sieve = np.zeros(1 << SIEVE_BITS, dtype=np.bool_)
    sieve[_slot(numbers)] = True
    return sieve


def _slot(numbers: U64) -> NDArray[np.uint64]:
    return numbers >> np.uint64(64 - SIEVE_BITS)


def _same_words(a: Words, i: int, b: Words, j: int, length: int) -> bool:
    return all(
        np.array_equal(a.lowered[a.starts[i + k] : a.ends[i + k]], b.lowered[b.starts[j + k] : b.ends[j + k]])
        for k in range(length)
    )


def _add(hits: list[Hit], hit: Hit) -> None:
    last = hits[-1] if hits else None
    if last is not None and last.item == hit.item and hit.begin <= last.end:
        hits[-1] = msgspec.structs.replace(last, end=max(last.end, hit.end))
    else:
        hits.append(hit)
