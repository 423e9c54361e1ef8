"""What a cell computes, in this process or in another one: a set's rows, a base or its twin, and the protocol.

Enter: a `Work` and the base it is about. Leave: its `Cell` and samples. As a job for `headstart.ground.fanout` a work
is plain JSON (`Job`), and so is its answer; the worker keeps the last set and the last base, because the next job
mostly wants them too. Nothing is written here: the one who gave the jobs keeps the cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.evaluate.suite.cells import Cell, Sample, Side, Work
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.items import one_in
from headstart.evaluate.suite.protocol import Ask
from headstart.evaluate.suite.protocols import protocol_of
from headstart.evaluate.suite.sources import find_sets
from headstart.evaluate.untrained import untrained
from headstart.ground.errors import BaseError, DataError
from headstart.train.frozen import MOST_BYTES, FeatureStore

PART_ITEMS = 1000  # of a cell by likelihood: about a minute of a small base, so that a kill costs no more


def parts_of(items: int) -> int:
    """How many cells so many items are cut into; 0 items: one cell needs all of them."""
    return max(1, -(-items // PART_ITEMS))


class Room:
    """A set's rows, read when they are first needed: a run that finds all cells reads no table but the items.

    feature_bytes: of features that its probes share, at most; they go when the room goes.
    """

    def __init__(self, found: SetOnDisk, limit: int | None, feature_bytes: int = MOST_BYTES) -> None:
        self.found, self.protocol, self._limit = found, protocol_of(found.spec), limit
        self.features = FeatureStore(feature_bytes)
        self._rows: Any = None
        self._shown: tuple[tuple[int, int], Any] | None = None

    @property
    def rows(self) -> Any:
        """In the shape of the set's protocol."""
        if self._rows is None:
            own = self.found.rows
            self._rows = self.protocol.read(self.found, limit=self._limit) if own is None else own(self._limit)
        return self._rows

    def asked(self, *, shots: int, seed: int) -> Any:
        """The rows as a base is asked them: after demonstrations where few-shot puts them there. The last are kept."""
        if not (shots and self.protocol.demonstrates):
            return self.rows
        if self._shown is None or self._shown[0] != (shots, seed):
            told = self.protocol.shown(self.found, limit=self._limit, shots=shots, seed=seed)
            self._shown = (shots, seed), told
        return self._shown[1]


class Twins:
    """The last base with random weights that was asked for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Base] = {}

    def of(self, base: Base, work: Work) -> Base:
        """The base that a work asks: `base` itself, or its random twin."""
        if work.side.role != "random":
            return base
        name = (work.side.digest, work.seed)
        if name not in self._kept:
            self._kept = {name: untrained(base, seed=work.seed)}
        return self._kept[name]


def compute(room: Room, work: Work, base: Base | None) -> tuple[Cell, list[Sample]]:
    """A cell. base: None for a control that needs none."""
    spec, side = work.found.spec, work.side
    if side.method is None:
        return room.protocol.control(side.role, room.rows, spec)
    assert base is not None, "a method is a way to turn a base"
    own = FeatureStore() if side.role == "random" else room.features  # a twin's weights are asked in one cell alone
    ask = Ask(side.method, work.seed, places_of(room, work), side.shots, work.labels, side.digest, own)
    return room.protocol.run(base, room.asked(shots=side.shots, seed=work.seed), spec, ask)


def places_of(room: Room, work: Work) -> list[int]:
    """The items of a cell; none where the protocol asks all rows in one."""
    if not room.protocol.in_parts:
        return []
    drawn = one_in(work.every, room.protocol.groups(room.rows), name=room.found.spec.name)
    return drawn[work.part * PART_ITEMS :][:PART_ITEMS] if work.parts > 1 else drawn


# --- as a job -------------------------------------------------------------------------------------------------------


class Job(msgspec.Struct, frozen=True):
    """A work for another process. base: a name or a folder, None for a control. data: the folder of sets."""

    data: str
    task: str
    set_identity: str
    base: str | None
    side: Side
    seed: int
    part: int
    parts: int
    limit: int | None
    labels: int | None
    every: int


class Computed(msgspec.Struct, frozen=True):
    """The answer to a job."""

    cell: Cell
    samples: list[Sample]


def job_of(work: Work, *, data: Path, base: str | None) -> Any:
    """A work as plain JSON values."""
    return msgspec.to_builtins(
        Job(
            data=str(data.resolve()),
            task=work.found.spec.name,
            set_identity=work.found.identity,
            base=base,
            side=work.side,
            seed=work.seed,
            part=work.part,
            parts=work.parts,
            limit=work.limit,
            labels=work.labels,
            every=work.every,
        )
    )


class _Desk:
    """What a worker has at hand."""

    def __init__(self) -> None:
        self._room: tuple[tuple[str, str, str, int | None], Room] | None = None
        self._base: tuple[tuple[str, str], Base] | None = None
        self.twins = Twins()

    def room(self, job: Job) -> Room:
        name = (job.data, job.task, job.set_identity, job.limit)
        if self._room is None or self._room[0] != name:
            (found,), _ = find_sets(Path(job.data), suite="all", tasks=(job.task,))
            if found.identity != job.set_identity:
                raise DataError(
                    f"the files or the card of {job.task} are not those asked for; expected the same here. Copy them."
                )
            self._room = name, Room(found, job.limit)
        return self._room[1]

    def base(self, job: Job) -> Base | None:
        if job.base is None:
            return None
        name = (job.base, job.side.digest)
        if self._base is None or self._base[0] != name:
            base = Base.load(job.base)
            if base.identity != job.side.digest:
                raise BaseError(
                    f"{job.base} has not the weights, tokenizer and config asked for; expected the same here. Copy it."
                )
            self._base = name, base
        return self._base[1]


_DESK = _Desk()


def run_job(job: Any) -> Any:
    """The work of a `Job` -> its `Computed`, both as plain JSON values."""
    asked = msgspec.convert(job, Job)
    room, base = _DESK.room(asked), _DESK.base(asked)
    work = Work(room.found, asked.side, asked.seed, asked.part, asked.parts, asked.limit, asked.labels, asked.every)
    cell, samples = compute(room, work, None if base is None else _DESK.twins.of(base, work))
    return msgspec.to_builtins(Computed(cell, samples))
