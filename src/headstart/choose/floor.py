"""The floor of a search: what is reached without learning anything."""

from __future__ import annotations

from collections import Counter

from headstart.data.task import Task
from headstart.evaluate.controls import Answers, fit_control
from headstart.evaluate.trial import score


def floor_of(task: Task, metric: str) -> float:
    """What always answering the same scores on validation: train's majority, or the label that is most frequent there,
    since of two labels one that train holds less often may well be the better constant."""
    rows = task.validation
    floor = score(task, metric, rows, fit_control(task, method="majority").answer(rows))
    if task.kind != "choice":
        return floor
    constant = Counter(rows.targets).most_common(1)[0][0]
    return max(floor, score(task, metric, rows, Answers((constant,) * len(rows))))
