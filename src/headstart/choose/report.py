"""ChoiceReport: the decision, what it rests on, and how the chosen candidate did on the test rows, in one record.

Frozen keys: `task`, `rows`, `decision` (`base, method, sentence, chance, rows, advice`), `excluded`, `findings`,
`winner`, `saved`. `findings` holds every number the decision was made from: `decide(report.findings)` makes it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headstart.choose.constraints import Excluded
from headstart.choose.decision import Decision
from headstart.choose.findings import Findings, Run
from headstart.choose.plan import Plan
from headstart.evaluate.report import Environment, Report, RowCounts, TaskFacts

SCHEMA_VERSION = 1


class Asked(msgspec.Struct, frozen=True):
    """What the search was asked for."""

    bases: list[str]
    methods: list[str]
    budget: float | None
    max_ms_per_row: float | None
    max_mb: float | None
    licence: str
    seed: int
    on: str


class ChoiceReport(msgspec.Struct, frozen=True):
    """Everything one run of `choose` found out. winner: the chosen candidate on the test rows, beside its controls."""

    task: TaskFacts
    rows: RowCounts
    asked: Asked
    decision: Decision
    excluded: list[Excluded]
    findings: Findings
    winner: Report
    environment: Environment
    command: str = ""
    interrupted: bool = False
    saved: str | None = None
    schema_version: int = SCHEMA_VERSION


def asked_of(plan: Plan) -> Asked:
    return Asked(
        bases=[plan.given.get(source, source) for source in plan.bases],
        methods=list(plan.methods),
        budget=plan.seconds,
        max_ms_per_row=plan.limits.max_ms_per_row,
        max_mb=plan.limits.max_mb,
        licence=plan.limits.licence,
        seed=plan.seed,
        on=plan.on.address or (f"local:{plan.on.workers}" if plan.on.kind == "local" else plan.on.kind),
    )


def to_keep(found: Findings, given: Mapping[str, str]) -> Findings:
    """The findings without the validation rows' answers, which no decision needs, and without scratch paths.

    given: as `Plan.given`.
    """
    looked = [
        msgspec.structs.replace(one, facts=msgspec.structs.replace(one.facts, source=name))
        for one in found.looked
        for name in [given.get(one.facts.source, one.facts.source)]
    ]
    runs = [
        Run(
            run.base,
            run.method,
            run.seed,
            [msgspec.structs.replace(piece, predictions=[], saved=None) for piece in run.pieces],
            run.failed,
        )
        for run in found.runs
    ]
    return msgspec.structs.replace(found, runs=runs, looked=looked)


def to_json(report: ChoiceReport) -> bytes:
    """One JSON object, keys in the order of the fields."""
    return msgspec.json.encode(report)


def from_json(content: bytes | str) -> ChoiceReport:
    """The report back from `to_json`."""
    return msgspec.json.decode(content, type=ChoiceReport)


def for_lineage(decision: Decision, asked: Asked) -> dict[str, Any]:
    """The decision as plain values for the lineage of what came out: who was compared, who won, how sure."""
    rows = [
        {"base": row.base, "method": row.method, "status": row.status, "value": row.value, "chance": row.chance}
        for row in decision.rows
    ]
    return {"asked": msgspec.to_builtins(asked), "sentence": decision.sentence, "rows": rows}
