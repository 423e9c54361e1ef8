"""The decision, as a pure function of the findings: which candidate, how sure, at what cost, and what would help.

Enter: `Findings`. Leave: a `Decision`. The candidate with the highest believed score among those whose training ended
is taken; where a cheaper one is believed to be as good within `TIE`, the cheaper one. Nothing here has seen a test row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec
import numpy as np

from headstart.choose.belief import shrunk, standard_error
from headstart.choose.curves import BY_LABELS, FLAT_STEEPS, forecast
from headstart.choose.estimators import Floats
from headstart.choose.findings import Findings, Key
from headstart.evaluate.plan import BY_PROMPT
from headstart.evaluate.report import METHOD_TITLES, Pair
from headstart.ground.seeds import stream

TIE = 0.002  # of the metric: a fifth of a point is less than one seed moves a training
CHEAPER = 0.75  # a candidate must cost less than this share of another to be called cheaper
CURVE_SD = 0.03  # of an error: how far a curve lies off its law at either end, by which labels were drawn; so that the
# interval held what twice the labels brought in 90 % of 60 cases (docs/notebook/2026-11-28-more-labels.md)
LARGER = 1.3  # a base must have this many times the parameters to be called larger
Cost = Literal["ms_per_row", "megabytes", "seconds"]
COSTS: tuple[Cost, ...] = get_args(Cost)
Status = Literal["finished", "stopped", "paused", "failed", "not run"]


class Row(msgspec.Struct, frozen=True):
    """One candidate. value: its validation score, None where nothing was run. believed, ci90: of its final score.

    chance: that it is within a point of the best candidate. seconds: of one training so far.
    share: of its steps that were run. fronts: the costs (`COSTS`) against which it is on the Pareto front: nothing that
    costs as little is believed to be better; front: on one at least. rows: the validation rows that a prompt answered,
    None where `value` is of all.
    """

    base: str
    method: str
    status: Status
    value: float | None
    believed: float
    ci90: Pair
    chance: float
    ms_per_row: float
    megabytes: float
    seconds: float
    share: float
    seeds: int
    front: bool = False
    reason: str = ""
    rows: int | None = None
    fronts: list[Cost] = []

    @property
    def title(self) -> str:
        return f"{self.base} + {METHOD_TITLES.get(self.method, self.method)}"


class Gain(msgspec.Struct, frozen=True):
    """What something is forecast to add to the score of the recommended candidate."""

    value: float
    ci90: Pair


class Advice(msgspec.Struct, frozen=True):
    """More labels, or a larger base? labels: of twice the labels. larger: of the best larger candidate, if any.

    labels is read off the closed-form probe's curve; training moves the level of a curve more than its slope.
    """

    sentence: str
    labels: Gain | None = None
    larger: Gain | None = None
    larger_title: str = ""


class Decision(msgspec.Struct, frozen=True):
    """base and method: what is recommended; tied: candidates as good within `TIE`. rows: best first."""

    base: str
    source: str
    method: str
    seed: int
    sentence: str
    chance: float
    tied: list[str]
    rows: list[Row]
    advice: Advice

    @property
    def best(self) -> Row:
        return next(row for row in self.rows if (row.base, row.method) == (self.base, self.method))


def decide(found: Findings) -> Decision:
    """The decision that follows from the findings; at least one training must have ended."""
    draws = found.draws()
    means = draws.mean(axis=0)
    chance = found.chance()
    ended = found.finished()
    leader = max(ended, key=lambda key: float(means[found.place(key)]))
    near = [key for key in ended if means[found.place(leader)] - means[found.place(key)] <= TIE]
    key = cheapest(found, leader, near)
    rows = with_fronts([row_of(found, one, draws, float(chance[found.place(one)])) for one in found.keys])
    rows.sort(key=lambda row: (row.base, row.method) != name_of(found, key))
    rows[1:] = sorted(rows[1:], key=lambda row: (row.value is None, -row.believed))
    named = {name_of(found, one) for one in near if one != key}
    tied = [row for row in rows if (row.base, row.method) in named]
    sure = float(chance[found.place(key)])
    return Decision(
        base=found.looked[key[0]].facts.name,
        source=found.looked[key[0]].facts.source,
        method=key[1],
        seed=best_seed(found, key),
        sentence=recommendation(found, rows[0], sure, tied),
        chance=sure,
        tied=[row.title for row in tied],
        rows=rows,
        advice=advise(found, key, draws),
    )


def name_of(found: Findings, key: Key) -> tuple[str, str]:
    return found.looked[key[0]].facts.name, key[1]


def best_seed(found: Findings, key: Key) -> int:
    """The seed whose training scored highest on validation: its weights are kept."""
    ended = [run for run in found.runs_of(key) if run.ended is not None]
    return max(ended, key=lambda run: run.ended.value if run.ended is not None else 0.0).seed


def cheapest(found: Findings, leader: Key, near: Sequence[Key]) -> Key:
    """The leader, or the cheapest to ask among those as good; of two that cost about the same, the better one."""
    cost = {key: found.ms_per_row(key) for key in near}
    cheaper = [key for key in near if cost[key] < CHEAPER * cost[leader]]
    return min(cheaper, key=lambda key: cost[key], default=leader)


def row_of(found: Findings, key: Key, draws: Floats, chance: float) -> Row:
    looked, runs, drawn = found.looked[key[0]], found.runs_of(key), draws[:, found.place(key)]
    low, high = (float(q) for q in np.quantile(drawn, [0.05, 0.95]))
    ended, last = found.ended(key), next((run.last for run in reversed(runs) if run.last is not None), None)
    failed = next((run.failed for run in runs if run.failed), "")
    status: Status = "not run"
    if ended:
        status = "stopped" if all(end.stopped in ("deadline", "interrupted") for end in ended) else "finished"
    elif failed:
        status = "failed"
    elif last is not None:
        status = "paused"
    return Row(
        base=looked.facts.name,
        method=key[1],
        status=status,
        value=found.value(key) if ended else None if last is None else last.value,
        believed=float(drawn.mean()),
        ci90=(low, high),
        chance=chance,
        ms_per_row=found.ms_per_row(key),
        megabytes=looked.facts.megabytes,
        seconds=max((run.last.seconds for run in runs if run.last is not None), default=0.0),
        share=max((run.last.share for run in runs if run.last is not None), default=0.0),
        seeds=len(ended),
        reason=failed,
        rows=found.answered(key),
    )


def with_fronts(rows: Sequence[Row]) -> list[Row]:
    """The same rows with the Pareto fronts marked: among trained candidates, none as cheap is believed to be better."""
    trained = [row for row in rows if row.status in ("finished", "stopped")]

    def beaten(row: Row, cost: Cost) -> bool:
        return any(getattr(o, cost) <= getattr(row, cost) and o.believed > row.believed for o in trained)

    found = []
    for row in rows:
        fronts = [cost for cost in COSTS if row in trained and not beaten(row, cost)]
        found.append(msgspec.structs.replace(row, fronts=fronts, front=bool(fronts)))
    return found


def recommendation(found: Findings, best: Row, chance: float, tied: Sequence[Row]) -> str:
    """One sentence; two where nothing is shown to beat always answering the same."""
    value = 0.0 if best.value is None else best.value
    if not beats_floor(found):
        return (
            f"No candidate is shown to beat {found.constant}, which reaches {found.floor:.3f} on "
            f"{found.rows[1]:,} validation rows. The best of them, {best.title}, reaches {value:.3f} at "
            f"{best.ms_per_row:.1f} ms a row and {best.megabytes:,.0f} MB."
        )
    dearer = [row.title for row in tied if best.ms_per_row < CHEAPER * row.ms_per_row]
    alike = [row.title for row in tied if row.title not in dearer]
    also = f"; as good: {', '.join(alike)}" if alike else ""
    also += f"; as good and dearer: {', '.join(dearer)}" if dearer else ""
    part = "validation" if best.rows is None else f"{best.rows:,} validation rows"
    part += f" (the mean of {best.seeds} seeds, the best of which is kept)" if best.seeds > 1 else ""
    return (
        f"Take {best.title}: {value:.3f} on {part} at {best.ms_per_row:.1f} ms a row and {best.megabytes:,.0f} MB, "
        f"and with a probability of {'over 99%' if chance > 0.99 else f'{chance:.0%}'} no candidate is more than a "
        f"point better{also}."
    )


def beats_floor(found: Findings) -> bool:
    """Whether validation shows some finished candidate to be above always answering the same."""
    return any(found.above_floor(found.value(key), rows=found.answered(key)) for key in found.finished())


def advise(found: Findings, key: Key, draws: Floats) -> Advice:
    """Twice the labels against the best larger base; neither where nothing was learnt that could grow."""
    if not beats_floor(found):
        return Advice(
            "What more labels or a larger base would bring cannot be told: nothing is shown to be learnt yet."
        )
    labels = None if key[1] in BY_PROMPT else labels_gain(found, key[0])
    mine = found.looked[key[0]].facts.params
    larger = [one for one in found.keys if found.looked[one[0]].facts.params > LARGER * mine]
    if labels is None and key[1] not in BY_PROMPT:
        return Advice("These rows do not tell what more labels would bring.")
    more = "a prompt does not learn from more labels"
    if labels is not None:
        more = f"twice the labels would bring about {points(labels)}"
    if not larger:
        return Advice(f"No larger base is among the candidates; {more}.", labels)
    best = max(larger, key=lambda one: float(draws[:, found.place(one)].mean()))
    gain = gain_of(draws[:, found.place(best)] - draws[:, found.place(key)])
    other = f"{found.title(best)} about {points(gain)}"
    if labels is None:
        return Advice(f"{more.capitalize()}; a larger base, {other}.", None, gain, found.title(best))
    if max(labels.value, gain.value) <= 0.002:
        verdict = "Neither more labels nor a larger base is likely to help"
    elif labels.value >= gain.value:
        verdict = "Label more rather than take a larger base"
    else:
        verdict = "Take a larger base rather than label more"
    return Advice(f"{verdict}: {more}, {other}.", labels, gain, found.title(best))


def labels_gain(found: Findings, base: int) -> Gain | None:
    """What the closed-form probe of a base is forecast to gain by twice the labels.

    None where its curve has one point, or does not end above always answering the same.
    """
    rows, reading = found.rows[0], found.readings[base]
    if reading is None or len(reading.curve) < 2 or not reading.held_out:
        return None
    curve, held_out = reading.curve, reading.held_out
    if not found.above_floor(curve[-1].value, rows=held_out):
        return None
    sizes, values = [p.labels for p in curve], [shrunk(p.value, held_out) for p in curve]
    noise = [standard_error(v, held_out) for v in values]
    now, then = (
        forecast(sizes, values, noise, at=at, steepness=BY_LABELS, seed=found.seed, steeps=FLAT_STEEPS)
        for at in (rows, 2 * rows)
    )
    apart = stream(found.seed, "labels gain").normal(size=len(now)) * CURVE_SD * np.hypot(1.0 - now, 1.0 - then)
    return gain_of(then - now + apart - apart.mean())


def gain_of(drawn: Floats) -> Gain:
    low, high = (float(q) for q in np.quantile(drawn, [0.05, 0.95]))
    return Gain(float(drawn.mean()), (low, high))


def points(gain: Gain) -> str:
    """+1.2 points [0.4, 2.0]."""
    low, high = gain.ci90
    return f"{100 * gain.value:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]"
