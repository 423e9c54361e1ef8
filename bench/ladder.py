"""The same recipe at growing sizes: does a law fitted to the smaller bases foretell the loss of the largest?

Every size is one run of `headstart pretrain` with a recipe that the dial wrote (train/sizing.py). The law is fitted to
all sizes but the largest; the table says what it foretold for that one, with its interval, and whether the run fell
inside. Beside it stand the memory and the seconds that train/estimate.py foretold for every run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.ladder_picture import picture
from bench.places import add_places, places_of
from bench.processes import machine, measured, require_quiet
from headstart.doctor import arithmetic_speed
from headstart.ground.errors import HeadstartError
from headstart.train.estimate import estimate
from headstart.train.finished import Found, Run, read_runs
from headstart.train.recipe import Recipe, in_fast_numbers
from headstart.train.recipe_file import recipe_text
from headstart.train.scaling import Law, Prediction, fit
from headstart.train.sizing import recipe_for

PACKED = ("tokenizer.json", "train", "validation")
Record = dict[str, Any]


@dataclass(frozen=True)
class Rung:
    """One cell: a size, how much it reads, a seed, and the text it reads."""

    size: str
    tokens_per_parameter: float
    seed: int
    train: tuple[str, ...]
    validation: str
    tokenizer_bytes: int

    @property
    def key(self) -> str:
        """File name of the cell."""
        return f"{self.size}-r{self.tokens_per_parameter:g}-s{self.seed}"

    @property
    def recipe(self) -> Recipe:
        """What the dial gives, on this text and seed."""
        given = recipe_for(self.size, tokens_per_parameter=self.tokens_per_parameter).recipe
        text = {"train": self.train, "validation": self.validation, "tokenizer_bytes": self.tokenizer_bytes}
        return msgspec.structs.replace(
            given,
            name=self.key,
            corpus=msgspec.structs.replace(given.corpus, **text),
            optimisation=msgspec.structs.replace(given.optimisation, seed=self.seed),
        )


def run_rung(rung: Rung, *, data: Path, results: Path, python: str, threads: int, speed: float) -> Record:
    """The stored record of a rung, trained first where there is none."""
    stored = results / f"{rung.key}.json"
    if stored.is_file():
        found: Record = json.loads(stored.read_text(encoding="utf-8"))
        return found
    recipe = rung.recipe
    written, out = results / f"{rung.key}.toml", results / "bases" / rung.key
    written.write_text(recipe_text(recipe), encoding="utf-8")
    work = out.with_name(out.name + ".work")
    packed = results / "packed" / f"{rung.tokenizer_bytes}-{recipe.shape.vocab_size}"
    if packed.is_dir() and not work.exists():
        shutil.copytree(packed, work)
    command = [python, "-m", "headstart", "pretrain", str(written), "--data", str(data), "--out", str(out), "--json"]
    run = measured(command, threads=threads)
    keep_packed(work, packed)
    foretold = estimate(recipe, speed=speed)
    record = {
        "rung": asdict(rung),
        "command": command,
        **run.last_json(),
        "wall_seconds": run.wall,
        "cpu_seconds": run.cpu,
        "peak_mb": run.peak_mb,
        "other_cores": run.other_cores,
        "estimate": asdict(foretold),
        "machine": machine(),
    }
    stored.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def keep_packed(work: Path, packed: Path) -> None:
    """Keep the tokenizer and the packed text for the next rung of the same vocabulary; the rest of `work` goes."""
    if not packed.is_dir():
        packed.mkdir(parents=True)
        for name in PACKED:
            shutil.move(work / name, packed / name)
    shutil.rmtree(work)


def hold_out(runs: list[Run]) -> tuple[Law, list[tuple[Run, Prediction]]]:
    """The law of all sizes but the largest, and what it foretells for the runs of the largest."""
    largest = max(run.point.parameters for run in runs)
    law = fit([run.point for run in runs if run.point.parameters < largest])
    return law, [
        (
            run,
            law.predict(parameters=run.point.parameters, text_bytes=run.point.text_bytes, flops=run.point.flops),
        )
        for run in runs
        if run.point.parameters == largest
    ]


def inside(run: Run, foretold: Prediction) -> bool:
    """Whether the loss fell into the interval."""
    return foretold.low <= run.point.bits_per_byte <= foretold.high


def table(runs: list[Run], records: dict[str, Record]) -> list[str]:
    """Markdown: every run with its cost, measured and foretold."""
    lines = [
        "| run | parameters | tokens | FLOPs | bits per byte | seconds (foretold) | peak MB (foretold) | other cores |",
        "|" + " --- |" * 8,
    ]
    for run in sorted(runs, key=lambda r: r.point.flops):
        record = records[run.point.name]
        foretold = record["estimate"]
        lines.append(
            f"| {run.point.name} | {run.point.parameters:,} | {run.recipe.optimisation.tokens:,} | "
            f"{run.point.flops:.3g} | {run.point.bits_per_byte:.4f} | {run.seconds:.0f} ({foretold['seconds']:.0f}) | "
            f"{record['peak_mb']:.0f} ({foretold['memory_bytes'] / 1e6:.0f}) | {record['other_cores']:.2f} |"
        )
    return lines


def verdict(found: Found) -> tuple[list[str], Law | None]:
    """Sentences on the held-out size, and the law behind them."""
    try:
        law, foretold = hold_out(list(found.runs))
    except HeadstartError as problem:
        return [f"No law: {problem}"], None
    lines = [f"Law of {law.runs} runs of the smaller sizes: {law.words()} bits per byte, noise {law.noise:.2%}."]
    for run, said in foretold:
        place = "inside" if inside(run, said) else "OUTSIDE"
        lines.append(
            f"{run.point.name}: foretold {said.bits_per_byte:.4f} [{said.low:.4f}, {said.high:.4f}], "
            f"reached {run.point.bits_per_byte:.4f}: {place} the interval."
        )
    return lines, law


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench ladder", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--sizes", default="1m,3m,10m,30m")
    parser.add_argument("--tokens-per-parameter", default="20", help="one ratio, or several: 5,20")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder with the shards; default: corpus/ in the shared folder")
    parser.add_argument("--train", default="train-00.jsonl.zst", help="shards that are read, by name")
    parser.add_argument("--validation", default="val.jsonl.zst")
    parser.add_argument("--tokenizer-bytes", type=int, default=30_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="start no further run after that long")
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def rungs_of(chosen: argparse.Namespace) -> list[Rung]:
    """The cells, cheapest first."""
    cells = [
        Rung(size, float(ratio), seed, tuple(chosen.train.split(",")), chosen.validation, chosen.tokenizer_bytes)
        for size in chosen.sizes.split(",")
        for ratio in chosen.tokens_per_parameter.split(",")
        for seed in range(chosen.seeds)
    ]
    return sorted(cells, key=lambda rung: estimate(rung.recipe).flops)


def main() -> None:
    """Trains the missing rungs, fits the law and prints the table."""
    chosen = options()
    places = places_of(chosen)
    results = places.results / "ladder"
    (results / "bases").mkdir(parents=True, exist_ok=True)
    require_quiet(force=chosen.force)
    rungs, records, began = rungs_of(chosen), {}, time.monotonic()
    speed = arithmetic_speed(in_fast_numbers(rungs[0].recipe.optimisation).dtype) * 1e9
    data = (chosen.data or places.shared / "corpus").resolve()
    for rung in rungs:
        late = chosen.minutes is not None and time.monotonic() - began > 60 * chosen.minutes
        if late and not (results / f"{rung.key}.json").is_file():
            print(f"{rung.key} not started: --minutes {chosen.minutes:g} are over", file=sys.stderr)
            continue
        record = run_rung(
            rung, data=data, results=results, python=places.ours_python, threads=chosen.threads, speed=speed
        )
        records[rung.key] = record
        print(f"{rung.key}: {record['curve'][-1]['bits_per_byte']:.4f} bits per byte", file=sys.stderr)
    found = read_runs(results / "bases")
    runs = [run for run in found.runs if run.point.name in records]
    sentences, law = verdict(Found(tuple(runs), found.left_out))
    lines = [*table(runs, records), "", *sentences]
    (places.results / "ladder.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if law is not None:
        (places.results / "ladder.svg").write_text(picture(runs, law), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
