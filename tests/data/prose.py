"""Made-up English: real function words between invented ones, so that no two documents agree by chance."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

SMALL = [
    "the",
    "of",
    "and",
    "to",
    "a",
    "in",
    "that",
    "it",
    "was",
    "for",
    "with",
    "his",
    "as",
    "on",
    "at",
    "by",
    "this",
    "had",
]
SYLLABLES = [c + v for c in ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t") for v in "aeiou"]


class Prose:
    """A source of made-up text; the same seed gives the same text."""

    def __init__(self, seed: int, vocabulary: int = 3000) -> None:
        self.random = np.random.default_rng(seed)
        picks = self.random.integers(0, len(SYLLABLES), (vocabulary, 3))
        self.vocabulary = ["".join(SYLLABLES[i] for i in row) for row in picks]

    def words(self, count: int) -> list[str]:
        """Two small words in five, the others invented."""
        small = self.random.random(count) < 0.4
        low = self.random.integers(0, len(SMALL), count)
        high = self.random.integers(0, len(self.vocabulary), count)
        return [SMALL[a] if s else self.vocabulary[b] for s, a, b in zip(small, low, high, strict=True)]

    def text(self, count: int) -> str:
        """Sentences of about a dozen words, a paragraph every few of them."""
        words = self.words(count)
        for i in range(11, count, 12):
            words[i] += ".\n" if i % 60 == 59 else "."
        return " ".join(words).replace("\n ", "\n")

    def changed(self, text: str, share: float) -> str:
        """The text with a share of its words replaced by new ones, evenly spread."""
        words = text.split(" ")
        count = round(share * len(words))
        for place in np.linspace(0, len(words) - 1, count).astype(int) if count else []:
            words[place] = f"new{self.random.integers(1 << 40)}"
        return " ".join(words)


def write_shard(path: Path, documents: Iterable[str | dict[str, Any]]) -> Path:
    """A .jsonl shard; strings become documents of the source 'made'."""
    rows = [{"text": d, "source": "made"} if isinstance(d, str) else d for d in documents]
    path.write_text("".join(json.dumps({"id": f"{path.stem}-{i}", **row}) + "\n" for i, row in enumerate(rows)))
    return path
