"""What a run costs, foretold: FLOPs equal to the run's own count, memory within a fifth of the measured peak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from headstart.data.corpus import PackedCorpus, PackedMeta
from headstart.train.estimate import estimate, matrices, phases
from headstart.train.pretrain import fresh, parameter_groups
from headstart.train.recipe import Recipe
from headstart.train.sizing import recipe_for
from headstart.train.step_plan import StepPlan

PEAK = """
import json, sys
import msgspec, numpy as np
from headstart.data.corpus import PackedCorpus, PackedMeta
from headstart.train.pretrain import train_text
from headstart.train.recipe import Recipe
recipe = msgspec.json.decode(sys.argv[1], type=Recipe)
def corpus(count):
    units = np.random.default_rng(0).integers(4, recipe.shape.vocab_size, count).astype(np.uint16)
    return PackedCorpus(units, PackedMeta(count, 1, 4 * count, recipe.shape.vocab_size, {}, ""))
train_text(recipe, corpus(200_000), corpus(1_000), probe_every=10**9, compile_blocks=False)
# Not ru_maxrss: a child inherits that from the process that started it, here a test run of 1.5 GB.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps(int(peak.split()[1]) * 1024))
"""


def steps_only(size: str, *, steps: int, dtype: str, micro: int) -> Recipe:
    """The dial's recipe cut to a few steps of two micro-batches of its longest rows."""
    recipe = recipe_for(size).recipe
    settings = msgspec.structs.replace(
        recipe.optimisation,
        tokens=2 * micro * steps,
        tokens_per_step=2 * micro,
        micro_tokens=micro,
        lengths=((1.0, 256),),
        dtype=dtype,  # type: ignore[arg-type]
    )
    return msgspec.structs.replace(recipe, optimisation=settings)


def measured_peak(recipe: Recipe) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, msgspec.json.encode(recipe).decode()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(json.loads(done.stdout))


def check_peak(recipe: Recipe) -> None:
    foretold, peak = estimate(recipe), measured_peak(recipe)
    assert foretold.memory_bytes == pytest.approx(peak, rel=0.2), foretold.memory_parts


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(("size", "dtype", "micro"), [("1m", "float32", 2048)])
def test_memory_is_within_a_fifth_of_the_measured_peak(size: str, dtype: str, micro: int) -> None:
    check_peak(steps_only(size, steps=1, dtype=dtype, micro=micro))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("size", "dtype", "micro"),
    [
        ("300k", "bfloat16", 4096),
        ("1m", "bfloat16", 16384),
        ("3m", "float32", 4096),
        ("3m", "bfloat16", 2048),
        ("3m", "bfloat16", 8192),
        ("11m", "float32", 2048),
        ("11m", "bfloat16", 4096),
        ("11m", "bfloat16", 8192),
        ("30m", "bfloat16", 2048),
        ("30m", "bfloat16", 4096),
        ("30m", "float32", 2048),
    ],
)
def test_memory_over_more_settings(size: str, dtype: str, micro: int) -> None:
    check_peak(steps_only(size, steps=1, dtype=dtype, micro=micro))


@pytest.mark.parametrize(("size", "ratio"), [("300k", 3.0), ("11m", 0.635), ("30m", 1.0)])
def test_flops_are_those_that_the_run_counts(size: str, ratio: float, tmp_path: Path) -> None:
    recipe = recipe_for(size, tokens_per_parameter=ratio).recipe
    meta = PackedMeta(0, 0, 0, recipe.shape.vocab_size, {}, "")
    plan = StepPlan(recipe, PackedCorpus(None, meta))  # type: ignore[arg-type]
    assert estimate(recipe).flops == pytest.approx(plan.flops(plan.steps), rel=0.005)
    assert sum(tokens for tokens, _ in phases(recipe)) == pytest.approx(recipe.optimisation.tokens, abs=2)


def test_muon_moves_the_matrices_that_are_counted() -> None:
    recipe = recipe_for("300k").recipe
    muon = parameter_groups(fresh(recipe, compile_blocks=False), recipe.optimisation)[0]
    assert sorted(tuple(p.shape) for p in muon.params) == sorted(matrices(recipe.trunk_config()))


def test_seconds_fall_with_speed_and_grow_with_size() -> None:
    small, large = recipe_for("1m").recipe, recipe_for("11m").recipe
    assert estimate(small).seconds is None
    slow, fast = estimate(large, speed=1e11).seconds, estimate(large, speed=2e11).seconds
    assert slow is not None
    assert fast is not None
    assert slow == pytest.approx(2 * fast)
    below = estimate(small, speed=1e11).seconds
    assert below is not None
    assert below < slow / 50
    # Never faster than the products alone at the full speed.
    assert slow > estimate(large).flops / 1e11
