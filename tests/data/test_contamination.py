"""Planted task items are all found, where they stand; a clean part has no hit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.prose import Prose

from headstart.data.contamination import index_tasks
from headstart.data.words import find_words
from headstart.ground.errors import DataError

ITEMS = 500


@pytest.fixture(scope="module")
def items() -> list[str]:
    """500 different items of 6 to 40 words, half of them short."""
    prose = Prose(11)
    lengths = [6 + i % 7 if i % 2 else 13 + i % 28 for i in range(ITEMS)]
    return [prose.text(length) for length in lengths]


@pytest.fixture(scope="module")
def task(items: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("task") / "test.parquet"
    pq.write_table(pa.table({"text": items, "label": [i % 2 for i in range(ITEMS)]}), file)
    return file


def disguised(item: str, random: np.random.Generator) -> str:
    """Other case, punctuation and line breaks; the same words in the same order."""
    words = [word.upper() if random.random() < 0.3 else word.strip(".") for word in item.split()]
    return "".join(word + (", ", "\n", " — ", "  ")[int(random.integers(4))] for word in words)


def test_all_planted_items_are_found_and_a_clean_part_has_none(items: list[str], task: Path) -> None:
    random, prose = np.random.default_rng(3), Prose(12)
    index = index_tasks([task])
    assert (index.files[0].items, index.files[0].short, index.files[0].unchecked) == (ITEMS, 250, 0)
    found: set[int] = set()
    for begin in range(0, ITEMS, 50):
        some = items[begin : begin + 50]
        planted = [f"{prose.text(120)}\n{disguised(item, random)}{prose.text(80)}" for item in some]
        clean = [prose.text(200) for _ in planted]
        texts = [text for pair in zip(planted, clean, strict=True) for text in pair]
        hits = index.find(find_words(texts))
        assert all(number % 2 == 0 for number in hits), "a clean document was hit"
        for number, found_here in hits.items():
            for hit in found_here:
                cut = texts[number].encode()[hit.begin : hit.end].decode()
                assert find_words([cut]).numbers.tolist() == find_words([items[hit.item]]).numbers.tolist()
                assert hit.row == hit.item + 1
                assert hit.kind == ("short" if len(items[hit.item].split()) < 13 else "13-gram")
                found.add(hit.item)
    assert found == set(range(ITEMS))


def test_part_of_a_long_item_is_found_from_13_words_on(items: list[str], task: Path) -> None:
    index, prose = index_tasks([task]), Prose(13)
    long = next(item for item in items if len(item.split()) >= 30)
    for count, expected in ((12, 0), (13, 1), (20, 1)):
        text = f"{prose.text(50)} {' '.join(long.split()[5 : 5 + count])} {prose.text(50)}"
        assert len(index.find(find_words([text])).get(0, [])) == expected


def test_part_of_a_short_item_is_no_hit(items: list[str], task: Path) -> None:
    index, prose = index_tasks([task]), Prose(14)
    short = next(item for item in items if len(item.split()) == 12)
    text = f"{prose.text(50)} {' '.join(short.split()[:11])} {prose.text(50)}"
    assert index.find(find_words([text])) == {}


def test_an_item_does_not_reach_over_the_border_of_two_documents(items: list[str], task: Path) -> None:
    words = items[0].split()
    assert index_tasks([task]).find(find_words([" ".join(words[:7]), " ".join(words[7:])])) == {}


def test_items_are_all_text_cells_of_any_table(tmp_path: Path) -> None:
    rows = [
        {"tokens": ["one", "two", "three", "four", "five", "six", "seven"], "label": 1},
        {"tokens": ["a", "b"], "choices": ["eight nine ten eleven twelve thirteen", "too short"], "n": None},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    index = index_tasks([tmp_path / "t.jsonl"])
    assert (index.files[0].items, index.files[0].short, index.files[0].unchecked) == (4, 2, 2)
    hits = index.find(find_words(["x one two three four five six seven y", "Eight nine, ten eleven twelve thirteen."]))
    assert {number: some[0].row for number, some in hits.items()} == {0: 1, 1: 2}


def test_an_apostrophe_makes_no_sixth_word(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\nyou don't have to worry\nyou don't have to worry now\n")
    index = index_tasks([tmp_path / "t.csv"])
    assert (index.files[0].short, index.files[0].unchecked) == (1, 1)
    hits = index.find(find_words(["So you don't have to worry.", "you don’t have to worry now!"]))
    assert [(number, hit.row) for number, some in hits.items() for hit in some] == [(1, 3)]


def test_a_table_without_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="with text in it"):
        index_tasks([tmp_path / "n.jsonl"])


def test_equal_numbers_alone_are_no_hit(items: list[str], task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With numbers of 8 bits everything collides, and the words themselves decide."""
    import headstart.data.words as module

    mix = module._mix
    monkeypatch.setattr(module, "_mix", lambda numbers: mix(numbers) & np.uint64(0xFF))
    index = index_tasks([task])
    prose = Prose(15)
    assert index.find(find_words([prose.text(300) for _ in range(20)])) == {}
    assert index.find(find_words([f"{prose.text(30)} {items[1]} {prose.text(30)}"]))[0][0].item == 1
