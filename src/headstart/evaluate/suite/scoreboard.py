"""The result of an evaluation as one record, which JSON and the terminal are made from.

A task's rows are `Candidate`s as in the report of `adapt`, with what a suite adds. Keys are frozen like those: they may
be absent, they are never renamed. Wall clock stands in `seconds`, `ms_per_row` and `finished` and nowhere else.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headstart.evaluate.report import Candidate, LabelCurve, Pair
from headstart.evaluate.suite.cells import Role
from headstart.evaluate.suite.specs import OVERALL as OVERALL  # the task name of comparisons between aggregates
from headstart.evaluate.suite.specs import Method

SCHEMA_VERSION = 1
PREFERENCE = "preference"  # the metric of a share that is best at one half: nobody leads by it


class BaseFacts(msgspec.Struct, frozen=True):
    """A base that was evaluated. entry: as in the tables; digest: of its weights; identity: see `Base.identity`."""

    entry: str
    name: str
    digest: str
    parameters: int
    identity: str = ""


class SpreadFacts(msgspec.Struct, frozen=True):
    """Standard deviations, see `headstart.evaluate.spread.Spread`."""

    rows: float
    seeds: float
    both: float


class Clean(msgspec.Struct, frozen=True):
    """A score without the items that were found in what the base read: those that cannot be told stay in."""

    n: int
    value: float
    ci95: Pair


class Contamination(msgspec.Struct, frozen=True):
    """How many of a set's items a base has read in pre-training, see `headstart.data.overlap.Overlap`.

    status: unknown where no sketch of what was read travels with the base or most rows cannot be told, "no text"
    for sets of other things. words: whose sketch it is, or why nothing is known. clean: None where too few items are
    left.
    """

    status: Literal["checked", "unknown", "no text"]
    words: str
    rows: int = 0
    found: int = 0
    short: int = 0
    unchecked: int = 0
    expected_false: float = 0.0
    clean: Clean | None = None
    not_sampled: int = 0
    share: float = 1.0


class Standing(Candidate, frozen=True, kw_only=True):
    """One row of a task's table.

    entry: the base's name, or the control's. role: base, random (its architecture with random weights), majority or
    tfidf. ci95_fixed: with the task's groups held fixed, where ci95 draws them. groups: the score of every value of the
    column that is averaged over. spread: of several seeds. contamination: of bases, and for their twins the same items.
    label_curve: scores on fewer labels and how many labels pre-training saved, against training from scratch.
    identity: of the base, or of the base whose twin it is; "" for controls.
    """

    entry: str
    role: Role
    ci95_fixed: Pair | None = None
    groups: dict[str, float] = msgspec.field(default_factory=dict)
    spread: SpreadFacts | None = None
    contamination: Contamination | None = None
    label_curve: LabelCurve | None = None
    identity: str = ""


class Paired(msgspec.Struct, frozen=True):
    """`b` minus `a` on the same items. p: of the paired test; p_holm: corrected over all comparisons of the evaluation;
    tied where p_holm >= 0.05."""

    task: str
    a: str
    b: str
    difference: float
    ci95: Pair
    p: float
    p_holm: float
    tied: bool


class TaskCard(msgspec.Struct, frozen=True):
    """What was asked and by which rules. guess: what random guessing scores; digest: of the files and the version."""

    name: str
    kind: str
    suite: str
    protocol: str
    metric: str
    version: int
    licence: str
    source: str
    split: str
    digest: str
    guess: float
    rows: dict[str, int]
    average: str | None = None
    cluster: str | None = None
    notes: list[str] = []


class Missing(msgspec.Struct, frozen=True):
    """A control that nobody asked for. add: the flags that put it into the table."""

    control: str
    add: str


class TaskTable(msgspec.Struct, frozen=True):
    """One task: its card, its rows, the best score first, and the controls that are not among them.

    Of a preference, what is nearest to one half stands first.
    """

    task: TaskCard
    candidates: list[Standing]
    missing: list[Missing] = []


class CleanOverall(msgspec.Struct, frozen=True):
    """An aggregate without the items that were found in what the base read.

    tasks: over how many it is, without those that kept too few items. touched: of how many tasks items were left out;
    the others, those where nobody can tell among them, are in it with all their items.
    """

    value: float
    ci95: Pair
    tasks: int
    touched: int


class Overall(msgspec.Struct, frozen=True):
    """The mean over tasks of an entry's scores, 0 for guessing and 1 for perfect. tasks: over how many of `of`.

    clean: of a base and its twins; None where no item was found, or no task kept enough. identity: see `Standing`.
    """

    entry: str
    role: Role
    value: float
    ci95: Pair
    tasks: int
    of: int
    clean: CleanOverall | None = None
    identity: str = ""


class Passed(msgspec.Struct, frozen=True):
    """What was not evaluated, and why. entry: "" where nobody could be."""

    task: str
    entry: str
    reason: str


class Change(msgspec.Struct, frozen=True):
    """One set before and after an adaptation. difference: after minus before, paired; p_holm, tied: see `Paired`."""

    task: str
    metric: str
    before: float
    after: float
    difference: float
    ci95: Pair
    p_holm: float
    tied: bool


class Forgetting(msgspec.Struct, frozen=True):
    """What an adapted base still can of what the base it was made from could, without training. Names are entries."""

    parent: str
    adapted: str
    changes: list[Change]


class Evaluation(msgspec.Struct, frozen=True):
    """Everything one run of `evaluate` found out. asked: sets by name, where they were chosen instead of a suite.

    methods: those that were asked, none for the default of every set. shots: of few-shot. label_curve: whether labelled
    sets were tried with fewer labels.
    """

    suite: str | None
    asked: list[str]
    data: str
    bases: list[BaseFacts]
    tasks: list[TaskTable]
    overall: list[Overall]
    comparisons: list[Paired]
    skipped: list[Passed]
    limit: int | None
    seeds: int
    samples: str
    code: str
    hardware: str
    command: str = ""
    finished: str = ""
    forgetting: list[Forgetting] = []
    methods: list[Method] = []
    shots: int = 0
    label_curve: bool = False
    schema_version: int = SCHEMA_VERSION

    def paired(self, task: str, a: str, b: str) -> Paired | None:
        """The comparison of two entries on a task, None where there is none."""
        return next((c for c in self.comparisons if (c.task, c.a, c.b) == (task, a, b)), None)


def to_json(found: Evaluation) -> bytes:
    """One JSON object, keys in the order of the fields."""
    return msgspec.json.encode(found)


TIMING = frozenset({"seconds", "ms_per_row", "finished"})


def without_timing(value: Any) -> Any:
    """Plain values of an evaluation without wall clock: equal for every run of the same command, killed or not."""
    if isinstance(value, dict):
        return {key: without_timing(inner) for key, inner in value.items() if key not in TIMING}
    return [without_timing(inner) for inner in value] if isinstance(value, list) else value
