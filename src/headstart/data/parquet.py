"""Parquet bytes -> columns, with the class names that the file's own metadata declares."""

from __future__ import annotations

import json
from typing import Any

from headstart.data.delimited import Parsed, set_aside
from headstart.ground.errors import DataError, safe_repr


def cell_fault(column: str, cell: str, max_cell_bytes: int) -> str:
    """Why a cell cannot be used."""
    if "\0" in cell:
        return f"column {column} holds a NUL byte"
    return f"column {column} has {len(cell):,} characters, more than the {max_cell_bytes:,} of one cell"


def parse_parquet(name: str, content: bytes, *, max_cell_bytes: int, binary: str | None = None) -> Parsed:
    """Columns of a Parquet file, of its binary ones only `binary`, in any case; lines are row numbers from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(
            f"{name} is not a readable Parquet file ({safe_repr(str(problem), 120)}); expected a whole one. "
            "Copy or write it again."
        ) from problem
    names = list(table.column_names)
    for place, column in enumerate(names):
        if column in names[:place]:
            raise DataError(
                f"{name} has two columns named {safe_repr(column)!r}; expected different names. Rename one of them."
            )
    columns: dict[str, list[Any]] = {}
    bad: dict[int, str] = {}
    for column in names:
        kind = table.schema.field(column).type
        asked = binary is not None and column.casefold() == binary.casefold()
        if not asked and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            continue  # images and sound: never a text or a label
        columns[column] = _parquet_column(table[column], column, bad)
        for row, cell in enumerate(columns[column]):
            if isinstance(cell, str) and (len(cell) > max_cell_bytes or "\0" in cell):
                bad[row] = cell_fault(column, cell, max_cell_bytes)
    good = [row for row in range(table.num_rows) if row not in bad]
    kept = columns if not bad else {c: [cells[row] for row in good] for c, cells in columns.items()}
    rejects = [set_aside(row + 1, reason, "") for row, reason in sorted(bad.items())]
    return Parsed(kept, [row + 1 for row in good], rejects, declared_names(table.schema.metadata or {}, names))


def _parquet_column(column: Any, name: str, bad: dict[int, str]) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        cells: list[Any] = []
        for row, cell in enumerate(column):
            try:
                cells.append(cell.as_py())
            except UnicodeDecodeError:
                cells.append(None)
                bad[row] = f"column {name} is not UTF-8"
        return cells


def declared_names(metadata: dict[bytes, bytes], columns: list[str]) -> dict[str, tuple[str, ...]]:
    """Class names from a `card` (label_names) or from Hugging Face's features; unreadable ones are no names."""
    try:
        card = json.loads(metadata.get(b"card", b"{}"))
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        described = {c: f.get("feature", f).get("names") for c, f in features.items() if isinstance(f, dict)}
        for column in ("label", "labels", "tags"):
            if column in columns and isinstance(card.get("label_names"), list):
                described[column] = card["label_names"]
    except (ValueError, AttributeError):
        return {}
    return {c: tuple(map(str, names)) for c, names in described.items() if isinstance(names, list)}
