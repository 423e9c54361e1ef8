"""Cells of a labelled table -> texts and raw answers, and raw answers -> targets over one list of label names.

Three things can be wrong with a row, and they are told apart: a cell is missing (an error that counts them, or dropped
on request), a cell cannot be used (set aside with its line), the answer is no known label (an error).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from headstart.data.columns import SEPARATORS, as_number
from headstart.data.delimited import set_aside
from headstart.data.examples import Columns, Examples, Input, Kind, Target
from headstart.data.inputs import raw_reader
from headstart.data.raw import Raw
from headstart.data.table import Reject, Table, check_rejects
from headstart.ground.errors import DataError, safe_repr

MISSING_WORDS = frozenset({"nan", "<na>", "#n/a", "nat"})  # what spreadsheets and DataFrames write for "no value"

Answer = str | float | tuple[str, ...]


@dataclass(slots=True)
class Rows:
    """Usable rows of one table, answers still by name."""

    source: str
    texts: list[Input] = field(default_factory=list)
    pairs: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    dropped: int = 0

    def place(self, row: int) -> str:
        """'reviews.csv:412' for messages."""
        return f"{self.source}:{self.lines[row]}"

    @property
    def channels(self) -> int | None:
        """Of most series; None where the inputs are none."""
        counts = Counter(text.shape[0] for text in self.texts if isinstance(text, Raw) and text.modality == "series")
        return counts.most_common(1)[0][0] if counts else None

    def set_odd_aside(self, channels: int) -> None:
        """Move series of other than so many channels to the rejects: a head takes every channel by itself."""
        odd = {row: text for row, text in enumerate(self.texts) if isinstance(text, Raw) and text.shape[0] != channels}
        for row, text in odd.items():
            reason = f"{text.where} is a series of {text.shape[0]} channels; expected {channels}, as most rows have"
            self.rejects.append(set_aside(self.lines[row], reason, str(text)))
        self.rejects.sort(key=lambda reject: reject.line)
        self.keep((row for row in range(len(self.texts)) if row not in odd), paired=False)
        self.dropped -= len(odd)

    def keep(self, rows: Iterable[int], paired: bool) -> None:
        """Forget all other rows and count them as dropped."""
        kept = list(rows)
        self.dropped += len(self.texts) - len(kept)
        self.texts = [self.texts[r] for r in kept]
        self.pairs = [self.pairs[r] for r in kept] if paired else []
        self.answers = [self.answers[r] for r in kept]
        self.lines = [self.lines[r] for r in kept]


class Unusable(Exception):
    """A row to set aside; the message is the reason."""


class Missing(Exception):
    """A row without a text or an answer; the message names the column."""


def read_rows(
    table: Table,
    columns: Columns,
    kind: Kind,
    *,
    drop_missing: bool,
    max_reject: float,
    channels: int | None = None,
) -> Rows:
    """The rows of `table` that have a text and an answer. channels: of every series; as most rows have where None.

    Raises:
        DataError: cells are missing and `drop_missing` is False, too many rows are unusable, or answers of mixed types.
    """
    label = cast(str, columns.label)
    names = table.label_names.get(label, ())
    read_answer = _reader(kind, names, label)
    read_input = _input_reader(table, columns, kind)
    rows = Rows(table.source, rejects=list(table.rejects))
    missing: list[tuple[int, str]] = []
    texts, answers = table.columns[columns.text], table.columns[label]
    partners = table.columns[columns.pair] if columns.pair is not None else None
    if kind == "choice" and not names:
        _refuse_mixed(table, label)
    for row in range(len(table)):
        try:
            text = read_input(row)
            pair = None if partners is None else _text(partners[row], cast(str, columns.pair))
            answer = read_answer(answers[row])
            if kind == "tags":
                _check_tags(cast(tuple[str, ...], text), cast(tuple[str, ...], answer))
        except Missing as problem:
            missing.append((row, str(problem)))
            continue
        except Unusable as problem:
            rows.rejects.append(set_aside(table.lines[row], str(problem), safe_repr(texts[row], 200)))
            continue
        rows.texts.append(text)
        rows.answers.append(answer)
        rows.lines.append(table.lines[row])
        if pair is not None:
            rows.pairs.append(pair)
    if missing and not drop_missing:
        row, column = missing[0]
        more = f"{len(missing):,} rows like this" if len(missing) > 1 else "1 row like this"
        raise DataError(
            f"{table.place(row)}: {safe_repr(column, 40)} is empty; expected a value. {more}. "
            "Add --drop-missing or fix the file."
        )
    rows.dropped += len(missing)
    usual = channels or rows.channels
    if usual is not None:
        rows.set_odd_aside(usual)
    check_rejects(table.source, rows.rejects, len(table) + len(table.rejects), max_reject)
    if not rows.texts:
        raise DataError(
            f"{table.source} has no row with both {columns.text!r} and {label!r}; expected some. Fix the file."
        )
    return rows


def _check_tags(words: Sequence[str], tags: Sequence[str]) -> None:
    if len(words) != len(tags):
        raise Unusable(f"the row has {len(words)} words and {len(tags)} tags")


def _input_reader(table: Table, columns: Columns, kind: Kind) -> Callable[[int], Input]:
    """The function from a row's number to its input; raises Missing or Unusable."""
    name, cells = columns.text, table.columns[columns.text]
    if columns.modality is None:
        return lambda row: _words(cells[row], name) if kind == "tags" else _text(cells[row], name)
    read = raw_reader(table, name, columns.modality)

    def read_raw(row: int) -> Raw:
        try:
            found = read(row)
        except DataError as problem:
            raise Unusable(str(problem)) from problem
        if found is None:
            raise Missing(name)
        return found

    return read_raw


def label_names(train: Rows, others: Sequence[Rows], kind: Kind, declared: Sequence[str]) -> tuple[str, ...]:
    """The names by index: declared order where the file declares names, else numbers ascending, else alphabetical.

    choice: names that train has. labels and tags: also declared names that only another part has.
    """
    if kind == "score":
        return ()
    present = set(_names_in(train, kind))
    if declared:
        wanted = present if kind == "choice" else present.union(*(_names_in(other, kind) for other in others))
        return tuple(name for name in declared if name in wanted)
    numbers = {name: as_number(name) for name in present}
    if all(number is not None for number in numbers.values()):
        return tuple(sorted(present, key=lambda name: (cast(float, numbers[name]), name)))
    return tuple(sorted(present, key=lambda name: (name.casefold(), name)))


def to_examples(rows: Rows, labels: Sequence[str], kind: Kind, *, paired: bool) -> Examples:
    """Examples with targets by index; every answer must be among `labels` (see `refuse_unseen`)."""
    index = {name: i for i, name in enumerate(labels)}
    targets: list[Target]
    if kind == "score":
        targets = [cast(float, answer) for answer in rows.answers]
    elif kind == "choice":
        targets = [index[cast(str, answer)] for answer in rows.answers]
    elif kind == "labels":
        targets = [tuple(sorted({index[name] for name in cast(tuple[str, ...], a)})) for a in rows.answers]
    else:
        targets = [tuple(index[name] for name in cast(tuple[str, ...], a)) for a in rows.answers]
    return Examples(tuple(rows.texts), tuple(rows.pairs) if paired else None, tuple(targets), tuple(rows.lines))


def refuse_unseen(rows: Rows, labels: Sequence[str], kind: Kind, *, train: str, drop: bool, paired: bool) -> None:
    """Labels outside train cannot be predicted: an error, or with `drop` those rows go and are counted."""
    if kind == "score":
        return
    known = set(labels)
    bad = [row for row, answer in enumerate(rows.answers) if not known.issuperset(_names_of(answer, kind))]
    if not bad:
        return
    if drop and len(bad) < len(rows.answers):
        gone = set(bad)
        rows.keep((row for row in range(len(rows.answers)) if row not in gone), paired)
        return
    name = next(n for n in _names_of(rows.answers[bad[0]], kind) if n not in known)
    shown = ", ".join(safe_repr(label, 30) for label in list(labels)[:8]) + (", …" if len(labels) > 8 else "")
    rows_like = f"{len(bad):,} rows like this" if len(bad) > 1 else "1 row like this"
    raise DataError(
        f"{rows.place(bad[0])}: label is {safe_repr(name, 40)!r}; expected one of the {len(labels)} labels of "
        f"{train}: {shown}. {rows_like}. Add such rows to {train}, or drop these with --drop-missing."
    )


def refuse_hopeless(rows: Rows, columns: Columns, kind: Kind, labels: Sequence[str]) -> None:
    """Nothing to learn: one class only, one score only, no label at all, or as many classes as rows."""
    label = safe_repr(cast(str, columns.label), 40)
    if kind == "score":
        if len(set(rows.answers)) < 2:
            raise DataError(
                f"{rows.source}: every {label} is {rows.answers[0]}; expected different scores. "
                "There is nothing to learn; check the column or give --label."
            )
        return
    if len(labels) < 2 and not (kind == "labels" and labels and not all(rows.answers)):
        shown = f"only the label {safe_repr(labels[0], 40)!r}" if labels else "no label at all"
        raise DataError(
            f"{rows.source} has {shown} in {label}, in all {len(rows.answers):,} rows; expected at least two "
            "labels. There is nothing to learn; add rows of another label or give --label."
        )
    if kind == "choice" and len(rows.answers) >= 20 and len(labels) > len(rows.answers) / 2:
        raise DataError(
            f"{rows.source}: column {label} has {len(labels):,} different values in {len(rows.answers):,} rows; "
            "expected classes with several rows each. Give --label with another column, or --kind score."
        )


def lonely_labels(rows: Rows, kind: Kind) -> dict[str, int]:
    """Classes with a single row -> that row's index."""
    if kind != "choice":
        return {}
    counts = Counter(cast(str, answer) for answer in rows.answers)
    return {cast(str, answer): row for row, answer in enumerate(rows.answers) if counts[cast(str, answer)] == 1}


def _names_of(answer: Answer, kind: Kind) -> tuple[str, ...]:
    return (cast(str, answer),) if kind == "choice" else cast(tuple[str, ...], answer)


def _names_in(rows: Rows, kind: Kind) -> Iterable[str]:
    return (name for answer in rows.answers for name in _names_of(answer, kind))


def _text(cell: Any, column: str) -> str:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise Missing(column)
    if not isinstance(cell, str):
        raise Unusable(f"column {column} holds a {type(cell).__name__}, expected text")
    return cell


def _words(cell: Any, column: str) -> tuple[str, ...]:
    cell = _as_list(cell) if isinstance(cell, str) else cell
    if cell is None or (isinstance(cell, list | tuple) and not cell):
        raise Missing(column)
    if not isinstance(cell, list | tuple) or not all(isinstance(word, str) for word in cell):
        raise Unusable(f"column {column} holds no list of words")
    return tuple(cell)


def _as_list(cell: str) -> list[Any]:
    """A list written into one cell: as JSON, or with spaces between the words."""
    if cell.lstrip().startswith("["):
        try:
            content = msgspec.json.decode(cell.encode())
            if isinstance(content, list):
                return content
        except (msgspec.DecodeError, UnicodeEncodeError):
            return cell.split()
    return cell.split()


def _reader(kind: Kind, names: Sequence[str], column: str) -> Callable[[Any], Answer]:
    """The function that turns an answer cell of this kind into names or a number."""

    def one(cell: Any) -> str:
        return _name(cell, names, column)

    def many(cell: Any) -> tuple[str, ...]:
        if cell is None:
            raise Missing(column)
        if not isinstance(cell, list | tuple):
            raise Unusable(f"column {column} holds a {type(cell).__name__}, expected a list")
        try:
            return tuple(_name(item, names, column) for item in cell)
        except Missing as problem:
            raise Unusable(f"column {column} holds an empty name in its list") from problem

    if kind == "choice":
        return one
    if kind == "score":
        return lambda cell: _score(cell, column)
    if kind == "labels":
        return lambda cell: many(_split_labels(cell) if isinstance(cell, str) else cell)
    return lambda cell: many(_as_list(cell) if isinstance(cell, str) else cell)


def _name(cell: Any, names: Sequence[str], column: str) -> str:
    if cell is None:
        raise Missing(column)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int | float):
        if isinstance(cell, float) and not math.isfinite(cell):
            raise Unusable(f"column {column} is {cell}")
        if not names:
            return str(int(cell)) if cell == int(cell) else repr(cell)
        if cell != int(cell) or not 0 <= cell < len(names):
            hidden = " (a benchmark's hidden answer)" if cell == -1 else ""
            raise Unusable(
                f"column {column} is {cell}{hidden}, expected 0 to {len(names) - 1} as the file declares its names"
            )
        return names[int(cell)]
    if not isinstance(cell, str):
        raise Unusable(f"column {column} holds a {type(cell).__name__}, expected one label")
    name = cell.strip()
    if not name or name.casefold() in MISSING_WORDS:
        raise Missing(column)
    return name


def _score(cell: Any, column: str) -> float:
    if cell is None or (isinstance(cell, str) and (not cell.strip() or cell.strip().casefold() in MISSING_WORDS)):
        raise Missing(column)
    number = as_number(cell)
    if number is None or not math.isfinite(number):
        raise Unusable(f"column {column} is {safe_repr(str(cell), 40)}, expected a finite number")
    return number


def _split_labels(cell: str) -> list[str]:
    """'a|b' -> ['a', 'b'], with the first separator that occurs; a JSON list is read as one."""
    if cell.lstrip().startswith("["):
        return [str(item) for item in _as_list(cell)]
    mark = next((mark for mark in SEPARATORS if mark in cell), SEPARATORS[0])
    return [part.strip() for part in cell.split(mark) if part.strip()]


def _refuse_mixed(table: Table, label: str) -> None:
    """Numbers and words in one label column are two columns of two people."""
    first: dict[str, int] = {}
    for row, cell in enumerate(table.columns[label]):
        kind = "a truth value" if isinstance(cell, bool) else "a number" if isinstance(cell, int | float) else "text"
        if cell is not None:
            first.setdefault(kind if isinstance(cell, bool | int | float | str) else type(cell).__name__, row)
    if len(first) > 1:
        (one, a), (two, b) = list(first.items())[:2]
        raise DataError(
            f"{table.place(b)}: {safe_repr(label, 40)} is {two} ({safe_repr(str(table.columns[label][b]), 40)}), but "
            f"at line {table.lines[a]} it is {one} ({safe_repr(str(table.columns[label][a]), 40)}); expected one type. "
            "Fix the column."
        )
