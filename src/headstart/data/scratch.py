"""Records on disk, for what grows with the corpus: appended, read back in pieces or by row, grouped by key.

Memory is that of one piece, or of one part of the keys, whatever the number of records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUP_BYTES = 32 << 20  # of one part of the keys that is sorted in memory
MAX_PARTS = 4096

KEYED = np.dtype([("key", np.uint64), ("check", np.uint64), ("row", np.int64)])

Records = NDArray[Any]


class Column:
    """A file of records of one dtype and shape."""

    def __init__(self, path: Path, dtype: np.dtype[Any], width: int = 1) -> None:
        self.path, self.dtype, self.width = path, dtype, width
        self._record_bytes = dtype.itemsize * width
        self._out = path.open("ab")
        self._inp = path.open("rb")

    def __len__(self) -> int:
        self._out.flush()
        return os.fstat(self._out.fileno()).st_size // self._record_bytes

    def append(self, records: Records) -> None:
        """Add records at the end."""
        self._out.write(np.ascontiguousarray(records, dtype=self.dtype).tobytes())

    def pieces(self, size: int) -> Iterator[tuple[int, Records]]:
        """(number of the first record, up to `size` records), in order."""
        count = len(self)
        for first in range(0, count, size):
            wanted = min(size, count - first) * self._record_bytes
            yield first, self._shaped(os.pread(self._inp.fileno(), wanted, first * self._record_bytes))

    def take(self, rows: NDArray[np.int64]) -> Records:
        """The records at `rows`, in that order."""
        self._out.flush()
        handle, size = self._inp.fileno(), self._record_bytes
        return self._shaped(b"".join(os.pread(handle, size, int(row) * size) for row in rows))

    def read_bytes(self, start: int, size: int) -> bytes:
        """Raw bytes, wherever they begin."""
        self._out.flush()
        return os.pread(self._inp.fileno(), size, start)

    def close(self) -> None:
        """Close the file; the records stay."""
        self._out.close()
        self._inp.close()

    def _shaped(self, raw: bytes) -> Records:
        found = np.frombuffer(raw, dtype=self.dtype)
        return found.reshape(-1, self.width) if self.width > 1 else found


class Parts:
    """Records spread over files by a number from 0 to count - 1; each part is read back whole."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], count: int) -> None:
        self.folder, self.dtype, self.count = folder, dtype, count
        folder.mkdir()

    def add(self, records: Records, part: NDArray[np.integer[Any]]) -> None:
        """Append records to their parts; within a part they keep their order."""
        order = np.argsort(part, kind="stable")
        sizes = np.bincount(part, minlength=self.count)
        begin = 0
        for number in np.flatnonzero(sizes).tolist():
            end = begin + int(sizes[number])
            with (self.folder / str(number)).open("ab") as out:
                out.write(records[order[begin:end]].tobytes())
            begin = end

    def read(self, part: int) -> Records:
        """All records of one part; its file goes."""
        file = self.folder / str(part)
        if not file.is_file():
            return np.zeros(0, dtype=self.dtype)
        found = np.fromfile(file, dtype=self.dtype)
        file.unlink()
        return found


def keyed_parts(folder: Path, num_records: int) -> tuple[Parts, np.uint64]:
    """Parts for KEYED records, by the top bits of their keys; add to part `key >> shift`."""
    count = 1
    while count < MAX_PARTS and num_records * KEYED.itemsize > count * GROUP_BYTES:
        count *= 2
    return Parts(folder, KEYED, count), np.uint64(64 - (count.bit_length() - 1))


def part_of(keys: NDArray[np.uint64], shift: np.uint64) -> NDArray[np.int64]:
    """The part of each key; with one part the shift is 64, which numpy leaves undefined."""
    return np.zeros(len(keys), dtype=np.int64) if shift >= 64 else (keys >> shift).astype(np.int64)


def groups(records: Records) -> tuple[Records, NDArray[np.int64]]:
    """KEYED records in the order of (key, check, row), and where each record's group of equal keys begins."""
    ordered = records[np.lexsort((records["row"], records["check"], records["key"]))]
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = (ordered["key"][1:] != ordered["key"][:-1]) | (ordered["check"][1:] != ordered["check"][:-1])
    begins = np.maximum.accumulate(np.where(new, np.arange(len(ordered)), 0))
    return ordered, begins
