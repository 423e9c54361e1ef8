"""How raw text becomes units: the `[corpus]` part of a recipe. Keys that a recipe leaves out keep their defaults."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from headstart.ground.errors import ConfigError

LOWEST_NEAR = 0.7  # 21 bands of 6 find 93 % of the pairs at 0.7 similarity and few of those below


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which documents are prose worth reading (the rules: headstart.data.quality).

    language: "en" keeps English, "any" asks nothing. min_words: shortest document. trusted: sources, as shell patterns,
    that pass unread; for code and tables, where rules made for prose go wrong.
    """

    language: Literal["en", "any"] = "en"
    min_words: int = 50
    trusted: tuple[str, ...] = ()


class CorpusPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shards by file name below --data, the held-out shard, and how much text trains the tokenizer (bytes).

    The rest is for `data build`. filters: language and quality. near: Jaccard similarity of word 5-grams from which a
    document repeats an earlier one; at 1 only exact repeats go. against: task files, relative to --data, whose items
    must not be in the text. weights: how often a source is read, by its name or a shell pattern (the first that fits);
    0.5 takes half of its documents, 2 all of them twice; sources without a weight are read once.
    """

    train: tuple[str, ...]
    validation: str
    tokenizer_bytes: int
    filters: Filters = Filters()
    near: float = 0.8
    against: tuple[str, ...] = ()
    weights: dict[str, float] = {}

    def weight(self, source: str) -> float:
        """How often a source is read."""
        return next((weight for name, weight in self.weights.items() if fnmatchcase(source, name)), 1.0)

    def check(self) -> None:
        """ConfigError where a value is out of its range."""
        if not self.train:
            raise ConfigError("corpus.train is empty; expected the names of one or more shards. Name them.")
        if not LOWEST_NEAR <= self.near <= 1:
            raise ConfigError(
                f"corpus.near is {self.near}; expected a similarity from {LOWEST_NEAR} to 1 (exact repeats only). "
                "The usual value is 0.8."
            )
        if self.tokenizer_bytes < 1:
            raise ConfigError(
                f"corpus.tokenizer_bytes is {self.tokenizer_bytes}; expected how many bytes of text train the "
                "tokenizer. The usual value is 30_000_000."
            )
        for source, weight in self.weights.items():
            if not 0 <= weight <= 100:
                raise ConfigError(
                    f"corpus.weights.{source} is {weight}; expected 0 to 100, how often the source is read. Mend it."
                )
