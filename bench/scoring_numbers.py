"""Are options told apart sooner in other numbers? float32 as it is, float32 by oneDNN, and bfloat16, on real items.

Every side scores the same requests in one process. A side's decision on an item is the likeliest option by sums, a byte
and a character (pairs: by sums). An item is open where a lead is no larger than `--times` the largest error of a lead
among the calibrated items, which are spread evenly and scored in float32 too; open and calibrated items would be scored
again. Seconds are CPU seconds: give one thread, and a machine without other work.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.places import add_places, places_of
from bench.prompt_exact import behind_shots
from headstart.base.base import Base
from headstart.evaluate.proportions import Floats
from headstart.evaluate.suite.items import Item, read_items
from headstart.evaluate.suite.scoring import by_bytes, by_characters, likeliest, pattern_of
from headstart.evaluate.suite.sources import find_sets
from headstart.evaluate.untrained import untrained


@contextmanager
def by_onednn() -> Iterator[None]:
    """Products of float32 by oneDNN's own kernel instead of MKL's; the same numbers up to the order of their sums."""
    kept = torch.nn.functional.linear

    def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return found

    torch.nn.functional.linear = product  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.nn.functional.linear = kept


def in_bfloat16(base: Base) -> Base:
    """Trunk and head rounded, and computed in what they are rounded to; the softmax stays float32."""
    lm = None if base.lm is None else copy.deepcopy(base.lm).to(torch.bfloat16)
    return replace(base, trunk=copy.deepcopy(base.trunk).to(torch.bfloat16), lm=lm)


def scored(base: Base, items: list[Item]) -> tuple[list[Floats], float]:
    """(nats of every item's options, CPU seconds)."""
    flat = [option for item in items for option in item.options]
    begin = time.process_time()
    found = base.likelihoods(*map(list, zip(*flat, strict=True)), pattern=pattern_of(base), truncate=True).nats
    seconds = time.process_time() - begin
    return np.split(found, np.cumsum([len(item.options) for item in items])[:-1]), seconds


def by_rules(item: Item, nats: Floats, *, pairs: bool) -> list[Floats]:
    return [nats] if pairs else [nats, by_bytes(item, nats.tolist()), by_characters(item, nats.tolist())]


def compared(
    items: list[Item], exact: list[Floats], told: list[Floats], *, pairs: bool, calibrated: int, times: float
) -> dict[str, Any]:
    """How far a side is from float32, and what would have to be scored again. I items, R rules."""
    flips, leads, errors = [], [], []
    for item, right, mine in zip(items, exact, told, strict=True):
        rules = list(zip(by_rules(item, right, pairs=pairs), by_rules(item, mine, pairs=pairs), strict=True))
        best = [int(b.argmax()) for _, b in rules]
        flips.append(any(likeliest(a) != likeliest(b) for a, b in rules))
        leads.append([np.diff(np.sort(b)[-2:])[0] for _, b in rules])
        errors.append([np.abs((a[k] - a) - (b[k] - b)).max() for k, (a, b) in zip(best, rules, strict=True)])
    chosen = np.unique(np.linspace(0, len(items) - 1, min(calibrated, len(items))).round().astype(int))
    margins = times * np.asarray(errors)[chosen].max(axis=0)
    opened = (np.asarray(leads) <= margins).any(axis=1)
    apart = np.abs(np.concatenate(exact) - np.concatenate(told))
    return {
        "apart": [float(x) for x in (*np.quantile(apart, (0.5, 0.95)), apart.max())],
        "margins": margins.tolist(),
        "flips": int(np.sum(flips)),
        "open": float(opened.mean()),
        "left": int((np.asarray(flips) & ~opened).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="text-small")
    parser.add_argument("--twin", action="store_true", help="the same shape on random weights")
    parser.add_argument("--sets", default="copa,arc_easy,piqa,blimp", help="names; NAME@5 behind five shots")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--calibrated", type=int, default=64)
    parser.add_argument("--times", type=float, default=2.0)
    add_places(parser)
    chosen = parser.parse_args()
    data = places_of(chosen).shared / "tasks"
    base = Base.load(chosen.base)
    base = untrained(base, seed=0) if chosen.twin else base
    low = in_bfloat16(base)
    scored(base, [Item(0, (("a", " b"), ("a", " c d")), 0)])
    for asked in chosen.sets.split(","):
        name, _, shots = asked.partition("@")
        (found,), _ = find_sets(data, suite="all", tasks=(name,))
        pairs = found.spec.protocol == "pairs"
        items = read_items(found, limit=chosen.pairs if pairs else chosen.rows + int(shots or 0))
        items = behind_shots(items, int(shots)) if shots else items
        exact, pace = scored(base, items)
        with by_onednn():
            same, fast_pace = scored(base, items)
        told, low_pace = scored(low, items)
        sides = {"float32": (exact, pace), "onednn": (same, fast_pace), "bfloat16": (told, low_pace)}
        for side, (nats, seconds) in sides.items():
            row = compared(items, exact, nats, pairs=pairs, calibrated=chosen.calibrated, times=chosen.times)
            print(json.dumps({"set": asked, "side": side, "items": len(items), "seconds": seconds, **row}), flush=True)


if __name__ == "__main__":
    main()
