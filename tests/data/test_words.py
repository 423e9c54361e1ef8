"""Words as numbers: equal numbers exactly where a plain reading finds equal words."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data import words as words_module
from headstart.data.words import find_words, find_words_of_many, grams

PIECES = ["the", "The", "cat", "İstanbul", "straße", "ß", "don't", "x1", "東京", "naïve", "😀", "a", "aa", "aaa", "12"]
GAPS = [" ", "  ", "\n", ", ", "—", "...", "\t", " 🚀 ", "'", "\x00", "_"]


def plain(text: str) -> list[str]:
    """Runs of letters and digits of the basic plane, in lower case; a capital with two small letters stays."""
    lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    words, word = [], ""
    for c in lowered + " ":
        if c.isalnum() and ord(c) < 1 << 16:
            word += c
        else:
            words += [word] if word else []
            word = ""
    return words


def random_text(random: np.random.Generator) -> str:
    count = int(random.integers(0, 12))
    return "".join(
        GAPS[int(random.integers(len(GAPS)))] * int(random.integers(0, 2)) + PIECES[int(random.integers(len(PIECES)))]
        for _ in range(count)
    )


def test_words_are_those_of_a_plain_reading() -> None:
    random = np.random.default_rng(1)
    texts = [random_text(random) for _ in range(800)]
    words = find_words(texts)
    by_word: dict[str, int] = {}
    for i, text in enumerate(texts):
        span = words.span(i)
        numbers = words.numbers[span].tolist()
        expected = plain(text)
        assert len(numbers) == len(expected)
        for number, word in zip(numbers, expected, strict=True):
            assert by_word.setdefault(word, number) == number
        alone = find_words([text])
        assert alone.numbers.tolist() == numbers, "a text has the same numbers wherever it stands"
    assert len(set(by_word.values())) == len(by_word) > 40


@pytest.mark.parametrize("length", [1, 2, 5, 13])
def test_grams_agree_where_their_words_do(length: int) -> None:
    random = np.random.default_rng(2)
    letters = [("ab", "ba", "aab")[i] for i in random.integers(0, 3, 400)]
    numbers = grams(find_words([" ".join(letters)]).numbers, length)
    seen: dict[tuple[str, ...], int] = {}
    for i, number in enumerate(numbers.tolist()):
        assert seen.setdefault(tuple(letters[i : i + length]), number) == number
    assert len(numbers) == 400 - length + 1
    assert len(set(seen.values())) == len(seen)


def test_offsets_are_bytes_of_the_text_as_given() -> None:
    texts = ["Ünïcode — 🚀 then WORDS", "İ first. Second"]
    words = find_words(texts)
    for i, text in enumerate(texts):
        span = words.span(i)
        for start, end in zip(words.starts[span], words.ends[span], strict=True):
            begin, stop = words.byte_offset(i, int(start)), words.byte_offset(i, int(end))
            cut = text.encode()[begin:stop].decode()
            assert plain(cut) == [cut.lower() if len(cut.lower()) == len(cut) else cut]


def test_many_texts_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    texts = [random_text(random) for _ in range(100)]
    whole = find_words(texts)
    monkeypatch.setattr(words_module, "MANY", 50)
    parts = find_words_of_many(texts)
    assert parts.numbers.tolist() == whole.numbers.tolist()
    assert parts.first.tolist() == whole.first.tolist()
    for i in range(100):
        mine, other = whole.span(i), parts.span(i)
        for a, b in zip(whole.ends[mine], parts.ends[other], strict=True):
            assert whole.byte_offset(i, int(a)) == parts.byte_offset(i, int(b))
        for a, b in zip(whole.starts[mine], parts.starts[other], strict=True):
            assert whole.lowered[a] == parts.lowered[b]


def test_empty_texts_have_no_words() -> None:
    assert len(find_words([]).numbers) == 0
    words = find_words(["", "one", "", "..."])
    assert np.diff(words.first).tolist() == [0, 1, 0, 0]
