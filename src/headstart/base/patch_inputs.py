"""Patches where a text base has tokens: the codec of a folder, and rows as people hand them over.

A row is a picture, a sound or a series as the cells of a table hold it (see `data.inputs`): a path, file bytes, an
array, numbers or their text; or a dict with it under the name of its column, samples with a sample_rate beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headstart.base.tensors import read_json
from headstart.data.inputs import RATE_COLUMNS, content_of
from headstart.data.patch_rows import PatchRows, encode_patches
from headstart.data.patches import PatchCodec
from headstart.data.raw import Modality, Raw, read_file
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
    cells = enumerate(_cells(rows, column))
    inputs = [_opened(cell, rate, codec.modality, place) for place, (cell, rate) in cells]
    return encode_patches(codec, inputs, front=patches.prefix, table=patches.grid)


def _cells(rows: Any, column: str | None) -> Iterable[tuple[Any, Any]]:
    """(cell, the sample rate beside it or None) of every row."""
    if isinstance(rows, str | bytes | Path | Mapping):
        raise DataError(f"the rows are one {type(rows).__name__}; expected a list of rows. Put it into a list.")
    names = getattr(rows, "columns", None)
    if names is not None:  # a DataFrame: its columns by name, without importing the library it comes from
        listed = list(map(str, names))
        chosen = column if column is not None else listed[0]
        if chosen not in listed:
            raise DataError(f"the table has no column {chosen!r}; expected one.{did_you_mean(chosen, listed)}")
        rate = next((name for name in RATE_COLUMNS if name in listed), None)
        cells = list(rows[chosen])
        return zip(cells, [None] * len(cells) if rate is None else list(rows[rate]), strict=True)
    if not isinstance(rows, Iterable):
        raise DataError(f"the rows are a {type(rows).__name__}; expected a list of rows or a table.")
    return [_member(row, place, column) for place, row in enumerate(rows)]


def _member(row: Any, place: int, column: str | None) -> tuple[Any, Any]:
    if not isinstance(row, Mapping):
        return row, None
    name = column if column is not None else next(iter(row), "")
    if name not in row:
        raise DataError(f"row {place} has no {name!r}; expected it.{did_you_mean(name, map(str, row))}")
    return row[name], next((row[rate] for rate in RATE_COLUMNS if rate in row), None)


def _opened(cell: Any, rate: Any, modality: Modality, place: int) -> Any:
    if isinstance(cell, Raw):
        return cell
    content = content_of(cell, modality, rate, Path(), where=f"row {place}")
    if not isinstance(content, Path):
        return content
    return read_file(content, where=f"row {place}, {safe_repr(str(content), 120)},")
