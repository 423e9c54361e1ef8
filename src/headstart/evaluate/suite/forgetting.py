"""Forgetting: what a base could do without training before it was adapted and after, where both stand in one run.

Enter: the bases, the tables and comparisons of an evaluation. Leave: one `Forgetting` for every base and every base it
was made from, which the lineage knows by the digest of its weights. Told are the sets that need no training: minimal
pairs, choices, held-out text, measures of bias; what an adapted base reaches on labelled sets is what it was made for.
"""

from __future__ import annotations

from collections.abc import Sequence

from headstart.base.base import Base
from headstart.evaluate.suite.cells import Side
from headstart.evaluate.suite.scoreboard import Change, Forgetting, Paired, TaskTable


def forgetting_of(
    bases: Sequence[Base], sides: Sequence[Side], tables: Sequence[TaskTable], comparisons: Sequence[Paired]
) -> list[Forgetting]:
    """Every parent and adapted base of this run. sides: of the bases, in their order."""
    paired = {(one.task, one.a, one.b): one for one in comparisons}
    found = []
    for base, side in zip(bases, sides, strict=True):
        for parent in sides:  # a step that leaves the weights as they are names its base as its own parent
            if parent is not side and any(record.parent == parent.weights for record in base.lineage):
                changes = changes_of(parent.entry, side.entry, tables, paired)
                found.append(Forgetting(parent.entry, side.entry, changes))
    return found


def changes_of(
    parent: str, adapted: str, tables: Sequence[TaskTable], paired: dict[tuple[str, str, str], Paired]
) -> list[Change]:
    """One change a set that both were asked without training, zero-shot where few-shot stands beside it."""
    ways = ("", ", zero-shot", ", few-shot")  # as entries end, see `_Run._sides`
    changes = []
    for table in tables:
        values = {row.entry: row.value for row in table.candidates if row.role == "base"}
        way = next((way for way in ways if {parent + way, adapted + way} <= set(values)), None)
        if table.task.protocol == "adapt" or way is None:
            continue
        before, after = parent + way, adapted + way
        name = table.task.name
        one, sign = paired.get((name, before, after)), 1.0
        if one is None:
            one, sign = paired[name, after, before], -1.0
        low, high = sorted(sign * edge for edge in one.ci95)
        changes.append(
            Change(
                name,
                table.task.metric,
                values[before],
                values[after],
                sign * one.difference,
                (low, high),
                one.p_holm,
                one.tied,
            )
        )
    return changes
