"""What `choose` says twice the labels would bring, beside what they then brought, on test rows no forecast has seen.

For every set, base and draw of labels, stage 1 reads n rows as `choose` would, and foretells what 2 n would add. Then
they are there: the closed-form probe that the forecast is read off, and the base adapted as `adapt` does it, with n and
with 2 n labels. How far off, how often inside the 90 % interval, and is it better than to say that nothing changes?
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from bench.choose import TASKS, source_of
from bench.foretold import HEAD, Foretold, row
from bench.places import add_places, places_of
from bench.processes import machine
from headstart.base.base import Base
from headstart.choose.belief import hand_set
from headstart.choose.closing import some
from headstart.choose.decision import labels_gain
from headstart.choose.findings import Findings
from headstart.choose.floor import floor_of
from headstart.choose.reading import HELD_OUT_ROWS, Pass, Reading
from headstart.data.task import Task
from headstart.evaluate.intervals import Evidence, compare
from headstart.evaluate.label_curve import nested_order
from headstart.evaluate.metrics import metric_for
from headstart.evaluate.suite.adapting import read_task
from headstart.evaluate.suite.index import find_sets
from headstart.evaluate.trial import evidence_of, try_method
from headstart.ground.files import write_atomic
from headstart.train.methods import FitSettings

FEWEST = 200  # labels a forecast is made from: two points of the curve
PASS_SEED = 0
CLOSED = "closed form"
SIDES = (CLOSED, "probe", "full")
TWO_SIDED = 1.96  # standard errors in half of a 95 % interval
Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One set, one base, one draw of labels; side: what is trained with n and with 2 n of them."""

    name: str
    base: str
    draw: int
    side: str

    @property
    def file(self) -> str:
        return f"{self.name}-{Path(self.base).name}-{self.side.replace(' ', '-')}-{self.draw}.json"


@dataclass(frozen=True)
class Case:
    """A forecast from so many labels, and what came of twice as many."""

    cell: Cell
    labels: int
    gain: Foretold


def drawn(task: Task, most: int, draw: int) -> Task:
    """The set with at most so many train rows, drawn with `draw`."""
    order = nested_order(task.train, task.kind, draw)[:most]
    return replace(task, train=task.train.subset(order))


def sizes(rows: int) -> list[int]:
    """Labels from which twice as many are foretold: 200, 400, ... while both are there."""
    found, labels = [], FEWEST
    while 2 * labels <= rows:
        found.append(labels)
        labels *= 2
    return found


# --- what is measured -------------------------------------------------------------------------------------------------


def read(base: Base, task: Task, *, metric: str) -> Record:
    """Stage 1 on all train rows, with the validation rows that `choose` holds out; and the same curve on test rows."""
    told = passed(base, task, metric=metric)
    happened = passed(base, replace(task, validation=task.test), metric=metric, held_out_rows=len(task.test))
    return {
        "reading": msgspec.to_builtins(told),
        "floor": floor_of(task, metric),
        "test": {str(point.labels): point.value for point in happened.curve},
    }


def passed(base: Base, task: Task, *, metric: str, held_out_rows: int = HELD_OUT_ROWS) -> Reading:
    way = Pass(base, task, metric=metric, seed=PASS_SEED, held_out_rows=held_out_rows)
    while way.ahead:
        way.go()
    return way.reading()


def trained(base: Base, task: Task, *, metric: str, method: str, seed: int) -> Record:
    """Adapted with n and with 2 n labels, for every n: the scores on test, and how sure their differences are."""
    found: dict[int, Evidence] = {}
    order = nested_order(task.train, task.kind, PASS_SEED)  # as the pass reads them
    for labels in sorted({many for few in sizes(len(task.train)) for many in (few, 2 * few)}):
        part = replace(task, train=task.train.subset(order[:labels]))
        trial = try_method(base, part, method=method, seed=seed, settings=FitSettings(), metric=metric)
        found[labels] = evidence_of(part, metric, [trial])
    paired = {n: compare(found[n], found[2 * n]) for n in sizes(len(task.train))}
    return {
        "test": {str(n): evidence.value() for n, evidence in found.items()},
        "noise": {str(n): (one.high - one.low) / (2 * TWO_SIDED) for n, one in paired.items()},
    }


def kept(cell: Cell, source: str, task: Task, out: Path) -> Record:
    """The cell's record, from its file where it was run before with the same rows and the same base."""
    file, base = out / cell.file, loaded(source)
    conditions = {"base": base.identity, "rows": [len(part) for part in (task.train, task.validation, task.test)]}
    if file.is_file():
        record: Record = json.loads(file.read_text())
        if record["conditions"] == conditions:
            return record
    metric, begun = metric_for(task.kind, None, task.labels).name, time.process_time()
    if cell.side == CLOSED:
        record = read(base, task, metric=metric)
    else:
        record = trained(base, task, metric=metric, method=cell.side, seed=cell.draw)
    spent = time.process_time() - begun
    record = {"metric": metric, "conditions": conditions, "cpu_seconds": spent, **record}
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(file, (json.dumps(record) + "\n").encode())
    return record


@lru_cache(maxsize=1)
def loaded(source: str) -> Base:
    return Base.load(source, allow_pickle=True)


# --- what it says -----------------------------------------------------------------------------------------------------


def cases(cell: Cell, told: Record, record: Record) -> list[Case]:
    """Every forecast of `told`, a record of the closed form, beside what happened to the cell's side."""
    found = []
    reading, (rows, held_out, _) = msgspec.convert(told["reading"], Reading), told["conditions"]["rows"]
    for labels in sizes(rows):
        known = Findings([], (labels, held_out, 0), 0, hand_set(), metric=told["metric"], floor=told["floor"])
        curve = [point for point in reading.curve if point.labels <= labels]
        known.readings.append(msgspec.structs.replace(reading, rows=labels, curve=curve))
        gain = labels_gain(known, 0)
        if gain is None:
            continue
        before, after = (record["test"][str(n)] for n in (labels, 2 * labels))
        noise = record.get("noise", {}).get(str(labels))
        found.append(Case(cell, labels, Foretold(gain, after - before, noise)))
    return found


def table(found: Sequence[Case]) -> list[str]:
    """Markdown: by side over everything, then by set, base and number of labels."""
    lines = [f"| what was trained |{HEAD}", f"|---|{'---|' * HEAD.count('|')}"]
    tells: list[Callable[[Case], str]] = [
        lambda case: case.cell.name,
        lambda case: case.cell.base,
        lambda case: f"{case.labels} labels",
    ]
    for side in dict.fromkeys(case.cell.side for case in found):
        mine = [case for case in found if case.cell.side == side]
        groups = {side: mine}
        for tell in tells:
            for name in dict.fromkeys(map(tell, mine)):
                groups[f"{side}: {name}"] = [case for case in mine if tell(case) == name]
        lines += [f"| {name} |{row([case.gain for case in members])}" for name, members in groups.items()]
    return lines


def main() -> None:
    """Run the cells that are missing, the cheap sides first, and write label_forecast.json and label_forecast.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("--tasks", type=lambda text: tuple(text.split(",")), default=TASKS)
    parser.add_argument("--bases", type=lambda text: tuple(text.split(",")), default=("text-tiny", "minilm"))
    parser.add_argument("--sides", type=lambda text: tuple(text.split(",")), default=SIDES)
    parser.add_argument("--draws", type=int, default=3, help="of the labels, by seed")
    parser.add_argument("--most", type=int, default=1600, help="labels at most; forecasts are made from 200 on")
    parser.add_argument("--rows", type=int, default=2000, help="validation and test rows at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further cell after this time")
    asked = parser.parse_args()
    places, ends = places_of(asked), time.monotonic() + asked.seconds
    out, found = places.results / "label_forecast", list[Case]()
    sets, _ = find_sets(places.shared / "tasks", suite="all", tasks=asked.tasks)
    tasks = {one.spec.name: part(read_task(one, limit=None), asked.rows) for one in sets}
    for side in (CLOSED, *(side for side in asked.sides if side != CLOSED)):
        for base in asked.bases:
            for name, task in tasks.items():
                for draw in range(asked.draws):
                    cell = Cell(name, base, draw, side)
                    closed = replace(cell, side=CLOSED)
                    if time.monotonic() >= ends and not all((out / one.file).is_file() for one in (cell, closed)):
                        continue
                    labelled, source = drawn(task, asked.most, draw), source_of(base, places)
                    told, record = (kept(one, source, labelled, out) for one in (closed, cell))
                    found += cases(cell, told, record)
                    print(f"{cell.file}: {record['cpu_seconds']:.0f} CPU s", file=sys.stderr, flush=True)
    if not found:
        return
    text = "\n".join(table(found)) + "\n"
    every = [msgspec.to_builtins(case) for case in found]
    (places.results / "label_forecast.json").write_text(json.dumps({"machine": machine(), "cases": every}) + "\n")
    (places.results / "label_forecast.md").write_text(text)
    print(text, end="")


def part(task: Task, rows: int) -> Task:
    """The set with at most so many validation and test rows."""
    return replace(
        task,
        validation=some(task.validation, rows, seed=0),
        test=some(task.test, rows, seed=0),
    )


if __name__ == "__main__":
    main()
