"""Questions that are answered by likelihood: tables of choices, schemas and minimal pairs as `Item`s of one shape.

Enter: a set of a scored kind. Leave: items whose options are (context, continuation) pairs, of which `answer` is right.
A continuation carries its leading space, so that context + continuation is the text as it would be written. Sets in the
format of the Eval Gauntlet ("Question: ...") get the line "Answer:" in between, as lm-evaluation-harness has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from headstart.data.table import Table, read_table
from headstart.evaluate.proportions import Floats, Groups
from headstart.evaluate.suite.cells import Judged
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.specs import TaskSpec
from headstart.ground.errors import DataError, safe_repr
from headstart.ground.seeds import stream

Option = tuple[str, str]
ASKING = ("Question:", "Passage:")


@dataclass(frozen=True, slots=True)
class Item:
    """One question. id: row in the file. average, cluster: what it shares with other items, "" where nothing."""

    id: int
    options: tuple[Option, ...]
    answer: int
    average: str = ""
    cluster: str = ""


Row = dict[str, Any]
Reader = Callable[[Row], tuple[tuple[Option, ...], int]]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a set: its cells by column, its line in the file and that with the names of set and file."""

    cells: Row
    number: int
    place: str


def read_items(found: SetOnDisk, *, limit: int | None = None) -> list[Item]:
    """The items of the split that is scored; with `limit` a seeded draw, the same share of every group.

    Raises:
        DataError: a column is missing or a row cannot be read, with its line.
    """
    spec = found.spec
    reader = READERS[spec.kind.name]
    return [as_item(line, reader, spec) for line in read_lines(found, COLUMNS[spec.kind.name], limit=limit)]


def read_lines(found: SetOnDisk, columns: Sequence[str], *, limit: int | None, split: str | None = None) -> list[Line]:
    """The rows of a split (the one that is scored) that has these columns; with `limit` a seeded draw.

    Raises:
        DataError: a column is missing, or there are no rows.
    """
    spec, table = found.spec, read_table(found.files[split or found.test])
    for name in (*columns, *(c for c in (spec.average, spec.cluster) if c is not None)):
        if name not in table.columns:
            raise DataError(
                f"{spec.name}/{table.source} has no column {name!r}; expected {', '.join(columns)} "
                f"for kind {spec.kind.name}. Rename the column that holds it."
            )
    lines = [
        Line(
            {name: column[row] for name, column in table.columns.items()},
            table.lines[row],
            f"{spec.name}/{table.place(row)}",
        )
        for row in chosen_rows(table, found, limit)
    ]
    if not lines:
        raise DataError(f"{spec.name}/{table.source} has no rows; expected at least one. Check what wrote it.")
    return lines


def as_item(line: Line, reader: Reader, spec: TaskSpec) -> Item:
    options, answer = parsed(line, reader)
    if len(options) < 2 or not 0 <= answer < len(options):
        raise DataError(
            f"{line.place}: the answer is {answer} of {len(options)} options; expected at least two options and the "
            "number of one of them, from 0 up. Mend the row."
        )
    cells = line.cells
    return Item(line.number, options, answer, group_name(cells, spec.average), group_name(cells, spec.cluster))


def parsed(line: Line, reader: Callable[[Row], Parsed]) -> Parsed:
    """What `reader` makes of a row.

    Raises:
        DataError: the row does not have what it needs.
    """
    try:
        return reader(line.cells)
    except (TypeError, ValueError, AttributeError, OverflowError) as problem:
        raise DataError(
            f"{line.place}: the row is {safe_repr(repr(line.cells), 120)} ({safe_repr(str(problem), 120)}); expected "
            "texts, lists of texts and the number of the right answer. Mend the row."
        ) from problem


def group_name(cells: Row, column: str | None) -> str:
    return "" if column is None else str(cells[column])


def chosen_rows(table: Table, found: SetOnDisk, limit: int | None) -> list[int]:
    """All rows, or `limit` of them: drawn with a fixed seed, every group in turn, in the order of the file."""
    if limit is None or limit >= len(table):
        return list(range(len(table)))
    order = stream(0, "limit", found.spec.name).permutation(len(table)).tolist()
    column = found.spec.average or found.spec.cluster
    if column is not None:
        seen: dict[str, int] = {}
        turns = []
        for row in order:
            name = str(table.columns[column][row])
            turns.append((seen.get(name, 0), row))
            seen[name] = seen.get(name, 0) + 1
        order = [row for _, row in sorted(turns, key=lambda turn: turn[0])]
    return sorted(order[:limit])


def some_of(rows: Sequence[Parsed], limit: int | None, name: str) -> list[Parsed]:
    """All rows of the set `name`, or `limit` of them: drawn with a fixed seed, in their order."""
    if limit is None or limit >= len(rows):
        return list(rows)
    kept = stream(0, "limit", name).permutation(len(rows))[:limit]
    return [rows[place] for place in sorted(kept.tolist())]


def group_drawn(one: Item | Judged) -> str:
    """The group of an item, or of its sample, that a draw takes its share of."""
    return one.average or one.cluster


def one_in(every: int, groups: Sequence[str], *, name: str) -> list[int]:
    """The places of one item in `every`, drawn with the seed of the set of that name, in the order of the file.

    groups: of every item; every group gives the same share, give or take one item. Every so many-th of the file itself
    would meet the same phase of a file that repeats itself: three options in turn, a paradigm's pairs.
    """
    if every == 1:
        return list(range(len(groups)))
    order = stream(0, "twin", name).permutation(len(groups))
    turns = group_numbers([groups[place] for place in order])
    return sorted(order[np.argsort(turns, kind="stable")][::every].tolist())


def group_numbers(names: Sequence[str]) -> Groups:
    """0 to G - 1 by first occurrence."""
    places: dict[str, int] = {}
    return np.asarray([places.setdefault(name, len(places)) for name in names], dtype=np.int64)


def weights_of(names: Sequence[str], *, averaged: bool) -> Floats:
    """(N,) the weight of every item: 1, or 1 / (the rows of its group) where groups weigh the same."""
    if not averaged:
        return np.ones(len(names))
    groups = group_numbers(names)
    weights: Floats = 1.0 / np.bincount(groups)[groups]
    return weights


def guess_of(items: Sequence[Item], *, average: bool) -> float:
    """What drawing one of the options scores."""
    chances = np.asarray([1.0 / len(item.options) for item in items])
    if not average:
        return float(chances.mean())
    groups = group_numbers([item.average for item in items])
    return float((np.bincount(groups, weights=chances) / np.bincount(groups)).mean())


# --- the kinds ------------------------------------------------------------------------------------------------------


def after(context: str, continuation: str) -> Option:
    """(context, continuation) with exactly one white space between them, which belongs to the continuation."""
    if continuation[:1].isspace() or not context:
        return context, continuation
    if context.startswith(ASKING) and not context.rstrip().endswith("Answer:"):
        return context.rstrip() + "\nAnswer:", f" {continuation}"
    if context[-1:] == "\n":
        return context, continuation
    return context.rstrip(" "), f" {continuation}"


def moved(context: str, continuation: str) -> Option:
    """White space at the end of a context belongs to the continuation, as the harness scores it."""
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation


def choices(row: Row) -> tuple[tuple[Option, ...], int]:
    return tuple(after(lead(row["query"]), choice) for choice in texts(row["choices"])), whole(row["answer"])


def schema(row: Row) -> tuple[tuple[Option, ...], int]:
    continuation = text(row["continuation"])
    return tuple(after(one, continuation) for one in texts(row["contexts"])), whole(row["answer"])


def minimal_pair(row: Row) -> tuple[tuple[Option, ...], int]:
    return (("", text(row["good"])), ("", text(row["bad"]))), 0


def bias_pair(row: Row) -> tuple[tuple[Option, ...], int]:
    """`answer` is the sentence that stereotypes more: the share of it is told, not praised."""
    return (("", text(row["sent_more"])), ("", text(row["sent_less"]))), 0


def lead(cell: Any) -> str:
    """What stands before the options; it may be empty."""
    return "" if cell == "" else text(cell)


def text(cell: Any) -> str:
    if not isinstance(cell, str) or not cell:
        raise TypeError(f"{cell!r} is no text")
    return cell


def text_or_none(cell: Any) -> str:
    """A text that may be missing, which is an empty one."""
    return "" if cell is None or cell == "" else text(cell)


def texts(cell: Any) -> list[str]:
    return [text(one) for one in listed(cell)]


def listed(cell: Any) -> list[Any]:
    """A list; a text is none, although Python would read it letter by letter."""
    if not isinstance(cell, list | tuple):
        raise TypeError(f"{cell!r} is no list")
    return list(cell)


def whole(cell: Any) -> int:
    if isinstance(cell, bool) or cell != int(cell):
        raise TypeError(f"{cell!r} is no whole number")
    return int(cell)


def yes_or_no(cell: Any) -> bool:
    """A truth value, as JSON and Parquet have it or as CSV files spell it."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}  # pandas writes 1.0
    found = words.get(str(cell).strip().casefold())
    if found is None:
        raise TypeError(f"{cell!r} is neither true nor false")
    return found


READERS: dict[str, Reader] = {
    "multiple_choice": choices,
    "schema": schema,
    "minimal_pairs": minimal_pair,
    "bias_pairs": bias_pair,
}
COLUMNS = {
    "multiple_choice": ("query", "choices", "answer"),
    "schema": ("contexts", "continuation", "answer"),
    "minimal_pairs": ("good", "bad"),
    "bias_pairs": ("sent_more", "sent_less"),
}
