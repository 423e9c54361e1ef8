"""The quality table: ten public tasks x methods x bases x seeds, ours beside the Hugging Face Trainer.

Cells are run in the order that makes the table useful early (first seed of every task, our full fine-tune and the
peer's before the rest) and each is kept, so the command can be stopped and repeated. `--dry-run` lists what is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.cells import Cell, Record, run_cell
from bench.places import Places, add_places, places_of
from bench.processes import machine, require_quiet
from bench.scoring import difference, interval, read_lines
from bench.tables import BY_NAME, TABLES, export

METHODS = ("full", "probe", "lora", "scratch")


@dataclass(frozen=True)
class Plan:
    """Which cells the table has."""

    tasks: tuple[str, ...]
    bases: tuple[str, ...]
    methods: tuple[str, ...]
    sides: tuple[str, ...]
    seeds: int
    epochs: float
    batch: int
    max_length: int
    rows_cap: int | None
    threads: int
    peer_bf16: bool

    def folder(self, task: str) -> str:
        """Name of the exported table."""
        return task if self.rows_cap is None else f"{task}-{self.rows_cap}"


def cells_of(plan: Plan) -> list[Cell]:
    """Every cell, the most telling first. The peer stands beside our full fine-tune of the first base only."""
    found = []
    shape: dict[str, Any] = {"epochs": plan.epochs, "batch": plan.batch, "max_length": plan.max_length}
    shape["threads"] = plan.threads
    for seed in range(plan.seeds):
        for method in plan.methods:
            for base in plan.bases:
                for task in plan.tasks:
                    common = {"table": plan.folder(task), "base": base, "method": method, "seed": seed, **shape}
                    if "ours" in plan.sides:
                        found.append(Cell("ours", **common))
                    if "hf" in plan.sides and method == "full" and base == plan.bases[0]:
                        found.append(Cell("hf", **common, bf16=plan.peer_bf16))
    return found


def stored_runs(cells: list[Cell], *, results: Path) -> tuple[list[Record], list[list[Any]]]:
    """Records and predictions of the cells that have been run."""
    done = [cell for cell in cells if (results / f"{cell.key}.json").is_file()]
    records = [json.loads((results / f"{cell.key}.json").read_text(encoding="utf-8")) for cell in done]
    return records, [read_lines(results / f"{cell.key}.predictions.jsonl") for cell in done]


def row_of(cells: list[Cell], *, metric: str, gold: list[Any], results: Path) -> dict[str, Any] | None:
    """Mean over seeds, spread between seeds, 95 % interval over items, median seconds; None before the first run."""
    records, runs = stored_runs(cells, results=results)
    if not records:
        return None
    values = [record["metrics"][metric] for record in records]
    low, high = interval(metric, gold, runs)
    return {
        "mean": float(np.mean(values)),
        "seed_sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "low": low,
        "high": high,
        "seeds": len(values),
        "train_seconds": float(np.median([record["train_seconds"] for record in records])),
        "runs": runs,
        "records": records,
    }


def task_lines(plan: Plan, task: str, *, tables: Path, results: Path) -> list[str]:
    """Markdown rows of one task: every side, base and method, then the paired difference from the peer."""
    folder = tables / plan.folder(task)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    metric, gold = card["metrics"][0], [row[card["label"]] for row in read_lines(folder / "test.jsonl")]
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells_of(plan):
        if cell.table == plan.folder(task):
            groups.setdefault((cell.side, cell.base, cell.method), []).append(cell)
    found = {name: row_of(cells, metric=metric, gold=gold, results=results) for name, cells in groups.items()}
    peer = found.get(("hf", plan.bases[0], "full"))
    lines = []
    for (side, base, method), row in found.items():
        if row is None:
            continue
        spread = "" if row["seed_sd"] is None else f" ± {row['seed_sd']:.3f}"
        against = ""
        if peer and side == "ours" and method == "full" and base == plan.bases[0]:
            gap = difference(metric, gold, row["runs"], peer["runs"])
            verdict = "not lower" if gap["not_lower"] else "LOWER"
            against = f"{gap['difference']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}] {verdict}"
        lines.append(
            f"| {task} | {metric} | {side} | {Path(base).name} | {method} | {row['mean']:.4f}{spread} "
            f"| [{row['low']:.4f}, {row['high']:.4f}] | {row['seeds']} | {row['train_seconds']:.1f} | {against} |"
        )
    return [*lines, *control_lines(task, metric, rows=[row for row in found.values() if row])]


def control_lines(task: str, metric: str, *, rows: list[dict[str, Any]]) -> list[str]:
    """Markdown rows of the controls our own report carried beside the first run."""
    controls: list[Record] = next(
        (record["controls"] for row in rows for record in row["records"] if "controls" in record), []
    )
    lines = []
    for control in controls:
        value = control.get("metrics", {}).get(metric, control["value"] if control["metric"] == metric else None)
        shown = "" if value is None else f"{value:.4f}"
        lines.append(
            f"| {task} | {metric} | ours | - | {control['method']} | {shown} |  | 1 | {control['seconds']:.1f} |  |"
        )
    return lines


def table(plan: Plan, *, tables: Path, results: Path) -> str:
    """The Markdown table of what has been run so far."""
    head = "| task | metric | side | base | method | mean ± sd of seeds | 95 % | seeds | train s | ours - hf |"
    lines = [head, "|" + " --- |" * 10]
    for task in plan.tasks:
        lines += task_lines(plan, task, tables=tables, results=results)
    return "\n".join(lines) + "\n"


def run(plan: Plan, *, places: Places, minutes: float | None) -> None:
    """Runs the missing cells until done or until `minutes` are over; a failing cell is reported and passed by."""
    results, tables = places.results / "quality", places.results / "tables"
    end = time.monotonic() + 60 * minutes if minutes else float("inf")
    for cell in cells_of(plan):
        if time.monotonic() > end:
            break
        try:
            record = run_cell(cell, tables=tables, places=places, results=results)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            print(f"failed  {cell.key}  {error}", file=sys.stderr)
            continue
        figures = " ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
        print(f"{cell.key}  {figures}  train {record['train_seconds']:.1f} s", file=sys.stderr)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench quality", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--tasks", default=",".join(BY_NAME), help="names, with commas")
    parser.add_argument("--bases", default="minilm,text-small", help="names or folders; the peer runs beside the first")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--sides", default="ours,hf")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--rows-cap", type=int, help="training rows of every task at most")
    parser.add_argument("--threads", type=int, default=2, help="of every cell; two runs on a core each get more done")
    parser.add_argument("--peer-bf16", action="store_true", help="the Trainer in bf16, as ours is on this CPU")
    parser.add_argument("--minutes", type=float, help="start no further cell after this long")
    parser.add_argument(
        "--force", action="store_true", help="measure on a busy machine too (seconds mean nothing then)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the missing cells and print the table so far")
    return parser.parse_args()


def main() -> None:
    """Runs the plan and prints the table."""
    chosen = options()
    places = places_of(chosen)
    plan = Plan(
        tasks=tuple(chosen.tasks.split(",")),
        bases=tuple(chosen.bases.split(",")),
        methods=tuple(chosen.methods.split(",")),
        sides=tuple(chosen.sides.split(",")),
        seeds=chosen.seeds,
        epochs=chosen.epochs,
        batch=chosen.batch,
        max_length=chosen.max_length,
        rows_cap=chosen.rows_cap,
        threads=chosen.threads,
        peer_bf16=chosen.peer_bf16,
    )
    unknown = [name for name in plan.tasks if name not in BY_NAME]
    if unknown:
        raise SystemExit(f"task is {unknown[0]!r}; expected one of {', '.join(table.name for table in TABLES)}.")
    for name in plan.tasks:
        export(BY_NAME[name], tasks=places.shared / "tasks", out=places.results / "tables", rows_cap=plan.rows_cap)
    if chosen.dry_run:
        missing = [
            cell.key for cell in cells_of(plan) if not (places.results / "quality" / f"{cell.key}.json").is_file()
        ]
        print(f"{len(missing)} cells missing\n" + "\n".join(missing), file=sys.stderr)
    else:
        require_quiet(force=chosen.force)
        run(plan, places=places, minutes=chosen.minutes)
    text = table(plan, tables=places.results / "tables", results=places.results / "quality")
    (places.results / "quality.md").write_text(text + f"\n{json.dumps(machine())}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
