"""Full fine-tune of MiniLM on sst2 (8,000 rows): ours against the Hugging Face Trainer, same run, same epochs.

Sides: `ours`; `hf-default` = the Trainer as it comes (fp32, batch 8); `hf-same` = fp32 at our batch; `hf-best` = its
best flags on this machine at our batch (bf16, group_by_length); `hf-best-8` = those flags at its own batch of 8, where
it takes four times as many steps and learns. Compared: seconds from rows in memory to a fine-tuned model with its
validation figure (tokenising, training, one validation pass) by each side's own clock; beside them train() alone (ours
has no such clock: its whole fit stands there), process wall and CPU seconds, and the test accuracy of every run,
because speed at lower quality is none.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from bench.cells import Cell, Record, run_cell
from bench.places import Places, add_places, places_of
from bench.rounds import Side, interleaved, medians, quiet_note, spread
from bench.tables import BY_NAME, export

FIGURES = ("fit_seconds", "train_seconds", "wall_seconds", "cpu_seconds", "accuracy", "peak_mb")
PEERS = ("hf-default", "hf-same", "hf-best", "hf-best-8")
DEFAULT_BATCH = 8  # TrainingArguments.per_device_train_batch_size


def cell_of(side: str, *, chosen: argparse.Namespace, turn: int) -> Cell:
    """The cell of one side in one round; the round's number is the seed."""
    batch = DEFAULT_BATCH if side in ("hf-default", "hf-best-8") else chosen.batch
    best = side.startswith("hf-best")
    return Cell(
        side="ours" if side == "ours" else "hf",
        table=chosen.table,
        base=chosen.base,
        method="full",
        seed=turn,
        epochs=chosen.epochs,
        batch=batch,
        max_length=128,
        bf16=best,
        group_by_length=best,
        threads=chosen.threads,
    )


def side_runner(side: str, *, chosen: argparse.Namespace, tables: Path, places: Places) -> Side:
    """A function of the round number that always runs (an old cell would not be of this run)."""

    def once(turn: int) -> Record:
        folder = places.results / "speed_finetune" / side
        shutil.rmtree(folder, ignore_errors=True)
        cell = cell_of(side, chosen=chosen, turn=turn)
        record = run_cell(cell, tables=tables, places=places, results=folder)
        return {**record, "accuracy": record["metrics"]["accuracy"]}

    return once


def summary(found: dict[str, list[Record]]) -> str:
    """Markdown: medians of every side and the peer's time over ours."""
    middle = {name: medians(runs, FIGURES) for name, runs in found.items()}
    ours = middle.get("ours")
    lines = [
        "| side | fit s (range) | train() s | process s | CPU s | accuracy "
        "| fit / ours | train() / our fit | process / ours | CPU / ours |"
    ]
    lines.append("|" + " --- |" * 10)
    for name, row in middle.items():
        figures = ("fit_seconds", "train_seconds", "wall_seconds", "cpu_seconds")
        fitted = f"{row['fit_seconds']:.1f} ({spread(found[name], 'fit_seconds')})"
        ratios = " | ".join(f"{row[figure] / ours[figure]:.2f}x" if ours else "-" for figure in figures)
        lines.append(
            f"| {name} | {fitted} | {row['train_seconds']:.1f} | {row['wall_seconds']:.1f} | {row['cpu_seconds']:.1f} "
            f"| {row['accuracy']:.4f} | {ratios} |"
        )
    return "\n".join([*lines, "", quiet_note(found)])


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench speed-finetune", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=32, help="rows a batch of ours, hf-same and hf-best")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default=",".join(("ours", *PEERS)))
    parser.add_argument("--rows-cap", type=int, help="training rows at most (8,000 otherwise)")
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Runs the rounds and prints the summary."""
    chosen = options()
    places = places_of(chosen)
    tables = places.results / "tables"
    folder = export(BY_NAME["sst2"], tasks=places.shared / "tasks", out=tables, rows_cap=chosen.rows_cap)
    chosen.table = folder.name
    names = chosen.sides.split(",")
    sides: dict[str, Any] = {name: side_runner(name, chosen=chosen, tables=tables, places=places) for name in names}
    found = interleaved(sides, rounds=chosen.rounds, force=chosen.force, out=places.results / "speed_finetune.json")
    text = summary(found)
    versions: dict[str, Any] = next((runs[0]["versions"] for name, runs in found.items() if name != "ours"), {})
    (places.results / "speed_finetune.md").write_text(f"{text}\n\n{json.dumps(versions)}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
