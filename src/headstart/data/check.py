"""One look at a shard of raw text before anything is built from it: what it holds, what is broken, what would go.

Everything is read once, in bounded memory but for 8 bytes a document that tell exact repeats.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from headstart.data.columns import LABELS
from headstart.data.corpus_part import Filters
from headstart.data.duplicates import digest
from headstart.data.quality import REASONS, judge
from headstart.data.shards import Document, Fault, first_keys, scan_shard
from headstart.data.source import inner_suffix
from headstart.data.words import find_words
from headstart.ground.errors import DataError, safe_repr

CHUNK = 1 << 18
SHOWN = 10


class ShardCheck(msgspec.Struct, frozen=True):
    """What a shard holds. would_drop: documents by the reason for which the default filters would drop them."""

    file: str
    documents: int
    bytes: int
    words: int
    sources: dict[str, int]
    exact_duplicates: int
    would_drop: dict[str, int]
    broken: int
    faults: tuple[Fault, ...]
    first: tuple[str, ...]

    def describe(self) -> list[str]:
        """The findings for people, one line each."""
        lines = [
            f"{self.file}: {self.documents:,} documents, {self.bytes / 1e6:,.1f} MB of text, {self.words:,} words, "
            f"{len(self.sources):,} sources"
        ]
        lines += [f"  {count:,} {name}" for name, count in Counter(self.sources).most_common(SHOWN)]
        if self.exact_duplicates:
            lines.append(f"{self.exact_duplicates:,} documents repeat an earlier one word for word")
        dropped = Counter(self.would_drop).most_common()
        lines += [f"{count:,} would be dropped as {reason}: {REASONS[reason]}" for reason, count in dropped]
        if self.broken:
            lines.append(f"{self.broken:,} lines are broken; `headstart data build` stops at the first:")
            lines += [f"  {self.file}:{fault.line}: {fault.reason} ({fault.excerpt})" for fault in self.faults]
        return [*lines, *(f"  e.g. {text}" for text in self.first)]


def is_shard(path: Path) -> bool:
    """Whether a file is raw text (JSON lines with `text` and no label) rather than a labelled table."""
    if inner_suffix(path.name) not in {".jsonl", ".ndjson"} or not path.is_file():
        return False
    keys = {key.casefold() for key in first_keys(path)}
    return "text" in keys and not keys & set(LABELS)


def check_shard(path: Path) -> ShardCheck:
    """Read a whole shard.

    Raises:
        DataError: the file cannot be read, or has no document at all.
    """
    sources: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    faults: list[Fault] = []
    first: list[str] = []
    seen = array("Q")
    num_bytes = num_words = broken = 0
    for chunk in _chunks(path):
        documents = [found for found in chunk if isinstance(found, Document)]
        broken += len(chunk) - len(documents)
        faults += [found for found in chunk if isinstance(found, Fault)][: SHOWN - len(faults)]
        texts = [document.text for document in documents]
        words = find_words(texts)
        reasons.update(filter(None, judge(texts, words, Filters())))
        sources.update(document.source or "(none)" for document in documents)
        seen.extend(digest(text, words.numbers[words.span(i)])[0] for i, text in enumerate(texts))
        num_bytes += sum(len(text.encode()) for text in texts)
        num_words += len(words.numbers)
        first += [safe_repr(text, 90) for text in texts[: 3 - len(first)]]
    if not seen and not broken:
        raise DataError(f"{path} has no documents; expected one JSON object with a 'text' a line. Check what wrote it.")
    repeats = len(seen) - len(np.unique(np.frombuffer(seen, dtype=np.uint64))) if seen else 0
    return ShardCheck(
        file=path.name,
        documents=len(seen),
        bytes=num_bytes,
        words=num_words,
        sources=dict(sources),
        exact_duplicates=repeats,
        would_drop=dict(reasons),
        broken=broken,
        faults=tuple(faults),
        first=tuple(first),
    )


def _chunks(path: Path) -> Iterator[list[Document | Fault]]:
    chunk: list[Document | Fault] = []
    size = 0
    for found in scan_shard(path):
        chunk.append(found)
        size += len(found.text) + 1 if isinstance(found, Document) else 100
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
