"""The questions that every side of `speed-prompt` is asked: ag_news rows, four labels, with and without a preamble.

A file a case, one JSON object a request: item, context, continuation, and whether it is the right label. `few-shot`:
five labelled rows of about 384 tokens in front, labels of two tokens each. `one-token`: the same with labels of one
token, which lm-eval reads once a row. `zero-shot`: no rows in front, labels of two tokens.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from headstart.data.text_codec import TextCodec
from headstart.evaluate.suite.items import Item

SHOTS, PREAMBLE_TOKENS, DRAWS = 5, 384, 300
PROMPT = "Text: {}\nTopic:"
TWO_TOKENS = (" World news", " Sports news", " Business news", " Science news")
ONE_TOKEN = (" World", " Sports", " Business", " Science")


@dataclass(frozen=True)
class Case:
    """A way to ask: the labels, how many shots stand in front, and how many tokens each label must have."""

    labels: tuple[str, ...]
    shots: int
    tokens_per_label: int


CASES = {
    "few-shot": Case(TWO_TOKENS, SHOTS, 2),
    "one-token": Case(ONE_TOKEN, SHOTS, 1),
    "zero-shot": Case(TWO_TOKENS, 0, 2),
}


def write_requests(case: str, *, tasks: Path, codec: TextCodec, rows: int, target: Path) -> dict[str, int]:
    """The file of a case; tokens of the preamble and of the shortest and longest label."""
    asked = CASES[case]
    sizes = [len(units) for units in codec.encode_plain(asked.labels)]
    if set(sizes) != {asked.tokens_per_label}:
        raise SystemExit(f"the labels of {case} have {sizes} tokens; expected {asked.tokens_per_label} each.")
    train, test = read_rows(tasks / "ag_news" / "train.parquet"), read_rows(tasks / "ag_news" / "test.parquet")
    preamble = preamble_of(train, asked, codec) if asked.shots else ""
    write_items(
        [
            Item(n, tuple((preamble + PROMPT.format(text), name) for name in asked.labels), label)
            for n, (text, label) in enumerate(test[:rows])
        ],
        target,
    )
    return {"preamble_tokens": len(codec.encode_plain([preamble])[0]), "label_tokens": asked.tokens_per_label}


def preamble_of(train: Sequence[tuple[str, int]], asked: Case, codec: TextCodec) -> str:
    """Of some seeded draws of shots, the one whose length is nearest to the wanted one."""
    draws = random.Random(0)
    drawn = [
        "".join(f"{PROMPT.format(text)}{asked.labels[label]}\n\n" for text, label in draws.sample(train, asked.shots))
        for _ in range(DRAWS)
    ]
    sizes = [len(units) for units in codec.encode_plain(drawn)]
    return drawn[min(range(DRAWS), key=lambda place: abs(sizes[place] - PREAMBLE_TOKENS))]


def read_rows(path: Path) -> list[tuple[str, int]]:
    """(text, place of the label)."""
    table = pq.read_table(path, columns=["text", "label"])
    return list(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


def write_items(items: Sequence[Item], target: Path) -> None:
    """A line a request: the item it belongs to, its context and continuation, and whether it is the right one."""
    with target.open("w", encoding="utf-8") as out:
        for item in items:
            for place, (context, continuation) in enumerate(item.options):
                right = place == item.answer
                request = {"item": item.id, "context": context, "continuation": continuation, "right": right}
                out.write(json.dumps(request) + "\n")


def read_requests(path: Path) -> list[dict[str, Any]]:
    """What `write_items` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def accuracy(nats: Sequence[float], requests: Sequence[dict[str, Any]]) -> float:
    """Share of items whose likeliest continuation is the right one; of equal ones the first counts."""
    best: dict[int, tuple[float, bool]] = {}
    for value, request in zip(nats, requests, strict=True):
        if request["item"] not in best or value > best[request["item"]][0]:
            best[request["item"]] = value, request["right"]
    return sum(right for _, right in best.values()) / len(best)
