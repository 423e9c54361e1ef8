"""Time to the loss that the HF Trainer reaches in a fixed time: same tokenised text, tokenizer, threads and scoring.

The Trainer (GPT-2's shape, AdamW, its best flags) chooses its steps so that they fill --seconds. Ours then trains with
the units that fill a fraction of that time and is scored on the same windows; the ratio holds where it is as good.
"""

from __future__ import annotations

import argparse
from typing import Any

from bench.places import Places, add_places, places_of
from bench.rounds import Side, interleaved, quiet_note
from bench.speed_pretrain import GPT2_SHAPES, ours, peer, texts

Record = dict[str, Any]
WARM_STEPS = 40  # of a throw-away run that tells our speed: eight at the second width, of which three are left out


def summary(found: dict[str, list[Record]], *, seconds: float) -> str:
    """Markdown: a row a run, and in how many rounds ours was as good in how much less time."""
    lines = ["| side | seed | training s | units | bits per byte |", "|" + " --- |" * 5]
    for name, runs in found.items():
        for seed, run in enumerate(runs, start=1):
            units = run["tokens_per_s"] * run["train_seconds"]
            lines.append(
                f"| {name} | {seed} | {run['train_seconds']:.0f} | {units:,.0f} | {run['val_bits_per_byte']:.4f} |"
            )
    pairs = list(zip(found["ours-shipped"], found["hf-bf16"], strict=True))
    won = [peer["train_seconds"] / own["train_seconds"] for own, peer in pairs if better(own, peer)]
    verdict = f"As good or better in {len(won)} of {len(pairs)} rounds"
    verdict += f", {min(won):.2f} to {max(won):.2f} times as fast." if won else "."
    return "\n".join([*lines, "", f"The Trainer had {seconds:.0f} s. {verdict}", quiet_note(found)])


def better(own: Record, other: Record) -> bool:
    """Whether ours is as good on the held-out windows."""
    return float(own["val_bits_per_byte"]) <= float(other["val_bits_per_byte"])


def units_in(seconds: float, *, shape: str, files: list[str], threads: int, places: Places) -> int:
    """What our shipped recipe trains in that time, by its steady speed."""
    warm = ["--steps", str(WARM_STEPS)]
    run = ours("shipped", shape=shape, files=files, more=warm, threads=threads, places=places)
    return int(run["tokens_per_s_steady"] * seconds)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench time-to-loss", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--shape", choices=sorted(GPT2_SHAPES), default="11m")
    parser.add_argument("--seconds", type=float, default=1200.0, help="the Trainer's time")
    parser.add_argument("--times", type=float, default=2.5, help="how many times faster ours has to be")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Runs the rounds and prints the summary."""
    chosen = options()
    places = places_of(chosen)
    files = texts(places, megabytes=60)
    known = {"shape": chosen.shape, "files": files, "threads": chosen.threads, "places": places}
    units = units_in(chosen.seconds / chosen.times, **known)

    def trainer(turn: int) -> Record:
        more = ["--context", "256", "--batch-size", "32", "--seconds", str(chosen.seconds), "--seed", str(turn + 1)]
        return peer("hf-bf16", more=more, **known)

    def own(turn: int) -> Record:
        return ours("shipped", more=["--tokens", str(units), "--seed", str(turn + 1)], **known)

    sides: dict[str, Side] = {"hf-bf16": trainer, "ours-shipped": own}
    out = places.results / "time_to_loss.json"
    found = interleaved(sides, rounds=chosen.rounds, force=chosen.force, out=out)
    text = summary(found, seconds=chosen.seconds)
    out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
