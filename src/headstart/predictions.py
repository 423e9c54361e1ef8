"""`headstart predict`: a folder and a table in, the table with prediction and probability out.

Choice: prediction is a label, probability its calibrated probability. Labels: both are lists (joined with "|" in CSV).
Tags: both are lists, one entry a word (JSON inside CSV). Score: prediction is a number and there is no probability.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from headstart.base.answers import labels_of
from headstart.base.base import Base
from headstart.base.contract import TaskContract
from headstart.data.inputs import FILE_COLUMN, files_table, find_files, one_modality, raw_reader
from headstart.data.patches import PatchCodec
from headstart.data.raw import Modality, Raw
from headstart.data.table import Table, read_table
from headstart.ground.errors import CapabilityError, ConfigError, DataError, did_you_mean
from headstart.ground.files import write_atomic

JSON_ENDINGS = (".jsonl", ".json", ".ndjson")
ADDED = ("prediction", "probability")


def answer_table(folder: Path, source: str, *, out: Path | None, drop_missing: bool) -> int:
    """Answer every row of `source` and write the result to `out`, or to standard output."""
    as_json = written_as_json(source, out)
    base = Base.load(folder)
    if base.contract is None:
        raise CapabilityError(
            f"{folder} has no task; expected an adapted base. Make one: headstart adapt TRAIN --base {folder}."
        )
    table = read_inputs(source, base)
    for reject in table.rejects:
        sys.stderr.write(f"{table.source}:{reject.line}: {reject.reason}; left out.\n")
    if base.modality is None:
        kept = rows_with_text(table, base.contract, drop_missing=drop_missing)
        text = zip(*(compress(table.columns[name], kept) for name in base.contract.columns), strict=True)
        rows: list[Any] = [dict(zip(base.contract.columns, members, strict=True)) for members in text]
    else:
        column, channels = input_column(table, base.contract), channels_read(base)
        raws = readable_inputs(table, column, base.modality, channels=channels, drop_missing=drop_missing)
        kept, rows = [raw is not None for raw in raws], [raw for raw in raws if raw is not None]
    columns = {name: list(compress(cells, kept)) for name, cells in table.columns.items() if is_written(cells)}
    answered = {**columns, **answers(base, base.contract, rows)}
    pieces = jsonl_lines(answered) if as_json else csv_lines(answered, labels=base.contract.kind == "labels")
    if out is not None:
        write_atomic(out, "".join(pieces).encode())
        sys.stderr.write(f"{len(rows):,} rows answered -> {out}\n")
        return 0
    for piece in pieces:
        sys.stdout.write(piece)
    return 0


def written_as_json(source: str, out: Path | None) -> bool:
    """Whether the answers are JSONL: by the ending of `out`, or like the table that came in."""
    if out is None:
        return Path(source.removesuffix(".gz").removesuffix(".zst")).suffix.lower() in JSON_ENDINGS
    if out.suffix.lower() not in (".csv", *JSON_ENDINGS):
        raise ConfigError(f"--out is {out}; expected a .csv or .jsonl file. Give it one of these endings.")
    if not out.parent.is_dir():
        raise ConfigError(f"--out is {out}, but {out.parent} is no folder; expected one that exists. Make it first.")
    return out.suffix.lower() != ".csv"


def read_inputs(source: str, base: Base) -> Table:
    """The table to answer; for a base of pictures or sounds also a folder of them, with a column `file`."""
    if base.modality is None or base.contract is None:
        return read_table(source)
    if not Path(source).is_dir():
        return read_table(source, binary=base.contract.columns[0])
    paths = find_files(Path(source), classes=False)
    if not paths or one_modality(paths, Path(source)) != base.modality:
        raise DataError(f"{source} holds no {base.modality} files; expected some, since {base.name} reads them.")
    return files_table(Path(source), paths)


def input_column(table: Table, contract: TaskContract) -> str:
    """The column of pictures, clips or series: as the task calls it, or `file`, as a folder's table does."""
    known = [contract.columns[0], FILE_COLUMN]
    found = next((name for name in known if name in table.columns), None)
    if found is None:
        columns = ", ".join(list(table.columns)[:12])
        raise DataError(
            f"{table.source} has no column {known[0]!r}, which the task reads; expected it beside {columns}."
            f"{did_you_mean(known[0], table.columns)} Rename the column that holds it."
        )
    refuse_taken_names(table)
    return found


def channels_read(base: Base) -> int:
    """Channels that every series must have, for this base or for its head; 1 where any number will do."""
    assert base.contract is not None
    of_base = base.codec.channels if isinstance(base.codec, PatchCodec) and base.modality == "series" else 1
    return max(of_base, base.contract.channels)


def readable_inputs(
    table: Table, column: str, modality: Modality, *, channels: int, drop_missing: bool
) -> list[Raw | None]:
    """Every row's input; None where there is none to read and rows may be dropped, else DataError names the row."""
    read = raw_reader(table, column, modality)
    found: list[Raw | None] = []
    for row in range(len(table)):
        try:
            found.append(of_channels(read(row), channels))
        except DataError as problem:
            if not drop_missing:
                raise DataError(
                    f"{table.place(row)}: {problem} Or leave such rows out with --drop-missing."
                ) from problem
            sys.stderr.write(f"{table.place(row)}: {problem} Left out.\n")
            found.append(None)
        if found[-1] is None and not drop_missing:
            raise DataError(
                f"{table.place(row)}: {column} is empty; expected a value. Add --drop-missing or fix the file."
            )
    return found


def of_channels(raw: Raw | None, channels: int) -> Raw | None:
    """The input as it is; DataError for a series of another number of channels, unless any will do."""
    if raw is not None and channels > 1 and raw.shape[0] != channels:
        raise DataError(
            f"{raw.where} is a series of {raw.shape[0]} channels; expected {channels}, as in the training rows. Give "
            "the same sensors."
        )
    return raw


def is_written(cells: list[Any]) -> bool:
    """Whether a column can stand beside the answers: bytes and arrays cannot."""
    first = next((cell for cell in cells if cell is not None), None)
    return not isinstance(first, bytes | Mapping) and not hasattr(first, "shape")


def rows_with_text(table: Table, contract: TaskContract, *, drop_missing: bool) -> list[bool]:
    """Which rows can be answered; DataError names the first that cannot, unless they may be dropped."""
    for name in contract.columns:
        if name not in table.columns:
            known = ", ".join(list(table.columns)[:12])
            raise DataError(
                f"{table.source} has no column {name!r}, which the task reads; expected it beside {known}."
                f"{did_you_mean(name, table.columns)} Rename the column that holds the text."
            )
    refuse_taken_names(table)
    kept = [all(table.columns[name][row] not in (None, "") for name in contract.columns) for row in range(len(table))]
    if all(kept):
        return kept
    first = kept.index(False)
    missing = len(kept) - sum(kept)
    if not drop_missing:
        empty = next(name for name in contract.columns if table.columns[name][first] in (None, ""))
        raise DataError(
            f"{table.place(first)}: {empty} is empty; expected text. {missing:,} "
            f"{'row' if missing == 1 else 'rows'} like this. Add --drop-missing or fix the file."
        )
    sys.stderr.write(f"{missing:,} rows without text left out, the first at {table.place(first)}\n")
    return kept


def refuse_taken_names(table: Table) -> None:
    """DataError where the table has a column that the answers would take."""
    taken = [name for name in ADDED if name in table.columns]
    if taken:
        raise DataError(f"{table.source} already has a column {taken[0]!r}; expected none of that name. Rename it.")


def answers(base: Base, contract: TaskContract, rows: list[Any]) -> dict[str, list[Any]]:
    """The columns `prediction` and `probability`, from one pass over the rows."""
    if contract.kind == "score":
        return {"prediction": np.asarray(base.predict(rows), dtype=np.float64).tolist()}
    chances = base.predict_proba(rows)
    if contract.kind == "tags":
        best = [np.argmax(words, axis=-1) for words in chances]
        return {
            "prediction": [[contract.labels[k] for k in word] for word in best],
            "probability": [rounded(words.max(axis=-1)) if len(words) else [] for words in chances],
        }
    assert isinstance(chances, np.ndarray)
    given = labels_of(chances, contract)
    if contract.kind == "choice":
        return {"prediction": list(given), "probability": rounded(chances.max(axis=-1)) if len(chances) else []}
    place = {label: k for k, label in enumerate(contract.labels)}
    return {
        "prediction": list(given),
        "probability": [
            rounded(np.array([row[place[label]] for label in labels]))
            for row, labels in zip(chances, given, strict=True)
        ],
    }


def rounded(values: Any) -> list[float]:
    """Probabilities to 4 places; more would be noise."""
    return [round(float(value), 4) for value in values]


def jsonl_lines(columns: dict[str, list[Any]]) -> Iterator[str]:
    """One JSON object a row."""
    for row in records(columns):
        yield json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=str) + "\n"


def csv_lines(columns: dict[str, list[Any]], *, labels: bool) -> Iterator[str]:
    """Header and rows. `labels`: several labels a row, joined with "|" as `adapt` reads them; other lists are JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in [tuple(columns), *records(columns)]:
        cells = (
            ("|".join(map(str, cell)) if labels and name in ADDED else json.dumps(cell, default=str))
            if isinstance(cell, list)
            else cell
            for name, cell in zip(columns, row, strict=True)
        )
        writer.writerow(cells)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def records(columns: dict[str, list[Any]]) -> Iterable[tuple[Any, ...]]:
    """Rows of a table of columns."""
    return zip(*columns.values(), strict=True)
