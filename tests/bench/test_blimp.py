"""Minimal pairs: ties are wrong, cells are run once, and the sides score what the library scores."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest
from bench.blimp import Side, run_side, sides_of
from bench.minimal_pairs import Pair, cost_table, judged, mean_share, read_pairs, sentences, share_table
from bench.sentence_scorers import Scorer, against_loop, corpus_units, loop_score, of_counts

from headstart.base.base import Base
from headstart.evaluate.untrained import untrained

PAIRS = {
    name: [
        Pair(f"the {w} sees {name}", f"the {w} see {name}", name, f"p{name[0]}", "syntax")
        for w in ("cat", "dog", "bird")
    ]
    for name in ("ab", "ac", "bd")
}


def constant(texts: list[str]) -> list[float]:
    return [-1.0] * len(texts)


def test_a_constant_scorer_gets_nothing() -> None:
    record = judged(PAIRS["ab"], constant(sentences(PAIRS["ab"])))
    assert (record["pairs"], record["right"], record["ties"]) == (3, 0, 3)


def test_the_good_sentence_has_to_be_likelier() -> None:
    record = judged(PAIRS["ab"], [-1.0, -2.0, -2.0, -1.0, math.nan, -1.0])
    assert (record["right"], record["ties"]) == (1, 0)


def test_a_cell_is_run_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def make() -> Scorer:
        return lambda texts: [asked.append(len(texts)) or -float(len(text)) for text in texts]

    side = Side("short", make, tmp_path / "cells")
    assert run_side(side, PAIRS, until=-math.inf) == []
    first = run_side(side, PAIRS)
    assert run_side(Side("never", pytest.fail, tmp_path / "cells"), PAIRS) == first
    assert len(asked) == 18
    assert [record["right"] for record in first] == [0, 0, 0]  # the bad sentence is shorter
    (tmp_path / "cells" / "ac.json").unlink()
    assert [record["paradigm"] for record in run_side(side, PAIRS)] == ["ab", "ac", "bd"]
    assert len(asked) == 24


def test_the_mean_gives_every_paradigm_the_same_weight() -> None:
    records = [{"right": 90, "pairs": 100}, {"right": 100, "pairs": 1000}]
    mean, low, high = mean_share(records)
    assert mean == pytest.approx(0.5)
    draws = np.random.default_rng(0)
    seen = (draws.binomial(100, 0.9, 20_000) / 100 + draws.binomial(1000, 0.1, 20_000) / 1000) / 2
    assert (low, high) == pytest.approx(tuple(np.quantile(seen, (0.025, 0.975))), abs=0.003)
    assert mean_share([{"right": 5, "pairs": 5}])[1] < 1.0


def test_tables_hold_every_group() -> None:
    records = [judged(pairs, [-1.0, -2.0] * 3) | {"seconds": 1.0, "cpu_seconds": 2.0} for pairs in PAIRS.values()]
    text = share_table({"one": records, "part": records[:1]})
    assert "| all (3) | 100.0 [" in text
    assert "| phenomenon: pa (2) | 100.0 [" in text
    assert "| paradigm: ab (1) | 100.0 [43.9, 100.0] | 100.0 [43.9, 100.0] |" in text
    assert "| all (3) | 100.0 [70.1, 100.0] | - |" in text
    assert "| one | 3 | 9 | 0 | 3 | 6 | 2.5x |" in cost_table({"one": records}, {"one": {"ratio": 2.5}})


def hybrid_texts() -> list[str]:
    return sentences([pair for pairs in PAIRS.values() for pair in pairs])


def test_the_loop_gives_the_same_answers(tiny_base: Base) -> None:
    assert tiny_base.score_patterns == ("causal", "full")
    for pattern in tiny_base.score_patterns:
        found = against_loop(tiny_base, pattern, hybrid_texts())
        assert found["largest_difference"] < 2e-5
        assert found["sentences"] == 18
    whole = tiny_base.score([""], ["the cat sees ab"], pattern="full")[0]
    assert loop_score(tiny_base, "the cat sees ab", "full") == pytest.approx(whole, abs=2e-5)


def test_random_weights_are_the_seeds_alone(tiny_base: Base) -> None:
    one, same, other = (untrained(tiny_base, seed=seed) for seed in (1, 1, 2))
    assert one.trunk.config == tiny_base.trunk.config
    assert one.digest == same.digest
    assert len({one.digest, other.digest, tiny_base.digest}) == 3


def test_the_counting_control_learns_from_shards(tiny_base: Base, tmp_path: Path) -> None:
    lines = [json.dumps({"text": "the cat sees ab. the dog sees ab. the bird sees ab."}) + "\n"] * 20
    (tmp_path / "train-00.jsonl").write_text("".join(lines))
    units = corpus_units(tmp_path, tiny_base, most=100)
    assert len(units) == 100
    assert units[0] == tiny_base.codec.special.bos
    scores = of_counts(tiny_base, tmp_path, most=10_000)(sentences(PAIRS["ab"]))
    assert judged(PAIRS["ab"], scores)["right"] == 3
    packed = tmp_path / "packed"
    packed.mkdir()
    units.astype(np.uint16).tofile(packed / "units.bin")
    (packed / "meta.json").write_text(json.dumps({"vocab_size": tiny_base.codec.vocab_size}))
    assert (corpus_units(packed, tiny_base, most=1000) == units).all()
    (packed / "meta.json").write_text(json.dumps({"vocab_size": 7}))
    with pytest.raises(SystemExit, match="is 7; expected the base's"):
        corpus_units(packed, tiny_base, most=1000)


def test_sides_are_named_by_base_reading_and_size(tiny_base: Base, tmp_path: Path) -> None:
    chosen = argparse.Namespace(pattern="both", limit=5, controls="random,ngram", ngram_units=70)
    found = sides_of(tiny_base, chosen, results=tmp_path, corpus=tmp_path)
    assert [side.name for side in found] == ["causal", "masked", "random causal", "random masked", "5-gram"]
    mark = f"tiny-{tiny_base.digest[:8]}"
    assert found[3].folder.name == f"{mark}-random-masked-n5"
    assert found[4].folder.name == f"{mark}-5gram70-n5"
    chosen.controls = "unigram"
    with pytest.raises(SystemExit, match="control is 'unigram'"):
        sides_of(tiny_base, chosen, results=tmp_path, corpus=tmp_path)


def test_blimp_has_67_paradigms(shared: Path) -> None:
    pairs = read_pairs(shared / "tasks" / "blimp" / "test.parquet", limit=3)
    assert len(pairs) == 67
    assert {len(members) for members in pairs.values()} == {3}
    assert (
        len({pair.phenomenon for members in pairs.values() for pair in members}) == 13
    )  # the file's terms; the paper counts 12
