"""Text as it is written: pieces add up to the whole, characters come whole, nothing of a stop string gets out."""

from __future__ import annotations

import numpy as np
import pytest
from tests.base.tiny_bases import sentence_codec

from headstart.base.base import Base
from headstart.base.generating import end_units
from headstart.ground.errors import ConfigError
from headstart.prompt.writing import Spelling, Stops

TEXTS = [
    "Where is my parcel?",
    "naïve café, 漢字 and 🙂🙃 ends",
    "  two  spaces\n\nand lines\t",
    "ünïcödé" * 9,
    "🙂" * 20,
]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_add_up_and_no_character_comes_in_halves(tiny_base: Base, text: str) -> None:
    units = tiny_base.codec.encode_plain([text])[0].tolist()
    spelling = Spelling(tiny_base.codec)
    pieces = [spelling.add(unit) for unit in units]
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces) + spelling.end() == text


@pytest.mark.parametrize("seed", range(20))
def test_any_units_spell_what_the_codec_says(tiny_base: Base, seed: int) -> None:
    units = np.random.default_rng(seed).integers(0, tiny_base.codec.vocab_size, 60).tolist()
    spelling = Spelling(tiny_base.codec)
    pieces = [spelling.add(unit) for unit in units]
    assert "".join(pieces) + spelling.end() == tiny_base.codec.decode(units)


def test_broken_bytes_do_not_hold_the_text_back_for_ever(tiny_base: Base) -> None:
    lone = tiny_base.codec.encode_plain(["🙂"])[0].tolist()[0]  # the first bytes of a character, again and again
    spelling = Spelling(tiny_base.codec)
    assert any(spelling.add(lone) for _ in range(9))


@pytest.mark.parametrize("prompt", ["Where is my", "naïve 漢", "🙂", "\n"])
def test_bytes_are_spelled_alike_behind_any_prompt(tiny_base: Base, prompt: str) -> None:
    codec = tiny_base.text_codec
    after = end_units(codec, codec.encode_plain([prompt])[0])
    for seed in range(20):
        units = np.random.default_rng(seed).integers(0, codec.vocab_size, 60).tolist()
        alone, behind = Spelling(codec), Spelling(codec, after)
        assert [alone.add(unit) for unit in units] == [behind.add(unit) for unit in units]
        assert alone.end() == behind.end()


def test_spaces_at_the_start_of_units_are_kept() -> None:
    """Decoders of SentencePiece drop the space before a text: not before an answer, and not behind a special unit."""
    codec = sentence_codec()
    city, of, river, end = codec.encode_plain(["the city", "of", "river", "</s>"])
    spelling = Spelling(codec, end_units(codec, city))
    assert [spelling.add(int(unit)) for unit in (*of, *end[-1:], *river)] == [" of", "", " river"]
    assert [Spelling(codec).add(int(unit)) for unit in of] == ["of"]


def first_completed(text: str, stops: list[str]) -> int | None:
    """Where the longest of those stop strings begins that end soonest."""
    for end in range(1, len(text) + 1):
        if met := [end - len(stop) for stop in stops if text[:end].endswith(stop)]:
            return min(met)
    return None


@pytest.mark.parametrize(
    "stops",
    [
        ["\n\n"],
        ["ab", "abc"],
        ["abab"],
        ["zz", "c\n"],
        ["a", "b"],
        ["a", "cab"],
        ["b", "ab", "\nab\n"],
        ["aab", "b\n", "a"],
        [],
    ],
)
def test_stops_are_found_across_any_borders(stops: list[str]) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(random.choice(list("abc\n"), random.integers(0, 20)))
        end = first_completed(text, stops)
        expected = text[:end]
        cuts = sorted(random.integers(0, len(text) + 1, 5).tolist())
        watch = Stops(stops)
        given = "".join(watch.add(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
        assert expected.startswith(given)
        assert given + watch.end() == expected
        assert watch.met is (end is not None)


def test_stops_in_each_other_end_at_the_one_completed_first() -> None:
    for pieces in (["b aa aab"], ["b ", "aa ", "aab"], list("b aa aab")):
        watch = Stops(["a", " aa "])
        assert "".join(map(watch.add, pieces)) + watch.end() == "b "


def test_only_what_may_become_a_stop_is_held_back() -> None:
    watch = Stops(["\nUser:"])
    assert watch.add("Yes.\nUs") == "Yes."
    assert watch.add("ual") == "\nUsual"
    assert watch.add(" text\nUser") == " text"
    assert watch.end() == "\nUser"


@pytest.mark.parametrize(
    ("stops", "message"),
    [
        ("ab", "stop is the text 'ab'; expected a list"),
        ([""], "a stop string is ''; expected a text of 1 to 256"),
        (["x" * 257], "expected a text of 1 to 256 characters"),
        (["x"] * 17, "there are 17 stop strings; expected at most 16"),
        ([None], "a stop string is None"),
    ],
)
def test_stops_that_cannot_be(stops: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Stops(stops)
