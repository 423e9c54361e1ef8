"""Planted items are found in an evaluation, and the score without them is the one that the samples give by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import pytest
from tests.data.prose import Prose
from tests.evaluate.made_sets import set_of

from headstart.base.base import Base
from headstart.base.lineage import Record
from headstart.base.read_before import sketch_facts
from headstart.data.sketch import sketch_texts, write_sketch
from headstart.evaluate.proportions import wilson
from headstart.evaluate.suite.leaderboard import human_lines, plain_lines
from headstart.evaluate.suite.page import render_page
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import Evaluation, to_json

PLANTED, OTHERS = 500, 300


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, str]]:
    """Minimal pairs whose good sentences are made-up prose of 6 to 30 words; the bad ones have two words swapped."""
    prose = Prose(31, vocabulary=20_000)
    rows = []
    for i in range(PLANTED + OTHERS):
        words = prose.text(6 + i % 25).replace("\n", " ").split()
        swapped = [*words[:1], words[2], words[1], *words[3:]]
        rows.append({"good": " ".join(words), "bad": " ".join(swapped), "paradigm": f"p{i % 4}"})
    return rows


@pytest.fixture(scope="module")
def sets(pairs: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    cards = [
        set_of(folder, "swaps", "schema", {"test": [schema(row) for row in pairs]}),
        set_of(folder, "read", "schema", {"test": [schema(row) for row in pairs[:30]]}),
        set_of(folder, "unread", "schema", {"test": [schema(row) for row in pairs[PLANTED : PLANTED + 40]]}),
    ]
    (folder / "INDEX.json").write_text(json.dumps(cards), encoding="utf-8")
    return folder


def schema(row: dict[str, str]) -> dict[str, object]:
    return {"contexts": [row["good"], row["bad"]], "continuation": "is it.", "answer": 0}


def reader(base: Base, texts: list[str], folder: Path, *, max_bytes: int = 1 << 20) -> Base:
    """The base as if it had read the texts in pre-training."""
    write_sketch(sketch_texts(iter(texts), max_bytes=max_bytes, covers="planted text"), folder / "corpus.sketch")
    record = Record(verb="pretrain", results={"sketch": sketch_facts(folder / "corpus.sketch")})
    return dataclasses.replace(base, sketches=(folder / "corpus.sketch",), lineage=(record,))


@pytest.fixture(scope="module")
def done(
    tiny_base: Base, pairs: list[dict[str, str]], sets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    folder, prose = tmp_path_factory.mktemp("out"), Prose(32)
    texts = [f"{prose.text(30)} {row['good'].upper()} {prose.text(30)}" for row in pairs[:PLANTED]]
    read = reader(tiny_base, texts, folder)
    return evaluate([read], data=sets, out=folder, settings=Settings(tasks=("swaps",)))


def test_all_planted_items_are_found_and_the_clean_score_is_that_of_the_others(done: Evaluation) -> None:
    (table,) = done.tasks
    row = next(one for one in table.candidates if one.role == "base")
    told = row.contamination
    assert told is not None
    assert (told.status, told.rows, told.unchecked) == ("checked", PLANTED + OTHERS, 0)
    assert told.found == PLANTED
    assert told.expected_false < 1.0
    (path,) = Path(done.samples).glob("swaps-*/base-*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    right = [s["target"] == s["prediction"] for s in samples]
    assert row.value == pytest.approx(sum(right) / len(right))
    rest = [flag for s, flag in zip(samples, right, strict=True) if s["id"] > PLANTED]
    assert told.clean is not None
    assert told.clean.n == OTHERS
    assert told.clean.value == pytest.approx(sum(rest) / OTHERS)
    by_hand = wilson(sum(rest) / OTHERS, OTHERS)
    assert told.clean.ci95 == pytest.approx((by_hand.low, by_hand.high))
    assert told.clean.value != row.value


def test_twins_are_scored_on_the_same_items_and_controls_are_not_asked(done: Evaluation) -> None:
    rows = {one.role: one for one in done.tasks[0].candidates}
    base, twin = rows["base"].contamination, rows["random"].contamination
    assert base is not None
    assert twin is not None
    assert (twin.found, twin.clean and twin.clean.n) == (base.found, base.clean and base.clean.n)
    assert all(one.contamination is None for role, one in rows.items() if role not in ("base", "random"))


def test_both_forms_tell_it(done: Evaluation) -> None:
    human, piped = "\n".join(line.plain for line in human_lines(done)), "\n".join(plain_lines(done))
    assert "500 read before (chance" in human
    assert "status=checked rows=800 found=500" in piped
    assert "unknown" not in human


def test_the_aggregate_has_a_clean_one_beside_it(
    tiny_base: Base, pairs: list[dict[str, str]], sets: Path, tmp_path: Path
) -> None:
    read = reader(tiny_base, [row["good"] for row in pairs[:PLANTED]], tmp_path)
    settings = Settings(tasks=("swaps", "unread", "read"))
    found = evaluate([read], data=sets, out=tmp_path / "out", settings=settings)
    tables = {table.task.name: table for table in found.tasks}
    assert {one.role for one in found.overall if one.clean is None} == {"majority", "tfidf"}, "they have read nothing"
    for whole in (one for one in found.overall if one.role in ("base", "random")):
        rows = {name: next(r for r in t.candidates if r.entry == whole.entry) for name, t in tables.items()}
        told = {name: row.contamination for name, row in rows.items()}
        assert told["swaps"] is not None
        assert told["swaps"].clean is not None
        kept = [told["swaps"].clean.value, rows["unread"].value]  # of `read` no item is left
        assert whole.tasks == 3
        assert whole.clean is not None
        assert (whole.clean.tasks, whole.clean.touched) == (2, 2)
        assert whole.clean.value == pytest.approx(sum(2 * value - 1 for value in kept) / 2), "guessing is 1/2"
        assert whole.clean.value != pytest.approx(whole.value)
        assert whole.clean.ci95[0] < whole.clean.value < whole.clean.ci95[1]
    clean = next(row.clean for row in found.overall if row.role == "base")
    assert clean is not None
    words = f"{clean.value:.3f} [{clean.ci95[0]:.3f}, {clean.ci95[1]:.3f}]"
    assert f"{words:<22}  items of 2 read before; over 2" in "\n".join(line.plain for line in human_lines(found))
    assert f"clean={clean.value:.4f}" in next(line for line in plain_lines(found) if "role=base" in line)
    page = render_page(found)
    assert "without items read before</th>" in page
    assert f"Without those items tiny reaches {words} over the 2 sets that are left." in page
    written = {one["role"]: one["clean"] for one in json.loads(to_json(found))["overall"]}
    assert written["base"] == json.loads(msgspec.json.encode(clean))
    assert written["tfidf"] is None


def test_an_aggregate_of_unread_items_has_no_clean_one(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    read = reader(tiny_base, [Prose(33).text(60)], tmp_path)
    settings = Settings(tasks=("swaps", "unread"), limit=40)
    found = evaluate([read], data=sets, out=tmp_path / "out", settings=settings)
    assert [row.clean for row in found.overall] == [None] * len(found.overall)
    assert "items of" not in "\n".join(line.plain for line in human_lines(found))
    assert "without items read before</th>" not in render_page(found)


def test_a_base_without_a_sketch_is_unknown_and_never_clean(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("swaps",), limit=20))
    for row in found.tasks[0].candidates:
        if row.contamination is not None:
            assert row.contamination.status == "unknown"
            assert row.contamination.clean is None
    human = "\n".join(line.plain for line in human_lines(found))
    assert "unknown" in human
    assert "whether tiny has read the items: nobody wrote down what it read" in human
    assert "clean" not in human
    assert b'"status":"unknown"' in msgspec.json.encode(found)


def test_too_few_rows_are_not_scored(tiny_base: Base, pairs: list[dict[str, str]], sets: Path, tmp_path: Path) -> None:
    base = reader(tiny_base, [row["good"] for row in pairs], tmp_path)
    found = evaluate([base], data=sets, out=tmp_path, settings=Settings(tasks=("swaps",), limit=30))
    told = next(one.contamination for one in found.tasks[0].candidates if one.role == "base")
    assert told is not None
    assert (told.found, told.clean) == (30, None)


def test_a_set_of_mostly_short_rows_is_unknown_and_never_clean(tiny_base: Base, tmp_path: Path) -> None:
    prose = Prose(7)
    rows = [{"good": f"ok {i}", "bad": f"no {i}"} for i in range(30)]
    rows += [{"good": prose.text(20), "bad": prose.text(20)} for _ in range(10)]
    place = tmp_path / "sets"
    place.mkdir()
    card = set_of(place, "swaps", "schema", {"test": [schema(row) for row in rows]})
    (place / "INDEX.json").write_text(json.dumps([card]), encoding="utf-8")
    base = reader(tiny_base, [prose.text(40)], tmp_path)
    found = evaluate([base], data=place, out=tmp_path / "out", settings=Settings(tasks=("swaps",)))
    told = next(one.contamination for one in found.tasks[0].candidates if one.role == "base")
    assert told is not None
    assert (told.status, told.clean, told.unchecked) == ("unknown", None, 30)
    piped = [line for line in plain_lines(found) if line.startswith("contamination")]
    assert len(piped) == 1, "random networks have read nothing"
    assert "status=unknown" in piped[0]
    assert "30 of 40 rows of swaps cannot be told: 30 too short" in piped[0]


@pytest.mark.parametrize(("max_bytes", "status"), [(600, "unknown"), (9000, "checked")])
def test_what_a_thinned_sketch_did_not_sample_is_not_called_too_short(
    tiny_base: Base, pairs: list[dict[str, str]], sets: Path, tmp_path: Path, max_bytes: int, status: str
) -> None:
    """Every row has 6 words at least; the sketch keeps a few hundredths of the 6-grams, or most of them."""
    base = reader(tiny_base, [Prose(34).text(20_000)], tmp_path, max_bytes=max_bytes)
    found = evaluate([base], data=sets, out=tmp_path / "out", settings=Settings(tasks=("unread",)))
    told = next(one.contamination for one in found.tasks[0].candidates if one.role == "base")
    assert told is not None
    assert told.status == status
    assert 0 < told.not_sampled == told.unchecked < told.rows
    assert told.share == base_share(base) < 1
    words = f"0 too short, {told.not_sampled} not sampled (the sketch keeps {100 * told.share:.2g} % of the 6-grams)"
    human = " ".join(" ".join(line.plain.split()) for line in human_lines(found))
    assert words in human
    assert "are too short to tell" not in human
    if status == "checked":
        assert f'<td class="n">0 of {told.rows}</td><td class="n">{told.not_sampled}<br>' in render_page(found)


def base_share(base: Base) -> float:
    return float(base.lineage[0].results["sketch"]["share"])
