"""A pre-training run as one HTML page: what was trained and how well, its curves, its settings, what it read.

Enter: a Base fresh from pre-training, and the metrics.jsonl of its run. Leave: report.html in the base's folder. Every
figure is the lineage's (headstart.json holds them for programs); of metrics.jsonl only the training loss is taken.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import DataRef
from headstart.evaluate import training_plots
from headstart.evaluate.html import environment
from headstart.evaluate.plots import duration
from headstart.evaluate.training_plots import HALF, WIDE, amount
from headstart.evaluate.training_run import Losses, Trained, marks_of, read_losses, run_of, thinned
from headstart.ground.files import write_atomic
from headstart.train.held_out import ROWS
from headstart.train.recipe import Recipe

SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True, slots=True)
class Fact:
    """One box under the title."""

    title: str
    value: str
    small: str


def write_training_page(base: Base, folder: Path, *, out: Path, metrics: Path, roof: float | None = None) -> None:
    """Put report.html into the folder of a base fresh from pre-training.

    out: where that folder will stand, for the commands on the page. metrics: the run's metrics.jsonl. roof: FLOP/s
    that the machine reaches in a matrix product, for the share reached.

    Raises:
        BaseError: the last step of the base's life was no pre-training. RunError: no disk space.
    """
    write_atomic(folder / "report.html", render_training(base, read_losses(metrics), out=out, roof=roof).encode())


def render_training(base: Base, losses: Losses, *, out: Path, roof: float | None) -> str:
    """The whole page."""
    record, run = run_of(base, roof=roof)
    page = environment().get_template("training.html.jinja")
    stretches = thinned(losses)
    return page.render(
        run=run,
        record=record,
        directions="read in both directions" if base.pattern == "full" else "read from left to right",
        said=sentences(run),
        facts=facts(run, base),
        curves=held_out_pictures(run),
        held_out_rows=ROWS,
        loss=training_plots.training_loss(stretches, marks_of(run.recipe)) if stretches else "",
        a_stretch=math.ceil(len(losses.values) / max(1, len(stretches))),
        mixed=0.0 < run.recipe.mixture.causal_share < 1.0,
        torn=losses.torn,
        settings=settings_of(run.recipe),
        licences=by_licence(record.data),
        corpus=run.results.corpus,
        digest=base.digest,
        saved=str(out),
        commands=next_commands(out),
        code=next_code(base, out),
        amount=amount,
    )


def sentences(run: Trained) -> list[str]:
    """What was trained and how well; the first sentence is the verdict."""
    bits, nats = run.last.bits_per_byte, run.last.masked_nats
    blind_nats = math.log(run.recipe.shape.vocab_size)
    filling = f"a hidden token of it costs {nats:.2f} nats (blind: {blind_nats:.2f})" if nats is not None else ""
    said = []
    if bits is not None:
        said.append(
            f"{run.name} reads held-out text at {bits:.3f} bits per byte; a blind guess at every token would "
            f"cost {run.blind_bits:.1f}."
        )
    elif filling:
        said.append(f"{run.name} fills the gaps of held-out text: {filling}.")
    said.append(
        f"It has {amount(run.parameters)} parameters and read {amount(run.results.units)} tokens in "
        f"{duration(run.seconds)}: {run.passes}."
    )
    if bits is not None and filling:
        said.append(f"With both sides of a gap in view, {filling}.")
    return said


def facts(run: Trained, base: Base) -> list[Fact]:
    """The boxes: size, text, quality, time, arithmetic."""
    bits, nats = run.last.bits_per_byte, run.last.masked_nats
    nats_text = "" if nats is None else f"{nats:.3f}"
    quality = (
        Fact("nats a hidden token", nats_text, "held out")
        if bits is None
        else Fact("bits per byte", f"{bits:.3f}", f"{nats_text} nats a hidden token" if nats_text else "held out")
    )
    reached = "" if run.roof is None else f"{100 * run.flops / run.seconds / run.roof:.0f} % of the roof (MFU)"
    config = base.trunk.config
    return [
        Fact("parameters", amount(run.parameters), f"{config.num_layers} layers of width {config.dim}"),
        Fact("tokens read", amount(run.results.units), run.passes),
        quality,
        Fact("training", duration(run.seconds), f"{run.results.units / run.seconds:,.0f} tokens/s"),
        Fact("FLOPs", power(run.flops), reached or "counted by formula"),
    ]


def power(value: float) -> str:
    """5.2·10¹⁴."""
    figures, exponent = f"{value:.1e}".split("e")
    return f"{figures}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def held_out_pictures(run: Trained) -> list[str]:
    """One picture a reading that the run trains."""
    readings = {
        "bits per byte": [(p.units, p.bits_per_byte) for p in run.results.curve if p.bits_per_byte is not None],
        "nats a hidden token": [(p.units, p.masked_nats) for p in run.results.curve if p.masked_nats is not None],
    }
    drawn = {name: points for name, points in readings.items() if points}
    width = WIDE if len(drawn) == 1 else HALF
    return [training_plots.held_out(points, reading=name, width=width) for name, points in drawn.items()]


def settings_of(recipe: Recipe) -> list[tuple[str, list[tuple[str, str]]]]:
    """(part of the recipe, its keys and values), the keys as they stand in a recipe file."""
    content = msgspec.to_builtins(recipe)
    parts = {name: table for name, table in content.items() if isinstance(table, dict)}
    top = {name: value for name, value in content.items() if name not in parts}
    return [("", flat(top)), *((name, flat(table)) for name, table in parts.items())]


def flat(table: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """The keys of a table, those of tables inside it with their path."""
    rows: list[tuple[str, str]] = []
    for key, value in table.items():
        rows += flat(value, f"{above}{key}.") if isinstance(value, dict) else [(above + key, shown(value))]
    return rows


def shown(value: Any) -> str:
    """A value of a recipe for people: thousands apart, lists without brackets, their inner lists joined by colons."""
    if isinstance(value, list | tuple):
        inner = [":".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for v in value]
        return ", ".join(inner) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000 else str(value)


def by_licence(data: Sequence[DataRef]) -> list[tuple[str, list[DataRef]]]:
    """The files under each licence text, in the order of the lineage."""
    found: dict[str, list[DataRef]] = {}
    for ref in data:
        found.setdefault(ref.licence, []).append(ref)
    return list(found.items())


def next_commands(out: Path) -> str:
    """What to type next, with this base."""
    folder = shlex.quote(str(out))
    return (
        f"headstart adapt reviews.csv --base {folder}\nheadstart plan --hours 3 --from {shlex.quote(str(out.parent))}"
    )


def next_code(base: Base, out: Path) -> str:
    """The same from Python, by what the base can."""
    use = 'generate(["Once upon a time"], max_tokens=20)' if "causal" in base.score_patterns else 'encode(["a text"])'
    return f"import headstart as hs\n\nhs.Base.load({json.dumps(str(out), ensure_ascii=False)}).{use}"
