"""How many labels pre-training saves on pictures, sounds and series: our base beside scratch and specialists.

Sides on equal rows of the public sets: probe and full fine-tuning of our base, the same network from scratch, the
nearest neighbour; for series ROCKET (10,000 random convolutions and ridge), for pictures a small CNN from scratch. At
10, 100 and all labels a class, three seeds (they draw the rows too), scored on at most so many test rows. Few labels
have few validation rows, a tenth as many and at least one a class; ROCKET and the CNN choose nothing on them. One file
a cell, run again where its base, epochs or test rows were others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.modalities_picture import picture
from bench.places import add_places, places_of
from bench.rocket import rocket_answers
from bench.scoring import interval
from bench.small_cnn import cnn_answers
from headstart.base.base import Base
from headstart.data import pictures, series
from headstart.data.raw import Modality
from headstart.data.task import Examples, Task
from headstart.evaluate.controls import fit_control
from headstart.evaluate.trial import try_method
from headstart.ground.seeds import stream
from headstart.train.methods import FitSettings

COLUMNS: dict[Modality, str] = {"image": "image", "audio": "pcm_s16le", "series": "series"}
SETS: dict[Modality, tuple[str, ...]] = {
    "image": ("fashion_mnist", "mnist", "cifar10", "sign_digits"),
    "audio": ("fsdd",),
    "series": tuple(
        f"ts_{name}"
        for name in (
            "italy_power",
            "gunpoint",
            "arrowhead",
            "ecg200",
            "synthetic_control",
            "basic_motions",
            "japanese_vowels",
        )
    ),
}
SPECIALIST: dict[Modality, str | None] = {"image": "cnn", "audio": None, "series": "rocket"}
PER_CLASS = (10, 100, None)
WITHOUT_BASE = ("nearest", "rocket", "cnn")
TITLES = {
    "probe": "ours, probe", "full": "ours, full", "scratch": "same network from scratch",
    "nearest": "nearest neighbour", "cnn": "small CNN from scratch", "rocket": "ROCKET + ridge",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One run. per_class: labels of every class, None for all."""

    name: str
    modality: Modality
    side: str
    per_class: int | None
    seed: int

    @property
    def file(self) -> str:
        return f"{self.name}-{self.side}-{self.per_class or 'all'}-{self.seed}.json"


def read_set(folder: Path, name: str, modality: Modality, *, test_rows: int) -> Task:
    """The set as a Task; validation is a tenth of train, test the first rows of a seeded order."""
    parts = (folder / name / f"{part}.parquet" for part in ("train", "test"))
    train, test = (str(part) for part in parts)
    flags: dict[str, Any] = {modality: COLUMNS[modality]}
    task = Task.read(train, test=test, label="label", **flags)
    order = stream(0, "test rows").permutation(len(task.test))[:test_rows]
    return replace(task, test=task.test.subset(sorted(order.tolist())))


def part_of(task: Task, per_class: int | None, *, seed: int) -> Task:
    """The task with so many labels of every class; validation is a tenth of them, at least one of every class."""
    few = None if per_class is None else max(1, per_class // 10)
    train, validation = few_labels(task.train, per_class, seed=seed), few_labels(task.validation, few, seed=seed)
    return replace(task, train=train, validation=validation)


def few_labels(train: Examples, per_class: int | None, *, seed: int) -> Examples:
    """At most so many rows of every class, drawn by the seed."""
    if per_class is None:
        return train
    order = stream(seed, "labels").permutation(len(train))
    targets = np.asarray(train.targets)[order]
    ranks = np.zeros(len(order), dtype=np.int64)
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        ranks[members] = np.arange(len(members))
    return train.subset(sorted(order[ranks < per_class].tolist()))


def answers_of(cell: Cell, part: Task, base: Base, *, epochs: int | None) -> Sequence[int]:
    """Answers for the test rows."""
    if cell.side in SPECIALISTS:
        return [int(a) for a in SPECIALISTS[cell.side](part, cell.seed)]
    if cell.side == "nearest":
        return list(fit_control(part, method="nearest").answer(part.test).predictions)
    settings = FitSettings(epochs=epochs)
    trial = try_method(base, part, method=cell.side, seed=cell.seed, settings=settings, metric="accuracy")
    return list(trial.test.predictions)


def by_rocket(task: Task, seed: int) -> npt.NDArray[np.int64]:
    """Series brought to the longest length, every channel scaled by its train mean and deviation."""
    steps = max(raw.shape[1] for raw in task.train.raws)
    train, test = (
        np.stack([series.stretch(raw.read(), steps) for raw in part.raws]) for part in (task.train, task.test)
    )
    mean, std = train.mean(axis=(0, 2), keepdims=True), train.std(axis=(0, 2), keepdims=True) + 1e-9
    scaled = [((part - mean) / std).astype(np.float32) for part in (train, test)]
    return rocket_answers(scaled[0], np.asarray(task.train.targets, dtype=np.int64), scaled[1], seed=seed)


def by_cnn(task: Task, seed: int) -> npt.NDArray[np.int64]:
    """Pictures at 32 x 32 at most, 600 to 2,000 steps of 64."""
    side = min(32, max(raw.shape[0] for raw in task.train.raws))
    channels = max(raw.shape[2] for raw in task.train.raws)

    def planes(rows: Examples) -> npt.NDArray[np.float32]:
        read = (pictures.as_channels(raw.read(), channels) for raw in rows.raws)
        made = np.stack([pictures.resize(pixels, (side, side), "bilinear") for pixels in read])
        return (made.transpose(0, 3, 1, 2).astype(np.float32) / 255 - 0.5) / 0.25

    steps = int(np.clip(len(task.train) * 10 / 64, 600, 2_000))
    labels = np.asarray(task.train.targets, dtype=np.int64)
    return cnn_answers(planes(task.train), labels, planes(task.test), classes=len(task.labels), steps=steps, seed=seed)


SPECIALISTS: dict[str, Callable[[Task, int], npt.NDArray[np.int64]]] = {"rocket": by_rocket, "cnn": by_cnn}


def run_cell(cell: Cell, task: Task, base: Base, out: Path, *, epochs: int | None) -> dict[str, Any]:
    """The cell's record, from its file where it was run before under the same conditions."""
    file, part = out / cell.file, part_of(task, cell.per_class, seed=cell.seed)
    free = cell.side in WITHOUT_BASE
    conditions = {
        "base": None if free else base.identity,
        "epochs": None if free else epochs,
        "validation": 0 if cell.side in SPECIALISTS else len(part.validation),
        "test": len(part.test),
    }
    if file.is_file():
        kept: dict[str, Any] = json.loads(file.read_text())
        if kept.get("conditions") == conditions:
            return kept
    begun = time.perf_counter()
    answers = answers_of(cell, part, base, epochs=epochs)
    record = {
        "set": cell.name,
        "side": cell.side,
        "per_class": cell.per_class,
        "seed": cell.seed,
        "rows": len(part.train),
        "conditions": conditions,
        "accuracy": float(np.mean(np.asarray(answers) == np.asarray(task.test.targets))),
        "seconds": time.perf_counter() - begun,
        "answers": list(map(int, answers)),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))
    return record


def sides_of(modality: Modality) -> list[str]:
    """Sides in the order of their cost."""
    own = SPECIALIST[modality]
    return ["nearest", "probe", *([own] if own else []), "full", "scratch"]


def table(records: Sequence[dict[str, Any]], gold: dict[str, Sequence[Any]]) -> str:
    """Markdown: a row a set and size, a column a side, mean over seeds with its interval; the best in bold.

    Validation rows are those on which the sides that choose anything do so.
    """
    sides = [side for side in TITLES if any(r["side"] == side for r in records)]
    lines = ["| set | labels a class | validation rows | " + " | ".join(TITLES[s] for s in sides) + " |"]
    lines.append("| --- | --- | --- |" + " --- |" * len(sides))
    keys = list(dict.fromkeys((r["set"], r["per_class"]) for r in records))
    for name, size in keys:
        cells, values = [], []
        for side in sides:
            mine = [r for r in records if (r["set"], r["per_class"], r["side"]) == (name, size, side)]
            if not mine:
                cells.append("")
                values.append(-1.0)
                continue
            low, high = interval("accuracy", list(gold[name]), [r["answers"] for r in mine])
            values.append(float(np.mean([r["accuracy"] for r in mine])))
            cells.append(f"{values[-1]:.3f} [{low:.3f}, {high:.3f}]")
        best = int(np.argmax(values))
        cells[best] = f"**{cells[best]}**"
        chosen_on = max(r["conditions"]["validation"] for r in records if (r["set"], r["per_class"]) == (name, size))
        lines.append(f"| {name} | {size or 'all'} | {chosen_on} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def lines_of(records: Sequence[dict[str, Any]], name: str) -> dict[str, list[tuple[float, float]]]:
    """Title of a side -> (labelled rows, mean accuracy), of one set."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for side, title in TITLES.items():
        mine = [r for r in records if r["set"] == name and r["side"] == side]
        sizes = sorted({r["rows"] for r in mine})
        if sizes:
            lines[title] = [(n, float(np.mean([r["accuracy"] for r in mine if r["rows"] == n]))) for n in sizes]
    return lines


def main() -> None:
    """Runs the cells that are missing, cheap sides first, and writes the table and a picture a set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--modality", choices=list(SETS), action="append")
    parser.add_argument("--sets", default="", help="names with commas instead of all of a modality")
    parser.add_argument("--sides", default="", help="names with commas: " + ", ".join(TITLES))
    parser.add_argument("--base", default="", help="folder of the base; the embedded one of the modality without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", default="10,100,all")
    parser.add_argument("--test-rows", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=None)
    asked = parser.parse_args()
    places = places_of(asked)
    out = places.results / "modalities"
    sizes = [None if word == "all" else int(word) for word in asked.sizes.split(",")]
    records: list[dict[str, Any]] = []
    gold: dict[str, Sequence[Any]] = {}
    for modality in asked.modality or list(SETS):
        base = Base.load(asked.base or f"{modality}-tiny")
        for name in [n for n in SETS[modality] if not asked.sets or n in asked.sets.split(",")]:
            task = read_set(places.shared / "tasks", name, modality, test_rows=asked.test_rows)
            gold[name] = task.test.targets
            largest = max(np.bincount(np.asarray(task.train.targets)))
            for size in [s for s in sizes if s is None or s < largest]:
                for side in [s for s in sides_of(modality) if not asked.sides or s in asked.sides.split(",")]:
                    repeats = 1 if side == "nearest" and size is None else asked.seeds
                    for seed in range(repeats):
                        cell = Cell(name, modality, side, size, seed)
                        records.append(run_cell(cell, task, base, out, epochs=asked.epochs))
                        print(f"{cell.file} {records[-1]['accuracy']:.3f} {records[-1]['seconds']:.1f}s", flush=True)
    text = table(records, gold)
    (out.parent / "modalities.md").write_text(text)
    print(text)
    for name in gold:
        (out / f"{name}.svg").write_text(picture(name, lines_of(records, name)))


if __name__ == "__main__":
    main()
