"""A small SVG pen: shapes and text with CSS classes, so that a picture follows the page into dark and light.

Written out by hand rather than drawn by matplotlib: a picture is 2-8 KB, the same bytes on every machine, its text
stays text (search, screen readers, zoom) and nothing is imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape


class Drawing:
    """Collects elements; `render` wraps them with a title and a description for people who cannot see it."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str = "rule") -> None:
        self.parts.append(f'<line class="{style}" x1="{n(x1)}" y1="{n(y1)}" x2="{n(x2)}" y2="{n(y2)}"/>')

    def path(self, points: Sequence[tuple[float, float]], style: str, *, close: bool = False) -> None:
        steps = " ".join(f"{'ML'[i > 0]}{n(x)} {n(y)}" for i, (x, y) in enumerate(points))
        self.parts.append(f'<path class="{style}" d="{steps}{"Z" if close else ""}"/>')

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        style: str,
        *,
        tip: str = "",
        opacity: float | None = None,
        radius: float = 0,
    ) -> None:
        shade = "" if opacity is None else f' fill-opacity="{opacity:.3f}"'
        self.shape(
            f'rect class="{style}" x="{n(x)}" y="{n(y)}" width="{n(width)}" height="{n(height)}" rx="{n(radius)}"'
            f"{shade}",
            "rect",
            tip,
        )

    def dot(self, x: float, y: float, radius: float, style: str, *, tip: str = "") -> None:
        self.shape(f'circle class="{style}" cx="{n(x)}" cy="{n(y)}" r="{n(radius)}"', "circle", tip)

    def shape(self, opening: str, name: str, tip: str) -> None:
        self.parts.append(f"<{opening}><title>{escape(tip)}</title></{name}>" if tip else f"<{opening}/>")

    def text(self, x: float, y: float, content: str, style: str = "tick", *, anchor: str = "start") -> None:
        self.parts.append(
            f'<text class="{style}" x="{n(x)}" y="{n(y)}" text-anchor="{anchor}">{escape(content)}</text>'
        )

    def render(self, *, title: str, description: str) -> str:
        """The svg element. The description says what the picture shows, figures included."""
        return (
            f'<svg viewBox="0 0 {n(self.width)} {n(self.height)}" role="img" '
            f'style="max-width:{n(self.width)}px" aria-label="{escape(title)}. {escape(description)}">'
            f"{''.join(self.parts)}</svg>"
        )


def n(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


class Scale:
    """Data to pixels along one axis, linear or logarithmic."""

    def __init__(self, data: tuple[float, float], pixels: tuple[float, float], *, log: bool = False) -> None:
        self.log, self.data, self.pixels = log, data, pixels

    def __call__(self, value: float) -> float:
        low, high = (self.bend(v) for v in self.data)
        share = (self.bend(value) - low) / (high - low) if high > low else 0.5
        return self.pixels[0] + share * (self.pixels[1] - self.pixels[0])

    def bend(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers inside [low, high], about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(
    values: Sequence[float], *, share: float = 0.08, low: float = -math.inf, high: float = math.inf
) -> tuple[float, float]:
    """The range of `values` with some air, cut to [low, high]."""
    bottom, top = min(values), max(values)
    air = max((top - bottom) * share, 0.01)
    return max(low, bottom - air), min(high, top + air)
