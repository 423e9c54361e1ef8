"""Abilities by size: questions are asked as written, ties are wrong, an ability must beat chance and random weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
from bench.abilities import choice_cell, column_of, read_bases
from bench.abilities_picture import picture
from bench.ability_shares import Column, Share, choice_share, first_with, is_there, ordered, pair_shares, table
from bench.choice_sets import ABILITIES, LABELLED, answered, by_label, chance, drawn, read_items, some
from bench.minimal_pairs import Pair

from headstart.base.base import Base
from headstart.evaluate.proportions import wilson
from headstart.evaluate.suite.items import Item

SVG = "{http://www.w3.org/2000/svg}"


def share(value: float, half: float = 0.05, chance: float = 0.5) -> Share:
    return Share(value, value - half, value + half, chance)


def column(name: str, parameters: int, early: float, late: float) -> Column:
    return Column(name, parameters, 20 * parameters, {"early": share(early), "late": share(late), "toss": share(0.3)})


CONTROL = Column("random weights", 1_000_000, None, {"early": share(0.5), "late": share(0.62), "toss": share(0.3)})
LADDER = [
    column("1 M", 1_000_000, 0.6, 0.6),
    column("3 M", 3_000_000, 0.7, 0.61),
    column("10 M", 10_000_000, 0.8, 0.7),
]


def item(context: str, *answers: str, right: int = 0) -> Item:
    return Item(0, tuple((context, answer) for answer in answers), right)


def test_examples_stand_before_the_row() -> None:
    _, prompt = LABELLED["sst2, 4 examples"]
    rows = [{"text": f"{word} {i}", "label": label} for label, word in enumerate(("bad", "good")) for i in range(9)]
    shown = drawn(by_label(rows), shots=2, seed="sst2 0")
    assert sorted(row["label"] for row in shown) == [0, 0, 1, 1]
    assert shown == drawn(by_label(rows), shots=2, seed="sst2 0")
    assert shown != drawn(by_label(rows), shots=2, seed="sst2 1")
    asked = prompt.item(0, {"text": "fine", "label": 1}, shown)
    context = asked.options[0][0]
    assert asked.options == ((context, " negative"), (context, " positive"))
    assert asked.answer == 1
    assert context.count("Review: ") == 5
    assert context.endswith("\n\nReview: fine\nSentiment:")
    assert f"{shown[0]['text']}\nSentiment: {('negative', 'positive')[shown[0]['label']]}\n\n" in context


def test_the_right_answer_has_to_be_the_likeliest() -> None:
    asked = [item("a", " x", " y")] * 3

    def scorer(contexts: Sequence[str], continuations: Sequence[str]) -> list[float]:
        assert list(contexts) == ["a"] * 6
        assert list(continuations) == [" x", " y"] * 3
        return [-1.0, -2.0, -2.0, -1.0, -1.0, -1.0]

    assert answered(asked, scorer) == {"questions": 3, "right": 1, "chance": 1.0}


def test_chance_is_the_best_constant_or_a_die() -> None:
    labels = [item("a", " x", " y", right=right) for right in (0, 0, 0, 1)]
    assert chance(labels) == 0.75
    own = [item("a", " x", " y"), item("b", " p", " q", " r", " s")]
    assert chance(own) == pytest.approx(0.375)


def test_rows_are_drawn_with_a_fixed_seed_in_their_order() -> None:
    rows = [{"n": n} for n in range(50)]
    found = [row["n"] for row in some(rows, 10)]
    assert found == sorted(found)
    assert found == [row["n"] for row in some(rows, 10)]
    assert some(rows, 99) == rows


def test_an_ability_beats_chance_and_random_weights() -> None:
    assert is_there("early", LADDER[0], CONTROL)
    assert not is_there("late", LADDER[0], CONTROL), "above chance, but random weights are as good"
    assert not is_there("early", CONTROL, CONTROL)
    assert first_with("early", LADDER, CONTROL) is LADDER[0]
    assert first_with("late", LADDER, CONTROL) is LADDER[2]
    assert first_with("toss", LADDER, CONTROL) is None
    dip = [LADDER[2], LADDER[0]]
    assert first_with("late", dip, CONTROL) is None, "a larger base without it: it did not appear"
    assert ordered(["toss", "late", "early"], LADDER, CONTROL) == ["early", "late", "toss"]


def test_the_picture_and_the_table_say_the_same() -> None:
    groups = {"Pairs": ["early", "late"], "Sets": ["toss"]}
    root = ElementTree.fromstring(picture(groups, LADDER, CONTROL))
    dots = [dot.get("class") for dot in root.findall(f"{SVG}circle")]
    assert len(dots) == 12
    assert dots.count("base") == 4
    assert dots.count("soft-hollow") == 3
    assert len([line for line in root.findall(f"{SVG}line") if line.get("class") == "chance"]) == 12
    assert "early from 1 M; late from 10 M; toss from none" in (root.get("aria-label") or "")
    lines = table(groups, LADDER, CONTROL)
    assert len({line.count("|") for line in lines}) == 1
    assert sum(line.count("**") for line in lines) // 2 == 4 + len(groups)
    assert lines[3].endswith("| 1 M |")
    assert lines[-1].endswith("| - |")


PAIRS = {
    name: [Pair(f"the {w} sees {name}", f"the {w} see {name}", name, "agreement_of_both", "syntax") for w in "abcd"]
    for name in ("ab", "ac")
}


def test_a_base_is_asked_once(tiny_base: Base, tmp_path: Path) -> None:
    items = {"copa": [item("the cat", " sat", " flew away")] * 5}
    found = column_of(tiny_base, PAIRS, items, mark="tiny", results=tmp_path, size="n4")
    assert set(found.shares) == {"all paradigms", "agreement of both", "copa"}
    assert found.shares["copa"].chance == 1.0
    assert found.shares["all paradigms"].chance == 0.5
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["ab.json", "ac.json", "copa-n5.json"]
    kept = tmp_path / "abilities"
    again = choice_cell(tiny_base, "copa", [item("never", " asked")] * 5, mark="tiny", folder=kept)
    assert again == found.shares["copa"]
    scores = tiny_base.score(["the cat"] * 2, [" sat", " flew away"])
    assert again.value == float(scores[0] > scores[1])


def test_shares_have_wilson_intervals() -> None:
    found = choice_share({"questions": 100, "right": 50, "chance": 0.25})
    assert (found.low, found.high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    pairs = pair_shares([{"field": "f", "phenomenon": "p_q", "paradigm": "r", "right": 50, "pairs": 100}])
    assert pairs["p q"] == pairs["all paradigms"]
    assert pairs["p q"].low == pytest.approx(wilson(0.5, 99).low), "a group's variance is of its rows less one"


def test_bases_come_smallest_first(tiny_base: Base, tiny_base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds 0 bases"):
        read_bases(tmp_path)
    for name in ("one", "two"):
        shutil.copytree(tiny_base_folder, tmp_path / name)
    assert [base.digest for base in read_bases(tmp_path)] == [tiny_base.digest] * 2


def test_the_real_sets_are_read(shared: Path) -> None:
    for ability in ABILITIES:
        found = read_items(ability, tasks=shared / "tasks", rows=40)
        assert len(found) == 40
        assert all(0 <= one.answer < len(one.options) for one in found)
        assert all(text.startswith(" ") and text.strip() for one in found for _, text in one.options)
        assert all(context == context.rstrip() for one in found for context, _ in one.options)
