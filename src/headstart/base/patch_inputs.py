"""Patches where a text base has tokens: the codec of a folder, and rows as people hand them over.

A row is a picture (file bytes, an array), a sound (file bytes, a Clip) or a series (numbers), the path of such a file,
or a dict with it under the name of its column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headstart.base.tensors import read_json
from headstart.data.patch_rows import PatchRows, encode_patches
from headstart.data.patches import PatchCodec
from headstart.data.raw import read_file
from headstart.ground.errors import BaseError, DataError, did_you_mean, safe_repr
from headstart.model.patches import PatchConfig

FILE = "preprocessor_config.json"
LIMIT = 1 << 20  # bytes of preprocessor_config.json; a real one has about 500


def read_codec(folder: Path, patches: PatchConfig) -> PatchCodec:
    """The codec of a folder whose config.json says `patches`.

    Raises:
        BaseError: there is none, it cannot be read, or it makes other patches than the trunk takes.
    """
    file = folder / FILE
    if not file.is_file():
        raise BaseError(
            f"{folder} has no {FILE}; expected it beside config.json. Copy it from the base this folder came from."
        )
    codec = PatchCodec.from_dict(
        read_json(file, limit=LIMIT),
        patch=patches.patch,
        stride=patches.stride,
        channels=patches.channels,
        where=str(file),
    )
    if codec.patch_dim != patches.unit_size:
        raise BaseError(
            f"{file} makes patches of {codec.patch_dim} numbers; expected {patches.unit_size} as in config.json. "
            "Use the two files of one base."
        )
    return codec


def encode_inputs(codec: PatchCodec, rows: Any, patches: PatchConfig, *, column: str | None = None) -> PatchRows:
    """Every row read and cut. column: where dicts (or a DataFrame) hold it; their only entry where None.

    Raises:
        DataError: with the number of the row.
    """
    inputs = [_opened(raw, place) for place, raw in enumerate(_values(rows, column))]
    return encode_patches(codec, inputs, front=patches.prefix, table=patches.grid)


def _values(rows: Any, column: str | None) -> Iterable[Any]:
    if isinstance(rows, str | bytes | Path | Mapping):
        raise DataError(f"the rows are one {type(rows).__name__}; expected a list of rows. Put it into a list.")
    names = getattr(rows, "columns", None)
    if names is not None:  # a DataFrame: its columns by name, without importing the library it comes from
        listed = list(map(str, names))
        chosen = column if column is not None else listed[0]
        if chosen not in listed:
            raise DataError(f"the table has no column {chosen!r}; expected one.{did_you_mean(chosen, listed)}")
        return list(rows[chosen])
    if not isinstance(rows, Iterable):
        raise DataError(f"the rows are a {type(rows).__name__}; expected a list of rows or a table.")
    return [_member(row, place, column) for place, row in enumerate(rows)]


def _member(row: Any, place: int, column: str | None) -> Any:
    if not isinstance(row, Mapping):
        return row
    name = column if column is not None else next(iter(row), "")
    if name not in row:
        raise DataError(f"row {place} has no {name!r}; expected it.{did_you_mean(name, map(str, row))}")
    return row[name]


def _opened(raw: Any, place: int) -> Any:
    if not isinstance(raw, str | Path):
        return raw
    return read_file(Path(raw), where=f"row {place}, {safe_repr(str(raw), 120)},")
