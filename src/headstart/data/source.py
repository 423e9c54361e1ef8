"""Where table bytes come from: a file, standard input, gzip or zstd; with limits, and errors that say what to do."""

from __future__ import annotations

import sys
from pathlib import Path

from headstart.ground.errors import DataError, did_you_mean, safe_repr

MAX_TABLE_BYTES = 1 << 30  # a labelled table is read whole; larger ones are corpora and go through data.corpus
PIECE = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".pq")


def read_bytes(path: str | Path, *, expected: str = "a header line and rows") -> tuple[str, bytes]:
    """(name for messages, decompressed content) of a path or of "-" (standard input). expected: in it, for messages.

    Raises:
        DataError: no such file, a folder, unreadable, empty, cut off, or larger than MAX_TABLE_BYTES.
    """
    if str(path) == "-":
        name, raw = "stdin", sys.stdin.buffer.read(MAX_TABLE_BYTES + 1)
    else:
        path = Path(path)
        name, raw = safe_repr(path.name), _read_file(path)
    _check_size(name, len(raw))
    content = _decompress(name, raw)
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):
        check = "what is piped into it" if str(path) == "-" else "the path and what wrote the file"
        raise DataError(f"{name} is empty; expected {expected}. Check {check}.")
    return name, content


def inner_suffix(name: str) -> str:
    """The suffix that tells the format: '.csv' for both 'x.csv' and 'x.csv.gz'."""
    suffixes = [s.lower() for s in Path(name).suffixes]
    while suffixes and suffixes[-1] in {".gz", ".zst", ".zstd"}:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _read_file(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _is_folder(path)
        _check_size(path.name, path.stat().st_size)
        with path.open("rb") as handle:
            return handle.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError as problem:
        raise _not_found(path) from problem
    except DataError:
        raise  # a DataError is a ValueError too, and says already what is wrong
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise DataError(
            f"{safe_repr(str(path))} cannot be read: {reason}. Check the path and its permissions."
        ) from problem


def _is_folder(path: Path) -> DataError:
    inside = sorted(p.name for p in path.iterdir() if inner_suffix(p.name) in TABLE_SUFFIXES)
    hint = f" It holds {', '.join(inside[:5])}: give one of them, such as {path / inside[0]}." if inside else ""
    return DataError(f"{path} is a folder; expected a file, such as a table (CSV, TSV, JSONL, Parquet).{hint}")


def _not_found(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(
            f"{safe_repr(str(path))} does not exist; there is no folder {safe_repr(str(folder))}. Check the path."
        )
    hint = did_you_mean(path.name, [p.name for p in folder.iterdir() if p.is_file()])
    return DataError(f"{safe_repr(str(path))} does not exist; expected a file.{hint or ' Check the path.'}")


def _check_size(name: str, size: int) -> None:
    if size > MAX_TABLE_BYTES:
        raise DataError(
            f"{name} has more than {MAX_TABLE_BYTES:,} bytes; expected a table that fits in memory. "
            "Give a sample of its rows."
        )


def _decompress(name: str, raw: bytes) -> bytes:
    """gzip and zstd are known by their first bytes, so a wrong or missing suffix does no harm."""
    codec = "gzip" if raw.startswith(GZIP) else "zstd" if raw.startswith(ZSTD) else None
    if codec is None:
        if name.endswith((".gz", ".zst")) and raw:
            raise DataError(
                f"{name} is not compressed, whatever its name says; expected gzip or zstd. "
                "Rename it or compress it again."
            )
        return raw
    import pyarrow as pa

    pieces: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), codec) as stream:
            while piece := stream.read(PIECE):
                size += len(piece)
                _check_size(name, size)
                pieces.append(piece)
    except (OSError, EOFError, pa.ArrowException) as problem:
        raise DataError(
            f"{name} is damaged or cut off ({safe_repr(str(problem), 80)}); expected a whole {codec} file. "
            "Copy or download it again."
        ) from problem
    return b"".join(pieces)
