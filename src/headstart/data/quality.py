"""Is a document English prose worth reading? Documented rules with published bounds; each says no with its own reason.

The rules are those of MassiveText (Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from
Training Gopher", A.1.1) with its bounds, and C4's placeholder rule (Raffel et al. 2020, section 2.2). English is told
by two of Gopher's eight stop words, and by a vote of small words against six other languages (Grefenstette 1995,
"Comparing two language identification schemes"): what has more German than English function words is German.
Left out, because a curated corpus has what they forbid: Gopher's upper bound on length, C4's curly brackets and missing
full stops, blocked words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from headstart.data.corpus_part import Filters
from headstart.data.words import I64, U64, Words, find_words, grams, letter_codes

REASONS = {
    "too_short": "fewer words than min_words",
    "not_english": "fewer than 2 of Gopher's stop words, or more small words of another language",
    "word_length": "mean word length outside 3 to 10 characters",
    "few_letters": "fewer than 80 % of the words hold a letter",
    "symbols": "more than one # or ellipsis to 10 words",
    "bullets": "more than 90 % of the lines start with a bullet",
    "ellipses": "more than 30 % of the lines end with an ellipsis",
    "repeated_lines": "more than 30 % of the lines, or 20 % of their characters, repeat an earlier line",
    "repeated_phrases": "more than 10 % of the characters of its words stand in 10-grams that occurred before",
    "placeholder": "holds 'lorem ipsum'",
}
MEAN_LENGTH = (3.0, 10.0)
LETTER_SHARE, SYMBOL_SHARE, BULLET_SHARE, ELLIPSIS_SHARE = 0.8, 0.1, 0.9, 0.3
LINE_SHARE, LINE_CHARACTER_SHARE = 0.3, 0.2
PHRASE, PHRASE_SHARE = 10, 0.1
BULLETS, ELLIPSES = ("•", "-", "*"), ("...", "…")

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# Function words that are frequent in one of the seven languages and no word of the others, nor of programmers.
SMALL_WORDS = (
    "the and that for with his are they this have from not but were which there been their you would",
    "der und ist nicht ein eine mit auf dem von zu sich auch für wird nach bei einer werden sind oder aber wie über",
    "les une pour dans qui pas avec sont du aux cette est au leur être mais nous vous comme été ces ont elle",
    "el los las más pero cuando muy también hasta donde quien ella fue según cual eran había aunque",
    "il che della sono gli nel alla dei anche più dal delle questo degli dalla nella essere stato perché",
    "não uma ao foi pelo pela são também até isso ele ela seu sua muito nas você então mesmo",
    "het een niet zijn voor aan ook maar naar wordt werd deze bij uit hij worden zich",
)


def judge(texts: Sequence[str], words: Words, filters: Filters) -> list[str]:
    """One of REASONS for each text that goes, "" for each that stays; `words` are the words of `texts`."""
    counts = np.diff(words.first)
    some = np.maximum(counts, 1)
    lengths = words.ends - words.starts
    mean = words.per_text(lengths) / some
    letters = np.concatenate([[0], np.cumsum(letter_codes()[words.lowered])])
    lettered = words.per_text((letters[words.ends] > letters[words.starts]).astype(np.int64)) / some
    english = is_english(words) if filters.language == "en" else np.ones(len(texts), dtype=np.bool_)
    reasons = []
    for i, text in enumerate(texts):
        if counts[i] < filters.min_words:
            reasons.append("too_short")
        elif not english[i]:
            reasons.append("not_english")
        elif not MEAN_LENGTH[0] <= mean[i] <= MEAN_LENGTH[1]:
            reasons.append("word_length")
        elif lettered[i] < LETTER_SHARE:
            reasons.append("few_letters")
        else:
            span = words.span(i)
            reasons.append(_by_text(text, int(counts[i])) or _by_phrases(words.numbers[span], lengths[span]))
    return reasons


def is_english(words: Words) -> NDArray[np.bool_]:
    """(D,) whether each text is English by its stop words and by the vote of small words."""
    listed, places = _small_words()
    place = places[words.numbers >> np.uint64(48)]
    at = np.flatnonzero((place >= 0) & (listed[place] == words.numbers))
    text = np.searchsorted(words.first, at, side="right") - 1
    counts = np.bincount(text * len(listed) + place[at], minlength=len(words) * len(listed))
    counts = counts.reshape(len(words), len(listed))
    stops = (counts[:, : len(STOP_WORDS)] > 0).sum(axis=1)
    votes = np.stack([counts[:, kind].sum(axis=1) for kind in _languages()])
    english: NDArray[np.bool_] = (stops >= 2) & (votes[0] >= votes.max(axis=0))
    return english


def _by_text(text: str, num_words: int) -> str:
    symbols = max(text.count("#"), sum(text.count(mark) for mark in ELLIPSES))
    if symbols > SYMBOL_SHARE * num_words:
        return "symbols"
    if "lorem ipsum" in text or "Lorem ipsum" in text:
        return "placeholder"
    lines = [line for raw in text.split("\n") if (line := raw.strip())]
    heads, tails = [line[0] for line in lines], [line[-3:] for line in lines]
    if sum(heads.count(mark) for mark in BULLETS) > BULLET_SHARE * len(lines):
        return "bullets"
    if tails.count("...") + [tail[-1] for tail in tails].count("…") > ELLIPSIS_SHARE * len(lines):
        return "ellipses"
    distinct = set(lines)
    characters = sum(map(len, lines))
    repeats, repeated = len(lines) - len(distinct), characters - sum(map(len, distinct))
    if repeats > LINE_SHARE * len(lines) or repeated > LINE_CHARACTER_SHARE * characters:
        return "repeated_lines"
    return ""


def _by_phrases(numbers: U64, lengths: I64) -> str:
    """Characters of the words that a repeated 10-gram covers; the first occurrence of a 10-gram is no repeat."""
    found = grams(numbers, PHRASE)
    if len(found) < 2:
        return ""
    ordered = np.sort(found)
    if not (ordered[1:] == ordered[:-1]).any():
        return ""
    order = np.argsort(found, kind="stable")
    repeats = order[1:][found[order][1:] == found[order][:-1]]
    edges = np.zeros(len(numbers) + 1, dtype=np.int64)
    np.add.at(edges, repeats, 1)
    np.add.at(edges, repeats + PHRASE, -1)
    covered = np.cumsum(edges[:-1]) > 0
    return "repeated_phrases" if lengths[covered].sum() > PHRASE_SHARE * lengths.sum() else ""


@cache
def _small_words() -> tuple[U64, NDArray[np.int64]]:
    """Stop words and small words as numbers, each once; and where a word is among them by its top 16 bits, else -1."""
    numbers = find_words([" ".join(_listed())]).numbers
    places = np.full(1 << 16, -1, dtype=np.int64)
    places[numbers >> np.uint64(48)] = np.arange(len(numbers))
    return numbers, places


@cache
def _languages() -> list[list[int]]:
    """The places of each language's small words."""
    places = {word: place for place, word in enumerate(_listed())}
    return [[places[word] for word in line.split()] for line in SMALL_WORDS]


def _listed() -> list[str]:
    return list(dict.fromkeys([*STOP_WORDS, *" ".join(SMALL_WORDS).split()]))
