"""Our side of the pre-training comparisons: some steps of a recipe on one file of text, timed as the peers time theirs.

Same figures and the same scoring rule as the shared peer scripts (their `_common.py`, found through --peers): steady
tokens a second is the median step without the first three, the loss is that of windows of `context` inputs in fp32.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from headstart.data.corpus import PackedCorpus, pack
from headstart.doctor import arithmetic_speed
from headstart.ground.batch import Batch
from headstart.train.loop import Job, StepRecord, run
from headstart.train.objective import LanguageModel, lm_loss
from headstart.train.optim import Optimiser
from headstart.train.pretrain import fresh, parameter_groups, schedule_of
from headstart.train.recipe import Recipe, Shape, in_fast_numbers, read_recipe
from headstart.train.step_plan import StepPlan

SKIPPED = 3  # steps at the start, and after the row width changes: blocks are compiled there
SHAPES = {"11m": (256, 12, 704), "30m": (448, 11, 1216)}  # width, layers, mlp: not smaller than GPT-2's at that width
Steps = list[tuple[int, float]]  # row width, seconds


def recipe_of(chosen: argparse.Namespace, *, vocab_size: int, steps: int) -> Recipe:
    """text-11m's settings at the asked shape: as shipped, or causal rows of one width."""
    anchor = read_recipe("text-11m")
    dim, layers, mlp = SHAPES[chosen.shape]
    heads = dim // 64
    shape = Shape(vocab_size, dim, layers, heads, heads, 64, mlp, max_positions=chosen.context)
    per_step = chosen.batch_size * chosen.accum * chosen.context
    optimisation = msgspec.structs.replace(
        anchor.optimisation,
        tokens=steps * per_step,
        tokens_per_step=per_step,
        micro_tokens=per_step // chosen.accum,
        dtype=chosen.dtype,
        seed=chosen.seed,
    )
    mixture = anchor.mixture
    if chosen.mode != "shipped":
        optimisation = msgspec.structs.replace(optimisation, lengths=((1.0, chosen.context),))
        mixture = msgspec.structs.replace(mixture, causal_share=1.0 if chosen.mode == "causal" else 0.0)
    name = f"{chosen.shape}-{chosen.mode}"
    return Recipe(name, shape, anchor.corpus, mixture, optimisation)


def train(recipe: Recipe, corpus: PackedCorpus) -> tuple[LanguageModel, Steps]:
    """The trained model and what every step took."""
    model = fresh(recipe, compile_blocks=True)
    plan = StepPlan(recipe, corpus)
    times: Steps = []
    last = time.perf_counter()

    def tick(record: StepRecord) -> None:
        nonlocal last
        now = time.perf_counter()
        times.append((recipe.width(record.step), now - last))
        last = now

    run(
        Job(
            model=model,
            optimiser=Optimiser(parameter_groups(model, recipe.optimisation)),
            micro_batches=plan.micro_batches,
            steps=plan.steps,
            loss=partial(lm_loss, model, z_loss=recipe.mixture.z_loss),
            schedule=schedule_of(recipe.optimisation),
            on_step=tick,
        )
    )
    return model, times


def seconds_a_step(recipe: Recipe, times: Steps, median: Any) -> float:
    """Median step of every row width, without those that compile, weighted as the recipe weighs them."""
    total, before = 0.0, 0.0
    for until, width in recipe.optimisation.lengths:
        taken = [seconds for at, seconds in times if at == width]
        total += (until - before) * median(taken[SKIPPED:] or taken)
        before = until
    return total


def logits_of(model: LanguageModel, units: torch.Tensor) -> torch.Tensor:
    """Causal logits (B, T, V)."""
    lengths = torch.full((len(units),), units.shape[1])
    hidden = model.trunk(Batch(units, lengths, "causal"))
    return model.lm(hidden, model.trunk.embed.tokens.weight)  # type: ignore[no-any-return]


def options() -> argparse.Namespace:
    """The command line; names as in the peer scripts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--val", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the packed text")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="11m")
    parser.add_argument("--mode", choices=("causal", "masked", "shipped"), default="causal")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--accum", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--tokens", type=int, help="instead of --steps")
    parser.add_argument("--val-windows", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Trains, scores, prints one JSON line."""
    chosen = options()
    sys.path.insert(0, str(chosen.peers))
    common = importlib.import_module("_common")
    torch.set_num_threads(common.THREADS)
    train_ids, val_ids, val_bytes, vocab, info = common.load_lm(chosen)
    del train_ids
    corpus = pack([Path(chosen.data)], Path(chosen.tokenizer), chosen.work)
    per_step = chosen.batch_size * chosen.accum * chosen.context
    steps = chosen.steps if chosen.tokens is None else -(-chosen.tokens // per_step)
    recipe = recipe_of(chosen, vocab_size=vocab, steps=steps)
    numbers = in_fast_numbers(recipe.optimisation).dtype
    roof = arithmetic_speed(numbers) * 1e9
    begun = time.perf_counter()
    model, times = train(recipe, corpus)
    train_seconds = time.perf_counter() - begun
    model.float().eval()
    roof = max(roof, arithmetic_speed(numbers) * 1e9)  # a slow second at the start would flatter the share
    val = common.lm_val_loss(partial(logits_of, model), val_ids, val_bytes, chosen.context, chosen.val_windows)
    steady = seconds_a_step(recipe, times, common.median)
    flops = sum(recipe.step_flops(step) for step in range(steps)) / steps
    common.emit(
        peer="headstart",
        mode=chosen.mode,
        steps=steps,
        parameters=recipe.trunk_config().num_parameters,
        train_seconds=train_seconds,
        first_step_seconds=times[0][1],
        tokens_per_s=per_step * steps / train_seconds,
        tokens_per_s_steady=per_step / steady,
        mfu=flops / steady / roof,
        roof_gflops=roof / 1e9,
        numbers=numbers,
        **val,
        **info,
        versions=common.versions("torch", "tokenizers"),
    )


if __name__ == "__main__":
    main()
