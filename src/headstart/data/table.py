"""read_table: CSV, TSV, JSONL, JSON, Parquet, standard input, DataFrames and lists of dicts -> Table.

Rows that cannot be read are set aside with their line number and the reason; a table with more than `max_reject` of
them is refused. Nothing is repaired silently: no replacement characters, no guessed cells.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from headstart.data.formats import Parsed, Reject, parse_bytes
from headstart.data.parquet import declared_names
from headstart.data.source import read_bytes
from headstart.ground.errors import ConfigError, DataError, safe_repr

__all__ = ["Reject", "Table", "read_table"]

MAX_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table in memory. Missing cells are None.

    lines: the source line (or row number, for Parquet and objects) of every row. digest: SHA-256 of the source.
    label_names: names that the file itself declares for integer labels, by column. folder: where paths in cells begin.
    notes: what people should know of how it was read.
    """

    columns: dict[str, list[Any]]
    rejects: list[Reject]
    source: str
    digest: str
    lines: list[int]
    label_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    folder: Path = Path()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def place(self, row: int) -> str:
        """'reviews.csv:412' for messages."""
        return f"{self.source}:{self.lines[row]}"


def read_table(
    source: Any, *, max_reject: float = 0.01, max_cell_bytes: int = 1 << 20, binary: str | None = None
) -> Table:
    """Read `source`: a path, "-", a DataFrame (pandas, Polars, PyArrow, Hugging Face Dataset), a list of dicts.

    max_reject: largest share of rows that may be set aside. max_cell_bytes: a row with a larger cell is set aside.
    binary: the one column of a Parquet file that is kept although it holds bytes (pictures, sound).

    Raises:
        DataError: the source cannot be read, has no rows, has two columns of one name, or too many bad rows. The
            message names file and line.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, str | Path):
        name, content = read_bytes(source)
        parsed = parse_bytes(name, content, max_cell_bytes=max_cell_bytes, binary=binary)
        digest = hashlib.sha256(content).hexdigest()
    else:
        name = "table" if isinstance(source, list) else type(source).__name__
        metadata = getattr(getattr(source, "schema", None), "metadata", None) or {}
        columns, lines = _columns_of(source)
        parsed = Parsed(columns, lines, label_names=declared_names(metadata, list(columns)))
        digest = hashlib.sha256(msgspec.json.encode(parsed.columns, enc_hook=str)).hexdigest()
    _check_columns(name, parsed)
    check_rejects(name, parsed.rejects, len(parsed.lines) + len(parsed.rejects), max_reject)
    columns = {column: [_missing_as_none(cell) for cell in cells] for column, cells in parsed.columns.items()}
    folder = Path(source).parent if isinstance(source, str | Path) else Path()
    return Table(columns, parsed.rejects, name, digest, parsed.lines, parsed.label_names, folder)


def check_rejects(name: str, rejects: Sequence[Reject], total: int, max_reject: float) -> None:
    """DataError where more than `max_reject` of `total` rows were set aside; ConfigError where it is no share."""
    if not 0 <= max_reject <= 1:
        raise ConfigError(
            f"the share of rows that may be set aside is {max_reject}; expected 0 to 1. Give for instance "
            "--max-reject 0.05."
        )
    if not rejects or len(rejects) <= max_reject * total:
        return
    first = rejects[0]
    share = min(1.0, math.ceil(len(rejects) / total * 100) / 100)
    raise DataError(
        f"{name}:{first.line}: {first.reason} ({first.excerpt}). {len(rejects):,} of {total:,} rows cannot be used; "
        f"expected at most {max_reject:.0%}. Mend the file" + (f", or give --max-reject {share}." if share < 1 else ".")
    )


def _check_columns(name: str, parsed: Parsed) -> None:
    if len(parsed.columns) > MAX_COLUMNS:
        raise DataError(
            f"{name} has {len(parsed.columns):,} columns; expected at most {MAX_COLUMNS:,}. "
            "Check the separator, or keep only the text and label columns."
        )
    if not parsed.lines and not parsed.rejects:
        names = safe_repr(", ".join(list(parsed.columns)[:8]))
        raise DataError(
            f"{name} has no rows, only the columns {names or '(none)'}; expected a header and rows below it. "
            "Check what wrote it."
        )


def _columns_of(source: Any) -> tuple[dict[str, list[Any]], list[int]]:
    """Columns and row numbers of a table object; objects are told apart by what they can do, not by their class."""
    columns: dict[str, list[Any]]
    if isinstance(source, list):
        bad = next((i for i, row in enumerate(source) if not isinstance(row, Mapping)), None)
        if bad is not None:
            raise DataError(
                f"row {bad + 1} is a {type(source[bad]).__name__}; expected a dict with column names. "
                "Give a list of dicts, a DataFrame or a path."
            )
        names = list(dict.fromkeys(str(key) for row in source for key in row))
        columns = {name: [row.get(name) for row in source] for name in names}
    elif isinstance(source, Mapping):
        columns = {str(name): _cells(cells) for name, cells in source.items()}
    elif hasattr(source, "to_pydict"):  # PyArrow
        columns = source.to_pydict()
    elif hasattr(source, "column_names") and hasattr(source, "to_dict"):  # Hugging Face Dataset
        columns = dict(source.to_dict())
    elif hasattr(source, "columns") and hasattr(source, "__getitem__"):  # pandas, Polars
        names = [str(name) for name in source.columns]
        _refuse_doubles(type(source).__name__, names)
        columns = {str(name): _plain(source[name]) for name in source.columns}
    else:
        raise DataError(
            f"the table is a {type(source).__name__}; expected a path, a DataFrame or a list of dicts. "
            "Convert it first."
        )
    sizes = {name: len(cells) for name, cells in columns.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"the columns have different lengths ({safe_repr(str(sizes))}); expected one cell a row in each. Mend it."
        )
    return columns, list(range(1, max(sizes.values(), default=0) + 1))


def _cells(column: Any) -> list[Any]:
    """A column of plain numbers where NumPy holds one, else its rows as they are."""
    return list(column.tolist()) if getattr(column, "ndim", 0) == 1 else list(column)


def _plain(column: Any) -> list[Any]:
    cells = column.tolist() if hasattr(column, "tolist") else column.to_list()
    return [cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]


def _refuse_doubles(name: str, names: Sequence[str]) -> None:
    for place, column in enumerate(names):
        if column in names[:place]:
            raise DataError(
                f"{name} has two columns named {safe_repr(column, 40)!r}; expected different names. Rename one of them."
            )


def _missing_as_none(cell: Any) -> Any:
    """NaN is how DataFrames and Parquet say 'missing'; pandas' NA and NaT are told by their names."""
    if isinstance(cell, float):
        return None if math.isnan(cell) else cell
    return None if type(cell).__name__ in {"NAType", "NaTType"} else cell
