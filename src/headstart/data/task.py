"""Task: examples, what is asked, and how they are split; read from any table with the columns found by themselves."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.data.answers import (
    Rows,
    label_names,
    lonely_labels,
    read_rows,
    refuse_hopeless,
    refuse_unseen,
    to_examples,
)
from headstart.data.columns import find_columns, find_kind, find_raw_columns, require_column
from headstart.data.examples import Check, Columns, Examples, Input, Kind, Status, Target, Text, as_text
from headstart.data.parts import Parts, divide
from headstart.data.sources import asked_column, read_sources
from headstart.data.table import Reject, Table
from headstart.ground.errors import DataError, safe_repr

__all__ = ["Check", "Columns", "Examples", "Input", "Kind", "Status", "Target", "Task", "Text", "as_text"]

MIN_ROWS = 10  # a tenth of them is one row to tune on and one to test on


@dataclass(frozen=True, slots=True)
class Task:
    """Train, validation and test examples of one question.

    labels: names by label index, empty for kind "score". digest: SHA-256 over the sources and how they were read.
    rejects: rows set aside, by source. notes: lines for people.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    train: Examples
    validation: Examples
    test: Examples
    columns: Columns
    digest: str
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    rejects: dict[str, list[Reject]] = field(default_factory=dict)

    @staticmethod
    def read(
        train: Any,
        *,
        test: Any = None,
        validation: Any = None,
        text: str | None = None,
        image: str | None = None,
        audio: str | None = None,
        series: str | None = None,
        label: str | None = None,
        label_from: str | None = None,
        kind: Kind | None = None,
        seed: int = 0,
        drop_missing: bool = False,
        keep_duplicates: bool = False,
        max_reject: float = 0.01,
        name: str | None = None,
    ) -> Task:
        """Read a labelled table, or two or three: anything `read_table` takes.

        text: the text column, or "a,b" for pairs. label: the answer column. kind: choice, labels, score or tags. All
        three are found by themselves where the table leaves no doubt. image, audio, series: instead of text, the column
        of pictures, clips or series (paths, file bytes, arrays; see `inputs`). label_from="folder": the sources are
        folders with a folder of files for every class. Without `test` a tenth of the rows, stratified
        and seeded, is kept for testing; without `validation` another tenth of what is left. Duplicates that would cross
        the parts are moved or dropped (see `parts.divide`) unless `keep_duplicates`. drop_missing: leave out rows
        without text or label, rows whose label train does not have, and classes of a single row.

        Raises:
            DataError: what is wrong, at which file and line, and what to do about it.
        """
        given = {"train": train, "validation": validation, "test": test}
        asked = asked_column(text=text, image=image, audio=audio, series=series)
        tables, raw = read_sources(
            {part: source for part, source in given.items() if source is not None},
            asked,
            label_from=label_from,
            max_reject=max_reject,
        )
        if raw is None:
            columns = find_columns(tables["train"], text=text, label=label, kind=kind)
        else:
            columns = find_raw_columns(tables["train"], raw.name, raw.modality, label=label, kind=kind)
        kind = find_kind(tables["train"], columns, kind)
        for part, table in tables.items():
            if part != "train":
                _require_all(table, columns)
        rows: dict[str, Rows] = {}
        for part, table in tables.items():
            channels = rows["train"].channels if "train" in rows else None
            rows[part] = read_rows(
                table, columns, kind, drop_missing=drop_missing, max_reject=max_reject, channels=channels
            )
        labels = _settle_labels(rows, tables["train"], columns, kind, drop_missing)
        read = {part: to_examples(r, labels, kind, paired=columns.pair is not None) for part, r in rows.items()}
        _refuse_small(rows)
        parts = divide(read, labels=labels, kind=kind, seed=seed, keep_duplicates=keep_duplicates)
        return Task(
            name=name or _name_of(train, tables["train"]),
            kind=kind,
            labels=labels,
            train=parts.train,
            validation=parts.validation,
            test=parts.test,
            columns=columns,
            digest=_digest(tables, columns, kind, read),
            checks=parts.checks,
            notes=(*_notes(rows, parts), *_raw_notes(read), *(note for t in tables.values() for note in t.notes)),
            rejects={r.source: r.rejects for r in rows.values() if r.rejects},
        )

    def describe(self) -> list[str]:
        """What was understood, for people: rows, columns and parts first, then one line per finding."""
        total = len(self.train) + len(self.validation) + len(self.test)
        text = self.columns.text if self.columns.pair is None else f"{self.columns.text},{self.columns.pair}"
        asked = {
            "choice": f"{len(self.labels)} classes",
            "labels": f"{len(self.labels)} labels, any number a row",
            "score": "a score",
            "tags": f"{len(self.labels)} tags, one a word",
        }[self.kind]
        parts = f"{len(self.train):,} train, {len(self.validation):,} validation, {len(self.test):,} test"
        label = safe_repr(str(self.columns.label), 40)
        what = self.columns.modality or "text"
        first = f"{total:,} rows · {what}={safe_repr(text, 60)} · label={label} ({asked}) · {parts}"
        found = [check.detail for check in self.checks if check.value]
        return [first, *found, *self.notes]

    def preview(self, count: int = 3) -> list[str]:
        """The first training rows as they are understood, one line each."""
        lines = []
        for row in range(min(count, len(self.train))):
            text = as_text(self.train.texts[row])
            if self.train.pairs is not None:
                text = f"{text[:60]} | {self.train.pairs[row]}"
            lines.append(f"{safe_repr(text, 90)} -> {safe_repr(self.answer(self.train.targets[row]), 60)}")
        return lines

    def answer(self, target: Target) -> str:
        """A target in words."""
        if isinstance(target, tuple):
            return ", ".join(self.labels[i] for i in target) or "(none)"
        return str(target) if self.kind == "score" else self.labels[int(target)]


def _require_all(table: Table, columns: Columns) -> None:
    for name, flag in (
        (columns.text, f"--{columns.modality or 'text'}"),
        (columns.pair, "--text"),
        (columns.label, "--label"),
    ):
        if name is not None and name not in table.columns:
            require_column(table, name, flag)
            raise DataError(
                f"{table.source} spells column {name!r} differently; expected the same names as in train. Rename it."
            )


def _settle_labels(
    rows: dict[str, Rows], table: Table, columns: Columns, kind: Kind, drop_missing: bool
) -> tuple[str, ...]:
    train, paired = rows["train"], columns.pair is not None
    lonely = lonely_labels(train, kind) if "test" not in rows else {}
    if lonely and len(lonely) * 2 <= len(train.answers):
        if not drop_missing:
            name, row = next(iter(lonely.items()))
            more = f" {len(lonely)} labels like this." if len(lonely) > 1 else ""
            raise DataError(
                f"{train.place(row)}: label {safe_repr(name, 40)!r} has one row; expected at least 2, so that it "
                f"can be both learnt and tested.{more} Add rows, or leave such labels out with --drop-missing."
            )
        gone = set(lonely.values())
        train.keep((row for row in range(len(train.answers)) if row not in gone), paired)
    others = [r for part, r in rows.items() if part != "train"]
    labels = label_names(train, others, kind, table.label_names.get(str(columns.label), ()))
    refuse_hopeless(train, columns, kind, labels)
    for other in others:
        refuse_unseen(other, labels, kind, train=train.source, drop=drop_missing, paired=paired)
    return labels


def _refuse_small(rows: dict[str, Rows]) -> None:
    train = rows["train"]
    needed = MIN_ROWS if "test" not in rows else 2 if "validation" in rows else 4
    if len(train.texts) < needed:
        raise DataError(
            f"{train.source} has {len(train.texts)} usable rows; expected at least {needed}, to train on some and "
            "check on others. Add rows."
        )


def _name_of(source: Any, table: Table) -> str:
    if not isinstance(source, str | Path) or str(source) == "-":
        return table.source
    path = Path(source)
    stem = path.name.split(".")[0]
    name = path.resolve().parent.name if stem in {"train", "training", "data"} else stem
    return name.encode(errors="backslashreplace").decode()  # bytes that are not UTF-8 cannot be written into a card


def _digest(tables: dict[str, Table], columns: Columns, kind: Kind, read: dict[str, Examples]) -> str:
    parts = [f"{part}={table.digest}" for part, table in tables.items()]
    raws = [raw.digest for examples in read.values() for raw in examples.raws]
    known = f"Columns(text={columns.text!r}, pair={columns.pair!r}, label={columns.label!r})"
    return hashlib.sha256("\n".join([*parts, known, kind, *raws]).encode()).hexdigest()


def _raw_notes(read: dict[str, Examples]) -> list[str]:
    """What people should know of pictures, clips and series: sizes, and values that were filled in."""
    raws = [raw for examples in read.values() for raw in examples.raws]
    if not raws:
        return []
    shapes = sorted({raw.shape for raw in raws}, key=lambda shape: (math.prod(shape), shape))
    smallest, largest = (
        str(next(raw for raw in raws if raw.shape == s)).split(" (")[0] for s in (shapes[0], shapes[-1])
    )
    notes = [f"every input is a {smallest}" if len(shapes) == 1 else f"inputs: from a {smallest} to a {largest}"]
    filled = [raw.missing for raw in raws if raw.missing]
    if filled:
        notes.append(f"{sum(filled):,} missing values in {len(filled):,} series were filled along straight lines")
    return notes


def _notes(rows: dict[str, Rows], parts: Parts) -> tuple[str, ...]:
    notes = list(parts.notes)
    for r in rows.values():
        if r.dropped:
            notes.append(
                f"{r.dropped:,} rows of {r.source} left out (no text, no label, or a label that cannot be used)"
            )
        if r.rejects:
            first = r.rejects[0]
            notes.append(
                f"{len(r.rejects):,} rows of {r.source} set aside; the first at line {first.line}: {first.reason}"
            )
    return tuple(notes)
