"""Cells: the unit of work of an evaluation, run once and kept as two files, so that a killed run goes on.

A cell is one set, one side (a base, its random twin, a control), one seed and one part of the items. `KEY.jsonl` holds
a `Sample` an item and is written first; `KEY.json` holds the `Cell` and says that the samples are whole. Everything the
leaderboard says is computed from these files, never from what a run had in memory: a run that was killed ten times
ends in the same words as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.specs import Method
from headstart.ground.errors import DataError, safe_repr
from headstart.ground.files import disk_error, write_atomic

SCHEMA_VERSION = 1
RULES = 3  # raised where what a cell computes changes for every set: cells of other rules are not taken over
Role = Literal["base", "random", "scratch", "majority", "tfidf", "nearest"]


@dataclass(frozen=True, slots=True)
class Side:
    """Who answers. entry: its name in tables. name: of the base, "" for a control. digest: of all that the base answers
    by (`Base.identity`); weights: of its weights alone, as lineages name them.

    method: how the base is turned to the set, None for a control that needs no base. shots: of few-shot.
    """

    role: Role
    entry: str
    name: str = ""
    digest: str = ""
    method: Method | None = None
    shots: int = 0
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """One cell to run or to read. part of parts: which stretch of the items. labels: train rows, None for all.

    every: 1 for all items, 5 for one in five, drawn.
    """

    found: SetOnDisk
    side: Side
    seed: int = 0
    part: int = 0
    parts: int = 1
    limit: int | None = None
    labels: int | None = None
    every: int = 1

    @property
    def key(self) -> str:
        """The cell's path below the folder of cells, without an ending: readable, and different for other settings."""
        side = self.side
        how = f"{side.method}{side.shots}" if side.shots else side.method
        who = f"{side.role}-{plain(side.name)}-{side.digest[:8]}-{how}" if side.name else side.role
        rows = "all" if self.limit is None else f"n{self.limit}"
        part = f"-{self.part + 1}of{self.parts}" if self.parts > 1 else ""
        few = "" if self.labels is None else f"-l{self.labels}"
        few += "" if self.every == 1 else f"-1in{self.every}"
        return f"{self.found.spec.name}-{self.found.identity[:8]}/{who}-{rows}{few}-s{self.seed}{part}-r{RULES}"


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One item as it was asked and answered.

    id: row of the file. prompt: a text, a pair, words, or the options as [context, continuation]. target, prediction:
    as the metric reads them (label indices, numbers, option numbers; -1 for a tie). scores: probabilities by label, or
    nats by option. rules: the option with the highest sum, a byte, a character. numbers: what else
    was measured. text: what was written, where the prediction is only a part of it. units: token ids as read, one list
    a text. average, cluster: the item's groups.
    """

    id: int
    prompt: Any
    target: Any
    prediction: Any
    scores: list[float] = []
    rules: list[int] = []
    numbers: dict[str, float] = {}
    text: str = ""
    units: list[list[int]] = []
    average: str = ""
    cluster: str = ""


class Judged(msgspec.Struct, frozen=True, gc=False):
    """The part of a sample that scores are computed from; a suite's prompts and units are gigabytes of objects."""

    target: Any
    prediction: Any
    rules: list[int] = []
    numbers: dict[str, float] = {}
    average: str = ""
    cluster: str = ""
    id: int = 0


class Cell(msgspec.Struct, frozen=True):
    """What a cell knows besides its samples. metric: of the samples' evidence; labels: their names by index.

    rows: of every part as it was used. guess: what random guessing scores. filled: items that took all the positions of
    the base. raw: the metric of a prompt without its calibration. seconds and ms_per_row are wall clock; all else
    depends on the data, the base and the seed alone. samples: how many lie beside it, None in cells of before that was
    counted.
    """

    metric: str
    method: str
    labels: list[str]
    guess: float
    rows: dict[str, int]
    notes: list[str] = []
    params_trained: int = 0
    validation: float | None = None
    raw: float | None = None
    filled: int = 0
    seconds: float = 0.0
    ms_per_row: float = 0.0
    samples: int | None = None
    schema_version: int = SCHEMA_VERSION


class Counted(msgspec.Struct, frozen=True):
    """The part of a cell that says whether its samples are whole."""

    samples: int | None = None


JUDGED = msgspec.json.Decoder(Judged)


def plain(name: str) -> str:
    """A base's name as a part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def is_done(work: Work, folder: Path) -> bool:
    """Whether a cell is kept with all its samples; one that has lost some is run again, a damaged one is told by
    `read_cell`."""
    cell, samples = folder / f"{work.key}.json", folder / f"{work.key}.jsonl"
    if not cell.is_file():
        return False
    try:
        told = msgspec.json.decode(cell.read_bytes(), type=Counted)
    except (OSError, msgspec.DecodeError):
        return True
    return told.samples is None or (samples.is_file() and told.samples == lines_of(samples))


def lines_of(path: Path) -> int:
    with path.open("rb") as handle:
        return sum(block.count(b"\n") for block in iter(lambda: handle.read(1 << 20), b""))


def keep(work: Work, cell: Cell, samples: Sequence[Sample], folder: Path) -> None:
    """Write a cell; it is there whole or not at all."""
    stem = folder / work.key
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise disk_error(stem.parent, problem) from problem
    write_atomic(stem.with_name(f"{stem.name}.jsonl"), b"".join(msgspec.json.encode(s) + b"\n" for s in samples))
    counted = msgspec.structs.replace(cell, samples=len(samples))
    write_atomic(stem.with_name(f"{stem.name}.json"), msgspec.json.format(msgspec.json.encode(counted)) + b"\n")


def read_samples(work: Work, folder: Path) -> Iterator[Sample]:
    """A kept cell's samples, whole, one at a time: with demonstrations a set of them does not fit into memory."""
    with (folder / f"{work.key}.jsonl").open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Sample)


def read_cell(work: Work, folder: Path) -> tuple[Cell, list[Judged]]:
    """A kept cell.

    Raises:
        DataError: its files are damaged.
    """
    stem = folder / work.key
    try:
        cell = msgspec.json.decode(stem.with_name(f"{stem.name}.json").read_bytes(), type=Cell)
        lines = stem.with_name(f"{stem.name}.jsonl").read_bytes().splitlines()
        return cell, [JUDGED.decode(line) for line in lines]
    except (OSError, msgspec.DecodeError) as problem:
        raise DataError(
            f"the cell {safe_repr(str(stem), 200)} is not readable ({safe_repr(str(problem), 100)}); expected what an "
            "earlier run wrote. Delete it, and the same command runs it again."
        ) from problem
