"""A finished pre-training run as the report tells it: what its lineage says, and its training loss step by step.

Enter: a Base fresh from pre-training; the metrics.jsonl of its run. Leave: plain values, thinned for a picture.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headstart.base.base import Base
from headstart.base.lineage import Record
from headstart.evaluate.training_plots import Mark, Stretch
from headstart.ground.errors import BaseError
from headstart.train.held_out import CurvePoint
from headstart.train.recipe import Recipe

MOST_STRETCHES = 160  # of the training loss: more is a smear at the width of a page


class CorpusFacts(msgspec.Struct, frozen=True):
    """Of the training text."""

    units: int
    documents: int
    bytes: int


class Results(msgspec.Struct, frozen=True):
    """What a pretrain record holds as evidence."""

    curve: tuple[CurvePoint, ...]
    units: int
    steps: int
    corpus: CorpusFacts


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run. seconds: wall clock of all its parts. roof: FLOP/s of the machine, None where nobody measured."""

    name: str
    parameters: int
    recipe: Recipe
    results: Results
    seconds: float
    flops: float
    roof: float | None

    @property
    def last(self) -> CurvePoint:
        """Where the held-out curve ends."""
        return self.results.curve[-1]

    @property
    def blind_bits(self) -> float:
        """Bits per byte of a guess that finds every token alike."""
        corpus = self.results.corpus
        return math.log2(self.recipe.shape.vocab_size) * corpus.units / corpus.bytes

    @property
    def passes(self) -> str:
        """How much of its corpus it read."""
        share = self.results.units / self.results.corpus.units
        return f"{100 * share:.0f}\u00a0% of its corpus" if share < 0.995 else f"its corpus {share:.1f} times"


@dataclass(frozen=True, slots=True)
class Losses:
    """Training loss by tokens read, a value a step. torn: lines of the file that a kill cut off."""

    units: NDArray[np.float64]
    values: NDArray[np.float64]
    torn: int


def run_of(base: Base, *, roof: float | None) -> tuple[Record, Trained]:
    """The pretrain record that ends the lineage, and what it says; BaseError where there is none."""
    record = base.lineage[-1] if base.lineage else None
    if record is None or record.verb != "pretrain" or not record.seconds or not record.flops:
        found = "empty" if record is None else f"ended by {record.verb}"
        raise BaseError(
            f"the lineage of {base.name} is {found}; expected a finished pre-training at its end. "
            "Give a base as `pretrain` returned it."
        )
    try:
        recipe, results = msgspec.convert(record.config, Recipe), msgspec.convert(record.results, Results)
    except msgspec.ValidationError as problem:
        raise BaseError(
            f"the pre-training in the lineage of {base.name} has another form ({problem}); expected this version's. "
            "Read it with the version that wrote it."
        ) from problem
    parameters = base.trunk.config.num_parameters
    return record, Trained(base.name, parameters, recipe, results, record.seconds, record.flops, roof)


def read_losses(metrics: Path) -> Losses:
    """The loss of every step. A step that ran twice, because the run went back, counts as it went at last."""
    found: dict[int, tuple[float, float]] = {}
    torn = 0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:  # the run was killed while it wrote; the steps after that line are whole
            torn += 1
            continue
        if "loss" in record and math.isfinite(record["loss"]):
            found[record["step"]] = record["units"], record["loss"]
    pairs = np.array([found[step] for step in sorted(found)], dtype=np.float64).reshape(-1, 2)
    return Losses(pairs[:, 0], pairs[:, 1], torn)


def thinned(losses: Losses) -> list[Stretch]:
    """At most MOST_STRETCHES points, each of as many steps."""
    if not len(losses.values):
        return []
    parts = np.array_split(np.arange(len(losses.values)), min(MOST_STRETCHES, len(losses.values)))
    return [
        Stretch(
            float(losses.units[part[-1]]),
            float(losses.values[part].mean()),
            *(float(v) for v in np.quantile(losses.values[part], (0.1, 0.9))),
        )
        for part in parts
    ]


def marks_of(recipe: Recipe) -> list[Mark]:
    """Where the learning rate begins to fall and where rows get longer."""
    settings = recipe.optimisation
    tokens, lengths = settings.tokens, settings.lengths
    marks = [Mark(until * tokens, f"rows of {width} tokens") for (until, _), (_, width) in pairwise(lengths)]
    if settings.schedule == "trapezoid" and 0.0 < settings.cooldown < 1.0:
        marks.append(Mark((1.0 - settings.cooldown) * tokens, "learning rate falls from here"))
    return marks
