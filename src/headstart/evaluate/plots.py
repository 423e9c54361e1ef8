"""The report's pictures as SVG text: methods, quality against cost, label curve, reliability, confusion matrix.

Enter: parts of a Report. Leave: one svg element each, coloured by the page's CSS classes (base, scratch, control).
"""

from __future__ import annotations

from collections.abc import Sequence

from headstart.evaluate.report import CalibrationFacts, Candidate, Confusion, CurvePoint, LabelCurve
from headstart.evaluate.svg import Drawing, Scale, nice_ticks, padded

WIDTH = 680.0
CURVE_TITLES = {"scratch": "from scratch"}


def family(candidate: Candidate) -> str:
    """The colour class: what came from the base, its from-scratch twin, or a control."""
    return "scratch" if candidate.method == "scratch" else "control" if candidate.base is None else "base"


def duration(seconds: float) -> str:
    """0.4 s, 41 s, 2 min 05 s, 1 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def span_text(value: float, ci95: tuple[float, float]) -> str:
    return f"{value:.3f} [{ci95[0]:.3f}, {ci95[1]:.3f}]"


def methods(candidates: Sequence[Candidate], chosen: Candidate, metric: str) -> str:
    """Every candidate with its 95 % interval on one axis; the chosen one's interval runs down as a band."""
    left, right, row, top = 190.0, WIDTH - 150, 34.0, 14.0
    height = top + row * len(candidates) + 44
    draw = Drawing(WIDTH, height)
    x = Scale(padded([v for c in in_view(candidates) for v in (*c.ci95, c.value)], low=-1, high=1), (left, right))
    bottom = top + row * len(candidates) + 4
    for tick in nice_ticks(*x.data):
        draw.line(x(tick), top, x(tick), bottom, "grid")
        draw.text(x(tick), bottom + 16, f"{tick:g}", anchor="middle")
    draw.text((left + right) / 2, bottom + 34, f"{metric} on the test rows, 95 % interval", "axis", anchor="middle")
    low, high = (x(v) for v in chosen.ci95)
    draw.rect(low, top, high - low, bottom - top, "band")
    for i, candidate in enumerate(candidates):
        y = top + row * (i + 0.5)
        draw.text(left - 14, y + 4.5, candidate.title, "name strong" if candidate is chosen else "name", anchor="end")
        draw.text(right + 14, y + 4.5, span_text(candidate.value, candidate.ci95), "figure")
        if candidate in in_view(candidates):
            whisker(draw, candidate, x, y, large=candidate is chosen)
        else:
            draw.text(left + 2, y + 4.5, "◂ far below", "tick")
    told = "; ".join(f"{c.title} {span_text(c.value, c.ci95)}" for c in candidates)
    return draw.render(title=f"{metric} by method", description=told)


def in_view(candidates: Sequence[Candidate]) -> list[Candidate]:
    """All, or all but a majority control so far below that it would squeeze the others together."""
    others = [c for c in candidates if c.method != "majority"]
    if len(others) < 2:
        return list(candidates)
    low, high = min(c.ci95[0] for c in others), max(c.ci95[1] for c in others)
    return [c for c in candidates if c.method != "majority" or c.ci95[0] > low - 0.5 * (high - low)]


def whisker(draw: Drawing, candidate: Candidate, x: Scale, y: float, *, large: bool) -> None:
    """A dot with its interval."""
    style = family(candidate)
    draw.line(x(candidate.ci95[0]), y, x(candidate.ci95[1]), y, f"whisker {style}-line")
    for end in candidate.ci95:
        draw.line(x(end), y - 5, x(end), y + 5, f"whisker {style}-line")
    draw.dot(
        x(candidate.value),
        y,
        6.5 if large else 5,
        style,
        tip=f"{candidate.title}: {span_text(candidate.value, candidate.ci95)}",
    )


def cost(candidates: Sequence[Candidate], chosen: Candidate, metric: str) -> str:
    """Quality against seconds of training (log); the line joins what nothing else beats in both."""
    left, right, top, bottom = 64.0, WIDTH - 30, 16.0, 250.0
    draw = Drawing(WIDTH, bottom + 48)
    points = sorted(((max(c.seconds, 0.05), c) for c in in_view(candidates)), key=lambda p: (p[0], -p[1].value))
    x = Scale((points[0][0] / 2, points[-1][0] * 6), (left, right), log=True)
    y = Scale(padded([c.value for _, c in points], share=0.14, low=-1, high=1.02), (bottom, top))
    for tick in nice_ticks(*y.data):
        draw.line(left, y(tick), right, y(tick), "grid")
        draw.text(left - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for value in (step * 10.0**power for power in range(-2, 6) for step in (1, 3)):
        if x.data[0] <= value <= x.data[1]:
            draw.text(x(value), bottom + 18, duration(value) if value >= 10 else f"{value:g} s", anchor="middle")
    draw.line(left, bottom, right, bottom, "rule")
    draw.text((left + right) / 2, bottom + 38, f"time of training (log) against {metric}", "axis", anchor="middle")
    best_so_far = [max(c.value for _, c in points[: i + 1]) for i in range(len(points))]
    draw.path([(x(s), y(c.value)) for i, (s, c) in enumerate(points) if c.value == best_so_far[i]], "front")
    for label_y, (seconds, candidate) in zip(spread([y(c.value) for _, c in points]), points, strict=True):
        draw.dot(
            x(seconds),
            y(candidate.value),
            6.5 if candidate is chosen else 5,
            family(candidate),
            tip=f"{candidate.title}: {candidate.value:.3f} after {duration(seconds)}",
        )
        draw.text(x(seconds) + 12, label_y + 4.5, candidate.title, "name strong" if candidate is chosen else "name")
    told = "; ".join(f"{c.title} {c.value:.3f} after {duration(c.seconds)}" for c in candidates)
    return draw.render(title="Quality against cost", description=told)


def spread(places: Sequence[float], *, gap: float = 17.0) -> list[float]:
    """Heights for labels near `places`, at least `gap` apart, in the same vertical order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [places[i] for i in order]
    for _ in range(50):
        for k in range(1, len(moved)):
            overlap = gap - (moved[k] - moved[k - 1])
            if overlap > 0.01:
                moved[k - 1] -= overlap / 2
                moved[k] += overlap / 2
    back = dict(zip(order, moved, strict=True))
    return [back[i] for i in range(len(places))]


def label_curve(curve: LabelCurve, base: str, metric: str) -> str:
    """Score against labelled rows (log) for the base and from scratch, with intervals."""
    left, right, top, bottom = 64.0, WIDTH - 120, 16.0, 260.0
    draw = Drawing(WIDTH, bottom + 48)
    counts = sorted({p.labels for p in curve.points})
    x = Scale((counts[0] * 0.92, counts[-1] * 1.08), (left, right), log=True)
    y = Scale(padded([v for p in curve.points for v in p.ci95], low=-1, high=1), (bottom, top))
    for tick in nice_ticks(*y.data):
        draw.line(left, y(tick), right, y(tick), "grid")
        draw.text(left - 10, y(tick) + 4, f"{tick:g}", anchor="end")
    for count in counts:
        draw.line(x(count), bottom, x(count), bottom + 5)
        draw.text(x(count), bottom + 19, f"{count:,}", anchor="middle")
    draw.line(left, bottom, right, bottom, "rule")
    draw.text((left + right) / 2, bottom + 38, f"labelled rows (log) against {metric}", "axis", anchor="middle")
    for method in dict.fromkeys(p.method for p in curve.points):
        one_curve(draw, [p for p in curve.points if p.method == method], x, y, method, base)
    told = "; ".join(
        f"{CURVE_TITLES.get(p.method, base)} with {p.labels:,} rows {span_text(p.value, p.ci95)}" for p in curve.points
    )
    return draw.render(title="Score by number of labels", description=told)


def one_curve(draw: Drawing, points: Sequence[CurvePoint], x: Scale, y: Scale, method: str, base: str) -> None:
    points = sorted(points, key=lambda p: p.labels)
    style = "scratch" if method == "scratch" else "base"
    upper = [(x(p.labels), y(p.ci95[1])) for p in points]
    lower = [(x(p.labels), y(p.ci95[0])) for p in reversed(points)]
    draw.path(upper + lower, f"{style}-area", close=True)
    draw.path([(x(p.labels), y(p.value)) for p in points], f"curve {style}-line")
    for p in points:
        draw.dot(x(p.labels), y(p.value), 4, style, tip=f"{p.labels:,} rows: {span_text(p.value, p.ci95)}")
    draw.text(
        x(points[-1].labels) + 12, y(points[-1].value) + 4.5, CURVE_TITLES.get(method, base), f"name {style}-text"
    )


def reliability(facts: CalibrationFacts) -> str:
    """Share right against confidence; on the diagonal "80 % sure" is right eight times in ten."""
    left, size, top = 56.0, 280.0, 14.0
    draw = Drawing(left + size + 24, top + size + 48)
    x, y = Scale((0, 1), (left, left + size)), Scale((0, 1), (top + size, top))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        draw.line(left, y(tick), left + size, y(tick), "grid")
        draw.text(left - 10, y(tick) + 4, f"{tick:g}", anchor="end")
        draw.text(x(tick), top + size + 18, f"{tick:g}", anchor="middle")
    draw.line(x(0), y(0), x(1), y(1), "diagonal")
    for b in facts.bins:
        draw.line(x(b.confidence), y(b.ci95[0]), x(b.confidence), y(b.ci95[1]), "whisker base-line")
    for b in facts.bins:
        draw.dot(
            x(b.confidence),
            y(b.accuracy),
            4.5,
            "base",
            tip=f"said {b.confidence:.2f}, was right {b.accuracy:.2f} of {b.count}",
        )
    draw.text(left + size / 2, top + size + 38, "confidence against share right", "axis", anchor="middle")
    told = "; ".join(f"said {b.confidence:.2f}, right {b.accuracy:.2f} ({b.count})" for b in facts.bins)
    return draw.render(title="Reliability", description=told)


def confusion(facts: Confusion) -> str:
    """Rows are the right labels, columns the answers; the shade is the share of the row."""
    size = len(facts.labels)
    cell = max(20.0, min(44.0, 480.0 / size))
    names = [label if len(label) <= 18 else label[:17] + "…" for label in facts.labels]
    left, top = 16 + 7.2 * max(map(len, names)), 16 + 5.6 * max(map(len, names))
    draw = Drawing(left + cell * size + 60, top + cell * size + 12)
    for i, name in enumerate(names):
        draw.text(left - 10, top + cell * (i + 0.5) + 4, name, "name", anchor="end")
        x, y = left + cell * (i + 0.5), top - 10
        draw.parts.append(f'<g transform="translate({x + 4:.1f} {y:.1f}) rotate(-45)">')
        draw.text(0, 0, name, "name")
        draw.parts.append("</g>")
        total = max(1, sum(facts.counts[i]))
        for j, count in enumerate(facts.counts[i]):
            share = count / total
            draw.rect(
                left + cell * j + 1,
                top + cell * i + 1,
                cell - 2,
                cell - 2,
                "right" if i == j else "wrong",
                radius=2,
                opacity=0.06 + 0.84 * share,
                tip=f"{facts.labels[i]} answered {facts.labels[j]}: {count}",
            )
            if count:
                draw.text(
                    left + cell * (j + 0.5),
                    top + cell * (i + 0.5) + 4,
                    f"{count}",
                    "on-dark" if share > 0.6 else "in-cell",
                    anchor="middle",
                )
    wrong = sum(sum(r) for r in facts.counts) - sum(facts.counts[i][i] for i in range(size))
    return draw.render(
        title="Confusion matrix",
        description=f"{wrong} wrong answers among {size} labels; the table below lists the pairs",
    )
