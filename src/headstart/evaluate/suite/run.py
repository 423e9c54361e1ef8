"""The verb `evaluate`: bases and a folder of benchmark sets in, standings with controls out; killed, it goes on.

For every set the controls that need no base, then every base and its random twin; each a cell that is kept when it is
done (cells.py). What cannot be evaluated is passed by with its reason, never in silence. The standings are computed
from the kept cells when all of them are there.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headstart.base.base import Base
from headstart.base.lineage import code_version, hardware
from headstart.evaluate.progress import Event, OnEvent, silent
from headstart.evaluate.suite.cells import Cell, Judged, Sample, Side, Work, is_done, keep, read_cell
from headstart.evaluate.suite.clean import with_contamination
from headstart.evaluate.suite.index import SetOnDisk, find_sets
from headstart.evaluate.suite.protocol import CONTROL_OF, Ask
from headstart.evaluate.suite.protocols import methods_of, protocol_of
from headstart.evaluate.suite.scoreboard import BaseFacts, Evaluation, Passed
from headstart.evaluate.suite.specs import Method, SuiteName
from headstart.evaluate.suite.standings import Played, Scored, comparisons_of, overall_of, scored, table_of
from headstart.evaluate.untrained import untrained
from headstart.ground.errors import ConfigError, HeadstartError, RunError
from headstart.prompt.asking import MOST_SHOTS, SHOTS

PART_ITEMS = 1000  # of a cell by likelihood: about a minute of a small base, so that a kill costs no more
CONTROL_ENTRIES = {"majority": "majority", "tfidf": "TF-IDF"}
TWIN_ENTRIES = {"random": "random", "scratch": "from scratch"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked besides bases and data. tasks: names, none for the whole suite. limit: rows a part at most.

    methods: how bases are turned to a set, where it can be done in several ways; none for the default of every set.
    command: the line that does it again.
    """

    suite: SuiteName = "core"
    tasks: tuple[str, ...] = ()
    methods: tuple[Method, ...] = ()
    limit: int | None = None
    seeds: int = 1
    shots: int = SHOTS
    command: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is {self.limit}; expected at least 1. Leave it out for all rows.")
        if not 1 <= self.seeds <= 100:
            raise ConfigError(f"--seeds is {self.seeds}; expected 1 to 100. Give for instance --seeds 3.")
        if not 1 <= self.shots <= MOST_SHOTS:
            raise ConfigError(f"--shots is {self.shots}; expected 1 to {MOST_SHOTS:,}. Give for instance --shots 8.")


def evaluate(
    bases: Sequence[Base], *, data: Path, out: Path, settings: Settings | None = None, on_event: OnEvent = silent
) -> Evaluation:
    """Evaluate bases on the sets of `data`; cells are kept in `out` and never run twice.

    Raises:
        ConfigError: no base, an unknown task, a suite without sets.
        DataError: the index cannot be read.
        RunError: nothing could be evaluated.
    """
    if not bases:
        raise ConfigError("no base was given; expected at least one. Give a folder or an embedded name.")
    return _Run(tuple(bases), data, out, settings or Settings(), on_event).go()


@dataclass
class _Run:
    """One evaluation under way."""

    bases: tuple[Base, ...]
    data: Path
    out: Path
    settings: Settings
    tell: OnEvent
    passed: list[Passed] = field(default_factory=list)
    twins: dict[tuple[str, int], Base] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sets, unread = find_sets(self.data, suite=self.settings.suite, tasks=self.settings.tasks)
        self.passed += [Passed(one.name, "", one.reason) for one in unread]
        self.own = own_sides(self.bases)
        self.by_digest = {side.digest: base for side, base in zip(self.own, self.bases, strict=True)}

    @property
    def cells(self) -> Path:
        return self.out / "cells"

    def go(self) -> Evaluation:
        self.tell(Event("plan", f"{len(self.sets)} sets, {len(self.bases)} bases; cells in {self.cells}"))
        for one in self.passed:
            self.tell(Event("note", f"{one.task} is passed by: {one.reason}"))
        played = [task for found in self.sets if (task := self._play(found)) is not None]
        if not played:
            reasons = "; ".join(f"{one.task}: {one.reason}" for one in self.passed[:5])
            raise RunError(f"nothing could be evaluated ({reasons}); expected at least one set. See the reasons.")
        self.tell(Event("score", f"{len(played)} sets scored"))
        return self._conclude(played)

    def _play(self, found: SetOnDisk) -> Played | None:
        """Run what is missing of one set and read all of it."""
        try:
            room = _Room(found, self.settings.limit)
            items = room.protocol.size(room.rows) if room.protocol.in_parts else 0
        except HeadstartError as problem:
            self._pass(found, "", problem)
            return None
        sides = tuple(self._sides(found))
        played = [one for side in sides if (one := self._side(room, side, items)) is not None]
        return Played(found, tuple(played), sides) if any(one.side.role == "base" for one in played) else None

    def _sides(self, found: SetOnDisk) -> Iterator[Side]:
        """Controls first: they are quick and say at once what there is to beat."""
        protocol = protocol_of(found.spec)
        for role in protocol.controls(found):
            yield Side(role, CONTROL_ENTRIES[role])
        methods = methods_of(found.spec, self.settings.methods)
        for own in self.own:
            twins: dict[str, Side] = {}
            for method in methods:
                entry = f"{own.entry}, {method}" if len(methods) > 1 else own.entry
                asked = replace(own, shots=self.settings.shots if method == "few-shot" else 0)
                yield replace(asked, entry=entry, method=method)
                if protocol.can(self.by_digest[own.digest]):
                    twin = twin_of(asked, method, entry)
                    twins.setdefault(twin.entry, twin)
            yield from twins.values()

    def _side(self, room: _Room, side: Side, items: int) -> Scored | None:
        """One side's cells on one set, run where they are missing; None where it cannot be scored."""
        runs: list[tuple[list[Cell], list[Judged]]] = []
        try:
            for works in self._works(room.found, side, items):
                for work in works:
                    if not is_done(work, self.cells):
                        self._run(room, work)
                kept = [read_cell(work, self.cells) for work in works]
                runs.append(([cell for cell, _ in kept], [sample for _, samples in kept for sample in samples]))
        except RunError:
            raise  # a full disk is no property of this side
        except HeadstartError as problem:
            self._pass(room.found, side.entry, problem)
            return None
        return scored(room.found, side, runs)

    def _works(self, found: SetOnDisk, side: Side, items: int) -> Iterator[list[Work]]:
        """The cells of one side, one list a seed: whatever draws nothing is run with one seed."""
        by_chance = side.role in ("random", "scratch") or side.method in protocol_of(found.spec).by_chance
        parts = -(-items // PART_ITEMS) if items and side.method is not None else 1
        for seed in range(self.settings.seeds if by_chance else 1):
            yield [Work(found, side, seed, part, parts, self.settings.limit) for part in range(parts)]

    def _run(self, room: _Room, work: Work) -> None:
        cell, samples = self._compute(room, work)
        keep(work, cell, samples, self.cells)
        part = f", part {work.part + 1} of {work.parts}" if work.parts > 1 else ""
        seed = f", seed {work.seed}" if self.settings.seeds > 1 else ""
        self.tell(Event("score", f"{work.found.spec.name}: {work.side.entry}{seed}{part} done"))

    def _compute(self, room: _Room, work: Work) -> tuple[Cell, list[Sample]]:
        spec, side = work.found.spec, work.side
        if side.method is None:
            return room.protocol.control(side.role, room.rows, spec)
        stretch = slice(work.part * PART_ITEMS, (work.part + 1) * PART_ITEMS) if work.parts > 1 else slice(None)
        return room.protocol.run(self._base(work), room.rows, spec, Ask(side.method, work.seed, stretch, side.shots))

    def _base(self, work: Work) -> Base:
        if work.side.role != "random":
            return self.by_digest[work.side.digest]
        name = (work.side.digest, work.seed)
        if name not in self.twins:
            self.twins = {name: untrained(self.by_digest[work.side.digest], seed=work.seed)}  # the last one only
        return self.twins[name]

    def _pass(self, found: SetOnDisk, entry: str, problem: HeadstartError) -> None:
        self.passed.append(Passed(found.spec.name, entry, str(problem)))
        who = f" for {entry}" if entry else ""
        self.tell(Event("note", f"{found.spec.name} is passed by{who}: {problem}"))

    def _conclude(self, played: Sequence[Played]) -> Evaluation:
        return Evaluation(
            suite=None if self.settings.tasks else self.settings.suite,
            asked=list(self.settings.tasks),
            data=str(self.data),
            bases=[
                BaseFacts(side.entry, base.name, side.digest, base.trunk.config.num_parameters)
                for side, base in zip(self.own, self.bases, strict=True)
            ],
            tasks=with_contamination([table_of(task) for task in played], played, self.by_digest),
            overall=overall_of(played),
            comparisons=comparisons_of(played),
            skipped=self.passed,
            limit=self.settings.limit,
            seeds=self.settings.seeds,
            samples=str(self.cells),
            code=code_version(),
            hardware=hardware(),
            command=self.settings.command,
            finished=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )


class _Room:
    """A set's rows, read when they are first needed: a run that finds all cells reads no table but the items."""

    def __init__(self, found: SetOnDisk, limit: int | None) -> None:
        self.found, self.protocol, self._limit = found, protocol_of(found.spec), limit
        self._rows: Any = None

    @property
    def rows(self) -> Any:
        """In the shape of the set's protocol."""
        if self._rows is None:
            self._rows = self.protocol.read(self.found, limit=self._limit)
        return self._rows


def twin_of(own: Side, method: Method, entry: str) -> Side:
    """What stands beside a base that is turned by `method`: the same on random weights, or trained from them."""
    role = CONTROL_OF[method]
    if role == "scratch":
        return replace(own, role=role, entry=f"{own.entry}, {TWIN_ENTRIES[role]}", method="scratch")
    return replace(own, role=role, entry=f"{entry}, {TWIN_ENTRIES[role]}", method=method)


def own_sides(bases: Sequence[Base]) -> list[Side]:
    """A side a base; equal names are told apart by their weights.

    Raises:
        ConfigError: the same weights twice.
    """
    names, digests = [base.name for base in bases], [base.digest for base in bases]
    for place, digest in enumerate(digests):
        if digest in digests[:place]:
            raise ConfigError(f"{names[place]} was given twice; expected different bases. Leave one out.")
    return [
        Side("base", name if names.count(name) == 1 else f"{name} {digest[:6]}", name, digest)
        for name, digest in zip(names, digests, strict=True)
    ]
