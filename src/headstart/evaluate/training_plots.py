"""The pictures of a pre-training run as SVG text: a held-out curve, and the training loss thinned to a readable line.

Enter: points over tokens read. Leave: one svg element each, coloured by the page's CSS classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded

WIDE, HALF = 680.0, 400.0  # of a picture alone, and of one of two side by side
TOP, BOTTOM, LEFT = 30.0, 236.0, 52.0
MARGIN, FIGURE_MARGIN = 18.0, 58.0  # right of the axis; the latter with a figure in it
MARK_ROW = 15.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some steps of a run in one point: tokens read at their end, mean loss, and what holds the middle 80 % of them."""

    units: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A place of the run where something changes."""

    units: float
    words: str


def amount(count: float) -> str:
    """A count to three figures: 940, 7.50 M, 1.24 G."""
    for size, sign in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= 0.9995 * size:
            return f"{count / size:#.3g}".removesuffix(".") + sign
    return f"{count:.0f}"


def held_out(points: Sequence[tuple[float, float]], *, reading: str, width: float) -> str:
    """(tokens read, held-out loss) as a line; the last value stands beside its point."""
    draw = Drawing(width, BOTTOM + 48)
    x, y = axes(
        draw,
        points[-1][0],
        [value for _, value in points],
        words=f"tokens read against {reading}",
        margin=FIGURE_MARGIN,
    )
    draw.path([(x(units), y(value)) for units, value in points], "curve base-line")
    for units, value in points:
        draw.dot(x(units), y(value), 3, "base", tip=f"{amount(units)} tokens: {value:.3f}")
    last = x(points[-1][0]), y(points[-1][1])
    draw.dot(*last, 5, "base", tip=f"{amount(points[-1][0])} tokens: {points[-1][1]:.3f}")
    draw.text(last[0] + 12, last[1] + 4.5, f"{points[-1][1]:.3f}", "name base-text")
    told = "; ".join(f"{value:.3f} after {amount(units)}" for units, value in points)
    return draw.render(title=f"Held-out {reading} by tokens read", description=told)


def training_loss(stretches: Sequence[Stretch], marks: Sequence[Mark]) -> str:
    """Means of stretches as a line, the middle 80 % of their steps as a band, and marks where the run changes."""
    draw = Drawing(WIDE, BOTTOM + 48)
    seen = [value for s in stretches for value in (s.low, s.high)]
    x, y = axes(
        draw,
        stretches[-1].units,
        seen,
        words="tokens read against training loss, nats a predicted token",
        margin=MARGIN,
    )
    for row, mark in enumerate(sorted(marks, key=lambda m: m.units)):
        place, height = x(mark.units), TOP - 6 + row * MARK_ROW
        draw.line(place, TOP, place, BOTTOM, "diagonal")
        late = mark.units > 0.8 * x.data[1]
        draw.text(place + (-7 if late else 7), height, mark.words, "tick", anchor="end" if late else "start")
    upper = [(x(s.units), y(s.high)) for s in stretches]
    lower = [(x(s.units), y(s.low)) for s in reversed(stretches)]
    draw.path(upper + lower, "base-area", close=True)
    draw.path([(x(s.units), y(s.mean)) for s in stretches], "curve base-line")
    first, last = stretches[0], stretches[-1]
    changes = "".join(f"; after {amount(mark.units)}: {mark.words}" for mark in marks)
    told = f"From {first.mean:.3f} after {amount(first.units)} to {last.mean:.3f} after {amount(last.units)}{changes}"
    return draw.render(title="Training loss by tokens read", description=told)


def axes(draw: Drawing, units: float, values: Sequence[float], *, words: str, margin: float) -> tuple[Scale, Scale]:
    """Grid, ticks and a caption; x from 0 to `units`, y over `values`."""
    right = draw.width - margin
    x = Scale((0.0, units), (LEFT, right))
    y = Scale(padded(values, low=0.0), (BOTTOM, TOP))
    for tick in nice_ticks(*y.data):
        draw.line(LEFT, y(tick), right, y(tick), "grid")
        draw.text(LEFT - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for tick in nice_ticks(0.0, units, 4):
        draw.line(x(tick), BOTTOM, x(tick), BOTTOM + 5)
        draw.text(x(tick), BOTTOM + 19, plain(tick), anchor="middle")
    draw.line(LEFT, BOTTOM, right, BOTTOM, "rule")
    draw.text((LEFT + right) / 2, BOTTOM + 38, words, "axis", anchor="middle")
    return x, y


def plain(tick: float) -> str:
    """A round number without spare zeros: 0, 500 k, 2 M."""
    figures, _, sign = amount(tick).partition(" ")
    return f"{float(figures):g} {sign}".strip()
