"""Raw: one input that is no text (a picture, a clip, a series), kept as it came and decoded when it is read.

A table of photographs would not fit into memory as pixels. So every input is decoded once, to know that it can be, what
shape it has and whether it stands in the table twice, and again by whoever cuts it into patches.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headstart.data import pictures, series, sound
from headstart.ground.errors import DataError, safe_repr

Modality = Literal["image", "audio", "series"]

MAX_FILE_BYTES = 512 << 20  # of one picture or clip
NOUNS = {"image": "picture", "audio": "clip", "series": "series"}


@dataclass(frozen=True, slots=True)
class Raw:
    """One input. digest: hex SHA-256 of what it decodes to, by which two inputs are equal. shape: of that: pictures
    (height, width, channels), clips (samples,), series (channels, steps). rate: of clips, samples per second. missing:
    values of a series that were filled in. where: what messages call it.
    """

    modality: Modality
    digest: str
    shape: tuple[int, ...] = field(compare=False)
    rate: int | None = field(default=None, compare=False)
    missing: int = field(default=0, compare=False)
    where: str = field(default="the input", compare=False)
    content: Any = field(default=None, repr=False, compare=False)

    def read(self) -> Any:
        """What it decodes to: (H, W, C) uint8, a Clip, or (channels, steps) float64.

        Raises:
            DataError: a file is gone, or is another one by now.
        """
        return _decode(self.modality, self.content, self.where)[0]

    def __str__(self) -> str:
        """'picture 32 x 32 (a1b2c3d4)' for tables of errors."""
        if self.modality == "image":
            size = f"{self.shape[1]} x {self.shape[0]}"
        elif self.modality == "audio":
            size = f"of {self.shape[0] / (self.rate or 1):.2f} s"
        else:
            size = f"of {self.shape[0]} x {self.shape[1]} values" if self.shape[0] > 1 else f"of {self.shape[1]} values"
        name = self.content.name if isinstance(self.content, Path) else self.digest[:8]
        return f"{NOUNS[self.modality]} {size} ({safe_repr(name, 60)})"


def keep_raw(modality: Modality, content: Any, *, where: str) -> Raw:
    """A Raw of a path, of file bytes, or of arrays; decoded once.

    Raises:
        DataError: what is wrong with it, beginning with `where`.
    """
    decoded, missing = _decode(modality, content, where)
    values = decoded.samples if isinstance(decoded, sound.Clip) else decoded
    rate = decoded.rate if isinstance(decoded, sound.Clip) else None
    digest = hashlib.sha256(f"{values.shape} {rate}".encode())
    digest.update(np.ascontiguousarray(values).data)
    kept = content if isinstance(content, bytes | Path) else decoded
    return Raw(modality, digest.hexdigest(), tuple(values.shape), rate, missing, where, kept)


def _decode(modality: Modality, content: Any, where: str) -> tuple[Any, int]:
    """(what it decodes to, values filled in)."""
    if isinstance(content, Path):
        content = read_file(content, where=where)
    if modality == "image":
        return pictures.read_picture(content, where=where), 0
    if modality == "audio":
        return sound.read_clip(content, where=where), 0
    found = series.read_series(content, where=where)
    return found.values, found.missing


def read_file(path: Path, *, where: str) -> bytes:
    """The bytes of a regular file of at most MAX_FILE_BYTES.

    Raises:
        DataError: it is not there, cannot be read, is no file, or too large.
    """
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist" if not path.exists() else "is no regular file"
            raise DataError(f"{where} {what}; expected a file. Check the path.")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DataError(f"{where} has {size:,} bytes; expected at most {MAX_FILE_BYTES:,}. Make it smaller.")
        with path.open("rb") as handle:
            return handle.read(MAX_FILE_BYTES + 1)
    except OSError as problem:
        raise DataError(
            f"{where} cannot be read: {problem.strerror or problem}; expected a file. Check its permissions."
        ) from problem
