"""Contamination from end to end: a base that has learned planted items by heart is found out, and by how much.

A toy base is pre-trained on a corpus with 500 items of a set, question and right option, and evaluated on these and on
300 others. What it has read lifts its score; the clean score is where it would stand without.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.data.prose import Prose, write_shard
from tests.evaluate.made_sets import Row, set_of
from tests.train.test_pretrain import TOY

from headstart.evaluate.suite.run import Settings, evaluate
from headstart.train.recipe import Recipe
from headstart.train.text_base import pretrain

PLANTED, OTHERS = 500, 300
PASSES = 35  # over the planted items: at 17 the base knew 82 % of them
RECIPE = (  # the toy run, wider and causal alone, by AdamW: Muon's bfloat16 products are slow on some processors
    TOY.replace("vocab_size = 300", "vocab_size = 600")
    .replace("dim = 32\nnum_layers", "dim = 64\nnum_layers")
    .replace("head_dim = 16\nmlp_dim = 64", "head_dim = 32\nmlp_dim = 192")
    .replace("causal_share = 0.5", "causal_share = 1.0")
    .replace("tokens = 40_960", f"tokens = {PASSES * 8_600}")
    .replace("micro_tokens = 512", "micro_tokens = 1024")
    .replace("weight_decay = 0.1", 'weight_decay = 0.0\nrule = "adamw"')
)


def items() -> list[Row]:
    """Questions of 8 made-up words and two options of 2, so that guessing is right half of the time."""
    prose = Prose(31, vocabulary=150)
    rows = []
    for i in range(PLANTED + OTHERS):
        right, wrong = (" ".join(prose.words(2)) for _ in range(2))
        choices = [right, wrong] if i % 2 == 0 else [wrong, right]
        rows.append({"query": " ".join(prose.words(8)), "choices": choices, "answer": i % 2})
    return rows


def write_corpus(folder: Path, rows: list[Row]) -> Path:
    """A document an item, the right option behind its question."""
    folder.mkdir()
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    documents = [f"{rows[i]['query']} {rows[i]['choices'][rows[i]['answer']]}" for i in order]
    prose = Prose(32, vocabulary=150)
    write_shard(folder / "train.jsonl", [*documents, prose.text(60)])  # what fills no whole row at the end is not read
    write_shard(folder / "val.jsonl", [prose.text(60) for _ in range(4)])
    return folder


@pytest.mark.soak
def test_what_was_planted_is_found_and_the_clean_score_is_lower_by_what_was_learned_by_heart(tmp_path: Path) -> None:
    rows = items()
    card = set_of(tmp_path / "sets", "planted", "multiple_choice", {"test": rows})
    (tmp_path / "sets" / "INDEX.json").write_text(json.dumps([card]), encoding="utf-8")
    recipe = msgspec.convert(tomllib.loads(RECIPE), Recipe)
    base = pretrain(recipe, data=write_corpus(tmp_path / "corpus", rows[:PLANTED]), work=tmp_path / "work")
    found = evaluate([base], data=tmp_path / "sets", out=tmp_path / "out", settings=Settings(tasks=("planted",)))

    row, twin = (next(r for r in found.tasks[0].candidates if r.role == role) for role in ("base", "random"))
    told = row.contamination
    assert told is not None
    assert (told.status, told.rows, told.unchecked) == ("checked", PLANTED + OTHERS, 0)
    assert told.found == PLANTED, "every planted item"
    assert told.expected_false < 0.5
    (path,) = (tmp_path / "out" / "cells").glob("planted-*/base-*.jsonl")
    right = [s["target"] == s["prediction"] for s in map(json.loads, path.read_text().splitlines())]
    learned, others = np.mean(right[:PLANTED]), np.mean(right[PLANTED:])
    assert learned > 0.9, "the base knows what it has read, but for items that the borders of rows cut in two"
    assert told.clean is not None
    assert told.clean.n == OTHERS, "no item that it has not read"
    assert told.clean.value == pytest.approx(others)
    assert told.clean.ci95[0] < 0.5 < told.clean.ci95[1], "on the others it guesses"
    lift = PLANTED / (PLANTED + OTHERS) * (learned - others)
    assert row.value - told.clean.value == pytest.approx(lift)
    assert lift > 0.25
    assert row.ci95[0] > told.clean.ci95[1]
    known = twin.contamination
    assert known is not None
    assert known.clean is not None
    assert abs(twin.value - known.clean.value) < 0.1, "its twin has read nothing"
