"""Standings on the items that a base has not read: every item of a set against the sketch of each base.

Enter: the tables of an evaluation and what they were made from. Leave: the same tables, where every base's row, and
that of its twin, says how many items were found, how many chance would find, and the score without the found ones; and
for the aggregate the evidence on what is left. An
item that was found by chance is one drawn by a hash: leaving it out costs a row and biases nothing. A base without a
sketch is unknown, and so is a set most of whose rows cannot be looked up. Only pre-training is told; what a
set's own train rows share with its test rows stands in its notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headstart.base.base import Base
from headstart.base.read_before import ReadBefore, read_before
from headstart.data.contamination import TaskItems, read_task_items
from headstart.data.overlap import check_items, untold
from headstart.evaluate.suite.scoreboard import Clean, Contamination, TaskTable
from headstart.evaluate.suite.standings import Played, Scored, Unread, intervals_of, scored
from headstart.ground.errors import DataError

FEWEST = 10  # rows that a score without found items is told from


def with_contamination(
    tables: Sequence[TaskTable], played: Sequence[Played], bases: Mapping[str, Base]
) -> tuple[list[TaskTable], Unread]:
    """The tables with `contamination` in the rows of bases and their twins, and who has read what. bases: by digest.

    Raises:
        BaseError: a sketch is damaged, or is not the one that the lineage names.
    """
    known = {digest: read_before(base) for digest, base in bases.items()}
    told: list[TaskTable] = []
    unread: dict[tuple[str, str], Scored | None] = {}
    for table, task in zip(tables, played, strict=True):
        checked = _checked(task, known)
        rows = [
            msgspec.structs.replace(row, contamination=checked[row.entry][0]) if row.entry in checked else row
            for row in table.candidates
        ]
        told.append(msgspec.structs.replace(table, candidates=rows))
        for entry, (one, rest) in checked.items():
            if one.status == "checked" and one.found:
                unread[table.task.name, entry] = rest
    return told, unread


def _checked(task: Played, known: Mapping[str, ReadBefore]) -> dict[str, tuple[Contamination, Scored | None]]:
    """By entry of a base or a twin: see `_of`."""
    items = _text_items(task) if any(read.sketches for read in known.values()) else None
    return {
        one.side.entry: _of(task, one, known[one.side.digest], items) for one in task.sides if one.side.digest in known
    }


def _text_items(task: Played) -> TaskItems | None:
    """The text cells of the split that is scored; None where a set is of pictures, clips or series."""
    try:
        return read_task_items(task.found.files[task.found.test])
    except DataError:  # the set was scored, so that its file is a table: there is no text in it
        return None


def _of(task: Played, one: Scored, known: ReadBefore, items: TaskItems | None) -> tuple[Contamination, Scored | None]:
    """What is known of one side's items, and the side on those that were not found, where enough are left."""
    if not known.sketches:
        return Contamination("unknown", known.words), None
    if items is None:
        return Contamination("no text", "sketches are of text"), None
    rows = [sample.id for sample in one.samples[0]]
    if task.found.rows is not None and len(set(rows)) < len(rows):
        why = "its task file takes rows from several files, which are not looked up yet"
        return Contamination("unknown", why), None
    checked = check_items(items, known.sketches, rows=rows)
    overlap = checked.overlap
    counts = msgspec.structs.asdict(overlap)
    if 2 * overlap.unchecked > overlap.rows:
        name, also = task.found.spec.name, f"; {overlap.found:,} others were found" if overlap.found else ""
        why = untold(overlap.unchecked, overlap.not_sampled, overlap.share)
        why = f"{overlap.unchecked:,} of {overlap.rows:,} rows of {name} cannot be told: {why}{also}"
        return Contamination("unknown", why, **counts), None
    clean = [[sample for sample in run if sample.id not in checked.found] for run in one.samples]
    if len(clean[0]) < FEWEST:
        return Contamination("checked", known.words, **counts), None
    rest = scored(task.found, one.side, [(one.cells if not seed else (), run) for seed, run in enumerate(clean)])
    told = Clean(len(clean[0]), rest.evidence.value(), intervals_of(task.found, rest)[0])
    return Contamination("checked", known.words, **counts, clean=told), rest
