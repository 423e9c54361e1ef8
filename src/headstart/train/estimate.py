"""What a recipe will cost before it runs: memory, FLOPs and seconds, by arithmetic from the recipe alone.

The memory is the peak of one training process on a CPU, the seconds those of a machine with a given speed of matrix
products. The constants were measured: docs/notebook/2026-11-24-ladder.md has the runs, 2026-11-27-pretrain-speed.md
those behind the seconds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from headstart.model.config import TrunkConfig
from headstart.model.flops import train_flops
from headstart.train.recipe import Recipe, in_fast_numbers

PROCESS = 450_000_000  # bytes before any weight exists: between training alone (390 MB) and the whole command (550 MB)
IN_FLIGHT = {"bfloat16": 1.3, "float32": 1.65}  # what a backward pass holds over what the forward pass saved, fitted
CROSS_ENTROPY_ROWS = 512  # rows whose logits exist at once (train/cross_entropy.py)
NEWTON_SCHULZ_STEPS = 5  # of torch's Muon
OVERHEAD = 20_000  # FLOPs whose time norms, RoPE, softmax and residuals take, a unit, layer and unit of width


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes at the peak and what they are made of, training FLOPs, seconds (None where no speed was given)."""

    memory_bytes: int
    memory_parts: dict[str, int]
    flops: float
    seconds: float | None


def estimate(recipe: Recipe, *, speed: float | None = None) -> Estimate:
    """The cost of a whole run. speed: FLOP/s of this machine's matrix products (`doctor`), in the numbers in which it
    computes the recipe."""
    parts, flops = memory_parts(recipe), training_flops(recipe)
    seconds = None if speed is None else (flops + muon_flops(recipe) + elementwise_flops(recipe)) / speed
    return Estimate(sum(parts.values()), parts, flops, seconds)


def training_flops(recipe: Recipe) -> float:
    """FLOPs of forward and backward over the run; masked batches send only their targets through the head."""
    config, predicted = recipe.trunk_config(), recipe.mixture.predicted_share
    return float(
        sum(
            train_flops(config, units=units, context=width, head_units=int(units * predicted))
            for units, width in phases(recipe)
        )
    )


def phases(recipe: Recipe) -> list[tuple[int, int]]:
    """(tokens, row width) of every phase of the run."""
    tokens = recipe.num_steps * recipe.optimisation.tokens_per_step
    lengths = recipe.optimisation.lengths
    starts = (0.0, *(until for until, _ in lengths))
    return [
        (round(tokens * (until - start)), width)
        for (start, until), (_, width) in zip(itertools.pairwise(starts), lengths, strict=True)
    ]


def muon_flops(recipe: Recipe) -> float:
    """FLOPs of orthogonalising the updates: for every matrix five times x x^T, its square and their product with x."""
    if recipe.optimisation.rule != "muon":
        return 0.0
    total = 0
    for rows, columns in matrices(recipe.trunk_config()):
        small, large = sorted((rows, columns))
        total += NEWTON_SCHULZ_STEPS * (2 * small * small * large + 2 * small**3 + 2 * small * small * large)
    return float(total * recipe.num_steps)


def elementwise_flops(recipe: Recipe) -> float:
    """What everything that is no matrix product costs, as the FLOPs that take as long."""
    config = recipe.trunk_config()
    return float(OVERHEAD * recipe.num_steps * recipe.optimisation.tokens_per_step * config.num_layers * config.dim)


def matrices(config: TrunkConfig) -> list[tuple[int, int]]:
    """(rows, columns) of every matrix that Muon moves."""
    inner, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    mlp = [(config.mlp_dim, config.dim)] * (2 if config.mlp == "swiglu" else 1) + [(config.dim, config.mlp_dim)]
    return [(inner, config.dim), (kv, config.dim), (kv, config.dim), (config.dim, inner), *mlp] * config.num_layers


def memory_parts(recipe: Recipe) -> dict[str, int]:
    """Bytes by what holds them at the peak: the backward pass of the last micro-batch of a step."""
    config, settings = recipe.trunk_config(), in_fast_numbers(recipe.optimisation)
    low = settings.dtype != "float32"
    size = 2 if low else 4
    everything = config.num_parameters
    moved = sum(rows * columns for rows, columns in matrices(config)) if settings.rule == "muon" else 0
    longest = max(width for _, width in settings.lengths)
    return {
        "process": PROCESS,
        "parameters": everything * size,
        "masters": everything * 4 if low else 0,
        "gradients": everything * (size + 4 if low else 4),
        "optimiser": 4 * moved + 8 * (everything - moved),
        "activations": round(settings.micro_tokens * units_bytes(config, longest, size) * IN_FLIGHT[settings.dtype]),
        "logits": CROSS_ENTROPY_ROWS * config.vocab_size * (4 + 2 * size) + config.vocab_size * config.dim * (4 + size),
        "loader": loader_bytes(recipe),
    }


def units_bytes(config: TrunkConfig, width: int, size: int) -> int:
    """Bytes that one unit of a micro-batch keeps for the backward pass.

    A block saves 12 vectors of its width (both norms' inputs and outputs; q, k, v before and after their norm and
    rotation; the mixed heads), 4 of its MLP (gate, its silu, up, their product) and one row of softmax a head. Every
    norm keeps its input divided by its size as well, in bf16 both as fp32.
    """
    inner = config.num_heads * config.head_dim
    block = 4 * config.dim + 8 * inner + 4 * config.mlp_dim + config.num_heads * width
    norms = (8 if size == 2 else 4) * 2 * (config.dim + inner)
    return config.num_layers * (size * block + norms) + size * 3 * config.dim


def loader_bytes(recipe: Recipe) -> int:
    """The text of the run as memory-mapped units of two bytes, and the order of its rows."""
    tokens = recipe.num_steps * recipe.optimisation.tokens_per_step
    shortest = min(width for _, width in recipe.optimisation.lengths)
    return 2 * tokens + 8 * tokens // shortest
