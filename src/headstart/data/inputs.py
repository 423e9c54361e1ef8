"""Cells of a table, or files of a folder -> Raw inputs: paths, file bytes, Hugging Face's structs, raw PCM, arrays.

Nothing is fetched: a cell that is an address is refused. Paths are read from where the table lies.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headstart.data.raw import Modality, Raw, keep_raw
from headstart.data.sound import Clip, from_pcm16, from_samples
from headstart.data.table import Table
from headstart.ground.errors import DataError, safe_repr

SUFFIXES: dict[str, Modality] = {
    ".png": "image", ".jpg": "image", ".jpeg": "image", ".webp": "image", ".wav": "audio", ".flac": "audio",
}  # fmt: skip
RATE_COLUMNS = ("sample_rate", "sampling_rate", "rate", "sr")
SOUND_FILES = (b"RIFF", b"fLaC")
NO_VALUE = re.compile(r"\b(?:nan|none)\b", re.IGNORECASE)  # as JSON, pandas and Python write lists with gaps
FILE_COLUMN, LABEL_COLUMN = "file", "label"
MAX_FILES = 1_000_000
PARTS = {
    "train": "",
    "training": "",
    "test": "--test ",
    "testing": "--test ",
    "val": "--validation ",
    "valid": "--validation ",
    "validation": "--validation ",
}  # folders that are called so hold parts of a data set, and how `adapt` is given them


def raw_reader(table: Table, column: str, modality: Modality) -> Callable[[int], Raw | None]:
    """The function from a row's number to its Raw: None where the cell is empty, DataError where it cannot be used."""
    cells = table.columns[column]
    rates = next((table.columns[name] for name in RATE_COLUMNS if name in table.columns), None)

    def read(row: int) -> Raw | None:
        cell = cells[row]
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        name = (
            table.place(row) if not isinstance(cell, str | Path) or modality == "series" else safe_repr(str(cell), 80)
        )
        rate = None if rates is None else rates[row]
        return keep_raw(modality, content_of(cell, modality, rate, table.folder, where=name), where=name)

    return read


def content_of(cell: Any, modality: Modality, rate: Any, folder: Path, *, where: str) -> Any:
    """What `keep_raw` takes, of one cell."""
    if isinstance(cell, Mapping):
        return _of_mapping(cell, modality, folder, where)
    if modality == "series":
        return _numbers(cell, where) if isinstance(cell, str) else cell
    if isinstance(cell, str | Path):
        if "://" in str(cell)[:12]:
            raise DataError(f"{where} is an address; expected a file here. Nothing is downloaded: fetch it first.")
        return folder / cell
    if modality == "audio" and not isinstance(cell, Clip):
        return _of_samples(cell, rate, where)
    return cell


def _of_mapping(cell: Mapping[str, Any], modality: Modality, folder: Path, where: str) -> Any:
    """Hugging Face's cells: {"bytes", "path"} of a file, {"array", "sampling_rate"} of a decoded clip."""
    content = cell.get("bytes")
    if content is not None:
        try:
            return bytes(content if isinstance(content, list) else memoryview(content))  # JSON holds lists of numbers
        except (TypeError, ValueError) as problem:
            raise DataError(
                f"{where} has a {type(content).__name__} under bytes; expected the bytes of a file. Decode it."
            ) from problem
    if cell.get("array") is not None:
        return content_of(cell["array"], modality, cell.get("sampling_rate"), folder, where=where)
    if isinstance(cell.get("path"), str):
        return content_of(cell["path"], modality, None, folder, where=where)
    raise DataError(f"{where} has the keys {safe_repr(', '.join(map(str, cell)), 60)}; expected bytes, path or array.")


def _of_samples(cell: Any, rate: Any, where: str) -> Any:
    """File bytes as they are; samples (raw PCM or numbers) with the rate that stands beside them."""
    content = bytes(cell) if isinstance(cell, bytes | bytearray | memoryview) else None
    if content is not None and content.startswith(SOUND_FILES):
        return content
    if rate is None:
        raise DataError(
            f"{where} holds samples without their rate; expected a WAV or FLAC, or a column sample_rate beside it. "
            "Add that column."
        )
    whole = isinstance(rate, int | np.integer) or (isinstance(rate, float | np.floating) and float(rate).is_integer())
    if not whole or isinstance(rate, bool):
        raise DataError(
            f"{where} has the sample rate {safe_repr(repr(rate), 40)}; expected a whole number, such as 16000. Mend "
            "that cell."
        )
    if content is not None:
        return from_pcm16(content, int(rate), where=where)
    return from_samples(cell, int(rate), where=where)


def _numbers(cell: str, where: str) -> Any:
    """A series written into one cell: a JSON list, or numbers with spaces or semicolons between them."""
    if cell.lstrip().startswith("["):
        try:
            return msgspec.json.decode(NO_VALUE.sub("null", cell).encode())
        except (msgspec.DecodeError, UnicodeEncodeError) as problem:
            raise DataError(
                f"{where} is no JSON list ({safe_repr(str(problem), 60)}); expected numbers. Mend it."
            ) from problem
    try:
        return [float(part) for part in cell.replace(";", " ").split()]
    except ValueError as problem:
        raise DataError(
            f"{where} is {safe_repr(cell, 60)!r}; expected numbers with spaces between them, or a JSON list. Mend it."
        ) from problem


def read_folder(folder: Path) -> tuple[Table, Modality]:
    """A folder of class folders as a table with the columns `file` and `label`: one row a picture or clip below each.

    Names that begin with a dot and links to folders are passed over; what else is passed over stands in the notes.

    Raises:
        DataError: there are no class folders, one has files and no picture or clip, they hold both, or they are the
            parts of a data set.
    """
    paths = find_files(folder)
    notes = _passed_over(folder) if folder.is_dir() else ()
    if not paths:
        raise DataError(_no_classes(folder))
    modality = one_modality(paths, folder)
    _refuse_parts(folder, paths)
    labels = [path.relative_to(folder).parts[0] for path in paths]
    return replace(files_table(folder, paths, {LABEL_COLUMN: labels}), notes=notes), modality


def find_files(folder: Path, *, classes: bool = True) -> list[Path]:
    """Pictures and clips below a folder, sorted; with `classes` only those that stand in a folder of it."""
    found: list[Path] = []
    for place, names in _walk(folder):
        if classes and place == folder:
            continue
        found += [place / name for name in names if is_media(name)]
        if len(found) > MAX_FILES:
            raise DataError(f"{folder} has over {MAX_FILES:,} files; expected fewer. Give a part of it.")
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder from `folder` on with the names of its files; hidden names and links to folders are passed over."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in names if not name.startswith("."))


def is_media(name: str) -> bool:
    """Whether a file's name is a picture's or a clip's."""
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def one_modality(paths: list[Path], folder: Path) -> Modality:
    """What all files are, by their names' endings."""
    kinds = {SUFFIXES[path.suffix.lower()]: path for path in paths}
    if len(kinds) > 1:
        shown = " and ".join(path.name for path in kinds.values())
        raise DataError(
            f"{folder} holds pictures and sounds ({safe_repr(shown, 80)}); expected one of them. Part them."
        )
    return next(iter(kinds))


def files_table(folder: Path, paths: list[Path], more: dict[str, list[Any]] | None = None) -> Table:
    """The table of files: their paths within the folder, and more columns beside. Contents are not read here."""
    names = [str(path.relative_to(folder)) for path in paths]
    for name in names:
        if any("\udc80" <= letter <= "\udcff" for letter in name):  # how Python says bytes that are not UTF-8
            raise DataError(
                f"{safe_repr(str(folder / name), 300)} has a name that is not UTF-8; expected one that can be written "
                "into answers. Rename it, for instance with convmv -f latin1 -t utf8."
            )
    columns: dict[str, list[Any]] = {FILE_COLUMN: names, **(more or {})}
    return Table(columns, [], safe_repr(folder.name or str(folder)), "", list(range(1, len(paths) + 1)), folder=folder)


def _passed_over(folder: Path) -> tuple[str, ...]:
    """Notes on files and folders that are no row; DataError for a class folder that would vanish with all its files."""
    held = {entry.name: Counter[str]() for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."}
    loose: Counter[str] = Counter()
    for place, names in _walk(folder):
        kinds = loose if place == folder else held[place.relative_to(folder).parts[0]]
        kinds.update(Path(name).suffix.lower() or "without a suffix" for name in names)
    for name, kinds in sorted(held.items()):
        if kinds and not kinds.keys() & SUFFIXES.keys():
            raise DataError(
                f"{safe_repr(str(folder / name), 300)} holds {_listed(kinds)} and no picture or sound that is read; "
                f"expected {_known()}. Convert them, or move the folder elsewhere."
            )
    source, notes = safe_repr(folder.name or str(folder)), []
    others = sum(held.values(), Counter[str]())
    if passed := {kind: count for kind, count in others.items() if kind not in SUFFIXES}:
        notes.append(f"files passed over in {source}, since they are none of {_known()}: {_listed(passed)}")
    if loose:
        notes.append(f"files passed over in {source}, since they stand in no class folder: {_listed(loose)}")
    if empty := sorted(name for name, kinds in held.items() if not kinds):
        shown = safe_repr(", ".join(empty), 80)
        notes.append(f"folders passed over in {source}, since they hold no file or are links: {shown}")
    return tuple(notes)


def _listed(kinds: Mapping[str, int]) -> str:
    """'12 .gif, 1 .txt'."""
    most = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return safe_repr(", ".join(f"{count:,} {kind}" for kind, count in most), 100)


def _known() -> str:
    return ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))


def _refuse_parts(folder: Path, paths: list[Path]) -> None:
    """DataError where the folders are train, test and so on, with the class folders in them."""
    within = [path.relative_to(folder).parts for path in paths]
    tops = {parts[0].casefold(): parts[0] for parts in within}
    if tops.keys() <= PARTS.keys() and any(len(parts) > 2 for parts in within):
        given = " ".join(f"{flag}{folder / tops[part]}" for part, flag in PARTS.items() if part in tops)
        whole = "train" in tops or "training" in tops
        raise DataError(
            f"{folder} holds {', '.join(sorted(tops.values()))}, the parts of a data set; expected one folder a class. "
            f"Give {given if whole else folder / next(iter(tops.values()))} --label-from folder."
        )


def _no_classes(folder: Path) -> str:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        return f"{folder} {what}; expected a folder with one folder a class, such as {folder}/cats. Check the path."
    loose = [path.name for path in folder.iterdir() if path.is_file() and is_media(path.name)]
    beside = f" ({len(loose):,} files stand in no class folder)" if loose else ""
    return (
        f"{folder} has no class folders with {_known()} files in them{beside}; expected one folder a class. Sort them."
    )
