"""The report as one HTML file: under 300 KB, no script, nothing loaded, dark and light, prints to PDF.

Enter: a Report. Leave: the page as text. Every value passes through the template's escaping; only our own SVG is raw.
"""

from __future__ import annotations

import importlib.resources
import math
from typing import Any

import jinja2

from headstart.evaluate import plots
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.report import LabelCurve, Report
from headstart.evaluate.verdict import p_text, sentences, worth_is_shown

MOST_LABELS = 26  # a confusion picture with more is not readable; the table of pairs stays
MOST_BARS = 30
MOST_PAIRS = 12
ERROR_TEXTS = {
    "choice": "Wrong answers given with the most confidence. Some of them may be wrong labels: read the rows.",
    "labels": "Rows whose labels were missed or added with the most confidence.",
    "score": "Rows whose number is furthest from the right one.",
    "tags": "Rows with the most wrong words; only those words are listed.",
}
KIND_TEXTS = {
    "choice": "one label a row",
    "labels": "any number of labels a row",
    "score": "a number a row",
    "tags": "a tag a word",
}


def render_html(report: Report) -> str:
    """The whole page."""
    page = environment().get_template("report.html.jinja")
    return page.render(
        r=report,
        best=report.best,
        input_text="text" if not report.errors or report.errors[0].picture is None else "input",
        error_text=ERROR_TEXTS[report.task.kind],
        kind_text=KIND_TEXTS[report.task.kind],
        verdict=sentences(report),
        pictures=pictures(report),
        shown=worth_is_shown(report),
        worth=report.label_curve.worth if report.label_curve else None,
        gain=expected_gain(report.label_curve) if report.label_curve else "",
        confused=confused_pairs(report),
        other_metrics=list(
            dict.fromkeys(name for c in report.candidates for name in c.metrics if name != report.task.metric)
        ),
        some_seeds=any(c.seed_sd is not None for c in report.candidates),
        balance=balance(report),
        balance_left=max(0, len(report.label_counts) - MOST_BARS),
    )


def environment(room: str = "headstart.evaluate") -> jinja2.Environment:
    """The pages' templates and stylesheet: escaping on, a missing name is an error, and the few formats they need.

    room: the package that a page's template lies in; what it includes may lie here.
    """
    homes = [importlib.resources.files(package) for package in dict.fromkeys((room, "headstart.evaluate"))]

    def read(name: str) -> str:
        return next(h.joinpath(name) for h in homes if h.joinpath(name).is_file()).read_text(encoding="utf-8")

    env = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    env.filters.update(
        duration=plots.duration,
        sig=significant,
        signed=signed,
        p=p_text,
        metric=lambda name: METRICS[name].title if name in METRICS else name,
    )
    return env


def significant(value: float) -> str:
    """Two significant figures, without an exponent."""
    if value <= 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{min(digits, 4)}f}"


def signed(value: float) -> str:
    """+0.012 or −0.031 with a real minus sign."""
    return f"{value:+.3f}".replace("-", "−")


def pictures(report: Report) -> dict[str, str]:
    """Every picture the report has data for; an absent one is an empty string."""
    metric, best = report.metric_title, report.best
    small = report.confusion is not None and len(report.confusion.labels) <= MOST_LABELS
    return {
        "methods": plots.methods(report.candidates, best, metric),
        "cost": plots.cost(report.candidates, best, metric),
        "label_curve": plots.label_curve(report.label_curve, best.title, metric) if report.label_curve else "",
        "reliability": plots.reliability(report.calibration) if report.calibration else "",
        "confusion": plots.confusion(report.confusion) if report.confusion and small else "",
    }


def expected_gain(curve: LabelCurve) -> str:
    """What twice the labels may bring: the last doubling's gain, halved at least, as curves flatten."""
    points = sorted((p for p in curve.points if p.method != "scratch"), key=lambda p: p.labels)
    if len(points) < 3:
        return ""
    earlier, later = points[-2].value - points[-3].value, points[-1].value - points[-2].value
    shrink = min(1.0, max(0.3, later / earlier)) if earlier > 0 else 0.5
    gain = max(0.0, later) * shrink
    return f"If the curve goes on as it bends now, twice the labels would bring about {gain:+.3f} (an extrapolation)."


def confused_pairs(report: Report) -> list[dict[str, Any]]:
    """The most frequent wrong answers, most frequent first."""
    if report.confusion is None:
        return []
    labels, counts = report.confusion.labels, report.confusion.counts
    pairs: list[dict[str, Any]] = [
        {"target": labels[i], "predicted": labels[j], "count": count, "share": count / sum(row)}
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda p: (-p["count"], -p["share"]))[:MOST_PAIRS]


def balance(report: Report) -> list[dict[str, Any]]:
    """Rows of each label in train and test; `share` is relative to the largest, for the bars."""
    if not report.label_counts:
        return []
    most = max(train for train, _ in report.label_counts.values()) or 1
    total = sum(train for train, _ in report.label_counts.values()) or 1
    rows: list[dict[str, Any]] = [
        {"label": label, "train": train, "test": test, "share": train / most, "of_train": train / total}
        for label, (train, test) in report.label_counts.items()
    ]
    return sorted(rows, key=lambda b: -b["train"])[:MOST_BARS]
