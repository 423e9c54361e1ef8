"""Reading weight files without trusting them: every check on names, shapes, dtypes and sizes comes before any tensor.

A TensorSource lists what a file claims (`entries`) and hands out one tensor at a time. The safetensors reader is our
own 100 lines, because the checks and the reading must see the same bytes: contiguous data of the exact file size,
names of a plain alphabet, no duplicate keys. Tensors are private memory maps, so nothing is copied until it is written.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from headstart.ground.errors import BaseError, safe_repr

MAX_HEADER = 16 << 20  # bytes; a 1,000-layer model needs about 2 MB
MAX_AXES = 8  # of a tensor; a kernel over clips has five
NAME = re.compile(r"[A-Za-z0-9._-]{1,256}")
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file claims about one tensor. dtype is safetensors' name; start and end are bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    end: int = 0


class TensorSource(Protocol):
    """Anything that lists tensors before it hands them out."""

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Name -> claim."""

    def tensor(self, name: str) -> Tensor:
        """The tensor itself, in the dtype of the file."""


class SafetensorsFile:
    """One checked safetensors file, mapped privately (copy on write).

    Raises:
        BaseError: the header is absurd, overlaps, has holes, repeats a name or does not match the file's size.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_regular(path) as handle:
            size = os.fstat(handle.fileno()).st_size
            header, self.data_start = _header(path, handle.read(8), size, handle)
            self.entries = _entries(path, header, size - self.data_start)
            self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)

    def tensor(self, name: str) -> Tensor:
        entry, dtype = self.entries[name], DTYPES[self.entries[name].dtype]
        start, count = self.data_start + entry.start, math.prod(entry.shape)
        if count == 0:
            return torch.empty(entry.shape, dtype=dtype)
        if start % dtype.itemsize:  # writers other than safetensors' own may leave the data unaligned
            piece = bytearray(self._map[start : self.data_start + entry.end])
            return torch.frombuffer(piece, dtype=dtype).view(entry.shape)
        return torch.frombuffer(self._map, dtype=dtype, count=count, offset=start).view(entry.shape)


class ShardedFiles:
    """Several safetensors files behind one index; every shard must lie in the folder and hold what the index says."""

    def __init__(self, index: Path, *, inside: Path) -> None:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise BaseError(f"{index} has no weight_map; expected tensor names with their shard. Download it again.")
        shards = {}
        for name in sorted({str(v) for v in weight_map.values()}):
            shards[name] = SafetensorsFile(shard_path(index, name, inside=inside))
        self.entries: dict[str, Entry] = {}
        self._home: dict[str, SafetensorsFile] = {}
        for shard_name, shard in shards.items():
            for name, entry in shard.entries.items():
                if weight_map.get(name) != shard_name:
                    raise BaseError(
                        f"{shard.path} holds {name}, but {index.name} puts it in "
                        f"{safe_repr(str(weight_map.get(name)), 80)}; expected both to agree. Download it again."
                    )
                self.entries[name], self._home[name] = entry, shard
        absent = sorted(set(weight_map) - set(self.entries))
        if absent:
            raise BaseError(
                f"{index} lists {len(absent)} tensors that no shard holds ({listed(absent)}); "
                "expected all of them. Download it again."
            )

    def tensor(self, name: str) -> Tensor:
        return self._home[name].tensor(name)


class TorchFile:
    """A torch.save file, read with weights_only=True: tensors and plain containers, never code."""

    def __init__(self, path: Path) -> None:
        self.path = path
        open_regular(path).close()
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as problem:  # torch raises anything from EOFError to UnpicklingError for a bad file
            first = str(problem).split("\n", 1)[0]
            raise BaseError(
                f"{path} cannot be read with weights_only=True ({safe_repr(first, 120)}); "
                "expected a plain state dict. Convert it to safetensors."
            ) from problem
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            raise BaseError(
                f"{path} holds something else than a state dict; expected name -> tensor. Convert it to safetensors."
            )
        names = {dtype: name for name, dtype in DTYPES.items()}
        self._state: dict[str, Tensor] = {_checked_name(path, str(k)): v for k, v in state.items()}
        self.entries = {k: Entry(names.get(v.dtype, str(v.dtype)), tuple(v.shape)) for k, v in self._state.items()}

    def tensor(self, name: str) -> Tensor:
        return self._state[name]


def open_regular(path: Path) -> Any:
    """A readable binary handle on a regular file; directories, devices and pipes are refused without opening them."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BaseError(f"{path} is not a regular file; expected one. Give a base folder with plain files.")
        return path.open("rb")
    except OSError as problem:
        raise BaseError(f"{path} cannot be read: {problem.strerror or problem}. Check the path.") from problem


def shard_path(index: Path, name: str, *, inside: Path) -> Path:
    """The shard beside its index; anything but a plain file name, or a link that leaves the folder, is refused."""
    if not name or name != Path(name).name or "\\" in name or not name.isprintable() or name in (".", ".."):
        raise BaseError(
            f"{index.name} names the shard {safe_repr(repr(name), 80)}; expected a file name in the same folder. "
            "Do not use this folder: its index points elsewhere."
        )
    return contained(index.parent / name, inside=inside)


def contained(path: Path, *, inside: Path) -> Path:
    """`path` if it exists and, links followed, stays below `inside`."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as problem:
        raise BaseError(f"{path} is missing; expected it in the base folder. Download it again.") from problem
    if not real.is_relative_to(inside.resolve()):
        raise BaseError(
            f"{path} is a link to {real}, outside the base folder; expected a file inside it. Copy the file."
        )
    return path


def read_json(path: Path, *, limit: int = 64 << 20) -> dict[str, Any]:
    """A JSON object; duplicate keys, other values and files above `limit` bytes are refused."""
    with open_regular(path) as handle:
        if os.fstat(handle.fileno()).st_size > limit:
            raise BaseError(f"{path} is larger than {limit:,} bytes; expected a small JSON file. Check the folder.")
        content = handle.read()
    try:
        value = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise BaseError(
            f"{path} is not JSON ({safe_repr(str(problem), 120)}); expected an object. Download it again."
        ) from problem
    if not isinstance(value, dict):
        raise BaseError(f"{path} holds a JSON {type(value).__name__}; expected an object. Download it again.")
    return value


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file; what the disk refuses is an OSError, as it is everywhere else in Python.

    Who may read it is as with every other file: safetensors 0.8 by itself lets the owner alone.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(tensors, path, {"format": "pt"})
    except SafetensorError as problem:
        refused = re.search(r"\(os error (\d+)\)", str(problem))
        if refused is None:
            raise
        raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(path)) from problem
    path.chmod(mode)


def listed(names: list[str], *, most: int = 5) -> str:
    """At most five names and how many more."""
    shown = ", ".join(safe_repr(n, 80) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        double = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {safe_repr(double, 80)} stands twice")
    return found


def _header(path: Path, prefix: bytes, size: int, handle: Any) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > MAX_HEADER or 8 + length > size:
        raise BaseError(
            f"{path} is {size:,} bytes and announces a header of {length:,}; expected one of at most "
            f"{MAX_HEADER:,} inside the file. The file is truncated or no safetensors file: download it again."
        )
    try:
        header = json.loads(handle.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise BaseError(
            f"{path} has a header that is not JSON ({safe_repr(str(problem), 120)}); expected tensor names. "
            "Download it again."
        ) from problem
    if not isinstance(header, dict):
        raise BaseError(f"{path} has a header that is no object; expected tensor names. Download it again.")
    return header, 8 + length


def _entries(path: Path, header: dict[str, Any], data_size: int) -> dict[str, Entry]:
    header.pop("__metadata__", None)
    entries = {_checked_name(path, name): _entry(path, name, claim) for name, claim in header.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            fault = "overlaps the tensor before it" if entry.start < end else "leaves a hole before it"
            raise BaseError(
                f"{path}: {name} starts at byte {entry.start:,} and {fault}; expected {end:,}. Download it again."
            )
        end = entry.end
    if end != data_size:
        raise BaseError(
            f"{path} holds {data_size:,} bytes of tensors; expected {end:,} from its header. "
            "The file is truncated or damaged: download it again."
        )
    return entries


def _entry(path: Path, name: str, claim: Any) -> Entry:
    parts = claim if isinstance(claim, dict) else {}
    wanted, shape, offsets = parts.get("dtype"), _counts(parts.get("shape")), _counts(parts.get("data_offsets"))
    if (
        not isinstance(wanted, str)
        or shape is None
        or len(shape) > MAX_AXES
        or math.prod(max(n, 1) for n in shape) >= 1 << 63
        or offsets is None
        or len(offsets) != 2
    ):
        raise BaseError(
            f"{path}: {name} has the claim {safe_repr(repr(claim), 80)}; expected a dtype, a shape of at most "
            f"{MAX_AXES} axes and two data_offsets. Download it again."
        )
    dtype = DTYPES.get(wanted)
    if dtype is None:
        raise BaseError(
            f"{path}: {name} has dtype {safe_repr(repr(wanted), 40)}; expected one of {', '.join(DTYPES)}. "
            "Use a base that is not quantised."
        )
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise BaseError(
            f"{path}: {name} of shape {shape} takes {offsets[1] - offsets[0]:,} bytes; expected "
            f"{math.prod(shape) * dtype.itemsize:,}. Download it again."
        )
    return Entry(wanted, shape, offsets[0], offsets[1])


def _counts(value: Any) -> tuple[int, ...] | None:
    """A JSON list of whole numbers that fit into 63 bits; None for anything else."""
    if not isinstance(value, list) or not all(type(n) is int and 0 <= n < 1 << 63 for n in value):
        return None
    return tuple(value)


def _checked_name(path: Path, name: str) -> str:
    if not NAME.fullmatch(name):
        raise BaseError(
            f"{path} names a tensor {safe_repr(repr(name), 80)}; expected letters, digits, dots, dashes and "
            "underscores, at most 256. Do not use this file."
        )
    return name
