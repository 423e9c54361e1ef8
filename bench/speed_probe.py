"""banking77 end to end: our probe against SetFit, few shots and all labels.

Sides: `ours-shots` and `setfit-shots` on the same 8 examples a class (drawn here, given to both as files),
`ours-full` on all training rows. End to end = the process from start to the scored test file; ours is `headstart
adapt`, whose controls, saved folder and check of it are inside. `headstart predict`, which writes the answers out, is
not: SetFit's script writes none. SetFit's default draws every pair (oversampling: hundreds of thousands at 77
classes); `--setfit-steps` bounds it and the time of a whole default epoch is given beside it, marked as projected.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.cells import Cell, Record, cost, run_cell
from bench.places import Places, add_places, places_of
from bench.processes import measured
from bench.rounds import Side, interleaved, medians, quiet_note
from bench.scoring import read_lines
from bench.tables import BY_NAME, export, write_rows

SETFIT_BATCH = 16
FIGURES = ("end_to_end_seconds", "cpu_seconds", "accuracy", "train_seconds", "projected_seconds")


def few_shots(folder: Path, *, shots: int, seed: int) -> Path:
    """A copy of the table whose training file holds `shots` rows of every class."""
    target = folder.with_name(f"{folder.name}-{shots}shots-s{seed}")
    if (target / "card.json").is_file():
        return target
    by_class: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_lines(folder / "train.jsonl"):
        by_class[row["label"]].append(row)
    draws = random.Random(seed)
    chosen = [row for name in sorted(by_class) for row in draws.sample(by_class[name], min(shots, len(by_class[name])))]
    draws.shuffle(chosen)
    shutil.copytree(folder, target, dirs_exist_ok=True)
    write_rows(target / "train.jsonl", chosen)
    return target


def default_steps(shots: int, classes: int) -> int:
    """Steps of one SetFit epoch with its default oversampling: twice the larger kind of pair over the batch."""
    positive = classes * shots * (shots - 1) // 2
    negative = shots * shots * classes * (classes - 1) // 2
    return 2 * max(positive, negative) // SETFIT_BATCH


def run_setfit(folder: Path, *, seed: int, chosen: argparse.Namespace, places: Places) -> Record:
    """SetFit on the same training rows; every class gives all its rows, so the script's own draw changes nothing."""
    script = places.peers / "setfit_few_shot.py"
    command = [places.peer_python, str(script), "--model", places.base(chosen.base), "--seed", str(seed)]
    command += ["--train", str(folder / "train.jsonl"), "--dev", str(folder / "test.jsonl")]
    command += [
        "--shots",
        str(chosen.shots),
        "--batch-size",
        str(SETFIT_BATCH),
        "--max-steps",
        str(chosen.setfit_steps),
    ]
    run = measured(command, threads=chosen.threads)
    line = run.last_json()
    without_probe = (
        run.wall - line["linear_probe_seconds"]
    )  # the script times a bare probe beside it; not SetFit's bill
    whole = default_steps(chosen.shots, line["classes"])
    return {
        "end_to_end_seconds": without_probe,
        "train_seconds": line["train_seconds"],
        "accuracy": line["accuracy"],
        "steps": line["steps"],
        "bare_probe_accuracy": line["linear_probe_accuracy"],
        "projected_seconds": without_probe + line["train_seconds"] * (whole / line["steps"] - 1),
        "versions": line["versions"],
        "command": command,
        **cost(run),
    }


def run_probe(cell: Cell, *, places: Places, results: Path) -> Record:
    """Our probe, never taken from an earlier run."""
    shutil.rmtree(results, ignore_errors=True)
    record = run_cell(cell, tables=places.results / "tables", places=places, results=results)
    return {**record, "end_to_end_seconds": record["wall_seconds"], "accuracy": record["metrics"]["accuracy"]}


def summary(found: dict[str, list[Record]]) -> str:
    """Markdown: medians of every side and SetFit's time over ours."""
    middle = {name: medians(runs, FIGURES) for name, runs in found.items()}
    peer = middle.get("setfit-shots")
    lines = ["| side | end to end s | CPU s | accuracy | SetFit's time / this |", "|" + " --- |" * 5]
    for name, row in middle.items():
        ratio = f"{peer['end_to_end_seconds'] / row['end_to_end_seconds']:.1f}x" if peer else "-"
        time, cpu = row["end_to_end_seconds"], row["cpu_seconds"]
        lines.append(f"| {name} | {time:.1f} | {cpu:.1f} | {row['accuracy']:.4f} | {ratio} |")
    if peer:
        steps, whole = found["setfit-shots"][0]["steps"], peer["projected_seconds"]
        lines += [
            "",
            f"SetFit ran {steps} steps; its default epoch of all pairs is projected at {whole:.0f} s, not run.",
        ]
    return "\n".join([*lines, "", quiet_note(found)])


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench speed-probe", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--base", default="minilm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument(
        "--setfit-steps", type=int, default=270, help="270 = every positive pair once at 8 shots x 77 classes"
    )
    parser.add_argument("--sides", default="ours-shots,setfit-shots,ours-full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Runs the rounds and prints the summary."""
    chosen = options()
    places = places_of(chosen)
    folder = export(BY_NAME["banking77"], tasks=places.shared / "tasks", out=places.results / "tables")
    full = Cell("ours", folder.name, chosen.base, "probe", seed=0, epochs=None, batch=None, threads=chosen.threads)
    kept = places.results / "speed_probe"

    def shots_of(turn: int) -> Path:
        return few_shots(folder, shots=chosen.shots, seed=turn)

    def few(turn: int) -> Record:
        return run_probe(replace(full, table=shots_of(turn).name, seed=turn), places=places, results=kept / "shots")

    def peer(turn: int) -> Record:
        return run_setfit(shots_of(turn), seed=turn, chosen=chosen, places=places)

    def everything(turn: int) -> Record:
        return run_probe(replace(full, seed=turn), places=places, results=kept / "full")

    known: dict[str, Side] = {"ours-shots": few, "setfit-shots": peer, "ours-full": everything}
    sides: dict[str, Side] = {name: known[name] for name in chosen.sides.split(",")}
    found = interleaved(sides, rounds=chosen.rounds, force=chosen.force, out=places.results / "speed_probe.json")
    text = summary(found)
    versions: dict[str, Any] = next(
        (runs[0]["versions"] for name, runs in found.items() if name.startswith("setfit")), {}
    )
    (places.results / "speed_probe.md").write_text(f"{text}\n\n{json.dumps(versions)}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
