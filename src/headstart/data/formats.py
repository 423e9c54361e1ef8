"""Bytes of one table -> columns, line numbers and the rows that had to be set aside.

The format follows from the content where that is certain (Parquet's magic, '{', '['), else from the file's suffix.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headstart.data.delimited import Parsed, Reject, parse_delimited, set_aside
from headstart.data.parquet import cell_fault, parse_parquet
from headstart.data.source import inner_suffix
from headstart.ground.errors import DataError, safe_repr

__all__ = ["Parsed", "Reject", "parse_bytes"]

PARQUET = b"PAR1"
FOREIGN = {
    b"PK\x03\x04": "a zip archive or an Excel workbook", b"%PDF": "a PDF", b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook", b"ARROW1": "an Arrow IPC file", b"\x89PNG": "a PNG image",
}  # fmt: skip
CONTROL = bytes(set(range(32)) - set(b"\t\n\r\x0b\x0c\x1b")) + b"\x7f"


def parse_bytes(name: str, content: bytes, *, max_cell_bytes: int, binary: str | None = None) -> Parsed:
    """Columns of a table whose bytes are `content`; `name` is used for its suffix and for messages.

    binary: the column of a Parquet file that is kept although it holds bytes.
    """
    suffix = inner_suffix(name)
    if content.startswith(PARQUET) or suffix in {".parquet", ".pq"}:
        return parse_parquet(name, content, max_cell_bytes=max_cell_bytes, binary=binary)
    text, clean = _decode(name, content)
    start = text.lstrip()[:1]
    if suffix in {".jsonl", ".ndjson"}:
        return _json_lines(name, text, max_cell_bytes)
    if suffix == ".json" or (suffix not in {".csv", ".tsv", ".tab"} and start in {"[", "{"}):
        return _json(name, text, max_cell_bytes)
    return parse_delimited(name, text, clean=clean, tabs=suffix in {".tsv", ".tab"}, max_cell_bytes=max_cell_bytes)


def _decode(name: str, content: bytes) -> tuple[str, bool]:
    """(text, clean): bytes that are not UTF-8 become lone surrogates, so that their rows can be set aside by line."""
    for magic, what in FOREIGN.items():
        if content.startswith(magic):
            raise DataError(f"{name} is {what}; expected CSV, TSV, JSONL or Parquet. Save the table as CSV.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            text = content.decode("utf-16")
        except UnicodeDecodeError as problem:
            raise DataError(
                f"{name} is UTF-16 and damaged at byte {problem.start}; expected UTF-8. Save it again as UTF-8."
            ) from problem
        return _lines_by_newline(text), "\0" not in text
    sample = content[: 1 << 16]
    controls = len(sample) - len(sample.translate(None, CONTROL))
    if sample.count(b"\0") > len(sample) / 4:
        raise DataError(
            f"{name} looks like UTF-16 without its mark, or binary data (every second byte is 0); "
            "expected UTF-8 text. Save it as UTF-8."
        )
    if controls > len(sample) / 20:
        raise DataError(
            f"{name} is binary data ({controls:,} control bytes in its first {len(sample):,}); "
            "expected CSV, TSV, JSONL or Parquet. Check the path."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _lines_by_newline(content.decode("utf-8-sig", errors="surrogateescape")), False
    return _lines_by_newline(text), "\0" not in text


def _lines_by_newline(text: str) -> str:
    """Old Macintosh files end their lines with a carriage return alone."""
    return text.replace("\r", "\n") if "\r" in text and "\n" not in text else text


def _json_lines(name: str, text: str, max_cell_bytes: int) -> Parsed:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    rejects: list[Reject] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row, reason = _json_row(line, max_cell_bytes)
        if row is None:
            rejects.append(set_aside(number, reason, line))
        else:
            rows.append(row)
            lines.append(number)
    return Parsed(_by_column(rows), lines, rejects)


def _json_row(line: str, max_cell_bytes: int) -> tuple[dict[str, Any] | None, str]:
    try:
        row = msgspec.json.decode(line.encode())
    except UnicodeEncodeError:
        return None, "the line is not UTF-8; save the file as UTF-8"
    except (msgspec.DecodeError, RecursionError) as problem:
        return None, f"the line is not valid JSON ({safe_repr(str(problem), 80)})"
    if not isinstance(row, dict):
        return (
            None,
            f'the line is a JSON {type(row).__name__}; expected an object such as {{"text": ..., "label": ...}}',
        )
    return _checked(row, max_cell_bytes)


def _checked(row: dict[str, Any], max_cell_bytes: int) -> tuple[dict[str, Any] | None, str]:
    for column, cell in row.items():
        if isinstance(cell, str) and (len(cell) > max_cell_bytes or "\0" in cell):
            return None, cell_fault(column, cell, max_cell_bytes)
    return row, ""


def _by_column(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _json(name: str, text: str, max_cell_bytes: int) -> Parsed:
    """One JSON document (a list of objects, or one list per column), or JSON lines under the name .json."""
    try:
        content = msgspec.json.decode(text.encode(errors="surrogateescape"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        if text.lstrip().startswith("{") and "\n" in text.strip():
            lines = _json_lines(name, text, max_cell_bytes)
            if lines.lines:
                return lines
        line = _json_error_line(text)
        raise DataError(
            f"{name}:{line}: not valid JSON ({safe_repr(str(problem), 80)}); expected a list of objects, "
            "or one object a line. Mend that line."
        ) from problem
    if isinstance(content, dict):
        return _json_object(name, content, max_cell_bytes)
    if not isinstance(content, list):
        raise DataError(
            f"{name} is a JSON {type(content).__name__}; expected a list of objects. Write one object a row."
        )
    rows: list[dict[str, Any]] = []
    lines_: list[int] = []
    rejects: list[Reject] = []
    for number, item in enumerate(content, start=1):
        row, reason = (
            _checked(item, max_cell_bytes)
            if isinstance(item, dict)
            else (None, f"the item is a JSON {type(item).__name__}; expected an object")
        )
        if row is None:
            rejects.append(set_aside(number, reason, repr(item)))
        else:
            rows.append(row)
            lines_.append(number)
    return Parsed(_by_column(rows), lines_, rejects)


def _json_object(name: str, content: dict[str, Any], max_cell_bytes: int) -> Parsed:
    if content and all(isinstance(cells, list) for cells in content.values()):
        sizes = {column: len(cells) for column, cells in content.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(
                f"{name} has columns of different lengths ({safe_repr(str(sizes))}); expected equal ones. "
                "Mend the file."
            )
        rows = [dict(zip(content, cells, strict=True)) for cells in zip(*content.values(), strict=True)]
    else:
        rows = [content]
    kept = [(number, row) for number, row in enumerate(rows, start=1) if _checked(row, max_cell_bytes)[0] is not None]
    rejects = [
        set_aside(number, reason, "")
        for number, row in enumerate(rows, start=1)
        if (reason := _checked(row, max_cell_bytes)[1])
    ]
    return Parsed(_by_column([row for _, row in kept]), [number for number, _ in kept], rejects)


def _json_error_line(text: str) -> int:
    try:
        json.loads(text)
    except json.JSONDecodeError as problem:
        return problem.lineno
    except (RecursionError, ValueError):
        return 1
    return 1
