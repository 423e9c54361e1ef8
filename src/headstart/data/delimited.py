"""CSV and TSV with honest line numbers.

Python's csv module parses (strict, so that stray quotes are noticed); when a record fails, only its first line is set
aside and parsing goes on at the next line. So one unclosed quote costs one row and not the rest of the file.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from headstart.ground.errors import DataError, safe_repr

SEPARATORS = (",", "\t", ";", "|")
MAX_FAULTS = 2_000  # stop looking: such a file is not the table its name promises

_limit_lock = threading.Lock()  # csv.field_size_limit is global to the process


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was set aside: its first line in the source, why, and its escaped beginning."""

    line: int
    reason: str
    excerpt: str


def set_aside(line: int, reason: str, content: str) -> Reject:
    """A Reject with everything that comes from the file escaped and cut."""
    return Reject(line, safe_repr(reason, 300), safe_repr(content[:200], 80))


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a reader found: columns of equal length, source lines of the rows, rejects, declared class names."""

    columns: dict[str, list[Any]]
    lines: list[int]
    rejects: list[Reject] = field(default_factory=list)
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)


def parse_delimited(name: str, text: str, *, clean: bool, tabs: bool, max_cell_bytes: int) -> Parsed:
    """Rows below a header line; `clean` says that the text has no NUL and no undecodable byte."""
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if line.strip())
    separator = _separator(lines[first], tabs)
    with _limit_lock:
        before = csv.field_size_limit(max_cell_bytes)
        try:
            quoted = not (tabs and _unbalanced(lines, first, separator))
            return _parse(name, lines, first, separator, quoted, clean)
        finally:
            csv.field_size_limit(before)


def _separator(header: str, tabs: bool) -> str:
    """The separator of the header line; a one-column header has none, and a comma then does no harm."""
    counts = {mark: header.count(mark) for mark in SEPARATORS}
    if tabs and counts["\t"]:
        return "\t"
    best = max(SEPARATORS, key=lambda mark: counts[mark])
    return best if counts[best] else ("\t" if tabs else ",")


def _unbalanced(lines: list[str], first: int, separator: str) -> bool:
    """Many TSV files (GLUE's among them) never quote: there a lone quote is part of the text."""
    return any(fault is not None for _, _, fault, _ in _records(lines, first, separator, True))


def _parse(name: str, lines: list[str], first: int, separator: str, quoted: bool, clean: bool) -> Parsed:
    records = _records(lines, first, separator, quoted)
    header = _header(name, *next(records))
    rows: list[list[str]] = []
    places: list[int] = []
    rejects: list[Reject] = []
    width = len(header)
    for line, record, fault, _ in records:
        if record is not None:
            if len(record) > width and not any(record[width:]):
                record = record[:width]  # a trailing separator
            fault = _row_fault(record, header, clean)
        if fault is None and record is not None:
            rows.append(record)
            places.append(line)
        else:
            rejects.append(set_aside(line, fault or "", lines[line - 1]))
            if len(rejects) > MAX_FAULTS and len(rejects) > len(rows):
                break
    cells = list(zip(*rows, strict=True)) if rows else [()] * width
    columns = {column: [cell if cell else None for cell in cells[i]] for i, column in enumerate(header)}
    if header[-1].startswith("column_") and not any(columns[header[-1]]):
        columns.pop(header[-1])  # the header line ended with a separator
    return Parsed(columns, places, rejects)


def _records(
    lines: list[str], first: int, separator: str, quoted: bool
) -> Iterator[tuple[int, list[str] | None, str | None, int]]:
    """(first line, record, fault, lines used); blank lines are passed over."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    width: int | None = None
    start = first
    while start < len(lines):
        reader = csv.reader(
            (lines[i] + "\n" for i in range(start, len(lines))), delimiter=separator, strict=True, quoting=quoting
        )
        begin = start
        try:
            for record in reader:
                used = start + reader.line_num - begin
                if len(record) > 1 or (record and lines[begin].strip()):  # "" is an empty cell, an empty line is none
                    width = len(record) if width is None else width
                    if used > 1 and len(record) != width:
                        raise csv.Error("lines joined")
                    yield begin + 1, record, None, used
                begin = start + reader.line_num
            return
        except csv.Error as problem:
            yield begin + 1, None, _explain(str(problem), start + reader.line_num - begin), 1
            start = begin + 1


def _explain(problem: str, used: int) -> str:
    if "unexpected end" in problem or "lines joined" in problem or (used > 1 and "expected after" in problem):
        return "a quote that opens here is never closed"
    if "field larger" in problem:
        return "a cell is larger than one cell may be, or a quote that opens here is never closed"
    if "expected after" in problem:
        return 'a quote ends in the middle of a cell; write quotes inside a cell twice ("")'
    if "new-line" in problem:
        return "a carriage return stands in the middle of the row"
    return f"the row cannot be parsed ({safe_repr(problem, 80)})"


def _header(name: str, line: int, record: list[str] | None, fault: str | None, _used: int) -> list[str]:
    if record is None:
        raise DataError(f"{name}:{line}: {fault}; expected a header line with column names. Mend that line.")
    header = [cell.strip() or f"column_{i + 1}" for i, cell in enumerate(record)]
    for place, column in enumerate(header):
        if any("\udc80" <= c <= "\udcff" or c == "\0" for c in column):
            raise DataError(
                f"{name}:{line}: column {place + 1} of the header is not UTF-8 text ({safe_repr(column, 40)}); "
                "expected UTF-8. Save the file as UTF-8."
            )
        if len(column) > 1_000:
            raise DataError(
                f"{name}:{line}: a column name has {len(column):,} characters; expected a header line. "
                "Add one, such as text,label."
            )
    seen: dict[str, int] = {}
    for place, column in enumerate(header):
        if column in seen:
            raise DataError(
                f"{name}:{line}: two columns are named {safe_repr(column, 40)!r} ({seen[column] + 1} and "
                f"{place + 1}); expected different names. Rename one of them."
            )
        seen[column] = place
    return header


def _row_fault(record: list[str], header: list[str], clean: bool) -> str | None:
    if len(record) != len(header):
        more = "; a text that holds the separator needs quotes" if len(record) > len(header) else ""
        return f"the row has {len(record)} cells where the header has {len(header)}{more}"
    if clean:
        return None
    for column, cell in zip(header, record, strict=True):
        if "\0" in cell:
            return f"column {column} holds a NUL byte"
        try:
            cell.encode()
        except UnicodeEncodeError:
            return f"column {column} is not UTF-8; save the file as UTF-8"
    return None
