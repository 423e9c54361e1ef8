"""Accuracy against labelled rows, a line a side, named at its end, as one SVG file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from bench.svg_file import svg_file
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 680.0, 64.0, 470.0, 20.0, 280.0
LEAST_GAP = 17.0  # between the names at the lines' ends
Line = Sequence[tuple[float, float]]


def picture(name: str, lines: Mapping[str, Line]) -> str:
    """A whole SVG file."""
    points = [point for line in lines.values() for point in line]
    rows = sorted({row for row, _ in points})
    x = Scale((rows[0] * 0.9, rows[-1] * 1.1), (LEFT, RIGHT), log=True)
    y = Scale(padded([value for _, value in points]), (BOTTOM, TOP))
    draw = Drawing(WIDTH, BOTTOM + 48)
    for tick in nice_ticks(*y.data):
        draw.line(LEFT, y(tick), RIGHT, y(tick), "grid")
        draw.text(LEFT - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for row in rows:
        draw.line(x(row), BOTTOM, x(row), BOTTOM + 5)
        draw.text(x(row), BOTTOM + 19, f"{row:,.0f}", anchor="middle")
    draw.line(LEFT, BOTTOM, RIGHT, BOTTOM, "rule")
    draw.text((LEFT + RIGHT) / 2, BOTTOM + 38, f"{name}: accuracy against labelled rows (log)", "axis", anchor="middle")
    ends = apart([y(line[-1][1]) for line in lines.values()])
    for place, ((title, line), end) in enumerate(zip(lines.items(), ends, strict=True)):
        if len(line) > 1:
            draw.path([(x(row), y(value)) for row, value in line], f"side side{place}")
        for row, value in line:
            draw.dot(x(row), y(value), 3.5, f"dot{place}", tip=f"{title}, {row:,.0f} rows: {value:.3f}")
        draw.line(RIGHT + 4, y(line[-1][1]), RIGHT + 12, end, f"side side{place}")
        draw.text(RIGHT + 16, end + 4, f"{title} {line[-1][1]:.3f}", "name")
    told = "; ".join(f"{title} " + ", ".join(f"{v:.3f} at {n:,.0f}" for n, v in line) for title, line in lines.items())
    return svg_file(draw.render(title=f"{name}: labels and accuracy", description=told))


def apart(places: Sequence[float]) -> list[float]:
    """Heights as near to `places` as names allow that must not overlap."""
    order = sorted(range(len(places)), key=lambda place: places[place])
    found = list(places)
    for before, after in itertools.pairwise(order):
        found[after] = max(found[after], found[before] + LEAST_GAP)
    return found
