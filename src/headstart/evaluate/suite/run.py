"""The verb `evaluate`: bases and a folder of benchmark sets in, standings with controls out; killed, it goes on.

For every set the controls that need no base, then every base and its random twin; each a cell that is kept when it is
done (cells.py). What cannot be evaluated is passed by with its reason, never in silence. The standings are computed
from the kept cells when all of them are there.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import code_version, hardware, identity
from headstart.evaluate.intervals import Evidence
from headstart.evaluate.label_curve import build_curve, curve_sizes
from headstart.evaluate.progress import Event, OnEvent, silent
from headstart.evaluate.report import LabelCurve
from headstart.evaluate.suite.absent import missing_controls
from headstart.evaluate.suite.cells import Cell, Judged, Side, Work, is_done, keep, read_cell
from headstart.evaluate.suite.clean import with_contamination
from headstart.evaluate.suite.computing import Computed, Room, Twins, compute, job_of, parts_of, run_job
from headstart.evaluate.suite.forgetting import forgetting_of
from headstart.evaluate.suite.harness_results import write_results
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.protocol import CONTROL_OF, LEARNING
from headstart.evaluate.suite.protocols import methods_of, protocol_of
from headstart.evaluate.suite.scoreboard import BaseFacts, Evaluation, Passed
from headstart.evaluate.suite.shots import why_none
from headstart.evaluate.suite.sources import find_sets
from headstart.evaluate.suite.specs import Method, SuiteName
from headstart.evaluate.suite.standings import Played, Scored, comparisons_of, overall_of, scored, table_of
from headstart.ground.errors import ConfigError, DataError, HeadstartError, RunError, safe_repr
from headstart.ground.fanout import Done, Failed, Outcome, Place, answer, fan_out
from headstart.prompt.asking import MOST_SHOTS, SHOTS
from headstart.train.frozen import MOST_BYTES

HERE = Place("here")
CONTROL_ENTRIES = {"majority": "majority", "tfidf": "TF-IDF", "nearest": "nearest neighbour"}
TWIN_ENTRIES = {"random": "random", "scratch": "from scratch"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked besides bases and data. tasks: names, none for the whole suite. limit: rows a part at most.

    methods: how bases are turned to a set, where it can be done in several ways; none for the default of every set.
    label_curve: labelled sets also with 1/8, 1/4 and 1/2 of their rows, from every base and from scratch.
    lm_eval: write results and samples as lm-evaluation-harness does too.
    command: the line that does it again.
    """

    suite: SuiteName = "core"
    tasks: tuple[str, ...] = ()
    methods: tuple[Method, ...] = ()
    limit: int | None = None
    seeds: int = 1
    shots: int = SHOTS
    label_curve: bool = False
    lm_eval: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit is {self.limit}; expected at least 1. Leave it out for all rows.")
        if not 1 <= self.seeds <= 100:
            raise ConfigError(f"--seeds is {self.seeds}; expected 1 to 100. Give for instance --seeds 3.")
        if not 1 <= self.shots <= MOST_SHOTS:
            raise ConfigError(f"--shots is {self.shots}; expected 1 to {MOST_SHOTS:,}. Give for instance --shots 8.")


def evaluate(
    bases: Sequence[Base],
    *,
    data: Path,
    out: Path,
    settings: Settings | None = None,
    on: Place = HERE,
    names: Sequence[str] = (),
    on_event: OnEvent = silent,
    feature_bytes: int = MOST_BYTES,
) -> Evaluation:
    """Evaluate bases on the sets of `data`; cells are kept in `out` and never run twice.

    on: where cells are computed; the result is the same. names: where another process finds the bases, one a base.
    feature_bytes: of features that the probes of a set share in this process, at most; the result is the same.

    Raises:
        ConfigError: no base, an unknown task, a suite without sets; other processes without names.
        DataError: the index cannot be read.
        RunError: nothing could be evaluated.
    """
    if not bases:
        raise ConfigError("no base was given; expected at least one. Give a folder or an embedded name.")
    if on.kind != "here" and len(names) != len(bases):
        raise ConfigError(
            f"{len(bases)} bases came with {len(names)} names; expected a name or folder a base, by which other "
            "processes load it. Give names, or leave `on` out."
        )
    return _Run(tuple(bases), data, out, settings or Settings(), on_event, on, tuple(names), feature_bytes).go()


@dataclass
class _Run:
    """One evaluation under way. failed: why, by the key of a cell that could not be computed, here or elsewhere.

    kept: the works of the first seed, by set and entry.
    """

    bases: tuple[Base, ...]
    data: Path
    out: Path
    settings: Settings
    tell: OnEvent
    on: Place
    names: tuple[str, ...]
    feature_bytes: int
    passed: list[Passed] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    kept: dict[tuple[str, str], list[Work]] = field(default_factory=dict)
    twins: Twins = field(default_factory=Twins)

    def __post_init__(self) -> None:
        self.sets, unread = find_sets(self.data, suite=self.settings.suite, tasks=self.settings.tasks)
        self.passed += [Passed(one.name, "", one.reason) for one in unread]
        read = {base.modality for base in self.bases}
        strange = [one for one in self.sets if one.spec.kind.modality not in read]
        self.passed += [Passed(s.spec.name, "", f"no base reads {s.spec.kind.modality or 'text'}") for s in strange]
        self.sets = [one for one in self.sets if one not in strange]
        self.own = own_sides(self.bases)
        self.by_digest = {side.digest: base for side, base in zip(self.own, self.bases, strict=True)}

    @property
    def cells(self) -> Path:
        return self.out / "cells"

    def go(self) -> Evaluation:
        self.tell(Event("plan", f"{len(self.sets)} sets, {len(self.bases)} bases; cells in {self.cells}"))
        for one in self.passed:
            self.tell(Event("note", f"{one.task} is passed by: {one.reason}"))
        if self.on.kind != "here":
            self._run_elsewhere()
        played = [task for found in self.sets if (task := self._play(found)) is not None]
        if not played:
            reasons = "; ".join(f"{one.task}: {one.reason}" for one in self.passed[:5])
            raise RunError(f"nothing could be evaluated ({reasons}); expected at least one set. See the reasons.")
        self.tell(Event("score", f"{len(played)} sets scored"))
        found = self._conclude(played)
        if self.settings.lm_eval:
            for folder in write_results(found, self.kept, cells=self.cells, out=self.out / "lm-eval"):
                self.tell(Event("note", f"as lm-evaluation-harness writes it: {folder}"))
        return found

    def _play(self, found: SetOnDisk) -> Played | None:
        """Run what is missing of one set and read all of it."""
        room = Room(found, self.settings.limit, self.feature_bytes)
        read = answer(size_of, room)
        if isinstance(read, Failed):
            self._pass(found, "", DataError(read.reason))
            return None
        items = read.value
        self._say_what_is_not_shown(found)
        if not self._methods(found):
            return None
        sides = tuple(self._sides(found))
        if not self._reads(room, sides, items):
            return None
        played = [one for side in sides if (one := self._side(room, side, items)) is not None]
        if not any(one.side.role == "base" for one in played):
            return None
        curves, asked = self._curves(room, played), self.settings.label_curve
        rows = max(one.cells[0].rows.get("train", 0) for one in played)
        missing = missing_controls(sides, label_curve=asked, rows=rows) if found.spec.protocol == "adapt" else []
        return Played(found, tuple(played), sides, curves, tuple(missing))

    def _reads(self, room: Room, sides: Sequence[Side], items: int) -> bool:
        """Whether the rows that missing cells need can be read; where not it is said once, and not once a side."""
        works = (work for side in sides for seed in self._works(room.found, side, items) for work in seed)
        if not all(is_done(work, self.cells) for work in works):
            read = answer(lambda room: room.rows, room)
            if isinstance(read, Failed):
                self._pass(room.found, "", DataError(read.reason))
                return False
        return True

    def _sides(self, found: SetOnDisk) -> Iterator[Side]:
        """Controls first: they are quick and say at once what there is to beat.

        An entry is the base's name. Where several methods were asked it names its method, on every set alike, also
        where only one of them fits: so an entry means the same on all sets, and the mean is over those of one method.
        """
        protocol = protocol_of(found.spec)
        for role in protocol.controls(found):
            yield Side(role, CONTROL_ENTRIES[role])
        methods, many = self._methods(found), len(self.settings.methods) > 1
        for own in self.own:
            twins: dict[str, Side] = {}
            for method in methods:
                entry = f"{own.entry}, {method}" if many else own.entry
                asked = replace(own, shots=self.settings.shots if method == "few-shot" else 0)
                yield replace(asked, entry=entry, method=method)
                if protocol.can(self.by_digest[own.digest]):
                    twin = twin_of(asked, method, entry)
                    twins.setdefault(twin.entry, twin)
            if self.settings.label_curve and "scratch" in protocol.methods:
                twin = twin_of(own, "full", own.entry)
                twins.setdefault(twin.entry, twin)
            yield from twins.values()

    def _methods(self, found: SetOnDisk) -> tuple[Method, ...]:
        """How bases are turned to a set: without few-shot where there is nothing to show."""
        methods = methods_of(found.spec, self.settings.methods)
        shows = not protocol_of(found.spec).demonstrates or why_none(found) is None
        return tuple(method for method in methods if shows or method != "few-shot")

    def _say_what_is_not_shown(self, found: SetOnDisk) -> None:
        asked, left = methods_of(found.spec, self.settings.methods), self._methods(found)
        if len(left) < len(asked):
            self._pass(found, "few-shot" if left else "", DataError(why_none(found) or ""))

    def _side(self, room: Room, side: Side, items: int) -> Scored | None:
        """One side's cells on one set, run where they are missing; None where it cannot be scored."""
        seeds = list(self._works(room.found, side, items))
        self.kept[room.found.spec.name, side.entry] = seeds[0]
        return self._scored(room, side, seeds)

    def _scored(self, room: Room, side: Side, seeds: Sequence[Sequence[Work]]) -> Scored | None:
        """A side from its works, one list a seed."""
        runs: list[tuple[list[Cell], list[Judged]]] = []
        try:
            for works in seeds:
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
        return scored(room.found, side, runs, every=seeds[0][0].every)

    def _works(self, found: SetOnDisk, side: Side, items: int) -> Iterator[list[Work]]:
        """The cells of one side, one list a seed: whatever draws nothing is run with one seed."""
        by_chance = side.role in ("random", "scratch") or side.method in protocol_of(found.spec).by_chance
        every = -(-items // protocol_of(found.spec).twin_items) if items and side.role == "random" else 1
        parts = parts_of(-(-items // every)) if side.method is not None else 1
        limit = self.settings.limit
        for seed in range(self.settings.seeds if by_chance else 1):
            yield [Work(found, side, seed, part, parts, limit, every=every) for part in range(parts)]

    def _curves(self, room: Room, played: Sequence[Scored]) -> dict[str, LabelCurve]:
        """By entry: what fewer labels do for a base, and what they do from scratch."""
        curves: dict[str, LabelCurve] = {}
        if not self.settings.label_curve:
            return curves
        floor = next((one.evidence.value() for one in played if one.side.role == "majority"), 0.0)
        for twin in (one for one in played if one.side.role == "scratch"):
            scratch = self._by_labels(room, twin)
            for one in played:
                if one.side.method in LEARNING and one.side.digest == twin.side.digest and one.side.role == "base":
                    method = str(one.side.method)
                    curves[one.side.entry] = build_curve(method, self._by_labels(room, one), scratch, floor=floor)
        return curves

    def _by_labels(self, room: Room, whole: Scored) -> dict[int, Evidence]:
        """The evidence of a side by the number of train rows; fewer than all of them with the first seed alone."""
        found = {whole.cells[0].rows["train"]: whole.evidence}
        for work in self._fewer(room.found, whole.side, whole.cells[0].rows["train"]):
            one = self._scored(room, whole.side, [[work]])
            if one is not None and work.labels is not None:
                found[work.labels] = one.evidence
        return found

    def _fewer(self, found: SetOnDisk, side: Side, rows: int) -> list[Work]:
        return [Work(found, side, limit=self.settings.limit, labels=size) for size in curve_sizes(rows)]

    def _run(self, room: Room, work: Work) -> None:
        if work.key not in self.failed:  # another process may have tried it
            self._heard(work, answer(partial(self._compute, room), work))
        if work.key in self.failed:
            raise DataError(self.failed[work.key])

    def _compute(self, room: Room, work: Work) -> Computed:
        base = None if work.side.method is None else self.twins.of(self.by_digest[work.side.digest], work)
        return Computed(*compute(room, work, base))

    def _heard(self, work: Work, outcome: Outcome) -> None:
        """Keep what was computed, here or elsewhere; whatever a cell raises is the reason why it is passed by."""
        if isinstance(outcome, Failed):
            self.failed[work.key] = outcome.reason
            return
        keep(work, outcome.value.cell, outcome.value.samples, self.cells)
        self._told(work)

    def _told(self, work: Work) -> None:
        part = f", part {work.part + 1} of {work.parts}" if work.parts > 1 else ""
        seed = f", seed {work.seed}" if self.settings.seeds > 1 else ""
        few = "" if work.labels is None else f", {work.labels} labels"
        self.tell(Event("score", f"{work.found.spec.name}: {work.side.entry}{seed}{few}{part} done"))

    def _run_elsewhere(self) -> None:
        """Compute what is missing in other processes; what they cannot do is passed by when its set is played."""
        works = [work for found in self.sets for work in self._missing(found)]
        places = {side.digest: name for side, name in zip(self.own, self.names, strict=True)}
        jobs = [job_of(work, data=self.data, base=places.get(work.side.digest)) for work in works]

        def on_outcome(index: int, outcome: Outcome) -> None:
            if isinstance(outcome, Done):
                outcome = replace(outcome, value=msgspec.convert(outcome.value, Computed))
            self._heard(works[index], outcome)

        fan_out(run_job, jobs, on=self.on, on_outcome=on_outcome)

    def _missing(self, found: SetOnDisk) -> Iterator[Work]:
        """The cells of a set that are not there yet."""
        if not self._methods(found):
            return
        room = Room(found, self.settings.limit)
        curve = self.settings.label_curve and found.spec.protocol == "adapt"
        read = answer(lambda room: (size_of(room), len(room.rows.train) if curve else 0), room)
        if isinstance(read, Failed):
            return  # `_play` meets it again and says so
        items, rows = read.value
        for side in self._sides(found):
            works = [work for seed in self._works(found, side, items) for work in seed]
            if rows and (side.role == "scratch" or (side.role == "base" and side.method in LEARNING)):
                works += self._fewer(found, side, rows)
            yield from (work for work in works if not is_done(work, self.cells))

    def _pass(self, found: SetOnDisk, entry: str, problem: HeadstartError) -> None:
        self.passed.append(Passed(found.spec.name, entry, str(problem)))
        who = f" for {entry}" if entry else ""
        self.tell(Event("note", f"{found.spec.name} is passed by{who}: {problem}"))

    def _conclude(self, played: Sequence[Played]) -> Evaluation:
        tables, unread = with_contamination([table_of(task) for task in played], played, self.by_digest)
        comparisons = comparisons_of(played)
        return Evaluation(
            suite=None if self.settings.tasks else self.settings.suite,
            asked=list(self.settings.tasks),
            data=str(self.data),
            bases=[
                BaseFacts(side.entry, base.name, side.weights, base.trunk.config.num_parameters, side.digest)
                for side, base in zip(self.own, self.bases, strict=True)
            ],
            tasks=tables,
            overall=overall_of(played, unread),
            comparisons=comparisons,
            skipped=self.passed,
            limit=self.settings.limit,
            seeds=self.settings.seeds,
            samples=str(self.cells),
            code=code_version(),
            hardware=hardware(),
            command=self.settings.command,
            finished=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            methods=list(self.settings.methods),
            shots=self.settings.shots,
            label_curve=self.settings.label_curve,
            forgetting=forgetting_of(self.bases, self.own, tables, comparisons),
        )


def size_of(room: Room) -> int:
    """How many items a side's cells are cut by; 0 where one cell needs all of them."""
    return room.protocol.size(room.rows) if room.protocol.in_parts else 0


def twin_of(own: Side, method: Method, entry: str) -> Side:
    """What stands beside a base that is turned by `method`: the same on random weights, or trained from them."""
    role = CONTROL_OF[method]
    if role == "scratch":
        return replace(own, role=role, entry=f"{own.entry}, {TWIN_ENTRIES[role]}", method="scratch")
    return replace(own, role=role, entry=f"{entry}, {TWIN_ENTRIES[role]}", method=method)


def own_sides(bases: Sequence[Base]) -> list[Side]:
    """A side a base. Its entry is its name; bases of equal names, or of a control's, are told apart by their digests.

    A comma parts a base from its method or twin in an entry, so that none stands in a name there.

    Raises:
        ConfigError: the same base twice.
    """
    names, weights = [base.name for base in bases], [base.digest for base in bases]
    called = [safe_repr(" ".join(name.replace(",", " ").split())) for name in names]
    taken = Counter([*called, *CONTROL_ENTRIES.values()])
    digests = [identity(told, base.fingerprint) for base, told in zip(bases, weights, strict=True)]
    for place, digest in enumerate(digests):
        if digest in digests[:place]:
            raise ConfigError(f"{names[place]} was given twice; expected different bases. Leave one out.")
    return [
        Side("base", entry if taken[entry] == 1 else f"{entry} {digest[:6]}", name, digest, weights=told)
        for entry, name, digest, told in zip(called, names, digests, weights, strict=True)
    ]
