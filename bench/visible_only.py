"""What it saves that the encoder of a masked autoencoder sees visible patches only: CPU time of a step, both ways.

    python -m bench visible-only --recipe image-tiny

The other way is SimMIM's (Xie et al. 2022): the trunk reads all places, hidden ones as zeros; batch, decoder and loss
are the same. One thread, process clock, rounds in turn; the share of the roof is of this machine's matrix products.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace

import numpy as np
import torch

from headstart.ground.batch import Batch
from headstart.model.flops import train_flops
from headstart.model.trunk import initialise
from headstart.train.masked_patches import Hiding, PatchModel, hidden_batch
from headstart.train.patch_course import new_model
from headstart.train.patch_recipe import PatchRecipe, read_patch_recipe
from headstart.train.recipe import in_fast_numbers


def whole(batch: Batch, places: int) -> Batch:
    """The same batch with a zero unit in every hidden place, at the end of its row."""
    assert batch.positions is not None
    rows, seen, size = batch.units.shape
    hidden = torch.zeros(rows, places - seen, size)
    taken = torch.zeros(rows, places, dtype=torch.bool).scatter(1, batch.positions, True)
    rest = torch.arange(places).expand(rows, -1)[~taken].view(rows, -1)
    units, positions = torch.cat((batch.units, hidden), dim=1), torch.cat((batch.positions, rest), dim=1)
    return replace(batch, units=units, positions=positions, lengths=torch.full((rows,), places))


def seconds_of(model: PatchModel, batch: Batch, seen: int | None) -> float:
    """CPU seconds of a forward and backward pass; seen: places of the trunk's output that the decoder gets."""
    assert batch.positions is not None
    assert batch.targets is not None
    started = time.process_time()
    states = model.trunk(replace(batch, grid=None))[:, :seen]
    guessed = model.decoder(states, batch.positions[:, :seen], batch.grid)
    torch.mean((guessed.float() - batch.targets) ** 2).backward()
    model.zero_grad(set_to_none=True)
    return time.process_time() - started


def measure(recipe: PatchRecipe, rounds: int) -> dict[str, float | str]:
    """Medians over the rounds."""
    patches = recipe.patches()
    rows = recipe.optimisation.micro_tokens // patches.num_patches
    area = recipe.codec().patch_dim - 2 * recipe.reading.levels
    units = np.random.default_rng(0).standard_normal((rows, patches.num_patches, patches.unit_size)).astype(np.float32)
    hiding = Hiding(recipe.hidden.share, patches.prefix, patches.grid[1], area)
    visible = hidden_batch(units, patches.grid, hiding, np.random.default_rng(1))
    everything = whole(visible, patches.prefix + patches.num_patches)
    model = new_model(recipe)
    initialise(model.trunk, seed=0)
    model.to(dtype=getattr(torch, in_fast_numbers(recipe.optimisation).dtype)).train()
    seen = visible.units.shape[1]
    times: dict[str, list[float]] = {"visible": [], "whole": []}
    for _ in range(rounds + 1):
        times["visible"].append(seconds_of(model, visible, None))
        times["whole"].append(seconds_of(model, everything, seen))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}  # the first round warms up
    flops = float(recipe.flops(rows, patches.grid[1]))
    config, places = recipe.trunk_config(), patches.prefix + patches.num_patches
    more = train_flops(config, units=rows * places, context=places) - train_flops(
        config, units=rows * seen, context=seen
    )
    roof = roof_of(getattr(torch, in_fast_numbers(recipe.optimisation).dtype))
    return {
        "recipe": recipe.name,
        "patches_per_cpu_second": rows * patches.num_patches / medians["visible"],
        "whole_patches_per_cpu_second": rows * patches.num_patches / medians["whole"],
        "times_faster": medians["whole"] / medians["visible"],
        "times_fewer_flops": (flops + more) / flops,
        "share_of_roof": flops / medians["visible"] / roof,
    }


def roof_of(dtype: torch.dtype, size: int = 1024) -> float:
    """FLOP a CPU second of one thread in a square matrix product, best of five."""
    a, best = torch.randn(size, size).to(dtype), float("inf")
    for _ in range(5):
        started = time.process_time()
        torch.mm(a, a)
        best = min(best, time.process_time() - started)
    return 2 * size**3 / best


def main() -> None:
    """Prints one JSON object a recipe."""
    parser = argparse.ArgumentParser(prog="bench visible-only", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", action="append")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.recipe or ("image-tiny", "audio-tiny", "series-tiny"):
        print(json.dumps(measure(read_patch_recipe(name), chosen.rounds)))


if __name__ == "__main__":
    main()
