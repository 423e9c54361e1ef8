"""Texts whose end is hidden (LAMBADA): would the base have written it, and how likely does it find it?

accuracy: every unit of the continuation is the likeliest one in its place, as lm-evaluation-harness has it ("greedy").
perplexity: e to the mean negative log-likelihood of a whole continuation in nats. A base that does not read from left
to right is asked with every unit of the continuation hidden once, the others in sight, which is much easier.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

import msgspec

from headstart.base.base import Base
from headstart.evaluate.suite.cells import Cell, Judged, Role, Sample
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.items import Item, Line, Row, after, group_name, parsed, read_lines, text
from headstart.evaluate.suite.protocol import Ask
from headstart.evaluate.suite.scoring import ItemsProtocol, filled, mean_of, share_filled, weigh
from headstart.evaluate.suite.shots import read_shown
from headstart.evaluate.suite.specs import TaskSpec

COLUMNS = ("context", "continuation")


class ClozeProtocol(ItemsProtocol):
    """Items with one option: the continuation that was hidden."""

    name = "cloze"
    methods = ("zero-shot", "few-shot")
    by_chance = frozenset(("few-shot",))
    demonstrates = True

    def read(self, found: SetOnDisk, *, limit: int | None) -> list[Item]:
        return [gap_item(line, found.spec) for line in read_lines(found, COLUMNS, limit=limit)]

    def shown(self, found: SetOnDisk, *, limit: int | None, shots: int, seed: int) -> list[Item]:
        solve = partial(gap_item, spec=found.spec)
        return read_shown(found, COLUMNS, solve, limit=limit, shots=shots, seed=seed)

    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        return ("majority",)

    def control(self, role: Role, rows: list[Item], spec: TaskSpec) -> tuple[Cell, list[Sample]]:
        """Always the continuation that is right most often among these very items."""
        usual = Counter(item.options[0][1] for item in rows).most_common(1)[0][0]
        samples = [written(item, item.options[0][1] == usual) for item in rows]
        return gap_cell("majority", rows, 0.0), samples

    def run(self, base: Base, rows: list[Item], spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        mine = ask.mine(rows)
        weighed, method, ms_per_row = weigh(base, mine, ask.method)
        samples = [
            msgspec.structs.replace(
                written(item, one.likeliest[0]), scores=one.nats, numbers={"nats": one.nats[0]}, units=one.units
            )
            for item, one in zip(mine, weighed, strict=True)
        ]
        cell = gap_cell(method, rows, ms_per_row)
        return msgspec.structs.replace(cell, filled=filled(samples, base.text_codec.max_positions)), samples

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        if not runs[0][0].numbers:
            return {}
        return {"perplexity": math.exp(min(700.0, -mean_of("nats", runs))), **share_filled(cells, runs)}


def gap_item(line: Line, spec: TaskSpec) -> Item:
    groups = group_name(line.cells, spec.average), group_name(line.cells, spec.cluster)
    return Item(line.number, (parsed(line, gap),), 0, *groups)


def gap(row: Row) -> tuple[str, str]:
    return after(text(row["context"]), text(row["continuation"]))


def written(item: Item, right: bool) -> Sample:
    """An item of which the base would have written the continuation, or not."""
    return Sample(item.id, [list(item.options[0])], 1, int(right), average=item.average, cluster=item.cluster)


def gap_cell(method: str, whole: Sequence[Item], ms_per_row: float) -> Cell:
    """No guess is right: there are as many continuations as words."""
    return Cell("accuracy", method, [], 0.0, {"test": len(whole)}, ms_per_row=ms_per_row)
