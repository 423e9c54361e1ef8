"""A training step of 11 or 30 M parameters: ours against the HF Trainer and a nanoGPT loop, same text and shape.

Like for like means causal rows of 256, the same units a step and two threads on every side; ours keeps its own
optimiser.
`ours-shipped` is the recipe as it ships: rows of 128 then 256, half of the batches masked. MFU is that share of the
bf16 matrix-product speed measured in the same process (`headstart doctor`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.cells import cost
from bench.places import ROOT, Places, add_places, places_of
from bench.processes import measured
from bench.rounds import Side, interleaved, medians, quiet_note, spread
from headstart.data.shards import read_shard

TOKENIZER = ROOT / "src" / "headstart" / "base" / "embedded" / "text-tiny" / "tokenizer.json"
SHARD, HELD_OUT = "train-00.jsonl.zst", "val.jsonl.zst"
GPT2_SHAPES = {"11m": (256, 12, 4), "30m": (448, 11, 7)}  # width, layers, heads
PASSES = {"11m": 2, "30m": 8}  # of 4,096 units a step: what text-11m takes, and what the dial gives 30m
FIGURES = ("tokens_per_s_steady", "tokens_per_s", "mfu", "parameters", "val_bits_per_byte", "train_seconds")
OURS = {"ours-causal": "causal", "ours-masked": "masked", "ours-shipped": "shipped"}
PEERS = {
    "hf-bf16": ("pretrain_hf.py", "--preset", "best"),
    "nanogpt-fp32": ("pretrain_nanogpt.py",),
    "nanogpt-bf16": ("pretrain_nanogpt.py", "--bf16"),
}
Record = dict[str, Any]


def excerpt(shard: Path, *, num_bytes: int, target: Path) -> Path:
    """The first documents of a shard, about `num_bytes` of them, as plain JSON lines for every side."""
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(first_lines(shard, num_bytes)), encoding="utf-8")
    return target


def first_lines(shard: Path, num_bytes: int) -> Iterator[str]:
    """JSON lines until that many bytes of text are told."""
    told = 0
    for document in read_shard(shard):
        yield json.dumps({"text": document.text}) + "\n"
        told += len(document.text.encode())
        if told >= num_bytes:
            return


def texts(places: Places, *, megabytes: int) -> list[str]:
    """--data, --val and --tokenizer, the same files for every side."""
    corpus, kept = places.shared / "corpus", places.results / "pretrain"
    data = excerpt(corpus / SHARD, num_bytes=megabytes * 1_000_000, target=kept / f"train-{megabytes}.jsonl")
    held_out = excerpt(corpus / HELD_OUT, num_bytes=1 << 40, target=kept / "val.jsonl")
    return ["--data", str(data), "--val", str(held_out), "--tokenizer", str(TOKENIZER)]


def ours(mode: str, *, shape: str, files: list[str], more: list[str], threads: int, places: Places) -> Record:
    """One run of our side."""
    command = [places.ours_python, "-m", "bench.pretrain_ours", "--peers", str(places.peers), *files, *more]
    data = Path(files[1])
    command += ["--shape", shape, "--mode", mode, "--work", str(data.with_suffix(".packed"))]
    run = measured(command, threads=threads, cwd=ROOT)
    return {**run.last_json(), **cost(run), "command": command}


def peer(name: str, *, shape: str, files: list[str], more: list[str], threads: int, places: Places) -> Record:
    """One run of a peer."""
    script, *flags = PEERS[name]
    width, layers, heads = (str(number) for number in GPT2_SHAPES[shape])
    command = [places.peer_python, str(places.peers / script), *flags, *files, *more]
    command += ["--width", width, "--layers", layers, "--heads", heads]
    run = measured(command, threads=threads)
    return {**run.last_json(), **cost(run), "command": command}


def summary(found: dict[str, list[Record]]) -> str:
    """Markdown: steady speed of every side, and ours over each peer's."""
    middle = {name: medians(runs, FIGURES) for name, runs in found.items()}
    lines = ["| side | parameters | tokens/s, steady (range) | MFU | ours-causal / this | ours-shipped / this |"]
    lines.append("|" + " --- |" * 6)
    for name, row in middle.items():
        speed = row["tokens_per_s_steady"]
        ratios = [
            f"{middle[side]['tokens_per_s_steady'] / speed:.2f}x" if side in middle else "-"
            for side in ("ours-causal", "ours-shipped")
        ]
        share = f"{row['mfu']:.0%}" if "mfu" in row else "-"
        reach = spread(found[name], "tokens_per_s_steady")
        lines.append(f"| {name} | {row['parameters']:,.0f} | {speed:,.0f} ({reach}) | {share} | {' | '.join(ratios)} |")
    return "\n".join([*lines, "", quiet_note(found)])


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench speed-pretrain", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--shape", choices=sorted(GPT2_SHAPES), default="11m")
    parser.add_argument("--sides", default=",".join((*OURS, *PEERS)))
    parser.add_argument("--passes", type=int, help="of 4,096 units a step, on every side; default: as the size takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Runs the rounds and prints the summary."""
    chosen = options()
    places = places_of(chosen)
    files = texts(places, megabytes=4)
    passes = chosen.passes or PASSES[chosen.shape]
    shape = ["--context", "256", "--batch-size", "16", "--accum", str(passes), "--steps", str(chosen.steps)]
    known = {"shape": chosen.shape, "files": files, "threads": chosen.threads, "places": places}

    def side(name: str) -> Side:
        def once(turn: int) -> Record:
            more = [*shape, "--seed", str(turn + 1)]
            return ours(OURS[name], more=more, **known) if name in OURS else peer(name, more=more, **known)

        return once

    sides = {name: side(name) for name in chosen.sides.split(",")}
    out = places.results / f"speed_pretrain_{chosen.shape}_{passes}.json"
    found = interleaved(sides, rounds=chosen.rounds, force=chosen.force, out=out)
    text = summary(found)
    out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
