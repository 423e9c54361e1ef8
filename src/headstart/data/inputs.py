"""Rows to predict -> texts and partners, by the columns that the model was adapted with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.data.columns import require_column
from headstart.data.examples import Columns, Kind, Text
from headstart.data.table import Table, read_table
from headstart.ground.errors import DataError, did_you_mean, safe_repr


def inputs_from_rows(rows: Any, *, columns: Columns, kind: Kind) -> tuple[list[Text], list[str] | None]:
    """(texts, partners or None) of any input of `predict`, in the order given.

    rows: a path or "-", a Table, a DataFrame, or a sequence of strings, dicts, (first, second) pairs, or (kind "tags")
    of word lists (a string is split at spaces). Every row must be usable: a bad one is an error that names it, so that
    answers stay in line with the rows.
    """
    if isinstance(rows, str | Path | Table | Mapping) or hasattr(rows, "columns") or hasattr(rows, "column_names"):
        return _from_table(read_table(rows, max_reject=0.0), columns, kind)
    items = rows.tolist() if hasattr(rows, "tolist") else list(rows)
    texts: list[Text] = []
    pairs: list[str] = []
    for number, row in enumerate(items):
        first, second = _members(row, number, columns, kind)
        texts.append(_unit(first, f"row {number}", kind))
        if columns.pair is not None:
            pairs.append(_string(second, f"row {number}"))
    return texts, pairs if columns.pair is not None else None


def _from_table(table: Table, columns: Columns, kind: Kind) -> tuple[list[Text], list[str] | None]:
    firsts = table.columns[require_column(table, columns.text, "--text")]
    texts = [_unit(cell, table.place(row), kind) for row, cell in enumerate(firsts)]
    if columns.pair is None:
        return texts, None
    seconds = table.columns[require_column(table, columns.pair, "--text")]
    return texts, [_string(cell, table.place(row)) for row, cell in enumerate(seconds)]


def _members(row: Any, number: int, columns: Columns, kind: Kind) -> tuple[Any, Any]:
    if isinstance(row, Mapping):
        wanted = [columns.text] if columns.pair is None else [columns.text, columns.pair]
        for name in wanted:
            if name not in row:
                known = [str(key) for key in row]
                raise DataError(
                    f"row {number} has no {name!r}, only {', '.join(known[:8])}; expected the column that the model "
                    f"was adapted with.{did_you_mean(name, known)} Rename it, or give plain texts."
                )
        return row[columns.text], None if columns.pair is None else row[columns.pair]
    if columns.pair is None:
        if isinstance(row, tuple) and len(row) == 2 and kind != "tags":
            raise DataError(
                f"row {number} is a pair; expected one text, because the model was adapted on {columns.text!r} alone. "
                "Join the two texts, or use a model adapted on pairs."
            )
        return row, None
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 2:
        raise DataError(
            f"row {number} is {safe_repr(repr(row), 60)}; expected a pair ({columns.text}, {columns.pair}). "
            "Give two texts a row, or dicts with both columns."
        )
    return row[0], row[1]


def _unit(cell: Any, place: str, kind: Kind) -> Text:
    if kind != "tags":
        return _string(cell, place)
    words = cell.split() if isinstance(cell, str) else cell
    if hasattr(words, "tolist"):
        words = words.tolist()
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) for word in words):
        raise DataError(
            f"{place} is {safe_repr(repr(cell), 60)}; expected a list of words, or a text with at least one. Mend it."
        )
    return tuple(words)


def _string(cell: Any, place: str) -> str:
    if not isinstance(cell, str):
        what = "missing" if cell is None else safe_repr(repr(cell), 60)
        raise DataError(f"{place}: the text is {what}; expected a string. Mend or drop the row.")
    return cell
