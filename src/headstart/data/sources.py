"""Where a Task's tables come from: files and objects, or folders of class folders; and which column is no text.

Enters what a user named (`--image`, `--audio`, `--series`, `--label-from`). Leaves one Table a part, and a RawColumn
where the inputs are pictures, clips or series.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.data.inputs import FILE_COLUMN, LABEL_COLUMN, SUFFIXES, find_files, read_folder
from headstart.data.raw import Modality
from headstart.data.table import Table, read_table
from headstart.ground.errors import ConfigError, DataError, did_you_mean, safe_repr


@dataclass(frozen=True, slots=True)
class RawColumn:
    """The column whose cells are pictures, clips or series."""

    name: str
    modality: Modality


def asked_column(*, text: str | None, image: str | None, audio: str | None, series: str | None) -> RawColumn | None:
    """The one column of inputs that are no text, None for text.

    Raises:
        ConfigError: two kinds of inputs were named.
    """
    named: dict[Modality, str | None] = {"image": image, "audio": audio, "series": series}
    given = [RawColumn(name, modality) for modality, name in named.items() if name is not None]
    if len(given) > 1 or (given and text is not None):
        flags = " and ".join(f"--{m}" for m, n in (("text", text), *named.items()) if n is not None)
        raise ConfigError(f"{flags} were given together; expected one of them. A task reads one kind of input.")
    return given[0] if given else None


def read_sources(
    parts: dict[str, Any], asked: RawColumn | None, *, label_from: str | None, max_reject: float
) -> tuple[dict[str, Table], RawColumn | None]:
    """(part -> Table, the column that is no text). parts: what was given, by name, "train" among them.

    Raises:
        ConfigError: `label_from` is something else than "folder", or does not go with what was named beside it.
        DataError: a source cannot be read, or the parts hold pictures and sounds.
    """
    if label_from is None:
        binary = None if asked is None else asked.name
        tables = {part: _one_table(given, max_reject, binary) for part, given in parts.items()}
        return tables, asked
    if label_from != "folder":
        raise ConfigError(
            f"--label-from is {label_from!r}; expected folder.{did_you_mean(label_from, ['folder'])} "
            "Leave it out where the labels stand in a column."
        )
    if asked is not None:
        raise ConfigError(
            f"--label-from folder was given with --{asked.modality}; expected one of them. A folder has no columns."
        )
    read = {part: read_folder(Path(given)) for part, given in parts.items()}
    classes = set(read["train"][0].columns[LABEL_COLUMN])
    if len(classes) < 2:
        raise DataError(
            f"{parts['train']} has one class folder, {safe_repr(classes.pop(), 60)}; expected at least two. Add a "
            "folder of files for every other class."
        )
    kinds = {modality for _, modality in read.values()}
    if len(kinds) > 1:
        raise DataError("some parts hold pictures and others sounds; expected one kind. Give folders of one kind.")
    return {part: table for part, (table, _) in read.items()}, RawColumn(FILE_COLUMN, kinds.pop())


def _one_table(given: Any, max_reject: float, binary: str | None) -> Table:
    if isinstance(given, str | Path) and Path(given).is_dir() and find_files(Path(given)):
        raise DataError(
            f"{given} is a folder with pictures or sounds; expected a table. To take the folders' names as labels, add "
            "--label-from folder."
        )
    table = read_table(given, max_reject=max_reject, binary=binary)
    if binary is None and not isinstance(given, Table):
        _refuse_media(table)
    return table


def _refuse_media(table: Table) -> None:
    """A table of file names is no table of texts."""
    for name, cells in table.columns.items():
        first = next((cell for cell in cells if cell is not None), None)
        if isinstance(first, str) and Path(first[-12:]).suffix.lower() in SUFFIXES and len(table.columns) <= 3:
            modality = SUFFIXES[Path(first[-12:]).suffix.lower()]
            if all(isinstance(c, str) and Path(c[-12:]).suffix.lower() in SUFFIXES for c in cells if c is not None):
                raise DataError(
                    f"column {name!r} of {table.source} holds file names; expected text. Give --{modality} {name}."
                )
