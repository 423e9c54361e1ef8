"""What a protocol is: how the sets of some kinds are read, which methods can turn a base to them, what a cell computes.

Enter: a set on disk. Leave: rows in the protocol's own shape, and for a base (or a control) and a stretch of the rows a
`Cell` with its samples. The run of an evaluation knows nothing else about any kind (run.py), and a method is added to a
protocol in one place: its name in `methods`, its branch in `run`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from headstart.base.base import Base
from headstart.evaluate.suite.cells import Cell, Judged, Role, Sample
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.specs import Method, ProtocolName, TaskSpec
from headstart.train.frozen import FeatureStore

Rows = TypeVar("Rows")
Row = TypeVar("Row")
CONTROL_OF: dict[Method, Role] = {  # what stands beside a base: the same on random weights, or trained from them
    "zero-shot": "random",
    "few-shot": "random",
    "probe": "random",
    "lora": "scratch",
    "full": "scratch",
}
LEARNING: tuple[Method, ...] = ("probe", "lora", "full")  # methods that labels teach


@dataclass(frozen=True, slots=True)
class Ask:
    """What a cell asks of a base. places: its rows, where a protocol cuts them into parts; seed: of what is drawn.

    labels: how many of the train rows it may see, None for all. digest: of the base, see `Side`. features: of the
    set's rows, which probes share.
    """

    method: Method
    seed: int
    places: Sequence[int]
    shots: int = 0
    labels: int | None = None
    digest: str = ""
    features: FeatureStore = field(default_factory=FeatureStore)

    def mine(self, rows: Sequence[Row]) -> list[Row]:
        return [rows[place] for place in self.places]


class Protocol(ABC, Generic[Rows]):
    """One way to ask. name: in reports. methods: how a base can be turned to such a set, the default first.

    by_chance: methods whose result depends on the seed, whatever the weights. in_parts: whether a base answers a
    stretch of the rows without having seen the others, so that long sets become several cells. twin_items: how many
    items a random twin answers of such a set, drawn from all of it: enough to say where chance stands. demonstrates:
    whether few-shot puts solved rows before every row (`shown`); where not, `run` sees to it.
    """

    name: ClassVar[ProtocolName]
    methods: ClassVar[tuple[Method, ...]]
    by_chance: ClassVar[frozenset[Method]] = frozenset()
    in_parts: ClassVar[bool] = True
    twin_items: ClassVar[int] = 2000
    demonstrates: ClassVar[bool] = False

    @abstractmethod
    def read(self, found: SetOnDisk, *, limit: int | None) -> Rows:
        """The rows as they are asked; at most `limit` of a part.

        Raises:
            DataError: a file or a row cannot be read.
        """

    @abstractmethod
    def size(self, rows: Rows) -> int:
        """How many items there are to cut into parts; only where `in_parts`."""

    def groups(self, rows: Rows) -> Sequence[str]:
        """Of every item the group that a draw takes its share of, as its sample names it; "" where there is none."""
        return [""] * self.size(rows)

    @abstractmethod
    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        """Those that need no base."""

    @abstractmethod
    def control(self, role: Role, rows: Rows, spec: TaskSpec) -> tuple[Cell, list[Sample]]:
        """A control's answers to all rows."""

    @abstractmethod
    def run(self, base: Base, rows: Rows, spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        """A base's answers to a stretch of the rows.

        Raises:
            CapabilityError: the base cannot be asked like this.
        """

    @abstractmethod
    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        """Further numbers by name, averaged over seeds: what else a reader wants to know than the leaderboard's one."""

    def shown(self, found: SetOnDisk, *, limit: int | None, shots: int, seed: int) -> Rows:
        """The rows as `read` gives them, each after `shots` solved rows of the set; only where it `demonstrates`.

        Raises:
            DataError: a part cannot be read, or has not so many rows.
        """
        raise AssertionError(f"{self.name} shows nothing")

    def can(self, base: Base) -> bool:
        """Whether a base, and so its random twin, can be asked at all."""
        return True
