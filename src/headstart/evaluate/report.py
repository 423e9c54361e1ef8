"""Report: the evidence beside an adapted base, as one record that JSON, terminal and HTML are made from.

Frozen keys: `task`, `rows`, `candidates` (`base, method, metric, value, ci95, seconds, ms_per_row, params_trained,
n_test`), `chosen`, `checks`, `saved`. Everything else may be absent (null) but is never renamed.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headstart.evaluate.metrics import METRICS
from headstart.ground.errors import DataError

SCHEMA_VERSION = 1
METHOD_TITLES = {
    "probe": "probe",
    "lora": "LoRA",
    "full": "full",
    "scratch": "from scratch",
    "tfidf": "TF-IDF + linear",
    "nearest": "nearest neighbour",
    "majority": "majority",
    "zero-shot": "zero-shot",
    "zero-shot raw": "zero-shot, raw",
    "few-shot": "few-shot",
    "few-shot raw": "few-shot, raw",
}
CONTROLS = ("scratch", "tfidf", "nearest", "majority")

Pair = tuple[float, float]


class TaskFacts(msgspec.Struct, frozen=True):
    """What was asked. labels: names by index; columns: text, pair, label as they are called in the table."""

    name: str
    kind: Literal["choice", "labels", "score", "tags"]
    metric: str
    labels: list[str]
    columns: dict[str, str | None]
    digest: str
    notes: list[str] = []


class RowCounts(msgspec.Struct, frozen=True):
    """Rows of each part."""

    train: int
    validation: int
    test: int


class VsBest(msgspec.Struct, frozen=True):
    """This candidate minus the chosen one (the best base and method by validation) on the same test rows.

    p is of a paired t-test with the deviation of resamples; tied where p >= 0.05.
    """

    difference: float
    ci95: Pair
    p: float
    tied: bool


class Candidate(msgspec.Struct, frozen=True):
    """One row of the table. seconds: wall clock of training per seed; ms_per_row: of answering the test rows.

    base is null for a control that uses none. value and ci95 are on the test rows, averaged over seeds; seed_sd is
    the deviation between seeds; validation is what the choice was made on. metrics holds the kind's other scores.
    stopped: the budget ended the training before it was done.
    """

    base: str | None
    method: str
    metric: str
    value: float
    ci95: Pair
    seconds: float
    ms_per_row: float
    params_trained: int
    n_test: int
    seeds: int = 1
    seed_sd: float | None = None
    validation: float | None = None
    vs_best: VsBest | None = None
    metrics: dict[str, float] = {}
    stopped: bool = False

    @property
    def title(self) -> str:
        """How a table calls this candidate."""
        method = METHOD_TITLES.get(self.method, self.method)
        return method if self.method in CONTROLS or self.base is None else f"{self.base} + {method}"

    @property
    def tied(self) -> bool:
        """Whether the rows show no difference from the chosen candidate."""
        return self.vs_best is None or self.vs_best.tied


class Chosen(msgspec.Struct, frozen=True):
    """The candidate that is saved, chosen on validation rows among the methods that use the base."""

    base: str | None
    method: str
    seed: int = 0


class Skipped(msgspec.Struct, frozen=True):
    """A candidate that was not run, and why."""

    method: str
    reason: str


class CheckRow(msgspec.Struct, frozen=True):
    """One check: value is a count, a share or a difference; detail a sentence."""

    id: str
    status: Literal["ok", "warn", "fail", "skip"]
    value: float
    detail: str


class CurvePoint(msgspec.Struct, frozen=True):
    """The score on the test rows after training on `labels` labelled rows."""

    method: str
    labels: int
    value: float
    ci95: Pair


class Worth(msgspec.Struct, frozen=True):
    """How many times the labels pre-training replaces. relation says whether `times` was reached or only bounded."""

    times: float
    relation: Literal["about", "more than", "less than"]
    ci95: Pair | None
    note: str


class LabelCurve(msgspec.Struct, frozen=True):
    """Scores at 1/8, 1/4, 1/2 and all of the labels, for the chosen method and for its from-scratch twin."""

    method: str
    points: list[CurvePoint]
    worth: Worth | None


class ReliabilityBin(msgspec.Struct, frozen=True):
    """One equal-mass bin: mean confidence, share right with its interval, statements in it."""

    confidence: float
    accuracy: float
    ci95: Pair
    count: int


class SureOnly(msgspec.Struct, frozen=True):
    """Acting only from this confidence on: share of rows covered, share right among them."""

    threshold: float
    coverage: float
    accuracy: float


class CalibrationFacts(msgspec.Struct, frozen=True):
    """Probabilities of the chosen candidate on the test rows, before and after the temperature."""

    temperature: float
    ece_before: float
    ece_after: float
    nll_before: float
    nll_after: float
    brier_before: float
    brier_after: float
    bins: list[ReliabilityBin]
    sure_only: list[SureOnly] = []


class Confusion(msgspec.Struct, frozen=True):
    """counts[i][j]: test rows (words, for tags) of label i answered j."""

    labels: list[str]
    counts: list[list[int]]


class WrongRow(msgspec.Struct, frozen=True):
    """One of the worst errors: its line in the source, the text (shortened), what was right and what was said.

    picture: of a picture, clip or series, a small PNG as base64.
    """

    id: int
    text: str
    target: str
    predicted: str
    confidence: float | None
    picture: str | None = None


class PromptFacts(msgspec.Struct, frozen=True):
    """One prompt of several. value and raw: on the test rows, with its calibration and without; seed: of the shots."""

    method: str
    template: str
    shots: int
    seed: int
    calibration: str
    validation: float
    value: float
    raw: float


class Environment(msgspec.Struct, frozen=True):
    """Where and with what this was measured."""

    code: str
    hardware: str
    seed: int
    seeds: int
    seconds: float
    budget: float | None
    finished: str


class Report(msgspec.Struct, frozen=True):
    """Everything one run of `adapt` found out."""

    task: TaskFacts
    rows: RowCounts
    candidates: list[Candidate]
    chosen: Chosen
    checks: list[CheckRow]
    saved: str | None = None
    schema_version: int = SCHEMA_VERSION
    verdict: str = ""
    skipped: list[Skipped] = []
    label_curve: LabelCurve | None = None
    calibration: CalibrationFacts | None = None
    confusion: Confusion | None = None
    label_counts: dict[str, list[int]] = {}
    errors: list[WrongRow] = []
    prompts: list[PromptFacts] = []
    environment: Environment | None = None
    lineage: list[dict[str, Any]] = []
    command: str = ""
    interrupted: bool = False

    @property
    def best(self) -> Candidate:
        """The chosen candidate's row."""
        return next(c for c in self.candidates if (c.base, c.method) == (self.chosen.base, self.chosen.method))

    def candidate(self, method: str) -> Candidate | None:
        """The row of a method, or None where it was not run."""
        return next((c for c in self.candidates if c.method == method), None)

    @property
    def metric_title(self) -> str:
        return METRICS[self.task.metric].title if self.task.metric in METRICS else self.task.metric


def to_json(report: Report) -> bytes:
    """One JSON object, keys in the order of the fields."""
    return msgspec.json.encode(report)


def from_json(content: bytes | str) -> Report:
    """The report back from `to_json`; DataError where the content is no report."""
    try:
        return msgspec.json.decode(content, type=Report)
    except msgspec.DecodeError as problem:
        raise DataError(
            f"the report is not readable ({problem}); expected what `headstart adapt --json` prints. Run adapt again."
        ) from problem


def for_lineage(report: Report) -> dict[str, Any]:
    """The report as plain values without rows of the user's data, so that a shared base carries no text of theirs.

    A confusion matrix of many labels stays out as well: 150 labels would put 60 KB into headstart.json.
    """
    confusion = report.confusion if report.confusion is None or len(report.confusion.labels) <= 30 else None
    slim = msgspec.structs.replace(report, errors=[], lineage=[], confusion=confusion)
    plain: dict[str, Any] = msgspec.to_builtins(slim)
    return plain


def with_saved(report: Report, folder: str, check: CheckRow) -> Report:
    """The report after saving: where to, and whether the reloaded folder predicts the same."""
    return msgspec.structs.replace(report, saved=folder, checks=[*report.checks, check])
