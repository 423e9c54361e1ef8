"""Findings about one candidate's answers: confusion matrix, worst errors, label counts, checks.

Enter: a Task, the chosen candidate's answers on the test rows. Leave: parts of a Report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.data.raw import Raw
from headstart.data.task import Check, Examples, Task, as_text
from headstart.evaluate.controls import Answers
from headstart.evaluate.metrics import METRICS, metrics_of
from headstart.evaluate.report import CalibrationFacts, Candidate, CheckRow, Confusion, WrongRow
from headstart.evaluate.thumbnails import thumbnail

WORST = 10
EXCERPT = 320  # characters of a row shown
GOOD_ECE = 0.05


def other_metrics(task: Task, examples: Examples, answers: Sequence[Answers]) -> dict[str, float]:
    """Every metric of the kind, averaged over seeds."""
    ones = np.ones((1, len(examples)))
    found = {}
    for metric in metrics_of(task.kind, task.labels):
        values = [
            float(
                METRICS[metric.name].resample(metric.statistics(examples.targets, a.predictions, task.labels), ones)[0]
            )
            for a in answers
        ]
        found[metric.name] = float(np.mean(values))
    return found


def confusion(task: Task, answers: Answers) -> Confusion | None:
    """Counts of right label against answer: rows for choice, words for tags; None for other kinds."""
    if task.kind not in ("choice", "tags"):
        return None
    counts = np.zeros((len(task.labels), len(task.labels)), dtype=np.int64)
    targets: Any = task.test.targets
    for target, answer in zip(targets, answers.predictions, strict=True):
        one = task.kind == "choice"
        for t, a in zip([target] if one else target, [answer] if one else answer, strict=False):
            counts[t, a] += 1
    return Confusion(list(task.labels), counts.tolist())


def label_counts(task: Task) -> dict[str, list[int]]:
    """Rows (words, for tags) of every label in train and in test."""
    train, test = counted(task.train, task.kind), counted(task.test, task.kind)
    return {label: [train[i], test[i]] for i, label in enumerate(task.labels)}


def counted(examples: Examples, kind: str) -> Counter[int]:
    targets: Any = examples.targets
    if kind == "score":
        return Counter()
    return Counter(targets) if kind == "choice" else Counter(i for row in targets for i in row)


def worst_errors(task: Task, answers: Answers) -> list[WrongRow]:
    """Wrong rows, the most wrong first: confidence (choice), wrong labels or words (labels, tags), distance (score)."""
    targets: Any = task.test.targets
    ranked: list[tuple[float, int]] = []
    for i, (target, answer) in enumerate(zip(targets, answers.predictions, strict=True)):
        if task.kind == "score" or target != answer:
            ranked.append((wrongness(task.kind, target, answer, answers, i), i))
    ranked.sort(key=lambda pair: (-pair[0], pair[1]))
    return [wrong_row(task, answers, i) for badness, i in ranked[:WORST] if badness > 0]


def wrongness(kind: str, target: Any, answer: Any, answers: Answers, row: int) -> float:
    if kind == "score":
        return abs(float(target) - float(answer))
    if kind == "tags":
        return float(sum(t != a for t, a in zip(target, answer, strict=False)))
    assert answers.probabilities is not None, "choice and labels come with probabilities"
    sure = answers.probabilities[row]
    if kind == "choice":
        return float(sure[answer])
    return sum(float(sure[k] if k in answer else 1 - sure[k]) for k in set(target) ^ set(answer))


def wrong_row(task: Task, answers: Answers, row: int) -> WrongRow:
    test = task.test
    target, answer, text = test.targets[row], answers.predictions[row], test.texts[row]
    shown = as_text(text)
    if test.pairs is not None:
        shown = f"{excerpt(shown, EXCERPT // 2)} ‖ {excerpt(test.pairs[row], EXCERPT // 2)}"
    sure = None if answers.probabilities is None or task.kind != "choice" else float(answers.probabilities[row][answer])
    right, said = (named(task, value, other, text) for value, other in ((target, answer), (answer, target)))
    picture = thumbnail(text) if isinstance(text, Raw) else None
    return WrongRow(test.ids[row], excerpt(shown, EXCERPT + 4), right, said, sure, picture)


def named(task: Task, value: Any, other: Any, text: Any) -> str:
    """A target or an answer in words; for tags only the words on which the two differ."""
    if task.kind == "score":
        return f"{value:.3g}"
    if task.kind == "choice":
        return str(task.labels[value])
    if task.kind == "labels":
        return ", ".join(task.labels[k] for k in value) or "none"
    marks = [f"{w}: {task.labels[v]}" for w, v, o in zip(text, value, other, strict=False) if v != o]
    return "; ".join(marks[:5]) + (f" and {len(marks) - 5} more" if len(marks) > 5 else "")


def excerpt(text: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


# --- checks ---------------------------------------------------------------------------------------------------------


def as_row(check: Check) -> CheckRow:
    return CheckRow(check.id, check.status, float(check.value), check.detail)


def check_truncation(truncated: int, rows: int, what: str, part: str) -> CheckRow:
    """what: is true of the rows that are too long."""
    share = truncated / max(rows, 1)
    detail = f"{truncated:,} of {rows:,} {part} rows {what}"
    return CheckRow(
        "rows.cut",
        "ok" if share <= 0.01 else "warn",
        float(truncated),
        detail if truncated else f"no {part} row is too long",
    )


def check_calibration(facts: CalibrationFacts) -> CheckRow:
    return CheckRow(
        "calibration",
        "ok" if facts.ece_after <= GOOD_ECE else "warn",
        facts.ece_after,
        f"ECE {facts.ece_after:.3f} on the test rows, {facts.ece_before:.3f} before the temperature; "
        f"wanted at most {GOOD_ECE}",
    )


def check_beats(best: Candidate, control: Candidate) -> CheckRow:
    """Whether the chosen candidate is better than a control beyond doubt."""
    gain = best.value - control.value
    if control.tied:
        return CheckRow(
            f"beats.{control.method}",
            "warn",
            gain,
            f"tied with {control.title}: the test rows show no difference ({gain:+.3f})",
        )
    return CheckRow(
        f"beats.{control.method}",
        "ok" if gain > 0 else "warn",
        gain,
        f"{'better' if gain > 0 else 'worse'} than {control.title} by {abs(gain):.3f}",
    )
