"""Our side of `speed-prompt`: scoring a file of requests, or greedy decoding as the shared peer script does it.

`decode` writes exactly --new units after each of that script's prompts at every batch size (the end token does not
stop it), takes the median of --repeats after one warm-up, and measures how fast this process reads weights from memory,
which is the roof of decoding one text.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.prompt_requests import read_requests
from headstart.base.base import Base
from headstart.base.generating import prompt_units
from headstart.base.sampling import Sampling
from headstart.ground.batch import Batch
from headstart.model.cache import KvCache

PROMPTS = (  # generate_peers.py
    "The history of the printing press begins", "A recipe for bread needs", "In 1969, the first people to",
    "The three states of matter are", "To install a Python package,", "The capital of France is",
    "Photosynthesis is the process by which", "A good night's sleep is",
)  # fmt: skip
ENGINES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
AGREEMENT_UNITS = 240
ROOF_BYTES = 256 << 20


def score(base: Base, chosen: argparse.Namespace) -> dict[str, Any]:
    """Log-likelihoods of a file of requests, tokenising included, loading not."""
    asked = read_requests(chosen.requests)
    contexts, continuations = ([request[side] for request in asked] for side in ("context", "continuation"))
    start, cpu = time.perf_counter(), time.process_time()
    nats = base.score(contexts, continuations)
    record = {"seconds": time.perf_counter() - start, "score_cpu_seconds": time.process_time() - cpu}
    chosen.out.write_text(json.dumps(nats), encoding="utf-8")
    return {**record, "requests": len(nats)}


def decode(base: Base, chosen: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second at every batch size and kind of weights, and the first text for a look."""
    special = dataclasses.replace(base.text_codec.special, eos=None)
    endless = dataclasses.replace(base, codec=dataclasses.replace(base.text_codec, special=special))
    found = []
    cases = [(weights, int(size)) for weights in chosen.weights.split(",") for size in chosen.batches.split(",")]
    for weights, batch in cases:
        prompts = prompt_units(base.text_codec, (PROMPTS * batch)[:batch])
        seconds, cpu = [], []
        for _ in range(chosen.repeats + 1):
            decoder = endless.decoder(max_rows=batch, weights=weights)
            numbers = [decoder.add(ids, Sampling(max_tokens=chosen.new), copy=n) for n, ids in enumerate(prompts)]
            start, start_cpu = time.perf_counter(), time.process_time()
            units: list[int] = []
            while decoder.busy:
                units += [drawn.unit for drawn in decoder.step() if drawn.request == numbers[0]]
            seconds.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
        middle, middle_cpu = statistics.median(seconds[1:]), statistics.median(cpu[1:])
        made = batch * chosen.new
        found.append(
            {
                "engine": f"headstart-{ENGINES[weights]}",
                "batch": batch,
                "seconds": middle,
                "tokens_per_s": made / middle,
                "tokens_per_cpu_s": made / middle_cpu,
                "text": base.text_codec.decode(units)[:80],
            }
        )
    tensors = {
        tensor.data_ptr(): tensor for module in (base.trunk, base.lm) if module for tensor in module.parameters()
    }
    weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return {
        "results": found,
        "agreement": agreement(endless, chosen.weights.split(",")),
        "weight_bytes": weights,
        "bytes_per_s": read_speed(),
    }


@torch.inference_mode()
def agreement(base: Base, kinds: Sequence[str]) -> dict[str, float]:
    """Share of the units of greedy fp32 texts that are the most probable ones with other weights too."""
    prompts = prompt_units(base.text_codec, PROMPTS)
    decoder = base.decoder()
    numbers = [decoder.add(ids, Sampling(max_tokens=AGREEMENT_UNITS)) for ids in prompts]
    written: dict[int, list[int]] = {number: [] for number in numbers}
    while decoder.busy:
        for drawn in decoder.step():
            written[drawn.request].append(drawn.unit)
    found = {}
    for kind in kinds:
        model = base.packs.model(base.trunk, base.lm, kind)
        same = []
        for number, ids in zip(numbers, prompts, strict=True):
            units = torch.from_numpy(np.concatenate((ids, written[number])).astype(np.int64))[None]
            width = units.shape[1] - 1
            cache = KvCache(model.config, slots=1, capacity=width, dtype=model.dtype, device=model.device)
            window = cache.window(0, [0], width)
            batch = Batch(units[:, :-1], torch.tensor([width]), "causal", positions=window.positions)
            best = model.logits(model.hidden(batch, window)[0, len(ids) - 1 :]).argmax(dim=-1)
            same.append(best == units[0, len(ids) :])
        found[kind] = float(torch.cat(same).float().mean())
    return found


def read_speed() -> float:
    """Bytes a second of a matrix-vector product over a matrix too large for any cache; the best of five."""
    matrix = torch.ones(ROOF_BYTES // 4 // 4096, 4096)
    vector = torch.ones(4096)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.mv(matrix, vector)
        best = min(best, time.perf_counter() - start)
    return ROOF_BYTES / best


def main() -> None:
    """Runs one of the two."""
    parser = argparse.ArgumentParser(prog="bench.prompt_ours")
    parser.add_argument("what", choices=("score", "decode"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--weights", default="fp32", help="what weights are rounded to: fp32,fp16,int8")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    base = Base.load(chosen.model)
    print(json.dumps(score(base, chosen) if chosen.what == "score" else decode(base, chosen)))


if __name__ == "__main__":
    main()
