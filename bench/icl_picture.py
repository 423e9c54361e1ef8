"""In-context learning as one SVG file: a panel a set and base, shots along, share of right rows up.

Filled: batch calibration; hollow: raw. Whiskers are 95 % intervals over the rows, small dots the single draws of
demonstrations, the dashed line is the majority.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.svg_file import svg_file
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded

if TYPE_CHECKING:
    from bench.icl import Curve, Point

LEFT, PANEL, GAP = 54.0, 190.0, 26.0  # widths: figures, a panel, air
HEAD, HEIGHT, FOOT, NOTE = 44.0, 150.0, 40.0, 40.0
SHOWN = (("none", "soft-whisker", "hollow", -3.0), ("batch", "whisker", "base", 3.0))


def picture(curves: Sequence[Curve], floors: dict[str, float], shots: Sequence[int]) -> str:
    """A whole SVG file: sets side by side, bases below each other."""
    tasks, bases = list(floors), list(dict.fromkeys(curve.base for curve in curves))
    draw = Drawing(LEFT + len(tasks) * (PANEL + GAP) + GAP, HEAD + len(bases) * (HEIGHT + FOOT) + NOTE)
    for column, task in enumerate(tasks):
        left = LEFT + column * (PANEL + GAP)
        mine = [curve for curve in curves if curve.task == task]
        values = [v for c in mine for p in c.points.values() for v in (p.low, p.high, *p.values)]
        span = padded([floors[task], *values], share=0.04, low=0.0, high=1.0)
        draw.text(left, 20, task, "strong")
        for row, base in enumerate(bases):
            top = HEAD + row * (HEIGHT + FOOT)
            y = Scale(span, (top + HEIGHT, top))
            panel(draw, left, y, shots, floors[task])
            if column == 0:
                draw.text(8, top - 8, base, "name")
            for curve in (one for one in mine if one.base == base):
                points_of(draw, curve, left, y, shots)
    bottom = draw.height - NOTE + 16
    draw.text(LEFT, bottom, "Shots against % right. Filled: batch calibration, hollow: raw, dashed: majority.", "axis")
    draw.text(LEFT, bottom + 16, "Whiskers: 95 % over rows. Small dots: single draws of demonstrations.", "axis")
    return svg_file(draw.render(title="In-context learning", description=told(curves)))


def place(shots: Sequence[int], count: int, left: float) -> float:
    """Where a number of shots stands: evenly, since they double."""
    return left + (shots.index(count) + 0.5) * PANEL / len(shots)


def panel(draw: Drawing, left: float, y: Scale, shots: Sequence[int], floor: float) -> None:
    """The grid, its ticks and the majority."""
    bottom = y.pixels[0]
    for tick in nice_ticks(*y.data, 4):
        draw.line(left, y(tick), left + PANEL, y(tick), "grid")
        draw.text(left - 6, y(tick) + 4, f"{100 * tick:g}", anchor="end")
    for count in shots:
        draw.text(place(shots, count, left), bottom + 17, str(count), anchor="middle")
    draw.line(left, y(floor), left + PANEL, y(floor), "chance")
    draw.line(left, bottom, left + PANEL, bottom, "rule")


def points_of(draw: Drawing, curve: Curve, left: float, y: Scale, shots: Sequence[int]) -> None:
    """A base's points, raw and calibrated beside each other."""
    for name, whisker, dot, aside in SHOWN:
        for count in shots:
            point: Point | None = curve.points.get((count, name))
            if point is None:
                continue
            x = place(shots, count, left) + aside
            for value in point.values if len(point.values) > 1 else ():
                draw.dot(x, y(value), 1.2, dot)
            draw.line(x, y(point.low), x, y(point.high), whisker)
            tip = f"{curve.base}, {curve.task}, {count} shots: {100 * point.value:.1f}"
            draw.dot(x, y(point.value), 3.5, dot, tip=f"{tip} [{100 * point.low:.1f}, {100 * point.high:.1f}]")


def told(curves: Sequence[Curve]) -> str:
    """Every calibrated figure, for people who cannot see the picture."""
    return "; ".join(
        f"{curve.base} on {curve.task}: "
        + ", ".join(f"{100 * p.value:.1f} with {k} shots" for (k, name), p in curve.points.items() if name == "batch")
        for curve in curves
    )
