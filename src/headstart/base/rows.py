"""Rows as people hand them over -> texts, pairs or words.

A row is a string, a pair (a, b), a dict with the text columns, or (tags) a list of words; all rows together may be a
list of those or a DataFrame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.ground.errors import DataError, did_you_mean, safe_repr


@dataclass(frozen=True, slots=True)
class Rows:
    """texts: strings, or tuples of words. pairs: the second member of every row, None where rows are single."""

    texts: list[str] | list[tuple[str, ...]]
    pairs: list[str] | None

    def __len__(self) -> int:
        return len(self.texts)


def read_rows(rows: Any, *, columns: tuple[str, ...] | None = None) -> Rows:
    """Texts or pairs. `columns` names what a dict or a table must have and how many members a row has; None lets
    the first row decide.

    Raises:
        DataError: a single string instead of rows, a missing column, a missing or wrong value, with its row number.
    """
    listed = _records(rows, columns or ("text",))
    if not listed:
        return Rows([], None)
    if columns is None and isinstance(listed[0], Mapping):
        columns = _guessed(listed[0])
    members = [_members(row, place, columns) for place, row in enumerate(listed)]
    width = len(columns) if columns is not None else len(members[0])
    for place, row in enumerate(members):
        if len(row) != width:
            raise DataError(
                f"row {place} has {len(row)} texts; expected {width}. Give "
                f"{'a pair (a, b)' if width == 2 else 'one string'} per row."
            )
    return Rows([row[0] for row in members], [row[1] for row in members] if width == 2 else None)


def read_word_rows(rows: Any, *, column: str) -> Rows:
    """Rows of words; a string is split at white space."""
    words: list[tuple[str, ...]] = []
    for place, row in enumerate(_records(rows, (column,))):
        value = _column(row, column, place) if isinstance(row, Mapping) else row
        if isinstance(value, str):
            words.append(tuple(value.split()))
        elif isinstance(value, Iterable):
            words.append(tuple(_text(word, place) for word in value))
        else:
            raise DataError(f"row {place} is {safe_repr(repr(value), 80)}; expected a list of words. Split the text.")
    return Rows(words, None)


def _records(rows: Any, columns: tuple[str, ...]) -> list[Any]:
    if isinstance(rows, str | bytes | Mapping):
        raise DataError(f"the rows are one {type(rows).__name__}; expected a list of rows. Put it into a list.")
    names = getattr(rows, "columns", None)
    if names is not None:  # a DataFrame: its columns by name, without importing the library it comes from
        for column in columns:
            if column not in list(names):
                raise DataError(
                    f"the table has no column {column!r}; expected one.{did_you_mean(column, map(str, names))} "
                    f"It has {', '.join(map(str, list(names)[:10]))}."
                )
        return [
            dict(zip(columns, values, strict=True)) for values in zip(*(list(rows[c]) for c in columns), strict=True)
        ]
    if not isinstance(rows, Iterable):
        raise DataError(f"the rows are a {type(rows).__name__}; expected a list of rows or a table.")
    return list(rows)


def _members(row: Any, place: int, columns: tuple[str, ...] | None) -> tuple[str, ...]:
    if isinstance(row, Mapping):
        return tuple(_text(_column(row, name, place), place) for name in columns or _guessed(row))
    if isinstance(row, Sequence) and not isinstance(row, str | bytes):
        if len(row) not in (1, 2):
            raise DataError(f"row {place} has {len(row)} members; expected a string or a pair (a, b). Join the texts.")
        return tuple(_text(member, place) for member in row)
    return (_text(row, place),)


def _guessed(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "text" in row:
        return ("text",)
    if len(row) not in (1, 2):
        raise DataError(
            f"row 0 has the keys {', '.join(map(str, list(row)[:10]))}; expected 'text', or one or two keys."
        )
    return tuple(row)


def _column(row: Mapping[str, Any], name: str, place: int) -> Any:
    if name not in row:
        raise DataError(
            f"row {place} has no {name!r}; expected it.{did_you_mean(name, map(str, row))} "
            f"It has {', '.join(map(str, list(row)[:10]))}."
        )
    return row[name]


def _text(value: Any, place: int) -> str:
    if not isinstance(value, str):
        raise DataError(f"row {place} is {safe_repr(repr(value), 80)}; expected text. Convert or drop it.")
    return str(value)
