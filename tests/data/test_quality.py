"""Every rule of the filter says no to what it was made for, with its own reason, and yes to ordinary prose."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.data.prose import Prose

from headstart.data.corpus_part import Filters
from headstart.data.quality import REASONS, SMALL_WORDS, _small_words, judge
from headstart.data.words import find_words

GERMAN = (
    "Der Hund und die Katze sind nicht auf dem Dach, aber sie werden auch bald von der Leiter steigen oder wie immer "
    "nach einer Weile zu dem Haus mit dem roten Tor laufen und sich über das Essen freuen, das für sie bereit steht. "
    "The game to be or not to be. "
)
FRENCH = (
    "Le chien et les chats sont dans la maison, mais une fenêtre est ouverte pour vous et nous avons vu que cette "
    "porte qui donne sur le jardin est fermée avec les clés du voisin comme elle été toujours aux heures du soir. "
)


def reasons(*texts: str, **settings: object) -> list[str]:
    return judge(texts, find_words(texts), Filters(**{"min_words": 20, **settings}))  # type: ignore[arg-type]


PLANTED = {
    "too_short": "the cat and the dog sat",
    "not_english": GERMAN,
    "word_length": "a i o to be of a i a u be to of the a o a i e u the a o to a i be of a",
    "few_letters": "the " + "1200 the 7071 4415 and 9012 2202 1107 5005 " * 9,
    "symbols": "the # word and # thing to # have # " * 8,
    "bullets": "\n".join(f"- {Prose(1).text(7)} the and {i}" for i in range(12)),
    "ellipses": "\n".join(f"{Prose(i).text(9)} the and {i}..." for i in range(12)),
    "repeated_lines": "\n".join(["the same line again and again, with no change"] * 5 + [Prose(3).text(8)]),
    "repeated_phrases": " ".join([Prose(2).text(60), "one two and the three four of five six seven eight nine"] * 2),
    "placeholder": Prose(4).text(40) + " Lorem ipsum dolor sit amet",
}


@pytest.mark.parametrize("reason", PLANTED)
def test_each_rule_finds_what_it_was_made_for(reason: str) -> None:
    assert reasons(PLANTED[reason]) == [reason]


def test_every_reason_is_planted() -> None:
    assert set(PLANTED) == set(REASONS)


def test_prose_passes_and_its_neighbours_do_not_matter() -> None:
    texts = [Prose(i).text(200) for i in range(20)]
    mixed = [text for pair in zip(texts, list(PLANTED.values()) * 2, strict=True) for text in pair]
    assert reasons(*mixed)[0::2] == [""] * 20
    assert reasons(*mixed)[1::2] == list(PLANTED) * 2


def test_languages_are_told_apart() -> None:
    assert reasons(GERMAN, FRENCH, Prose(9).text(100)) == ["not_english", "not_english", ""]
    assert reasons(GERMAN, language="any") == [""]
    words = [word for line in SMALL_WORDS for word in line.split()]
    assert len(set(words)) == len(words), "a small word votes for one language"
    numbers, places = _small_words()
    assert sorted(places[places >= 0]) == list(range(len(numbers))), "two small words share their top bits"


def test_real_messages_are_english(repo: Path) -> None:
    with (repo / "src/headstart/demo_data/train.csv").open(encoding="utf-8", newline="") as handle:
        texts = [row["text"] for row in csv.DictReader(handle)]
    found = reasons(*[" ".join(texts[i : i + 10]) for i in range(0, 400, 10)])
    assert set(found) == {""}
