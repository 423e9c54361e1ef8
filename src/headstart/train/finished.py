"""Finished pre-training runs as points of a loss law, read from the lineage in their folders' headstart.json.

Only a run's last loss counts: earlier points of its curve stand at a learning rate that had not come down yet, and a
run that was stopped never got there. Runs of another objective or another held-out text are no points of one law.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.shipped import EMBEDDED
from headstart.ground.errors import DataError
from headstart.train.recipe import Recipe
from headstart.train.scaling import Point
from headstart.train.sizing import recipe_for


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run: its recipe, and what it reached."""

    recipe: Recipe
    point: Point
    bytes_per_unit: float
    seconds: float

    @property
    def kind(self) -> tuple[str, str, str]:
        """What must agree between the points of one law: family, objective and held-out text."""
        return self.recipe.family, msgspec.json.encode(self.recipe.mixture).decode(), self.recipe.corpus.validation


@dataclass(frozen=True, slots=True)
class Found:
    """The runs of a folder that belong to one law, and why others were left out."""

    runs: tuple[Run, ...]
    left_out: tuple[str, ...]

    @property
    def points(self) -> list[Point]:
        """What the law is fitted to."""
        return [run.point for run in self.runs]


class _Record(msgspec.Struct):
    verb: str
    config: dict[str, Any]
    results: dict[str, Any]
    seconds: float | None = None
    flops: float | None = None


class _Card(msgspec.Struct):
    name: str
    lineage: tuple[_Record, ...]


class _Measured(msgspec.Struct):
    size: str
    tokens_per_parameter: float
    bytes_per_unit: float
    flops: float
    bits_per_byte: float
    seconds: float


def measured_runs() -> Found:
    """Runs of our own: those of the dial (docs/notebook/2026-11-27-ladder.md) and the embedded bases for text."""
    stored = resources.files("headstart.train").joinpath("measured_runs.json").read_bytes()
    ladder = [_of_the_dial(run) for run in msgspec.json.decode(stored, type=list[_Measured])]
    embedded = read_runs(EMBEDDED).runs if EMBEDDED.is_dir() else ()
    return Found((*ladder, *embedded), ())


def _of_the_dial(run: _Measured) -> Run:
    sized = recipe_for(run.size, tokens_per_parameter=run.tokens_per_parameter)
    text_bytes = sized.recipe.optimisation.tokens * run.bytes_per_unit
    point = Point(run.size, sized.parameters, text_bytes, run.flops, run.bits_per_byte)
    return Run(sized.recipe, point, run.bytes_per_unit, run.seconds)


def read_runs(folder: Path) -> Found:
    """The finished runs in `folder` and in the folders right below it.

    Raises:
        DataError: no such folder, or a headstart.json that cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one with base folders of earlier runs in it. Check --from.")
    runs, left_out = [], []
    for card in sorted([*folder.glob("headstart.json"), *folder.glob("*/headstart.json")]):
        found = read_run(card)
        if isinstance(found, Run):
            runs.append(found)
        else:
            left_out.append(f"{card.parent.name}: {found}")
    kept = of_one_kind(runs)
    left_out += [f"{run.point.name}: another family, objective or held-out text" for run in runs if run not in kept]
    return Found(tuple(kept), tuple(left_out))


def read_run(card: Path) -> Run | str:
    """The run behind a headstart.json, or why it is none."""
    try:
        content = msgspec.json.decode(card.read_bytes(), type=_Card)
    except msgspec.DecodeError as problem:
        raise DataError(f"{card} cannot be read ({problem}); expected a base's card. Remove the folder.") from problem
    record = next((r for r in content.lineage if r.verb == "pretrain"), None)
    if record is None or [r.verb for r in content.lineage if r.verb != "sketch"] != ["pretrain"]:
        return "not a base fresh from pre-training"
    if record.results.get("stopped") != "done":
        return "its run did not end by itself"
    try:
        recipe = msgspec.convert(record.config, Recipe)
    except msgspec.ValidationError as problem:
        return f"its recipe has another form ({problem})"
    last, corpus = record.results["curve"][-1], record.results["corpus"]
    bytes_per_unit = corpus["bytes"] / corpus["units"]
    point = Point(
        name=card.parent.name,
        parameters=recipe.trunk_config().num_parameters,
        text_bytes=record.results["units"] * bytes_per_unit,
        flops=record.flops or 0.0,
        bits_per_byte=last["bits_per_byte"],
    )
    return Run(recipe, point, bytes_per_unit, record.seconds or 0.0)


def of_one_kind(runs: Iterable[Run]) -> list[Run]:
    """The runs of the most frequent kind."""
    kept = list(runs)
    if not kept:
        return []
    kind = Counter(run.kind for run in kept).most_common(1)[0][0]
    return [run for run in kept if run.kind == kind]
