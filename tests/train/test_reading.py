"""What a run read is what its steps visited, no less, and its base can tell."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.data.prose import Prose, write_shard
from tests.train.test_pretrain import TOY
from tokenizers import Tokenizer

from headstart.base.base import Base
from headstart.base.read_before import read_before
from headstart.cli import run
from headstart.data.corpus import SPECIALS, pack, train_tokenizer
from headstart.data.overlap import check_file
from headstart.ground.errors import BaseError, DataError
from headstart.sketching import sketch_base
from headstart.train import reading
from headstart.train.reading import sketch_run, texts_of, visited_units
from headstart.train.recipe import Recipe
from headstart.train.step_plan import StepPlan
from headstart.train.text_base import pretrain


def toy(**more: int) -> Recipe:
    import tomllib

    found = msgspec.convert(tomllib.loads(TOY), Recipe)
    return msgspec.structs.replace(found, optimisation=msgspec.structs.replace(found.optimisation, **more))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, prose = tmp_path_factory.mktemp("shards"), Prose(3)
    for name, count in (("train.jsonl", 60), ("val.jsonl", 5)):
        write_shard(folder / name, [prose.text(150) for _ in range(count)])
    return folder


@pytest.mark.parametrize(("tokens", "skipped"), [(8_192, 0), (8_192, 3), (81_920, 0)])
def test_the_visited_units_are_those_of_the_steps(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int, skipped: int
) -> None:
    monkeypatch.setattr(reading, "BATCH", 1000)  # stretches reach over many borders
    recipe = toy(tokens=tokens)
    texts = [json.loads(line)["text"] for line in (shards / "train.jsonl").read_text().splitlines()]
    train_tokenizer(iter(texts), vocab_size=300).save(str(tmp_path / "tokenizer.json"))
    corpus = pack([shards / "train.jsonl"], tmp_path / "tokenizer.json", tmp_path / "packed")
    expected = np.zeros(len(corpus.units), dtype=bool)
    for late in range(skipped + 1):
        plan = StepPlan(recipe, corpus, late)
        for step in range(recipe.num_steps):
            width = recipe.width(step)
            for row in plan.visits(step)[0].tolist():
                expected[row * width : row * width + width + 1] = True
    found = visited_units(recipe, corpus, steps=recipe.num_steps, skipped=skipped)
    assert np.array_equal(found, expected)
    whole = tokens > len(found)
    assert (found.mean() > 0.999) == whole
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    told = list(texts_of(corpus.units, found, tokenizer))
    assert sum(map(len, told)) == len(tokenizer.decode(corpus.units[found].tolist()))
    assert found.sum() > sum(len(tokenizer.encode(t).ids) - 2 for t in told) * 0.9
    assert all(any(piece in text for text in texts) for piece in told)
    if whole:
        assert told[:-1] == texts[:-1], "the last row of a corpus is too short to be read"
    wide = visited_units(recipe, corpus, steps=recipe.num_steps, skipped=skipped, slack=2)
    assert (wide | ~found).all()
    assert (corpus.units[wide] < len(SPECIALS)).sum() >= (corpus.units[found] < len(SPECIALS)).sum()


def planted(prose: Prose) -> list[str]:
    return [prose.text(6 + i % 7 if i % 2 else 13 + i % 28).replace("\n", " ") for i in range(500)]


def table(path: Path, items: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": item, "label": i % 2}) + "\n" for i, item in enumerate(items)))
    return path


def test_a_base_knows_500_planted_items_after_any_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planted in the text, found by the base, by its copy on disk, and after `data sketch` by one that had lost it."""
    prose = Prose(21, vocabulary=20_000)
    items, clean = planted(prose), planted(prose)
    texts = [f"{prose.text(6)} {item.upper()}! {prose.text(6)}" for item in items]
    write_shard(tmp_path / "train.jsonl", [*texts, prose.text(100)])  # the last row of a corpus is never read
    write_shard(tmp_path / "val.jsonl", [prose.text(100) for _ in range(5)])
    base = pretrain(toy(tokens=163_840, tokens_per_step=16_384), data=tmp_path, work=tmp_path / "work")
    base.save(tmp_path / "base")
    again = Base.load(tmp_path / "base")
    known = read_before(again)
    assert known.words == "its own sketch"
    assert [sketch.facts.share for sketch in known.sketches] == [1.0]
    both = table(tmp_path / "t.jsonl", [*items, *clean])
    found = check_file(both, known.sketches)
    assert set(range(1, 501)) <= found.found
    assert len(found.found) - 500 <= found.overlap.expected_false + 3
    assert "`corpus.sketch`" in (tmp_path / "base" / "README.md").read_text()
    lost = Base.load(tmp_path / "base")
    without = {key: value for key, value in lost.lineage[0].results.items() if key != "sketch"}
    lost = dataclasses.replace(lost, sketches=(), lineage=(dataclasses.replace(lost.lineage[0], results=without),))
    lost.save(tmp_path / "lost")
    assert read_before(Base.load(tmp_path / "lost")).sketches == ()
    assert run(["data", "check", str(both), "--against", str(tmp_path / "lost")]) == 0
    assert "unknown; no sketch travels with it" in capsys.readouterr().out
    assert run(["data", "sketch", str(tmp_path / "lost"), "--data", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    regained = Base.load(tmp_path / "lost")
    assert [record.verb for record in regained.lineage] == ["pretrain", "sketch"]
    assert regained.lineage[1].results["sketch"]["sha256"] == told["sha256"]
    assert (tmp_path / "lost" / "corpus.sketch").read_bytes() == (tmp_path / "base" / "corpus.sketch").read_bytes()
    assert regained.report == without
    assert run(["data", "check", str(both), "--against", str(tmp_path / "lost"), str(both), "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)["against"]
    assert (one["status"], one["rows"], one["unchecked"]) == ("checked", 1000, 0)
    assert set(range(1, 501)) <= set(one["found_rows"])
    assert other["shared"] == 1000
    (tmp_path / "base" / "corpus.sketch").write_bytes((tmp_path / "base" / "corpus.sketch").read_bytes()[:-1] + b"\x01")
    with pytest.raises(BaseError, match=r"has no sketch with the SHA-256 .* expected"):
        read_before(Base.load(tmp_path / "base"))


def test_other_shards_make_no_sketch(shards: Path, tmp_path: Path, tiny_base: Base) -> None:
    tiny_base.save(tmp_path / "tiny")
    with pytest.raises(BaseError, match="ends with nothing; expected a base fresh from"):
        sketch_base(tmp_path / "tiny", data=shards, json=False)
    base = pretrain(toy(tokens=2048), data=shards, work=tmp_path / "work")
    without = {key: value for key, value in base.lineage[0].results.items() if key != "sketch"}
    base = dataclasses.replace(base, sketches=(), lineage=(dataclasses.replace(base.lineage[0], results=without),))
    base.save(tmp_path / "base")
    (tmp_path / "other").mkdir()
    write_shard(tmp_path / "other" / "train.jsonl", [Prose(8).text(150) for _ in range(60)])
    (tmp_path / "other" / "val.jsonl").write_bytes((shards / "val.jsonl").read_bytes())
    with pytest.raises(DataError, match=r"is not the shard that .* was trained on"):
        sketch_base(tmp_path / "base", data=tmp_path / "other", json=False)


def test_a_base_that_was_trained_further_knows_both_texts(shards: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    prose = Prose(8)
    write_shard(other / "train.jsonl", [prose.text(150) for _ in range(60)])
    (other / "val.jsonl").write_bytes((shards / "val.jsonl").read_bytes())
    first = pretrain(toy(tokens=81_920, tokens_per_step=8192), data=shards, work=tmp_path / "first")
    start = Base.load(first.save(tmp_path / "base"))
    again = pretrain(toy(tokens=81_920, tokens_per_step=8192), data=other, work=tmp_path / "again", start=start)
    again.save(tmp_path / "further")
    further = Base.load(tmp_path / "further")
    assert sorted(path.name for path in further.sketches) == ["corpus-2.sketch", "corpus.sketch"]
    known = read_before(further)
    lines = [json.loads((folder / "train.jsonl").read_text().splitlines()[3])["text"] for folder in (shards, other)]
    rows = table(tmp_path / "t.jsonl", [*lines, Prose(9).text(100)])
    assert check_file(rows, known.sketches).found == {1, 2}
    assert check_file(rows, read_before(start).sketches).found == {1}
    assert "`corpus-2.sketch`" in (tmp_path / "further" / "README.md").read_text()
    forgetful = dataclasses.replace(first.lineage[0], results={})
    lost = dataclasses.replace(further, sketches=further.sketches[1:], lineage=(forgetful, further.lineage[1]))
    assert read_before(lost).sketches == (), "one text of two is not known"


def test_the_budget_of_a_sketch_follows_the_weights(shards: Path, tmp_path: Path) -> None:
    texts = [json.loads(line)["text"] for line in (shards / "train.jsonl").read_text().splitlines()]
    train_tokenizer(iter(texts), vocab_size=300).save(str(tmp_path / "tokenizer.json"))
    corpus = pack([shards / "train.jsonl"], tmp_path / "tokenizer.json", tmp_path / "packed")
    sketch = sketch_run(toy(), corpus, tmp_path / "tokenizer.json", steps=40)
    assert sketch.facts.false_rate == pytest.approx(2**-10, rel=0.05)
    assert len(sketch.to_bytes()) < 20_000
