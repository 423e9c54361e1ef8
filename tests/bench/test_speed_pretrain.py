"""The pre-training benches: our shapes are not smaller than the peers', steps are weighed as the recipe weighs them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import pytest
from bench.pretrain_ours import SHAPES, SKIPPED, recipe_of, seconds_a_step
from bench.speed_pretrain import GPT2_SHAPES, excerpt
from bench.time_to_loss import better, summary


def settings(shape: str, mode: str) -> argparse.Namespace:
    return argparse.Namespace(shape=shape, mode=mode, context=256, batch_size=16, accum=2, dtype="bfloat16", seed=1)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_ours_is_not_the_smaller_model(shape: str) -> None:
    width, layers, _ = GPT2_SHAPES[shape]
    gpt2 = layers * (12 * width**2 + 13 * width) + (8192 + 256) * width + 2 * width
    ours = recipe_of(settings(shape, "causal"), vocab_size=8192, steps=10).trunk_config().num_parameters
    assert gpt2 <= ours < 1.05 * gpt2


def test_what_is_like_for_like_and_what_ships() -> None:
    like, ships = (recipe_of(settings("11m", mode), vocab_size=8192, steps=10) for mode in ("causal", "shipped"))
    assert like.optimisation.lengths == ((1.0, 256),)
    assert (like.mixture.causal_share, ships.mixture.causal_share) == (1.0, 0.5)
    assert [width for _, width in ships.optimisation.lengths] == [128, 256]
    assert like.optimisation.tokens_per_step == ships.optimisation.tokens_per_step == 16 * 2 * 256


def test_a_step_is_the_median_of_every_width_by_its_share() -> None:
    recipe = recipe_of(settings("11m", "shipped"), vocab_size=8192, steps=20)
    compiling = [(128, 60.0)] * SKIPPED + [(256, 40.0)] * SKIPPED
    times = [*compiling, *((128, s) for s in (1.0, 3.0, 2.0)), *((256, s) for s in (5.0, 6.0, 7.0))]
    assert seconds_a_step(recipe, times, median) == pytest.approx(0.8 * 2.0 + 0.2 * 6.0)


def test_an_excerpt_is_whole_documents_of_about_that_size(tmp_path: Path) -> None:
    shard = tmp_path / "shard.jsonl"
    shard.write_text("".join(json.dumps({"text": "x" * 100, "source": "s", "id": str(i)}) + "\n" for i in range(50)))
    taken = excerpt(shard, num_bytes=950, target=tmp_path / "sub" / "taken.jsonl")
    texts = [json.loads(line)["text"] for line in taken.read_text().splitlines()]
    assert texts == ["x" * 100] * 10
    assert excerpt(shard, num_bytes=1, target=taken).read_text() == taken.read_text()  # made once


def test_only_runs_that_are_as_good_count_as_faster() -> None:
    def run(seconds: float, bits: float) -> dict[str, float]:
        return {"train_seconds": seconds, "tokens_per_s": 10.0, "val_bits_per_byte": bits, "other_cores": 0.1}

    found = {
        "hf-bf16": [run(1200, 2.0), run(1180, 2.0)],
        "ours-shipped": [run(400, 1.9), run(410, 2.1)],
    }
    assert better(found["ours-shipped"][0], found["hf-bf16"][0])
    text = summary(found, seconds=1200)
    assert "in 1 of 2 rounds, 3.00 to 3.00 times as fast" in text
