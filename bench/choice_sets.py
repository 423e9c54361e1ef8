"""Choice sets answered by log-probability: every answer stands behind its context, the likeliest one is the base's.

In: the shared task folders (Parquet). Out: items, and what a base got right. A set whose rows bring their answers is
read as `headstart evaluate` reads it; two labelled sets stand beside them, asked with and without examples. Sums of
log-probabilities, not divided by length, no prior taken off: the plainest rule, and a hard one for small bases. The
examples of a few-shot question are drawn anew for every row and are the same for every base.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.evaluate.suite.items import Item, choices, guess_of
from headstart.evaluate.suite.scoring import likeliest

Row = dict[str, Any]
Scorer = Callable[[Sequence[str], Sequence[str]], Sequence[float]]  # contexts and continuations -> nats
ROWS_SEED = 0


@dataclass(frozen=True)
class Prompt:
    """How a set with labels is asked. words: one a label, in the order of their numbers; shots: examples a label."""

    form: str
    words: tuple[str, ...]
    shots: int

    def filled(self, row: Row) -> str:
        """The row without its answer."""
        return self.form.format(text=row["text"])

    def item(self, place: int, row: Row, examples: Sequence[Row]) -> Item:
        """The row behind its examples."""
        shown = [f"{self.filled(one)} {self.words[one['label']]}" for one in examples]
        context = "\n\n".join([*shown, self.filled(row)])
        return Item(place, tuple((context, f" {word}") for word in self.words), row["label"])


SST2 = "Review: {text}\nSentiment:"
TREC6 = "Question: {text}\nAnswer type:"
TREC6_WORDS = ("abbreviation", "description", "thing", "person", "place", "number")
LABELLED = {  # ability: (set, how it is asked)
    "sst2, no examples": ("sst2", Prompt(SST2, ("negative", "positive"), 0)),
    "sst2, 4 examples": ("sst2", Prompt(SST2, ("negative", "positive"), 2)),
    "trec6, 6 examples": ("trec6", Prompt(TREC6, TREC6_WORDS, 1)),
}
PLAIN = {"copa": "validation", "piqa": "validation", "arc_easy": "test"}  # sets whose rows bring their own answers
ABILITIES = (*PLAIN, *LABELLED)


def read_items(ability: str, *, tasks: Path, rows: int) -> list[Item]:
    """At most `rows` items, drawn with a fixed seed, in the order of the file."""
    if ability in PLAIN:
        chosen = some(read_rows(tasks / ability / f"{PLAIN[ability]}.parquet"), rows)
        return [Item(place, *choices(row)) for place, row in enumerate(chosen)]
    name, prompt = LABELLED[ability]
    train = by_label(read_rows(tasks / name / "train.parquet")) if prompt.shots else []
    chosen = some(read_rows(tasks / name / "test.parquet"), rows)
    return [
        prompt.item(place, row, drawn(train, shots=prompt.shots, seed=f"{name} {place}"))
        for place, row in enumerate(chosen)
    ]


def read_rows(file: Path) -> list[Row]:
    """The rows of a Parquet file."""
    import pyarrow.parquet as pq

    found: list[Row] = pq.read_table(file).to_pylist()
    return found


def some(rows: list[Row], most: int) -> list[Row]:
    """At most `most` rows, in their order."""
    places = random.Random(ROWS_SEED).sample(range(len(rows)), min(most, len(rows)))
    return [rows[place] for place in sorted(places)]


def by_label(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of every label, in the order of the labels' numbers."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["label"], []).append(row)
    return [found[label] for label in sorted(found)]


def drawn(groups: Sequence[Sequence[Row]], *, shots: int, seed: str) -> list[Row]:
    """As many examples of every label, shuffled."""
    dice = random.Random(seed)
    found = [row for group in groups for row in dice.sample(group, shots)]
    dice.shuffle(found)
    return found


def chance(items: Sequence[Item]) -> float:
    """What the best constant answer gets; where answers differ from row to row, what a die gets."""
    if len({tuple(continuation for _, continuation in item.options) for item in items}) == 1:
        return max(Counter(item.answer for item in items).values()) / len(items)
    return guess_of(items, average=False)


def answered(items: Sequence[Item], scorer: Scorer) -> dict[str, Any]:
    """The record of one base: how many are right; two answers with the same highest score are a wrong one."""
    flat = [option for item in items for option in item.options]
    scores = iter(scorer([context for context, _ in flat], [continuation for _, continuation in flat]))
    right = sum(likeliest([next(scores) for _ in item.options]) == item.answer for item in items)
    return {"questions": len(items), "right": right, "chance": chance(items)}
