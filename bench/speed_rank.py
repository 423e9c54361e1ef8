"""How much faster is stage 1 of `choose` than transformer-ranker, on the same texts with the same bases?

Both load every base and score it. transformer-ranker (its defaults: H-score of the mean over layers, float32) reads the
texts once for one number. Ours reads the same texts, keeps up to 500 of them out, and leaves seven estimates and the
label curve of the probe. Each side is a process of its own; the rounds interleave.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from bench.choose import source_of
from bench.places import ROOT, Places, add_places, places_of
from bench.processes import measured
from bench.rounds import Record, Side, interleaved, medians, quiet_note, spread
from headstart.base.folder import find_folder
from headstart.choose.closing import some
from headstart.choose.reading import HELD_OUT_ROWS
from headstart.choose.task_file import write_task
from headstart.data.task import Task
from headstart.evaluate.suite.adapting import read_task
from headstart.evaluate.suite.index import find_sets

BASES = ("minilm-l3", "minilm", "mpnet", "text-tiny", "text-small")
FIGURES = ("seconds", "rank_cpu_seconds", "peak_mb")


def write_rows(task: Task, path: Path) -> Path:
    """What stage 1 reads, train and held-out rows together, as the peer takes it."""
    rows = []
    for part in (task.train, task.validation):
        for text, target in zip(part.written, part.targets, strict=True):
            assert isinstance(target, int), "a task of kind choice"
            rows.append({"text": text, "label": task.labels[target]})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def folder_of(name: str, places: Places) -> str:
    """The folder of a base, for both sides."""
    source = source_of(name, places)
    return source if Path(source).is_dir() else str(find_folder(source)[0])


def side(command: list[str], *, threads: int) -> Record:
    run = measured(command, threads=threads, cwd=ROOT)
    line = run.last_json()
    return {**line, "peak_mb": run.peak_mb, "other_cores": run.other_cores, "command": command}


def summary(found: dict[str, list[Record]]) -> str:
    """Markdown: medians of both sides, and how many times longer the peer takes."""
    lines = ["| side | texts | s (lowest to highest) | CPU s | MB | times ours |", "|---|---|---|---|---|---|"]
    middle = {name: medians(runs, FIGURES) for name, runs in found.items()}
    for name, told in middle.items():
        times = f"{told['seconds'] / middle['ours']['seconds']:.2f}x" if "ours" in middle else "-"
        lines.append(
            f"| {name} | {found[name][0]['rows']:,} | {told['seconds']:.1f} ({spread(found[name], 'seconds')}) | "
            f"{told['rank_cpu_seconds']:.1f} | {told['peak_mb']:,.0f} | {times} |"
        )
    return "\n".join([*lines, "", quiet_note(found)])


def main() -> None:
    """Run the rounds and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--rows", type=int, default=2000, help="texts that both read")
    parser.add_argument("--bases", type=lambda text: tuple(text.split(",")), default=BASES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sides", default="ours,transformer-ranker")
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    asked = parser.parse_args()
    places = places_of(asked)
    sets, _ = find_sets(places.shared / "tasks", suite="all", tasks=(asked.task,))
    task = read_task(sets[0], limit=None)
    held_out = some(task.validation, min(HELD_OUT_ROWS, asked.rows // 4), seed=0)
    task = replace(task, train=some(task.train, asked.rows - len(held_out), seed=0), validation=held_out)
    out = places.results / "speed_rank"
    out.mkdir(parents=True, exist_ok=True)
    given, rows = write_task(task, out / "task.json"), write_rows(task, out / "rows.jsonl")
    how = ["--models", ",".join(folder_of(name, places) for name in asked.bases), "--threads", str(asked.threads)]

    def ours(turn: int) -> Record:
        return side([places.ours_python, "-m", "bench.rank_ours", "--task", given, *how], threads=asked.threads)

    def peer(turn: int) -> Record:
        return side([places.peer_python, "-m", "bench.rank_peer", "--rows", str(rows), *how], threads=asked.threads)

    known: dict[str, Side] = {"ours": ours, "transformer-ranker": peer}
    sides = {name: known[name] for name in asked.sides.split(",")}
    found = interleaved(sides, rounds=asked.rounds, force=asked.force, out=places.results / "speed_rank.json")
    versions = {name: runs[0]["versions"] for name, runs in found.items()}
    text = f"{summary(found)}\n\n{json.dumps(versions)}\n"
    (places.results / "speed_rank.md").write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
