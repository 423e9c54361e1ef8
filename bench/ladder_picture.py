"""The ladder as one SVG file: loss against size, the law of the smaller sizes with its interval, the largest apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from bench.svg_file import svg_file
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded
from headstart.train.finished import Run
from headstart.train.scaling import Law, Point, Prediction

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 680.0, 64.0, 560.0, 20.0, 300.0
STEPS = 24
ONE_GROUP = 1.3  # ratios of tokens to parameters this near are one line


def picture(runs: Sequence[Run], law: Law) -> str:
    """A whole SVG file. Shaded: where the law of the smaller sizes expects a new run, 95 %."""
    largest = max(run.point.parameters for run in runs)
    lines = [curve(group, law) for group in groups(runs)]
    x = Scale((min(p.parameters for p in points(runs)) * 0.85, largest * 1.15), (LEFT, RIGHT), log=True)
    seen = [v for line in lines for _, said in line for v in (said.low, said.high)]
    y = Scale(padded([*seen, *(p.bits_per_byte for p in points(runs))]), (BOTTOM, TOP))
    draw = Drawing(WIDTH, BOTTOM + 48)
    for tick in nice_ticks(*y.data):
        draw.line(LEFT, y(tick), RIGHT, y(tick), "grid")
        draw.text(LEFT - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for size in sorted({p.parameters for p in points(runs)}):
        draw.line(x(size), BOTTOM, x(size), BOTTOM + 5)
        draw.text(x(size), BOTTOM + 19, f"{size / 1e6:.3g} M", anchor="middle")
    draw.line(LEFT, BOTTOM, RIGHT, BOTTOM, "rule")
    draw.text(
        (LEFT + RIGHT) / 2, BOTTOM + 38, "parameters (log) against held-out bits per byte", "axis", anchor="middle"
    )
    for line in lines:
        upper = [(x(size), y(said.high)) for size, said in line]
        lower = [(x(size), y(said.low)) for size, said in reversed(line)]
        draw.path(upper + lower, "area", close=True)
        draw.path([(x(size), y(said.bits_per_byte)) for size, said in line], "curve")
    for point in points(runs):
        style = "held" if point.parameters == largest else "base"
        draw.dot(x(point.parameters), y(point.bits_per_byte), 5, style, tip=f"{point.name}: {point.bits_per_byte:.4f}")
    for group, line in zip(groups(runs), lines, strict=True):
        ratio = group[0].recipe.optimisation.tokens / group[0].point.parameters
        draw.text(x(line[-1][0]) + 12, y(line[-1][1].bits_per_byte) + 4, f"{ratio:.2g} tokens a parameter", "name")
    told = "; ".join(f"{p.name} {p.bits_per_byte:.4f}" for p in points(runs))
    drawn = draw.render(title="Loss by size", description=f"{told}. Law of all but the largest: {law.words()}")
    return svg_file(drawn)


def points(runs: Sequence[Run]) -> list[Point]:
    """The runs' points, smallest first."""
    return sorted((run.point for run in runs), key=lambda p: p.parameters)


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of one ratio of tokens to parameters, each group with two sizes or more."""
    ordered = sorted(runs, key=lambda r: r.recipe.optimisation.tokens / r.point.parameters)
    found: list[list[Run]] = [[]]
    for run in ordered:
        ratio = run.recipe.optimisation.tokens / run.point.parameters
        first = found[-1][0] if found[-1] else run
        if ratio > ONE_GROUP * first.recipe.optimisation.tokens / first.point.parameters:
            found.append([])
        found[-1].append(run)
    return [group for group in found if len({run.point.parameters for run in group}) > 1]


def curve(group: Sequence[Run], law: Law) -> list[tuple[float, Prediction]]:
    """(parameters, what the law says) along a group; text and FLOPs of sizes in between by straight lines in logs."""
    unique = [next(same) for _, same in itertools.groupby(points(group), key=lambda p: p.parameters)]
    sizes = np.log([p.parameters for p in unique])
    text, flops = (np.log([getattr(p, name) for p in unique]) for name in ("text_bytes", "flops"))
    return [
        (
            math.exp(size),
            law.predict(
                parameters=math.exp(size),
                text_bytes=math.exp(np.interp(size, sizes, text)),
                flops=math.exp(np.interp(size, sizes, flops)),
            ),
        )
        for size in np.linspace(sizes[0], sizes[-1], STEPS)
    ]
