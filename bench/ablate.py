"""What single settings of the recipe are worth: share of causal batches, Muon or AdamW, weight decay, at a small size.

Every variant changes one thing of what the dial gives (train/sizing.py) and trains on the same text; differences from
the recipe as shipped are paired by seed. AdamW alone is tried at several rates, because its best one is not Muon's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from scipy.stats import t as student

from bench.places import add_places, places_of
from bench.processes import machine, require_quiet
from bench.speed_pretrain import HELD_OUT, SHARD, excerpt
from headstart.train.pretrain import pack_corpus, train_text
from headstart.train.recipe import Recipe
from headstart.train.sizing import recipe_for

Record = dict[str, Any]
Change = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One thing changed. rate, decay: factors of AdamW's peak rate and of the weight decay."""

    name: str
    mixture: Change
    optimisation: Change
    rate: float = 1.0
    decay: float = 1.0

    def of(self, recipe: Recipe, *, seed: int) -> Recipe:
        """The recipe with that change, at a seed."""
        known = recipe.optimisation
        settings = msgspec.structs.replace(
            known,
            seed=seed,
            adamw_lr=known.adamw_lr * self.rate,
            weight_decay=known.weight_decay * self.decay,
            **self.optimisation,
        )
        mixture = msgspec.structs.replace(recipe.mixture, **self.mixture)
        return msgspec.structs.replace(recipe, mixture=mixture, optimisation=settings)


SHIPPED = "as shipped"
VARIANTS = (
    Variant(SHIPPED, {}, {}),
    *(Variant(f"causal share {share:g}", {"causal_share": share}, {}) for share in (0.0, 0.25, 0.75, 1.0)),
    *(Variant(f"AdamW alone, rate x {rate:g}", {}, {"rule": "adamw"}, rate=rate) for rate in (2.0, 1.0, 0.5)),
    *(Variant(f"weight decay x {decay:g}", {}, {}, decay=decay) for decay in (0.0, 0.5, 2.0)),
)


def trained(recipe: Recipe, *, data: Path, work: Path) -> Record:
    """What a run reached, causally and masked."""
    train, validation = pack_corpus(recipe, data=data, work=work)
    began = time.process_time()
    found = train_text(recipe, train, validation, probe_every=recipe.num_steps, compile_blocks=False)
    return {**asdict(found.curve[-1]), "steps": found.steps, "cpu_seconds": time.process_time() - began}


def against(records: list[Record], shipped: list[Record], figure: str) -> str:
    """Mean over seeds, and the paired difference from the recipe as shipped with its 95 % interval (Student's t)."""
    values = [record[figure] for record in records]
    if any(value is None for value in values):
        return "- | -"
    pairs = {r["seed"]: r[figure] for r in shipped}
    gaps = np.array([r[figure] - pairs[r["seed"]] for r in records if pairs.get(r["seed"]) is not None])
    mean = f"{np.mean(values):.4f}"
    if len(gaps) < 2 or not gaps.any():
        return f"{mean} | -"
    reach = float(student.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return f"{mean} | {gaps.mean():+.4f} +- {reach:.4f}"


def table(found: dict[str, list[Record]]) -> str:
    """Markdown: every variant, read both ways."""
    lines = ["| variant | seeds | bits per byte, causal | - shipped | nats a hidden unit | - shipped | CPU s |"]
    lines.append("|" + " --- |" * 7)
    shipped = found.get(SHIPPED, [])
    for name, records in found.items():
        both = " | ".join(against(records, shipped, figure) for figure in ("bits_per_byte", "masked_nats"))
        seconds = np.median([record["cpu_seconds"] for record in records])
        lines.append(f"| {name} | {len(records)} | {both} | {seconds:.0f} |")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench ablate", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--size", default="200k")
    parser.add_argument("--tokens-per-parameter", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=100, help="of the first shard, read from its beginning")
    parser.add_argument("--tokenizer-bytes", type=int, default=30_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="start no further run after that long")
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Trains the missing cells, seed by seed, and prints the table."""
    chosen = options()
    places = places_of(chosen)
    results = places.results / "ablate" / f"{chosen.size}-r{chosen.tokens_per_parameter:g}"
    results.mkdir(parents=True, exist_ok=True)
    require_quiet(force=chosen.force)
    torch.set_num_threads(chosen.threads)
    data = results.parent / f"text-{chosen.megabytes}"
    excerpt(places.shared / "corpus" / SHARD, num_bytes=chosen.megabytes * 1_000_000, target=data / "train.jsonl")
    excerpt(places.shared / "corpus" / HELD_OUT, num_bytes=1 << 40, target=data / "val.jsonl")
    given = recipe_for(chosen.size, tokens_per_parameter=chosen.tokens_per_parameter).recipe
    part = msgspec.structs.replace(
        given.corpus, train=("train.jsonl",), validation="val.jsonl", tokenizer_bytes=chosen.tokenizer_bytes
    )
    recipe = msgspec.structs.replace(given, corpus=part)
    work = results.parent / f"packed-{chosen.megabytes}-{recipe.shape.vocab_size}"
    found: dict[str, list[Record]] = {}
    began = time.monotonic()
    for seed in range(chosen.seeds):
        for variant in VARIANTS:
            stored = results / f"{variant.name.replace(' ', '-').replace(',', '')}-s{seed}.json"
            late = chosen.minutes is not None and time.monotonic() - began > 60 * chosen.minutes
            if late and not stored.is_file():
                continue
            if not stored.is_file():
                reached = trained(variant.of(recipe, seed=seed), data=data, work=work)
                record = {"variant": asdict(variant), "seed": seed, **reached, "machine": machine()}
                stored.write_text(json.dumps(record, indent=1), encoding="utf-8")
                print(f"{variant.name}, seed {seed}: {reached['bits_per_byte']}", file=sys.stderr)
            found.setdefault(variant.name, []).append(json.loads(stored.read_text(encoding="utf-8")))
    text = table(found)
    (places.results / "ablate.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
