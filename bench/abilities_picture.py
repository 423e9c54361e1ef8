"""Abilities by size as one SVG file: a row an ability, a column a base, in every cell a share with its interval.

Filled where the ability is there (ability_shares), hollow where it is not; the dashed line is chance, the tick is what
random weights reach.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.ability_shares import Column, Share, first_with, is_there
from bench.svg_file import svg_file
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded

NAMES, CELL, FIGURE, GAP = 212.0, 108.0, 36.0, 18.0  # widths: names, axis of a cell, its figure, air
ROW, HEAD, GROUP, FOOT = 25.0, 52.0, 30.0, 66.0  # heights


def picture(groups: dict[str, list[str]], columns: Sequence[Column], control: Column) -> str:
    """A whole SVG file; groups: abilities under their headings."""
    shown = [control, *columns]
    rows = sum(map(len, groups.values()))
    bottom = HEAD + GROUP * len(groups) + ROW * rows
    draw = Drawing(NAMES + len(shown) * (CELL + FIGURE + GAP) + GAP, bottom + FOOT)
    everything = [share for column in shown for share in column.shares.values()]
    span = padded([v for s in everything for v in (s.low, s.high, s.chance)], share=0.04, low=0.0, high=1.0)
    scales = [Scale(span, (left(i), left(i) + CELL)) for i in range(len(shown))]
    for scale, column in zip(scales, shown, strict=True):
        heading(draw, scale, column, bottom)
    y = HEAD
    for group, abilities in groups.items():
        draw.text(GAP, y + GROUP - 8, group, "strong")
        y += GROUP
        for ability in abilities:
            draw.text(NAMES - 12, y + ROW / 2 + 4, ability, "name", anchor="end")
            for scale, column in zip(scales, shown, strict=True):
                if column is not control:
                    place, middle = scale(control.shares[ability].value), y + ROW / 2
                    draw.line(place, middle - 6, place, middle + 6, "soft-whisker")
                there = is_there(ability, column, control)
                share_cell(draw, scale, column.shares[ability], y, there=there, column=column)
            y += ROW
    draw.text(GAP, bottom + 42, "% right with its 95 % interval. Dashed: chance. Grey tick: random weights.", "axis")
    filled = "Filled: the interval lies above chance and above what random weights reach."
    draw.text(GAP, bottom + 58, filled, "axis")
    told = "; ".join(
        f"{ability} from {first.name}" if (first := first_with(ability, columns, control)) else f"{ability} from none"
        for abilities in groups.values()
        for ability in abilities
    )
    return svg_file(draw.render(title="Abilities by size of base", description=told))


def left(place: int) -> float:
    """Where the axis of a column begins."""
    return NAMES + place * (CELL + FIGURE + GAP)


def heading(draw: Drawing, scale: Scale, column: Column, bottom: float) -> None:
    """Name, what it read, the grid and its ticks."""
    start, end = scale.pixels
    draw.text(start, 24, column.name, "strong")
    read = f"of {column.parameters / 1e6:.3g} M" if column.units is None else f"{column.units / 1e6:.3g} M tokens"
    draw.text(start, 41, read, "tick")
    for tick in nice_ticks(*scale.data, 4):
        draw.line(scale(tick), HEAD, scale(tick), bottom, "grid")
        draw.text(scale(tick), bottom + 16, f"{100 * tick:g}", anchor="middle")
    draw.line(start, bottom, end, bottom, "rule")


def share_cell(draw: Drawing, x: Scale, share: Share, y: float, *, there: bool, column: Column) -> None:
    """One share: chance, interval, dot, figure."""
    middle = y + ROW / 2
    draw.line(x(share.chance), y, x(share.chance), y + ROW, "chance")
    soft = "soft-" if column.units is None else ""
    draw.line(x(share.low), middle, x(share.high), middle, f"{soft}whisker")
    tip = f"{column.name}: {100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"
    draw.dot(x(share.value), middle, 3.5, "base" if there else f"{soft}hollow", tip=tip)
    draw.text(x.pixels[1] + FIGURE, middle + 4, f"{100 * share.value:.1f}", "figure", anchor="end")
