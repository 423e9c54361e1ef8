"""Demonstrations before items that are scored by likelihood, as lm-evaluation-harness draws and writes them.

Enter: a set and K. Leave: its items, each with K solved rows of the set before it, parted by an empty line. They are
drawn anew for every item, in the order of the items, from the train part, or from the validation part where there is
none; where validation is what is scored, one more is drawn and the row itself left out. Seed 0 draws as the harness
does with its default, which is 1234. A set with a test part alone has nothing to show: the harness would show the rows
that it asks, and may show a row its own answer. Written against lm-evaluation-harness 0.4.13.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.items import Item, Line, Row, moved, read_lines
from headstart.ground.errors import DataError

SEED = 1234  # the harness' default for drawing examples
DELIMITER = "\n\n"  # its fewshot_delimiter
Solve = Callable[[Line], Item]
Shown = TypeVar("Shown")


def why_none(found: SetOnDisk) -> str | None:
    """Why nothing can be shown before the items of a set; None where something can."""
    name = found.spec.name
    if found.rows is not None:
        return f"few-shot of {name} is said by its task file; expected num_fewshot there. Set it in the file."
    if not {"train", "validation"} & set(found.files):
        return (
            f"{name} has a test part alone; expected a train or a validation part to draw demonstrations from. "
            "Add one, or ask it with --method zero-shot."
        )
    return None


def shown_part(found: SetOnDisk) -> str:
    """The part that demonstrations are drawn from."""
    return "train" if "train" in found.files else "validation"


@dataclass(frozen=True, slots=True)
class Solved:
    """A row that may be shown. cells: as in the file, by which equal rows are known. text: question and answer."""

    cells: Row
    text: str


def solved(lines: Sequence[Line], solve: Solve) -> list[Solved]:
    """Rows with their right answers."""
    items = [solve(line) for line in lines]
    return [Solved(line.cells, "".join(item.options[item.answer])) for line, item in zip(lines, items, strict=True)]


def read_shown(
    found: SetOnDisk, columns: Sequence[str], solve: Solve, *, limit: int | None, shots: int, seed: int
) -> list[Item]:
    """The items of the part that is scored, each after `shots` solved rows; with `limit` a seeded draw of them.

    Raises:
        DataError: a part cannot be read, or has fewer rows than that.
    """
    pool = solved(read_lines(found, columns, limit=None, split=shown_part(found)), solve)
    own = found.test == "validation"  # as the harness: also where a train part is drawn from
    if len(pool) <= own:
        raise DataError(
            f"{found.spec.name} has {len(pool):,} rows to draw from; expected another than the one that is asked. "
            "Ask it with --method zero-shot."
        )
    if len(pool) < shots + own:
        raise DataError(
            f"{found.spec.name} has {len(pool):,} rows to draw from and --shots is {shots:,}; expected at most "
            f"{len(pool) - own:,}. Give fewer."
        )
    draw = random.Random(SEED + seed)
    items = []
    for line in read_lines(found, columns, limit=limit):
        same = partial(is_row, cells=line.cells) if own else None
        items.append(after_shots(solve(line), drawn(pool, draw, shots, same, line.place)))
    return items


def is_row(one: Solved, cells: Row) -> bool:
    return one.cells == cells


def drawn(
    pool: Sequence[Shown], draw: random.Random, shots: int, same: Callable[[Shown], bool] | None, place: str
) -> list[Shown]:
    """`shots` of the pool, as the harness draws them. same: whether one is the row that is asked, which is left out;
    None where it cannot be, because the row is of another part.

    Raises:
        DataError: too many rows are like the one that is asked, at `place`.
    """
    if same is None:
        return draw.sample(pool, shots)
    found = [one for one in draw.sample(pool, shots + 1) if not same(one)][:shots]
    if len(found) == shots:
        return found
    others = [one for one in pool if not same(one)]  # several copies of the row were drawn
    if len(others) < shots:
        raise DataError(
            f"{place}: {len(others):,} rows are unlike this one and --shots is {shots:,}; expected as many. Give fewer."
        )
    return draw.sample(others, shots)


def after_shots(item: Item, shown: Sequence[Solved]) -> Item:
    """An item whose options are read after solved rows."""
    before = "".join(one.text + DELIMITER for one in shown)
    return replace(item, options=tuple(moved(before + context, answer) for context, answer in item.options))
