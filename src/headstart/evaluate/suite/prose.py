"""Held-out text: how many bits a base needs for a byte of it. Fewer are better.

A text is cut into stretches of STRETCH characters at white space, and each is read after the stretch before it, so that
every base sees the same of it, whatever its tokenizer and its positions. From left to right where a base can; else
every unit is hidden once with the others in sight, which is no description of the text and not to be compared with the
former. A text is an item: an interval draws whole texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from headstart.base.base import Base
from headstart.evaluate.suite.cells import Cell, Judged, Role, Sample
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.items import Item, Option, Row, parsed, read_lines, text
from headstart.evaluate.suite.protocol import Ask
from headstart.evaluate.suite.scoring import ItemsProtocol, filled, share_filled, weigh
from headstart.evaluate.suite.specs import TaskSpec

STRETCH = 200  # characters: about 50 units of English, and less than 128 of any byte-level tokenizer that learned some


class ProseProtocol(ItemsProtocol):
    """Texts, each with its stretches as options that are all read."""

    name = "prose"

    def read(self, found: SetOnDisk, *, limit: int | None) -> list[Item]:
        return [Item(line.number, parsed(line, stretches), 0) for line in read_lines(found, ("text",), limit=limit)]

    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        return ()

    def control(self, role: Role, rows: list[Item], spec: TaskSpec) -> tuple[Cell, list[Sample]]:
        raise AssertionError("texts have no control but the random twin")

    def run(self, base: Base, rows: list[Item], spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        mine = ask.mine(rows)
        weighed, method, ms_per_row = weigh(base, mine)
        samples = [
            Sample(
                item.id,
                [list(option) for option in item.options],
                "",
                [-sum(one.nats), float(sum(len(part.encode()) for _, part in item.options))],
                scores=one.nats,
                units=one.units,
            )
            for item, one in zip(mine, weighed, strict=True)
        ]
        cell = Cell("bits_per_byte", method, [], 0.0, {"test": len(rows)}, ms_per_row=ms_per_row)
        return msgspec.structs.replace(cell, filled=filled(samples, base.text_codec.max_positions)), samples

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        return share_filled(cells, runs)


def stretches(row: Row) -> tuple[Option, ...]:
    """(the stretch before, the stretch) of a whole text."""
    parts = list(cut(text(row["text"])))
    return tuple(zip(["", *parts[:-1]], parts, strict=True))


def cut(whole: str) -> Iterator[str]:
    """Stretches that together are the text; a cut stands before white space where there is some."""
    start = 0
    while len(whole) - start > STRETCH:
        stop = start + STRETCH
        place = max(whole.rfind(space, start + 1, stop) for space in (" ", "\n"))
        stop = place if place > start else stop
        yield whole[start:stop]
        start = stop
    if whole[start:]:
        yield whole[start:]
