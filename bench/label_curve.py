"""How many times the labels pre-training saves: a base against its own trunk with random weights, at n/8 to n.

On tables where a bag of words is weak (cola, mrpc, conll2000_chunk). The training file is shuffled once, so its first
n rows are a random sample and the samples are nested. The answer for a base is read at the score scratch reaches with
all labels: where the base's curve, straight in log labels, first reaches it, gives n*; the saving is N / n*. A base
that is above it at the smallest n saves "more than" 8 times; a base that never reaches it saves none.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cells import Cell, run_cell
from bench.places import add_places, places_of
from bench.processes import require_quiet
from bench.scoring import interval, read_lines
from bench.tables import BY_NAME, export

TASKS = ("cola", "mrpc", "conll2000_chunk")
SHARES = (1, 2, 4, 8)
Points = list[tuple[int, float]]


def saving(curve: Points, *, level: float) -> tuple[str, float]:
    """("about" | "more than" | "less than", times) the labels saved by `curve` at the score `level`."""
    everything = curve[-1][0]
    if curve[0][1] >= level:
        return "more than", everything / curve[0][0]
    for (few, low), (many, high) in itertools.pairwise(curve):
        if high >= level:
            share = (level - low) / (high - low)
            return "about", everything / math.exp(math.log(few) + share * math.log(many / few))
    return "less than", 1.0


def cells_at(cell: Cell, *, rows: int, seeds: int) -> list[Cell]:
    """The cell at `rows` labels for every seed."""
    return [replace(cell, train_rows=rows, seed=seed) for seed in range(seeds)]


def points_of(
    cell: Cell, *, sizes: list[int], seeds: int, run: Any, gold: list[Any], metric: str
) -> list[dict[str, Any]]:
    """Mean, interval and seconds at every size."""
    found = []
    for rows in sizes:
        cells = cells_at(cell, rows=rows, seeds=seeds)
        records = [run(one) for one in cells]
        answers = [read_lines(run.predictions(one)) for one in cells]
        low, high = interval(metric, gold, answers)
        value = float(np.mean([record["metrics"][metric] for record in records]))
        point = {"labels": rows, "value": value, "low": low, "high": high}
        print(f"{cell.table} {cell.base} {cell.method} {point}", file=sys.stderr)
        found.append(point)
    return found


class Runner:
    """Runs cells of this measurement, each once, and knows where their predictions lie."""

    def __init__(self, *, tables: Path, results: Path, places: Any) -> None:
        self.tables, self.results, self.places = tables, results, places

    def __call__(self, cell: Cell) -> dict[str, Any]:
        return run_cell(cell, tables=self.tables, places=self.places, results=self.results)

    def predictions(self, cell: Cell) -> Path:
        """File with one predicted value a test row."""
        return self.results / f"{cell.key}.predictions.jsonl"


def curve_lines(task: str, curves: dict[str, list[dict[str, Any]]], *, base: str) -> list[str]:
    """Markdown rows of one task and base: both curves and the saving."""
    level = curves["scratch"][-1]["value"]
    relation, times = saving([(p["labels"], p["value"]) for p in curves["full"]], level=level)
    lines = []
    for method, points in curves.items():
        cells = " | ".join(f"{p['value']:.4f} [{p['low']:.3f}, {p['high']:.3f}]" for p in points)
        said = f"{relation} {times:.1f}x" if method == "full" else ""
        lines.append(f"| {task} | {Path(base).name} | {method} | {cells} | {said} |")
    return lines


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench label-curve", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--bases", default="minilm,text-small")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=float, default=3.0, help="epochs at every size")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rows-cap", type=int, help="the largest n")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Runs the missing points and prints the table."""
    chosen = options()
    places = places_of(chosen)
    tables = places.results / "tables"
    run = Runner(tables=tables, results=places.results / "label_curve", places=places)
    require_quiet(force=chosen.force)
    lines = ["| task | base | method | n/8 | n/4 | n/2 | n | labels saved |", "|" + " --- |" * 8]
    for task in chosen.tasks.split(","):
        folder = export(BY_NAME[task], tasks=places.shared / "tasks", out=tables, rows_cap=chosen.rows_cap)
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        gold = [row[card["label"]] for row in read_lines(folder / "test.jsonl")]
        sizes = [card["rows"]["train"] // share for share in reversed(SHARES)]
        for base in chosen.bases.split(","):
            curves = {}
            for method in ("full", "scratch"):
                cell = Cell("ours", folder.name, base, method, 0, chosen.epochs, chosen.batch, threads=chosen.threads)
                shape = {"sizes": sizes, "seeds": chosen.seeds, "run": run, "gold": gold}
                curves[method] = points_of(cell, metric=card["metrics"][0], **shape)
            lines += curve_lines(task, curves, base=base)
            (places.results / "label_curve.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
