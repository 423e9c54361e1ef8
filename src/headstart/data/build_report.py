"""What a build made, and what it left out and why: the report.json of a built corpus.

Every document that was read stands in exactly one place: kept, or dropped for the first reason that applied.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from headstart.data.contamination import Hit
from headstart.data.quality import REASONS as QUALITY_REASONS
from headstart.ground.errors import DataError

REPORT = "report.json"
DROPPED = "dropped.jsonl"
SCHEMA = 1

REASONS = {
    **QUALITY_REASONS,
    "contaminated": "holds text of a task file",
    "held_out": "repeats a document of the held-out shard",
    "exact_duplicate": "has the words of an earlier document, in the same order",
    "near_duplicate": "shares most of its word 5-grams with an earlier document",
    "weight": "left out by the weight of its source",
}


class SourceReport(msgspec.Struct):
    """One source of the training shards. bytes: of UTF-8 text. units: written, repeats by weight included."""

    name: str
    licence: str = "not stated"
    weight: float = 1.0
    documents_read: int = 0
    documents_kept: int = 0
    bytes_read: int = 0
    bytes_kept: int = 0
    units: int = 0
    dropped: dict[str, int] = msgspec.field(default_factory=dict)


class TaskReport(msgspec.Struct, frozen=True):
    """A task file that the text was held against. found: items that stood in it; documents: those they stood in."""

    file: str
    sha256: str
    items: int
    short: int
    unchecked: int
    found: int
    documents: int


class BuildReport(msgspec.Struct):
    """Everything about a build. inputs: what it was made from; the same inputs are not built twice."""

    schema: int
    name: str
    inputs: dict[str, Any]
    documents_read: int
    documents_kept: int
    bytes_read: int
    bytes_kept: int
    dropped: dict[str, int]
    sources: list[SourceReport]
    tasks: list[TaskReport]
    tokenizer: dict[str, Any]
    train_units: int
    validation_units: int
    validation_documents: int
    seconds: float

    @property
    def licences(self) -> list[str]:
        """The licences of the sources that were kept, each once."""
        return sorted({source.licence for source in self.sources if source.documents_kept})

    def describe(self) -> list[str]:
        """The report for people, one line each."""
        mb = self.bytes_read / 1e6
        lines = [
            f"read       {self.documents_read:,} documents, {mb:,.1f} MB, {len(self.sources)} sources",
            *(f"dropped    {n:,} {reason}: {REASONS[reason]}" for reason, n in _most(self.dropped)),
            f"kept       {self.documents_kept:,} documents, {self.bytes_kept / 1e6:,.1f} MB "
            f"({self.bytes_kept / max(1, self.bytes_read):.1%} of the text)",
        ]
        worst = sorted(self.sources, key=lambda s: s.bytes_kept - s.bytes_read)[:5]
        for source in worst:
            if source.documents_kept < source.documents_read:
                why = ", ".join(f"{n:,} {reason}" for reason, n in _most(source.dropped))
                kept = f"{source.documents_kept:,} of {source.documents_read:,}"
                lines.append(f"           {source.name}: {kept} ({why})")
        for task in self.tasks:
            checked = task.items - task.unchecked
            unchecked = f", {task.unchecked:,} too short to tell" if task.unchecked else ""
            lines.append(
                f"tasks      {task.file}: {task.found:,} of {checked:,} items found in {task.documents:,} documents"
                f"{unchecked}"
            )
        lines.append(
            f"units      {self.train_units:,} train, {self.validation_units:,} held out, "
            f"{self.bytes_kept / max(1, sum(s.units for s in self.sources)):.2f} bytes each"
            if all(s.weight == 1 for s in self.sources)
            else f"units      {self.train_units:,} train, {self.validation_units:,} held out"
        )
        return lines


class Place(msgspec.Struct, frozen=True):
    """Where a document stands."""

    shard: str
    line: int


class Dropped(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of dropped.jsonl. repeats: the document that stays in its stead. hits: task items in it."""

    shard: str
    line: int
    source: str
    id: str
    reason: str
    repeats: Place | None = None
    hits: tuple[Hit, ...] = ()


def read_report(folder: Path) -> BuildReport | None:
    """The report of a built corpus; None where the folder holds no build.

    Raises:
        DataError: there is a report.json that is damaged or of another version.
    """
    file = folder / REPORT
    if not file.is_file():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=BuildReport)
    except msgspec.DecodeError as problem:
        raise DataError(
            f"{file} is no report of `headstart data build` ({problem}); expected one of this version. "
            "Build again into a new folder."
        ) from problem


def _most(counts: dict[str, int]) -> Iterable[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
