"""Does a base learn from examples in its prompt? 0 to 16 shots on four labelled sets, raw and calibrated.

Every base is asked the same test rows with the same demonstrations: one template a set (those of Zhao et al. 2021,
without their instruction line), balanced shots that nest from one number to the next, and draws by seed. The scores are
read once; the calibrations are biases on them. A prompt that does not fit a base's positions is a gap, not a number.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.icl_picture import picture
from bench.places import add_places, places_of
from bench.processes import machine, require_quiet
from headstart.base.base import Base
from headstart.data.task import Task
from headstart.evaluate.asking import rows_of
from headstart.evaluate.controls import fit_control
from headstart.evaluate.intervals import Evidence, interval
from headstart.evaluate.metrics import correct_of
from headstart.evaluate.prompting import answers, calibrations
from headstart.evaluate.suite.adapting import read_task
from headstart.evaluate.suite.index import find_sets
from headstart.ground.errors import DataError
from headstart.ground.seeds import stream
from headstart.prompt.asking import Prompting, prompted

PRIOR_ROWS = 100  # unlabelled rows from which batch calibration takes its prior
CALIBRATIONS = ("none", "contextual", "batch")
TITLES = {"none": "raw", "contextual": "contextual", "batch": "batch"}


@dataclass(frozen=True)
class Asked:
    """How a set is asked."""

    template: str
    words: dict[str, str]


ASKED = {
    "sst2": Asked("Review: {{ text }}\nSentiment: {{ label }}", {}),
    "subj": Asked("Input: {{ text }}\nType: {{ label }}", {}),
    "trec6": Asked(
        "Question: {{ text }}\nAnswer Type: {{ label }}",
        {
            "ABBR": "Abbreviation",
            "DESC": "Description",
            "ENTY": "Entity",
            "HUM": "Person",
            "LOC": "Location",
            "NUM": "Number",
        },
    ),
    "ag_news": Asked("Article: {{ text }}\nAnswer: {{ label }}", {"Sci/Tech": "Technology"}),
}


@dataclass(frozen=True)
class Point:
    """One base, set, number of shots and calibration. values: the share of right rows by seed; low, high: over rows."""

    value: float
    low: float
    high: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """A base on a set. points: by (shots, calibration); where a prompt does not fit there is none."""

    base: str
    task: str
    points: dict[tuple[int, str], Point]


def small(task: Task, rows: int) -> Task:
    """At most `rows` test rows and PRIOR_ROWS validation rows, drawn with a fixed seed."""

    def drawn(name: str, most: int) -> Any:
        part = getattr(task, name)
        return part.subset(sorted(stream(0, "icl", name).permutation(len(part))[:most].tolist()))

    return replace(task, validation=drawn("validation", PRIOR_ROWS), test=drawn("test", rows))


def run_cell(base: Base, task: Task, *, shots: int, seed: int) -> dict[str, Any]:
    """Which rows were right, by calibration; or why there is no answer."""
    asked = ASKED[task.name]
    prompting = Prompting(shots=shots, templates=(asked.template,), words=asked.words)
    start = time.perf_counter()
    one = prompted(base, task, prompting, seed=seed)[0]
    try:
        scores = one.label_scores([*rows_of(task.validation), *rows_of(task.test)])
    except DataError as problem:
        return {"too_long": str(problem)}
    prior, tested = scores[: len(task.validation)], scores[len(task.validation) :]
    contracts = calibrations(one, task, prior, only=None)[1:]
    said = {c.prompt.calibration: answers(tested, c).predictions for c in contracts if c.prompt is not None}
    right = {name: [int(a == t) for a, t in zip(given, task.test.targets, strict=True)] for name, given in said.items()}
    return {"right": right, "seconds": time.perf_counter() - start}


def kept_cell(base: Base, task: Task, *, shots: int, seed: int, folder: Path) -> dict[str, Any]:
    """The cell, run where it is not kept yet."""
    kept = folder / f"{task.name}-n{len(task.test)}" / f"k{shots}-s{seed}.json"
    if not kept.is_file():
        record = run_cell(base, task, shots=shots, seed=seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(record), encoding="utf-8")
        told = f"{record['seconds']:.1f} s" if "seconds" in record else "does not fit"
        print(f"{base.name}: {task.name}, {shots} shots, seed {seed}: {told}", file=sys.stderr)
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def curve_of(base: Base, task: Task, *, shots: Sequence[int], seeds: int, folder: Path, until: float) -> Curve:
    """A base on a set; no further cell is started after `until`. Without shots nothing is drawn: one seed."""
    points: dict[tuple[int, str], Point] = {}
    for count in shots:
        cells = [
            kept_cell(base, task, shots=count, seed=seed, folder=folder)
            for seed in range(seeds if count else 1)
            if time.monotonic() < until
        ]
        cells = [cell for cell in cells if "right" in cell]
        for name in CALIBRATIONS if cells else ():
            points[count, name] = point_of([cell["right"][name] for cell in cells])
    return Curve(base.name, task.name, points)


def point_of(right: Sequence[Sequence[int]]) -> Point:
    """The mean over seeds with its interval over rows."""
    evidence = Evidence("accuracy", np.stack([correct_of(one, [1] * len(one), ()) for one in right]))
    found = interval(evidence)
    return Point(evidence.value(), found.low, found.high, tuple(evidence.seed_values()))


def majority_of(task: Task) -> float:
    """What always answering with train's most frequent label scores."""
    said = fit_control(task, method="majority").answer(task.test).predictions
    return float(np.mean([a == t for a, t in zip(said, task.test.targets, strict=True)]))


def table(curves: Sequence[Curve], floors: dict[str, float], shots: Sequence[int]) -> list[str]:
    """Markdown: a row a base, set and calibration; in a cell the mean, its interval and the spread of the seeds."""
    lines = [
        f"| set | base | scores | {' | '.join(f'{count} shots' for count in shots)} |",
        f"|{'---|' * (3 + len(shots))}",
    ]
    for task, floor in floors.items():
        lines.append(f"| {task} | majority | | {' | '.join([f'{100 * floor:.1f}'] * len(shots))} |")
        for curve in (one for one in curves if one.task == task):
            for name in CALIBRATIONS:
                cells = [cell_text(curve.points.get((count, name))) for count in shots]
                lines.append(f"| {task} | {curve.base} | {TITLES[name]} | {' | '.join(cells)} |")
    return lines


def cell_text(point: Point | None) -> str:
    if point is None:
        return "-"
    spread = f" ±{100 * np.std(point.values, ddof=1):.1f}" if len(point.values) > 1 else ""
    return f"{100 * point.value:.1f} [{100 * point.low:.1f}, {100 * point.high:.1f}]{spread}"


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench icl", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--bases", nargs="+", default=["text-small"], help="names, folders or .gguf files")
    parser.add_argument("--tasks", default=",".join(ASKED))
    parser.add_argument("--shots", default="0,1,2,4,8,16")
    parser.add_argument("--seeds", type=int, default=5, help="draws of demonstrations")
    parser.add_argument("--limit", type=int, default=500, help="test rows of every set, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further cell after that long")
    parser.add_argument("--force", action="store_true", help="run on a busy machine too (seconds mean nothing then)")
    return parser.parse_args()


def main() -> None:
    """Runs what is missing and prints the table."""
    chosen = options()
    until = time.monotonic() + 60 * chosen.minutes
    places = places_of(chosen)
    require_quiet(force=chosen.force)
    import torch

    torch.set_num_threads(chosen.threads)
    names, shots = tuple(chosen.tasks.split(",")), [int(count) for count in chosen.shots.split(",")]
    sets, _ = find_sets(places.shared / "tasks", suite="all", tasks=names)
    tasks = [small(read_task(found, limit=None), chosen.limit) for found in sets]
    bases = [Base.load(places.base(name)) for name in chosen.bases]
    curves = [
        curve_of(
            base,
            task,
            shots=shots,
            seeds=chosen.seeds,
            folder=places.results / "icl" / f"{base.name.replace('/', '-')}-{base.digest[:8]}",
            until=until,
        )
        for base in bases
        for task in tasks
    ]
    floors = {task.name: majority_of(task) for task in tasks}
    content = {
        "machine": machine() | {"threads": chosen.threads},
        "floors": floors,
        "curves": [
            {
                "base": curve.base,
                "task": curve.task,
                "points": [
                    {"shots": count, "scores": name, **vars(point)} for (count, name), point in curve.points.items()
                ],
            }
            for curve in curves
        ],
    }
    text = "\n".join(table(curves, floors, shots))
    (places.results / "icl.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (places.results / "icl.md").write_text(text + "\n", encoding="utf-8")
    (places.results / "icl.svg").write_text(picture(curves, floors, shots), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
