"""The pictures of an evaluation as SVG text: a task's scores with intervals, quality against cost, ability by size.

Enter: parts of an `Evaluation`. Leave: one svg element each, coloured by the page's CSS classes: base, scratch (random
or untrained twins), control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.evaluate.plots import duration, span_text, spread
from headstart.evaluate.report import Pair
from headstart.evaluate.suite.scoreboard import Standing
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded
from headstart.evaluate.training_plots import amount

HALF, WIDE = 400.0, 680.0
ROW, TOP = 22.0, 8.0
LONGEST = 19  # characters of an entry beside its bar
MOMENTS = {
    0.1: "0.1 s",
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    36_000: "10 h",
    360_000: "100 h",
}


@dataclass(frozen=True, slots=True)
class Point:
    """An entry by its aggregate. x: seconds, or parameters."""

    entry: str
    style: str
    x: float
    value: float
    ci95: Pair


def style_of(role: str) -> str:
    """The colour class of an entry."""
    return "base" if role == "base" else "scratch" if role in ("random", "scratch") else "control"


def brief(entry: str) -> str:
    """At most LONGEST characters; a long name loses its middle, because the end tells a base from its twin."""
    return entry if len(entry) <= LONGEST else f"{entry[: LONGEST - 13]}…{entry[-12:]}"


def scores(rows: Sequence[Standing], *, guess: float, title: str) -> str:
    """Every entry of a task as a bar from guessing to its score, with its 95 % interval."""
    left, right = 162.0, HALF - 52
    bottom = TOP + ROW * len(rows)
    draw = Drawing(HALF, bottom + 24)
    x = Scale(padded([v for row in rows for v in (*row.ci95, guess)], share=0.04, low=-1, high=1), (left, right))
    for tick in nice_ticks(*x.data, 4):
        draw.line(x(tick), TOP, x(tick), bottom, "grid")
        draw.text(x(tick), bottom + 16, f"{tick:g}", anchor="middle")
    for place, row in enumerate(rows):
        y, style = TOP + ROW * (place + 0.5), style_of(row.role)
        low, high = sorted((x(guess), x(row.value)))
        draw.rect(low, y - 5, high - low, 10, style, opacity=0.3, tip=f"{row.entry}: {span_text(row.value, row.ci95)}")
        draw.line(x(row.ci95[0]), y, x(row.ci95[1]), y, f"whisker {style}-line")
        draw.dot(x(row.value), y, 3.5, style)
        draw.text(left - 8, y + 4.5, brief(row.entry), "name strong" if row.role == "base" else "name", anchor="end")
        draw.text(HALF, y + 4.5, f"{row.value:.3f}", "figure", anchor="end")
    draw.line(x(guess), TOP, x(guess), bottom, "diagonal")
    told = "; ".join(f"{row.entry} {span_text(row.value, row.ci95)}" for row in rows)
    return draw.render(title=title, description=f"Guessing scores {guess:.3f}. {told}")


def cost(points: Sequence[Point]) -> str:
    """The aggregate against seconds of fitting and answering all tasks (log); the line joins what nothing beats."""
    left, right, top, bottom = 64.0, WIDE - 40, 16.0, 250.0
    draw = Drawing(WIDE, bottom + 48)
    ordered = sorted(points, key=lambda p: (p.x, -p.value))
    x = Scale((ordered[0].x / 1.6, ordered[-1].x * 12), (left, right), log=True)
    y = aggregate_axis(draw, points, left, right, top, bottom)
    for value, words in MOMENTS.items():
        if x.data[0] <= value <= x.data[1]:
            draw.line(x(value), bottom, x(value), bottom + 5)
            draw.text(x(value), bottom + 19, words, anchor="middle")
    words = "time of one seed on all sets, log, against the mean (0 guessing, 1 perfect)"
    draw.text((left + right) / 2, bottom + 38, words, "axis", anchor="middle")
    best = [max(p.value for p in ordered[: i + 1]) for i in range(len(ordered))]
    draw.path([(x(p.x), y(p.value)) for p, top in zip(ordered, best, strict=True) if p.value == top], "front")
    for height, point in zip(spread([y(p.value) for p in ordered]), ordered, strict=True):
        tip = f"{point.entry}: {point.value:.3f} in {duration(point.x)}"
        draw.dot(x(point.x), y(point.value), 5.5, point.style, tip=tip)
        name = "name strong" if point.style == "base" else "name"
        draw.text(x(point.x) + 11, height + 4.5, brief(point.entry), name)
    told = "; ".join(f"{p.entry} {p.value:.3f} in {duration(p.x)}" for p in ordered)
    return draw.render(title="Quality against cost", description=told)


def by_size(curves: Sequence[tuple[str, Sequence[Point]]]) -> str:
    """(style, points by parameters): the aggregate of bases, and of their twins, over size (log), with intervals."""
    left, right, top, bottom = 64.0, WIDE - 120, 16.0, 250.0
    draw = Drawing(WIDE, bottom + 48)
    every = [point for _, points in curves for point in points]
    sizes = sorted({point.x for point in every})
    x = Scale((sizes[0] / 1.25, sizes[-1] * 1.25), (left, right), log=True)
    y = aggregate_axis(draw, every, left, right, top, bottom)
    shown = -1e9
    for size in sizes:
        draw.line(x(size), bottom, x(size), bottom + 5)
        if x(size) - shown >= 46:
            draw.text(x(size), bottom + 19, amount(size), anchor="middle")
            shown = x(size)
    words = "parameters, log, against the mean (0 guessing, 1 perfect)"
    draw.text((left + right) / 2, bottom + 38, words, "axis", anchor="middle")
    for style, points in curves:
        ordered = sorted(points, key=lambda p: p.x)
        draw.path([(x(p.x), y(p.value)) for p in ordered], f"curve {style}-line")
        for point in ordered:
            draw.line(x(point.x), y(point.ci95[0]), x(point.x), y(point.ci95[1]), f"whisker {style}-line")
            tip = f"{point.entry}: {span_text(point.value, point.ci95)}"
            draw.dot(x(point.x), y(point.value), 4.5, style, tip=tip)
        last = ordered[-1]
        words = "bases" if style == "base" else "their twins"
        draw.text(x(last.x) + 12, y(last.value) + 4.5, words, f"name {style}-text")
    told = "; ".join(f"{p.entry} with {amount(p.x)} parameters {span_text(p.value, p.ci95)}" for p in every)
    return draw.render(title="Ability by size", description=told)


def aggregate_axis(
    draw: Drawing, points: Sequence[Point], left: float, right: float, top: float, bottom: float
) -> Scale:
    """The vertical axis of the mean over tasks, with its grid and ticks."""
    y = Scale(padded([v for p in points for v in p.ci95], low=-1.0, high=1.0), (bottom, top))
    for tick in nice_ticks(*y.data):
        draw.line(left, y(tick), right, y(tick), "grid")
        draw.text(left - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    draw.line(left, bottom, right, bottom, "rule")
    return y
