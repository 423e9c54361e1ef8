"""The decision as one HTML file: quality against cost with the Pareto front, label curves, the table, the reasons.

Enter: a ChoiceReport. Leave: the page as text; no script, nothing loaded, the stylesheet of the other reports.
"""

from __future__ import annotations

from collections.abc import Sequence

from headstart.choose.decision import COSTS, Cost, Row
from headstart.choose.report import ChoiceReport
from headstart.choose.terminal import footnote, tested_sentence, unasked_lines, unread_lines
from headstart.evaluate.html import environment
from headstart.evaluate.plots import WIDTH, spread
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded

MOST_CURVES = 8
AXES: dict[Cost, str] = {"ms_per_row": "ms a row", "megabytes": "MB", "seconds": "seconds of training"}


def render_html(report: ChoiceReport) -> str:
    """The whole page."""
    page = environment("headstart.choose").get_template("choice.html.jinja")
    return page.render(
        r=report,
        d=report.decision,
        pareto=[pareto(report.decision.rows, report.decision.best, report.winner.metric_title, cost) for cost in COSTS],
        curves=label_curves(report),
        footnote=footnote(report),
        unasked=unasked_lines(report),
        unread=unread_lines(report),
        test=tested_sentence(report),
    )


def pareto(rows: Sequence[Row], best: Row, metric: str, cost: Cost) -> str:
    """Believed score against a cost (log); the line joins what nothing as cheap beats. Empty where nothing cost it."""
    rows = [row for row in rows if getattr(row, cost) > 0]  # what was not trained has no seconds
    if not rows:
        return ""

    def price(row: Row) -> float:
        return float(getattr(row, cost))

    left, right, top, bottom = 64.0, WIDTH - 150, 16.0, 270.0
    draw = Drawing(WIDTH, bottom + 48)
    costs = [price(row) for row in rows]
    x = Scale((min(costs) * 0.8, max(costs) * 1.25), (left, right), log=True)
    y = Scale(padded([v for row in rows for v in row.ci90], low=-1, high=1.02), (bottom, top))
    for tick in nice_ticks(*y.data):
        draw.line(left, y(tick), right, y(tick), "grid")
        draw.text(left - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for mark in sorted({float(f"{value:.1g}") for value in costs}):
        draw.text(x(mark), bottom + 18, f"{mark:g}", anchor="middle")
    draw.line(left, bottom, right, bottom, "rule")
    draw.text((left + right) / 2, bottom + 38, f"{AXES[cost]} (log) against believed {metric}", "axis", anchor="middle")
    front = sorted((row for row in rows if cost in row.fronts), key=price)
    draw.path([(x(price(row)), y(row.believed)) for row in front] or [(left, bottom)], "front")
    for row in rows:
        style = "base" if row.value is not None else "control"
        draw.line(x(price(row)), y(row.ci90[0]), x(price(row)), y(row.ci90[1]), f"whisker {style}-line")
        tip = f"{row.title}: {row.believed:.3f} [{row.ci90[0]:.3f}, {row.ci90[1]:.3f}]"
        draw.dot(x(price(row)), y(row.believed), 6.5 if row is best else 4.5, style, tip=tip)
    named = [best, *(row for row in front if row is not best)]
    for label_y, row in zip(spread([y(row.believed) for row in named]), named, strict=True):
        draw.text(x(price(row)) + 12, label_y + 4.5, row.title, "name strong" if row is best else "name")
    told = "; ".join(f"{row.title} {row.believed:.3f} at {price(row):.1f}" for row in rows)
    return draw.render(title=f"Quality against {AXES[cost]}", description=told)


def label_curves(report: ChoiceReport) -> str:
    """The closed-form probe's score by labelled rows (log), a line a base; empty where nothing was held out."""
    found = report.findings
    curves = [
        (one.facts.name, r.curve)
        for one, r in zip(found.looked, found.readings, strict=True)
        if r is not None and len(r.curve) > 1
    ]
    curves = sorted(curves, key=lambda named: -named[1][-1].value)[:MOST_CURVES]
    if not curves:
        return ""
    left, right, top, bottom = 64.0, WIDTH - 150, 16.0, 260.0
    draw = Drawing(WIDTH, bottom + 48)
    points = [point for _, curve in curves for point in curve]
    counts = sorted({point.labels for point in points})
    x = Scale((counts[0] * 0.92, counts[-1] * 1.08), (left, right), log=True)
    y = Scale(padded([point.value for point in points], low=-1, high=1), (bottom, top))
    for tick in nice_ticks(*y.data):
        draw.line(left, y(tick), right, y(tick), "grid")
        draw.text(left - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for count in counts:
        draw.text(x(count), bottom + 19, f"{count:,}", anchor="middle")
    draw.line(left, bottom, right, bottom, "rule")
    draw.text((left + right) / 2, bottom + 38, "labelled rows (log)", "axis", anchor="middle")
    places = spread([y(curve[-1].value) for _, curve in curves])
    for label_y, (name, curve) in zip(places, curves, strict=True):
        style = "base" if name == report.decision.base else "control"
        draw.path([(x(p.labels), y(p.value)) for p in curve], f"curve {style}-line")
        draw.text(x(curve[-1].labels) + 12, label_y + 4.5, name, f"name {style}-text")
    told = "; ".join(f"{name} {curve[-1].value:.3f} with {curve[-1].labels:,} rows" for name, curve in curves)
    return draw.render(title="Score by number of labels", description=told)
