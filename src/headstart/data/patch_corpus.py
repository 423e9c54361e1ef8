"""Unlabelled pictures, sounds or series for pre-training: files below a folder -> one file of planes, memory-mapped.

Enters a folder of Parquet tables, picture files or sound files; labels are never read, cells as `adapt` reads them
(data/inputs.py), names that begin with a dot passed over. Leaves planes.bin (N, C, H, W)
float16 at the codec's size, already normalised, with how many columns of each are filled, and meta.json. A series of
several channels is several planes. The order is that of the files' names and rows, so equal files give equal planes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.data.inputs import RATE_COLUMNS, content_of
from headstart.data.patch_rows import as_pair
from headstart.data.patches import Modality, PatchCodec
from headstart.data.planes import to_plane
from headstart.data.raw import NOUNS, read_file
from headstart.ground.errors import DataError, safe_repr
from headstart.ground.files import sha256_file, sync, write_atomic

COLUMNS: dict[Modality, str] = {"image": "image", "audio": "pcm_s16le", "series": "series"}
SUFFIXES: dict[Modality, tuple[str, ...]] = {
    "image": (".png", ".jpg", ".jpeg", ".webp"),
    "audio": (".wav", ".flac"),
    "series": (),
}
BATCH_ROWS = 256
UNREADABLE = (pa.ArrowException, OSError, ValueError)
LICENCES = "licences.json"  # file name -> licence, written by whoever gathered the files


class PlanesMeta(msgspec.Struct, frozen=True):
    """What planes.bin holds and where it came from. shape: (C, H, W). columns: filled ones of every plane.

    levels: of every plane of a series, where the codec keeps them: asinh of the mean and std that were taken out.
    """

    num_planes: int
    shape: tuple[int, int, int]
    columns: tuple[int, ...]
    files: dict[str, str]  # name below the folder -> SHA-256
    licences: dict[str, str]
    codec: str
    levels: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """Some rows of a corpus: planes (B, C, H, W), their filled columns (B,), their levels (B, 2) or None."""

    planes: npt.NDArray[np.float32]
    columns: npt.NDArray[np.int64]
    levels: npt.NDArray[np.float32] | None


@dataclass(frozen=True)
class PatchCorpus:
    """Planes (N, C, H, W) float16, memory-mapped, with their meta data."""

    planes: npt.NDArray[np.float16]
    meta: PlanesMeta

    def __len__(self) -> int:
        return len(self.planes)

    def take(self, rows: npt.NDArray[np.int64]) -> Taken:
        """The given rows."""
        columns = np.array([self.meta.columns[int(row)] for row in rows], dtype=np.int64)
        levels = np.array([self.meta.levels[int(row)] for row in rows], dtype=np.float32) if self.meta.levels else None
        return Taken(self.planes[rows].astype(np.float32), columns, levels)


def pack_patches(folder: Path, codec: PatchCodec, target: Path) -> PatchCorpus:
    """Read everything of the codec's modality below `folder` into `target`; an up-to-date target is reused.

    Raises:
        DataError: there is nothing to read, or a file is damaged; it is named.
    """
    files = find_files(folder, codec.modality)
    digests = {str(file.relative_to(folder)): sha256_file(file) for file in files}
    meta_file, planes_file = target / "meta.json", target / "planes.bin"
    licences = read_licences(folder)
    if meta_file.is_file():
        meta = msgspec.json.decode(meta_file.read_bytes(), type=PlanesMeta)
        if meta.files == digests and meta.codec == codec.digest and meta.licences == licences:
            return _open(planes_file, meta)
        meta_file.unlink()  # it must not stand beside planes that are half written
    target.mkdir(parents=True, exist_ok=True)
    with planes_file.open("wb") as out:
        columns, levels = _write(files, codec, out)
    if not columns:
        raise DataError(f"{folder} holds tables without rows; expected {codec.modality} data. Give another --data.")
    sync(planes_file)
    levelled = tuple(levels) if codec.levels else ()
    meta = PlanesMeta(len(columns), plane_shape(codec), tuple(columns), digests, licences, codec.digest, levelled)
    write_atomic(meta_file, msgspec.json.encode(meta))
    return _open(planes_file, meta)


def find_files(folder: Path, modality: Modality) -> list[Path]:
    """Parquet tables and files of the modality below a folder, by name; DataError where there is none."""
    wanted = (".parquet", *SUFFIXES[modality])
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in wanted
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not files:
        raise DataError(
            f"{folder} holds no {modality} data; expected files ending in {', '.join(wanted)}. Give another --data."
        )
    return files


def read_licences(folder: Path) -> dict[str, str]:
    """What licences.json says, empty where there is none."""
    file = folder / LICENCES
    if not file.is_file():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except msgspec.DecodeError as problem:
        raise DataError(f"{file} is no list of licences ({problem}); expected file name -> licence. Mend it.") from None


def read_inputs(files: list[Path], modality: Modality) -> Iterator[tuple[str, Any]]:
    """(where it stands, what a PatchCodec reads) for every file and every row of every table."""
    for file in files:
        if file.suffix.lower() == ".parquet":
            yield from _rows(file, modality)
        else:
            yield str(file), read_file(file, where=str(file))


def _rows(file: Path, modality: Modality) -> Iterator[tuple[str, Any]]:
    try:
        table = pq.ParquetFile(file)
    except UNREADABLE as problem:
        raise _unreadable(file, problem) from problem
    column, names = COLUMNS[modality], table.schema_arrow.names
    if column not in names:
        raise DataError(f"{file} has the columns {safe_repr(', '.join(names))}; expected {column}. Rename one of them.")
    rate = next((name for name in RATE_COLUMNS if name in names), "")
    needed = [column, rate] if modality == "audio" and rate else [column]
    for row, record in enumerate(_records(table, needed, file)):
        where = f"{file} row {row}"
        yield where, _content(record[column], modality, record.get(rate), where)


def _records(table: pq.ParquetFile, columns: list[str], file: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in table.iter_batches(BATCH_ROWS, columns=columns):
            yield from batch.to_pylist()
    except UNREADABLE as problem:
        raise _unreadable(file, problem) from problem


def _unreadable(file: Path, problem: Exception) -> DataError:
    return DataError(
        f"{file} is not a readable Parquet file ({safe_repr(str(problem), 120)}); expected a whole one. Copy it again."
    )


def _content(cell: Any, modality: Modality, rate: Any, where: str) -> Any:
    """What a PatchCodec reads, of one cell. A path is refused: what it names lies below the folder and is read there,
    or lies elsewhere, and then nothing would tell that it is another file by now."""
    if cell is None:
        raise DataError(f"{where} is empty; expected a {NOUNS[modality]}. Leave the row out.")
    found = content_of(cell, modality, rate, Path(), where=where)
    if isinstance(found, Path):
        raise DataError(
            f"{where} is the path {safe_repr(repr(str(found)), 80)}; expected the content of a file. Give a folder "
            "with the files themselves as --data, and leave this table out."
        )
    return found


def plane_shape(codec: PatchCodec) -> tuple[int, int, int]:
    """(C, H, W) of a plane that fills the codec's size."""
    (rows, columns), (high, wide) = as_pair(codec.whole_grid), as_pair(codec.patch)
    return codec.channels, rows * high, columns * wide


def _write(files: list[Path], codec: PatchCodec, out: BinaryIO) -> tuple[list[int], list[tuple[float, float]]]:
    """Append every plane, filled to the whole size with zeros; -> (filled columns, levels) of each."""
    patch, shape = as_pair(codec.patch), plane_shape(codec)
    area = codec.channels * patch[0] * patch[1]
    columns: list[int] = []
    levels: list[tuple[float, float]] = []
    for where, raw in read_inputs(files, codec.modality):
        read = codec.encode(raw, where=where)
        grid = as_pair(read.grid)
        parts = np.split(read.values, grid[0]) if codec.modality == "series" else [read.values]
        high = 1 if codec.modality == "series" else grid[0]
        for part in parts:
            plane = to_plane(part[:, :area], grid=(high, grid[1]), channels=codec.channels, patch=patch)
            whole = np.zeros(shape, dtype=np.float16)
            whole[:, :, : plane.shape[2]] = plane
            out.write(whole.tobytes())
            columns.append(plane.shape[2])
            if codec.levels:
                levels.append((float(part[0, area]), float(part[0, area + 1])))
    return columns, levels


def _open(file: Path, meta: PlanesMeta) -> PatchCorpus:
    shape = (meta.num_planes, *meta.shape)
    return PatchCorpus(np.memmap(file, dtype=np.float16, mode="r", shape=shape), meta)
