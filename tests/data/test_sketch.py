"""A sketch holds every gram that it was made from, others by chance at its stated rate, and is the same file again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.prose import Prose

from headstart.data.overlap import check_file, shared_texts
from headstart.data.sketch import (
    FEWEST_BITS,
    MOST_BITS,
    Sketch,
    gram_hashes,
    open_sketch,
    sketch_texts,
    write_sketch,
)
from headstart.data.words import find_words
from headstart.ground.errors import BaseError

GOLDEN = 0x3710BB44E586A5AF  # of "it was the best of times"


@pytest.fixture(scope="module")
def texts() -> list[str]:
    prose = Prose(1, vocabulary=20_000)
    return [prose.text(400) for _ in range(150)]


def made(texts: list[str], max_bytes: int) -> Sketch:
    return sketch_texts(iter(texts), max_bytes=max_bytes, covers="made-up prose")


@pytest.mark.parametrize(
    ("max_bytes", "bits", "share"), [(1 << 20, MOST_BITS, 1.0), (75_000, 8, 1.0), (20_000, FEWEST_BITS, 0.39)]
)
def test_all_that_was_read_is_found_and_the_rest_at_the_stated_rate(
    texts: list[str], max_bytes: int, bits: int, share: float
) -> None:
    sketch = made(texts, max_bytes)
    facts = sketch.facts
    assert facts.bits == bits
    assert facts.share == pytest.approx(share, rel=0.05)
    assert facts.words == len(find_words(texts).numbers)
    assert len(sketch.to_bytes()) <= max_bytes + 300
    hashes = gram_hashes(find_words(texts))[0]
    kept = hashes[hashes <= np.uint64(facts.limit)]
    assert len(kept) / len(hashes) == pytest.approx(facts.share, abs=0.02)
    assert sketch.holds(kept).all()
    others = np.random.default_rng(0).integers(0, facts.limit, 400_000, dtype=np.uint64, endpoint=True)
    assert sketch.holds(others).mean() == pytest.approx(facts.false_rate, rel=0.15)
    assert 2.0 ** -(bits + 1) <= facts.false_rate * 1.05
    assert facts.false_rate <= 2.0**-bits


def test_a_budget_is_kept_whatever_comes_first(texts: list[str]) -> None:
    """The smallest hashes of the whole text stay, not the first ones."""
    forwards, backwards = made(texts, 20_000), made(texts[::-1], 20_000)
    assert forwards.to_bytes() == backwards.to_bytes()


def test_a_sketch_comes_back_from_its_file_and_a_damaged_one_is_refused(texts: list[str], tmp_path: Path) -> None:
    sketch, path = made(texts, 75_000), tmp_path / "corpus.sketch"
    write_sketch(sketch, path)
    again = open_sketch(path)
    assert again.facts == sketch.facts
    assert again.to_bytes() == path.read_bytes()
    content = path.read_bytes()
    line = content.index(b"\n") + 1
    broken = {
        "short": content[:-1],
        "no header": content[line:],
        "another version": content.replace(b'"version":1', b'"version":2', 1),
        "absurd": content.replace(b'"bits":8', b'"bits":0', 1),
        "empty": b"",
    }
    for what, bad in broken.items():
        path.write_bytes(bad)
        with pytest.raises(BaseError, match="is no sketch of a corpus"):
            open_sketch(path)
        assert what
    path.write_bytes(content[:line] + bytes(len(content) - line))
    with pytest.raises(BaseError, match=r"expected [\d,]+ as its first line says"):
        open_sketch(path).holds(np.zeros(1, dtype=np.uint64))
    with pytest.raises(BaseError, match="is no sketch of a corpus"):
        open_sketch(tmp_path / "nowhere")


def test_nothing_read_is_a_sketch_too(tmp_path: Path) -> None:
    sketch = made([], 1000)
    write_sketch(sketch, tmp_path / "s")
    again = open_sketch(tmp_path / "s")
    assert not again.holds(np.arange(5, dtype=np.uint64)).any()
    assert again.facts.false_rate == 0.0


def test_the_words_of_a_sketch_never_change() -> None:
    """Sketches of old bases are read with the hashes of today: a change here needs a new version of the format."""
    hashes, places = gram_hashes(find_words(["It was the best of times, it WAS the worst", "of times"]))
    assert places.tolist() == [0, 1, 2, 3, 4]
    assert hashes[0] == GOLDEN


# --- tables ---------------------------------------------------------------------------------------------------------


def table(path: Path, items: list[str]) -> Path:
    path.write_text("text\n" + "".join(f'"{item}"\n' for item in items), encoding="utf-8")
    return path


def test_500_planted_items_are_all_found_and_the_others_at_the_stated_rate(texts: list[str], tmp_path: Path) -> None:
    prose, random = Prose(5, vocabulary=20_000), np.random.default_rng(2)
    lengths = [6 + i % 7 if i % 2 else 13 + i % 28 for i in range(500)]
    planted, clean = ([prose.text(n).replace("\n", " ") for n in lengths] for _ in range(2))
    read = [f"{text} {item.upper()}! {text[:200]}" for text, item in zip(texts * 4, planted, strict=False)]
    assert len(read) == 500
    sketch = made(read, 65_000)
    assert sketch.facts.bits == FEWEST_BITS
    order = random.permutation(1000)
    items = [*planted, *clean]
    found = check_file(table(tmp_path / "t.csv", [items[i] for i in order]), [sketch])
    rows = {int(line) - 2 for line in found.found}
    right = {place for place, i in enumerate(order) if i < 500}
    assert right <= rows
    by_chance = len(rows - right)
    expected = found.overlap.expected_false
    assert expected < 12
    assert by_chance <= expected + 3 * expected**0.5
    assert found.overlap.rows == 1000
    assert found.overlap.unchecked == 0
    assert found.overlap.short == pytest.approx(250, abs=15)


def test_short_items_are_found_whole_and_long_ones_by_13_words(texts: list[str], tmp_path: Path) -> None:
    sketch = made(texts, 1 << 20)
    words = texts[3].replace(".", "").replace("\n", " ").split()
    prose = Prose(9)
    items = [
        " ".join(words[10:16]),  # 6 words
        " ".join(words[10:21]) + " zebra",  # 11 of 12
        f"{prose.text(30)} {' '.join(words[40:53])} {prose.text(30)}",  # 13 in a row
        f"{prose.text(30)} {' '.join(words[40:52])} {prose.text(30)}",  # 12 in a row
        " ".join(words[20:25]),  # 5
        prose.text(60),
    ]
    found = check_file(table(tmp_path / "t.csv", [i.replace("\n", " ") for i in items]), [sketch])
    assert {line - 2 for line in found.found} == {0, 2}
    assert {line - 2 for line in found.unchecked} == {4}
    assert (found.overlap.short, found.overlap.unchecked) == (1, 1)


def test_a_thinned_sketch_says_what_it_cannot_tell(texts: list[str], tmp_path: Path) -> None:
    """With a fifth of the grams: long stretches are found, and a short item without a kept gram is unchecked."""
    sketch = made(texts, 11_000)
    assert 0.15 < sketch.facts.share < 0.25
    words = [text.replace(".", "").replace("\n", " ").split() for text in texts]
    short = [" ".join(w[50:56]) for w in words]
    long = [" ".join(w[100:180]) for w in words]
    found = check_file(table(tmp_path / "s.csv", short), [sketch]).overlap
    assert found.found + found.unchecked == len(short)
    assert (found.not_sampled, found.share) == (found.unchecked, sketch.facts.share)
    mixed = check_file(table(tmp_path / "m.csv", [*short, "five words are too few"]), [sketch]).overlap
    assert (mixed.unchecked, mixed.not_sampled) == (found.unchecked + 1, found.unchecked)
    assert found.found / len(short) == pytest.approx(sketch.facts.share, abs=0.1)
    assert check_file(table(tmp_path / "l.csv", long), [sketch]).overlap.found >= 0.99 * len(long)


@pytest.mark.parametrize(("one", "other", "expected"), [("sst2", "subj", 2952), ("mrpc", "stsb", 2937)])
def test_known_overlaps_of_public_sets_are_found(shared: Path, one: str, other: str, expected: int) -> None:
    """The counts are those of the README of the shared tasks."""
    files = [sorted((shared / "tasks" / name).glob("*.parquet")) for name in (one, other)]
    assert shared_texts(*files) == expected
