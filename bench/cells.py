"""One cell of a comparison: side x task x base x method x seed, run in its own process and kept as one JSON file.

A cell that lies in the results folder is not run again, so a table can be stopped, continued and made denser. Our side
goes through the command line a user types (`headstart adapt ... --json`, then `headstart predict`), the peer through
bench/hf_trainer.py; both leave their test predictions, which one rule scores.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.places import ROOT, Places
from bench.processes import Finished, measured
from bench.scoring import read_lines, score

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """What is run. `train_rows` None = the whole training file; `epochs` None = our own default (ours only)."""

    side: str  # ours | hf
    table: str  # folder name under the tables folder
    base: str
    method: str  # probe | lora | full | scratch
    seed: int
    epochs: float | None = 3.0
    batch: int | None = 16
    max_length: int = 256
    train_rows: int | None = None
    bf16: bool = False
    group_by_length: bool = False
    threads: int = 2

    @property
    def key(self) -> str:
        """File name of the cell: readable, and different for different settings."""
        parts = [
            self.side,
            self.table,
            Path(self.base).name,
            self.method,
            f"e{self.epochs:g}" if self.epochs else "auto",
        ]
        parts += [f"b{self.batch}"] if self.batch else []
        parts += [f"n{self.train_rows}"] if self.train_rows else []
        parts += [name for name, on in (("bf16", self.bf16), ("grouped", self.group_by_length)) if on]
        return "-".join([*parts, f"s{self.seed}"])


def flags(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """["--name", "value", ...] of the pairs whose value is neither None nor False; True gives the bare flag."""
    found: list[str] = []
    for name, value in pairs:
        if value is None or value is False:
            continue
        found += [name] if value is True else [name, f"{value:g}" if isinstance(value, float) else str(value)]
    return found


def adapt_command(cell: Cell, *, folder: Path, train: Path, out: Path, places: Places) -> list[str]:
    """What a user types to adapt `cell.base` to the table in `folder`."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    chosen = flags(
        [
            ("--test", folder / "test.jsonl"),
            ("--validation", folder / "validation.jsonl"),
            ("--text", card["text"]),
            ("--label", card["label"]),
            ("--metric", card["metrics"][0]),
            ("--base", places.base(cell.base)),
            ("--method", cell.method),
            ("--seed", cell.seed),
            ("--epochs", None if cell.epochs is None else int(cell.epochs)),
            ("--batch", cell.batch),
            ("--max-length", cell.max_length),
            ("--out", out),
            ("--no-scratch", cell.method != "scratch"),
            ("--json", True),
        ]
    )
    return [places.ours_python, "-m", "headstart", "adapt", str(train), *chosen]


def peer_command(cell: Cell, *, folder: Path, predictions: Path, places: Places) -> list[str]:
    """The same cell for bench/hf_trainer.py."""
    chosen = flags(
        [
            ("--model", places.base(cell.base)),
            ("--task", folder),
            ("--epochs", cell.epochs),
            ("--batch", cell.batch),
            ("--max-length", cell.max_length),
            ("--train-rows", cell.train_rows),
            ("--seed", cell.seed),
            ("--bf16", cell.bf16),
            ("--group-by-length", cell.group_by_length),
            ("--scratch", cell.method == "scratch"),
            ("--lora", cell.method == "lora"),
            ("--threads", cell.threads),
            ("--predictions", predictions),
        ]
    )
    return [places.peer_python, "-m", "bench.hf_trainer", *chosen]


def cost(run: Finished) -> Record:
    """The process figures kept with every result."""
    return {
        "wall_seconds": run.wall,
        "cpu_seconds": run.cpu,
        "peak_mb": run.peak_mb,
        "other_cores": run.other_cores,
    }


def first_rows(path: Path, rows: int | None, *, out: Path) -> Path:
    """`path`, or a copy of its first `rows` rows in `out`."""
    if rows is None:
        return path
    with path.open(encoding="utf-8") as lines:
        kept = [line for _, line in zip(range(rows), lines, strict=False)]
    target = out / path.name
    target.write_text("".join(kept), encoding="utf-8")
    return target


def run_ours(cell: Cell, *, folder: Path, predictions: Path, places: Places) -> Record:
    """Adapts and predicts through the command line; returns seconds, our own report and the process figures."""
    with tempfile.TemporaryDirectory() as scratch:
        train = first_rows(folder / "train.jsonl", cell.train_rows, out=Path(scratch))
        out = Path(scratch) / "adapted"
        command = adapt_command(cell, folder=folder, train=train, out=out, places=places)
        run = measured(command, threads=cell.threads)
        report = run.last_json()
        ask = [places.ours_python, "-m", "headstart", "predict", str(out), str(folder / "test.jsonl")]
        answered = measured(ask, threads=cell.threads)
    write_predictions(answered.stdout, path=predictions)
    candidate = next(row for row in report["candidates"] if row["method"] == cell.method)
    return {
        "train_seconds": candidate["seconds"],
        "fit_seconds": candidate["seconds"],
        "ms_per_row": candidate["ms_per_row"],
        "params_trained": candidate["params_trained"],
        "rows": report["rows"],
        "reported": {"metric": candidate["metric"], "value": candidate["value"], "ci95": candidate["ci95"]},
        "controls": [row for row in report["candidates"] if row["method"] in ("tfidf", "majority")],
        "command": command,
        "predict_wall_seconds": answered.wall,
        **cost(run),
    }


def write_predictions(stdout: str, *, path: Path) -> None:
    """The column `prediction` of our `predict` output (JSONL, like the table it was given), one JSON value a row."""
    values = [json.loads(line)["prediction"] for line in stdout.splitlines() if line.strip()]
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def run_peer(cell: Cell, *, folder: Path, predictions: Path, places: Places) -> Record:
    """Runs the Trainer; returns its own line and the process figures."""
    command = peer_command(cell, folder=folder, predictions=predictions, places=places)
    run = measured(command, cwd=ROOT)
    line = run.last_json()
    kept = ("train_seconds", "fit_seconds", "ms_per_row", "params_trained", "train_rows", "settings", "versions")
    return {**{name: line[name] for name in kept}, "command": command, **cost(run)}


def run_cell(cell: Cell, *, tables: Path, places: Places, results: Path) -> Record:
    """The stored record of `cell`, running it first when there is none. `record["metrics"]` is scored by one rule."""
    record_path, predictions = results / f"{cell.key}.json", results / f"{cell.key}.predictions.jsonl"
    if record_path.is_file():
        stored: Record = json.loads(record_path.read_text(encoding="utf-8"))
        return stored
    folder = tables / cell.table
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "predictions.jsonl"
        runner = run_ours if cell.side == "ours" else run_peer
        record = runner(cell, folder=folder, predictions=fresh, places=places)
        gold = [row[card["label"]] for row in read_lines(folder / "test.jsonl")]
        said = read_lines(fresh)
        record |= {"cell": asdict(cell), "metrics": {name: score(name, gold, said) for name in card["metrics"]}}
        results.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fresh, predictions)
    record_path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def with_seeds(cell: Cell, count: int) -> list[Cell]:
    """The cell for seeds 0 .. count - 1."""
    return [replace(cell, seed=seed) for seed in range(count)]
