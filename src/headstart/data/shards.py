"""Raw shards to documents: JSON lines, plain or compressed with gzip or zstd, one document a line.

A line is an object with `text` and, where the corpus tells them, `source` and `id`; other keys are passed over. Lines
are read one by one in bounded memory: a line over MAX_LINE_BYTES is an error, as is one that is not such an object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from headstart.ground.errors import DataError, did_you_mean, safe_repr
from headstart.ground.files import sha256_file

MAX_LINE_BYTES = 4 << 20  # a long novel; whatever is made of one document has to fit in memory
PIECE = 1 << 18
MANIFEST = "MANIFEST.json"


class Document(msgspec.Struct, frozen=True):
    """One document. source and id are empty where the line has none; shard: the file's name; line: from 1."""

    text: str
    source: str = ""
    id: str | int = ""
    shard: str = ""
    line: int = 0


class Fault(msgspec.Struct, frozen=True):
    """A line that is no document: where, why, and its escaped beginning."""

    shard: str
    line: int
    reason: str
    excerpt: str


def read_shard(path: Path) -> Iterator[Document]:
    """The documents of one shard, in order.

    Raises:
        DataError: the shard is missing or damaged, or a line is no document; the message names the line.
    """
    for found in scan_shard(path):
        if isinstance(found, Fault):
            raise DataError(
                f"{found.shard}:{found.line} is {found.excerpt}; expected one JSON object with a 'text' string "
                f"({found.reason}). Mend or drop the line."
            )
        yield found


def scan_shard(path: Path) -> Iterator[Document | Fault]:
    """Like `read_shard`, but lines that are no documents come as Faults."""
    decoder = msgspec.json.Decoder(_Line)
    for number, line in enumerate(_lines(path), start=1):
        if line is None:
            yield Fault(path.name, number, f"the line has more than {MAX_LINE_BYTES:,} bytes; cut it", "a long line")
            continue
        if not line.strip():
            continue
        try:
            found = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            excerpt = safe_repr(line[:80].decode(errors="backslashreplace"), 80)
            yield Fault(path.name, number, safe_repr(str(problem), 120), excerpt)
            continue
        yield Document(found.text, found.source or "", "" if found.id is None else found.id, path.name, number)


def first_keys(path: Path) -> set[str]:
    """The keys of the first line that is a JSON object; none where no line is."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    for line in filter(None, _lines(path)):
        try:
            return set(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return set()


def find_shards(part_names: Sequence[str], data: Path) -> dict[str, str]:
    """SHA-256 by file name of the named shards below `data`, held against the corpus' MANIFEST.json where there is one.

    Raises:
        DataError: a shard is missing, or is not the one that the manifest describes.
    """
    known = {str(s.get("file")): str(s.get("sha256")) for s in _manifest(data).get("shards", [])}
    digests = {}
    for name in part_names:
        if not (data / name).is_file():
            there = [p.name for p in data.glob("*.jsonl*")] if data.is_dir() else []
            near = did_you_mean(name, there) or f" Give --data with the folder that holds {name}."
            raise DataError(f"{data / name} is missing; expected the shards that the recipe names.{near}")
        digests[name] = sha256_file(data / name)
        if known.get(name, digests[name]) != digests[name]:
            raise DataError(
                f"{data / name} has the SHA-256 {digests[name][:16]}…; expected {known[name][:16]}… as {MANIFEST} "
                "says. Copy the shard again, or make a new manifest."
            )
    return digests


def read_licences(data: Path) -> dict[str, str]:
    """Licence by source name, from the corpus' MANIFEST.json; empty where there is none."""
    return {str(s.get("name")): str(s.get("licence", "not stated")) for s in _manifest(data).get("sources", [])}


class _Line(msgspec.Struct):
    text: str
    source: str | None = None
    id: str | int | None = None


def _manifest(data: Path) -> dict[str, Any]:
    file = data / MANIFEST
    if not file.is_file():
        return {}
    try:
        content = msgspec.json.decode(file.read_bytes())
        if not isinstance(content, dict) or not all(
            isinstance(entry, dict) for key in ("shards", "sources") for entry in content.get(key, [])
        ):
            raise TypeError("no object with lists named shards and sources")
    except (msgspec.DecodeError, TypeError) as problem:
        raise DataError(
            f"{file} is not a manifest ({problem}); expected shards with their sha256 and sources with a licence each. "
            "Mend or remove it."
        ) from problem
    return content


def _lines(path: Path) -> Iterator[bytes | None]:
    """The lines of a file; None stands for one that is too long to hold."""
    held: list[bytes] = []
    size = 0
    for piece in _pieces(path):
        first, *others = piece.split(b"\n")
        size += len(first)
        held = [] if size > MAX_LINE_BYTES else [*held, first]
        if others:
            yield b"".join(held) if size <= MAX_LINE_BYTES else None
            *whole, last = others
            yield from whole  # a piece is shorter than the longest line
            held, size = [last], len(last)
    if size:
        yield b"".join(held) if size <= MAX_LINE_BYTES else None


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with pa.input_stream(str(path), compression="detect") as raw:
            while piece := raw.read(PIECE):
                yield piece
    except FileNotFoundError as problem:
        raise DataError(
            f"the corpus shard {path} does not exist; expected a .jsonl, .jsonl.gz or .jsonl.zst. Check --data."
        ) from problem
    except (OSError, EOFError, pa.ArrowException) as problem:
        raise DataError(
            f"the shard {path} cannot be read ({safe_repr(str(problem), 120)}); expected whole JSON lines, plain, "
            ".gz or .zst. Copy or download it again."
        ) from problem
