"""First pass of a build: documents in; what passes the filter and holds no task text goes to disk, with its MinHash.

Documents are looked at in chunks of about CHUNK characters, all at once. Kept rows, texts and signatures lie in
scratch files; in memory stay one chunk and the counts by source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from headstart.data.build_report import Dropped, Place, SourceReport
from headstart.data.contamination import Hit, TaskIndex
from headstart.data.corpus_part import CorpusPart
from headstart.data.duplicates import PERMUTATIONS, SIGNATURE, digest, signatures
from headstart.data.quality import judge
from headstart.data.scratch import Column, Records
from headstart.data.shards import Document, read_shard
from headstart.data.words import Words, find_words
from headstart.ground.errors import DataError

CHUNK = 1 << 18  # characters that are looked at together: their arrays fit a core's cache
MAX_SOURCES = 10_000
MAX_HITS = 20  # of one document that are written down
TELL_EVERY = 100_000_000  # bytes between words for people

ROW = np.dtype(
    [
        ("start", np.int64), ("text_bytes", np.uint32), ("id_bytes", np.uint32), ("source", np.uint32),
        ("shard", np.uint32), ("line", np.int64), ("held", np.bool_), ("digest", np.uint64), ("check", np.uint64),
    ]
)  # fmt: skip


@dataclass
class Gathered:
    """What the passes of a build hand on. rows, signs: by number of the kept document; texts: their UTF-8 in a row."""

    folder: Path
    part: CorpusPart
    licences: dict[str, str]
    dropped: BinaryIO
    rows: Column
    signs: Column
    texts: Column
    shards: list[str] = field(default_factory=list)
    sources: dict[str, SourceReport] = field(default_factory=dict)
    items_found: dict[str, set[int]] = field(default_factory=dict)
    documents_hit: dict[str, int] = field(default_factory=dict)
    num_texts_bytes: int = 0

    def source(self, name: str) -> SourceReport:
        """The counts of a source."""
        if name not in self.sources:
            if len(self.sources) == MAX_SOURCES:
                raise DataError(
                    f"the corpus has more than {MAX_SOURCES:,} sources; expected 'source' to name a collection, "
                    f"such as wikipedia. Mend or remove the key (the last one is {name[:60]!r})."
                )
            licence, weight = self.licences.get(name, "not stated"), self.part.weight(name)
            self.sources[name] = SourceReport(name, licence, weight)
        return self.sources[name]

    def text(self, row: Records) -> str:
        """The text of a kept document."""
        return self._read(int(row["start"]), int(row["text_bytes"]))

    def drop(self, row: Records, reason: str, witness: Records) -> None:
        """Write down that a kept document goes after all, because of another that stays."""
        source = list(self.sources)[int(row["source"])]
        counts = self.sources[source].dropped
        counts[reason] = counts.get(reason, 0) + 1
        record = Dropped(
            shard=self.shards[int(row["shard"])],
            line=int(row["line"]),
            source=source,
            id=self._read(int(row["start"]) + int(row["text_bytes"]), int(row["id_bytes"])),
            reason=reason,
            repeats=Place(self.shards[int(witness["shard"])], int(witness["line"])),
        )
        self.dropped.write(msgspec.json.encode(record) + b"\n")

    def close(self) -> None:
        """Close all files."""
        for opened in (self.dropped, self.rows, self.signs, self.texts):
            opened.close()

    def _read(self, start: int, size: int) -> str:
        return self.texts.read_bytes(start, size).decode()


def start_gathering(part: CorpusPart, *, scratch: Path, dropped: Path, licences: dict[str, str]) -> Gathered:
    """Empty scratch files below `scratch`."""
    return Gathered(
        folder=scratch,
        part=part,
        licences=licences,
        dropped=dropped.open("wb"),
        rows=Column(scratch / "rows", ROW),
        signs=Column(scratch / "signs", SIGNATURE, PERMUTATIONS),
        texts=Column(scratch / "texts", np.dtype(np.uint8)),
    )


def gather_held_out(into: Gathered, shard: Path) -> None:
    """Keep every document of the held-out shard: figures on it compare between builds."""
    into.shards.append(shard.name)
    for documents in _chunks(read_shard(shard)):
        words = find_words([document.text for document in documents])
        _keep(into, documents, words, list(range(len(documents))), held=True)


def gather_train(into: Gathered, shards: Sequence[Path], index: TaskIndex, tell: Callable[[str], None]) -> None:
    """Judge every document of the training shards; keep what passes."""
    seen = told = num_documents = 0
    for shard in shards:
        into.shards.append(shard.name)
        for documents in _chunks(read_shard(shard)):
            seen += _judge_chunk(into, documents, index)
            num_documents += len(documents)
            if seen - told >= TELL_EVERY:
                told = seen
                tell(f"read {num_documents:,} documents, {seen / 1e6:,.0f} MB, up to {shard.name}")


def _judge_chunk(into: Gathered, documents: Sequence[Document], index: TaskIndex) -> int:
    """Count, filter and store one chunk; its bytes of text."""
    texts = [document.text for document in documents]
    words = find_words(texts)
    trusted = into.part.filters.trusted
    judged = judge(texts, words, into.part.filters)
    hits = index.find(words) if index.by_length else {}
    keep, total = [], 0
    for i, document in enumerate(documents):
        source = into.source(document.source or document.shard)
        size = len(texts[i].encode())
        source.documents_read += 1
        source.bytes_read += size
        total += size
        reason = "" if any(fnmatchcase(source.name, pattern) for pattern in trusted) else judged[i]
        if not reason and i in hits:
            reason = "contaminated"
            _count_hits(into, hits[i])
        if not reason and copies(digest(texts[i], words.numbers[words.span(i)])[1], source.weight) == 0:
            reason = "weight"
        if reason:
            _drop_at_once(into, document, source, reason, hits.get(i, []))
        else:
            keep.append(i)
    _keep(into, documents, words, keep, held=False)
    return total


def copies(check: int, weight: float) -> int:
    """How often a document is taken: the whole part of its weight, and once more by a share of the documents.

    check: 64 even bits of the document, so that the share is the same documents in every build.
    """
    whole = int(weight)
    return whole + (check / 2**64 < weight - whole)


def _count_hits(into: Gathered, hits: Sequence[Hit]) -> None:
    for file in {hit.file for hit in hits}:
        into.documents_hit[file] = into.documents_hit.get(file, 0) + 1
    for hit in hits:
        into.items_found.setdefault(hit.file, set()).add(hit.item)


def _drop_at_once(into: Gathered, document: Document, source: SourceReport, reason: str, hits: Sequence[Hit]) -> None:
    source.dropped[reason] = source.dropped.get(reason, 0) + 1
    shown = tuple(hits[:MAX_HITS]) if reason == "contaminated" else ()
    record = Dropped(document.shard, document.line, source.name, str(document.id), reason, hits=shown)
    into.dropped.write(msgspec.json.encode(record) + b"\n")


def _keep(into: Gathered, documents: Sequence[Document], words: Words, keep: Sequence[int], *, held: bool) -> None:
    if not keep:
        return
    rows = np.zeros(len(keep), dtype=ROW)
    names = {} if held else {name: number for number, name in enumerate(into.sources)}
    for place, i in enumerate(keep):
        document = documents[i]
        text, name = document.text.encode(), str(document.id).encode()
        source = 0 if held else names[document.source or document.shard]
        begin = into.num_texts_bytes
        first, second = digest(document.text, words.numbers[words.span(i)])
        rows[place] = (
            begin, len(text), len(name), source, len(into.shards) - 1, document.line, held, first, second,
        )  # fmt: skip
        into.texts.append(np.frombuffer(text + name, dtype=np.uint8))
        into.num_texts_bytes += len(text) + len(name)
    into.rows.append(rows)
    into.signs.append(signatures(words)[np.array(keep)])


def _chunks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    chunk: list[Document] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document.text) + 1
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
