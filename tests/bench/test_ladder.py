"""The ladder without training: cells, the held-out size, the table and the picture, over made-up runs."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from bench.ladder import Rung, hold_out, inside, keep_packed, table, verdict
from bench.ladder_picture import groups, picture

from headstart.train.estimate import estimate
from headstart.train.finished import Found, Run
from headstart.train.recipe import Recipe
from headstart.train.recipe_file import recipe_text
from headstart.train.scaling import Point


def rung(size: str, ratio: float = 10.0) -> Rung:
    return Rung(size, ratio, 0, ("a.jsonl.zst", "b.jsonl.zst"), "val.jsonl.zst", 1_000_000)


def made(size: str, ratio: float = 10.0) -> Run:
    """A run that obeys a law without noise."""
    recipe = rung(size, ratio).recipe
    n, d = recipe.trunk_config().num_parameters, 3.6 * recipe.optimisation.tokens
    loss = 0.57 + 100 / n**0.34 + 120 / d**0.28
    return Run(recipe, Point(rung(size, ratio).key, n, d, estimate(recipe).flops, loss), 3.6, 12.0)


def test_a_rung_is_the_dials_recipe_on_this_text() -> None:
    recipe = rung("1m").recipe
    assert recipe.corpus.train == ("a.jsonl.zst", "b.jsonl.zst")
    assert recipe.optimisation.seed == 0
    assert msgspec.convert(tomllib.loads(recipe_text(recipe)), Recipe) == recipe
    assert rung("1m").key == "1m-r10-s0"


def test_the_largest_is_foretold_from_the_others() -> None:
    runs = [made(size) for size in ("300k", "1m", "3m", "11m")]
    law, foretold = hold_out(runs)
    assert law.runs == 3
    assert [run.point.name for run, _ in foretold] == ["11m-r10-s0"]
    assert inside(*foretold[0])
    worse = replace(runs[3], point=replace(runs[3].point, bits_per_byte=runs[3].point.bits_per_byte + 0.5))
    sentences, _ = verdict(Found((*runs[:3], worse), ()))
    assert "OUTSIDE" in sentences[-1]


def test_too_short_a_ladder_has_no_law() -> None:
    sentences, law = verdict(Found((made("1m"), made("3m"), made("11m")), ()))
    assert law is None
    assert "expected at least 3" in sentences[0]


def test_table_and_picture_hold_every_run() -> None:
    runs = [made(size, ratio) for size in ("300k", "1m", "3m", "11m") for ratio in (5.0, 20.0)]
    records = {
        r.point.name: {"estimate": asdict(estimate(r.recipe, speed=2e11)), "peak_mb": 700.0, "other_cores": 0.0}
        for r in runs
    }
    lines = table(runs, records)
    assert len(lines) == 2 + len(runs)
    assert [len(group) for group in groups(runs)] == [4, 4]
    law, _ = hold_out(runs)
    drawn = picture(runs, law)
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    dots = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(dots) == len(runs)
    assert sum(dot.get("class") == "held" for dot in dots) == 2


def test_packed_text_is_kept_once(tmp_path: Path) -> None:
    for turn in ("first", "second"):
        work = tmp_path / turn
        for name in ("train", "validation", "checkpoints"):
            (work / name).mkdir(parents=True)
        (work / "tokenizer.json").write_text(turn)
        keep_packed(work, tmp_path / "packed")
        assert not work.exists()
    assert (tmp_path / "packed" / "tokenizer.json").read_text() == "first"
    assert sorted(p.name for p in (tmp_path / "packed").iterdir()) == ["tokenizer.json", "train", "validation"]


@pytest.mark.parametrize("sizes", ["1m"])
def test_one_size_has_no_line(sizes: str) -> None:
    assert groups([made(sizes)]) == []
