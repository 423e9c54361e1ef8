"""A base of a few thousand parameters with a whole-word tokenizer, and toy tasks of every kind over it."""

from __future__ import annotations

import numpy as np
from tests.model.shapes import QWEN3, perturbed
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from headstart.base.base import Base
from headstart.data.codec import find_special
from headstart.data.task import Columns, Examples, Kind, Task
from headstart.data.text_codec import TextCodec
from headstart.model.heads import LMHead

WORDS = [
    "<pad>",
    "<s>",
    "</s>",
    "<mask>",
    "good",
    "bad",
    "cat",
    "dog",
    "runs",
    "sleeps",
    "the",
    "a",
    "very",
    "not",
    "is",
    "was",
]
LABELS = ("negative", "positive")


def tiny_base(seed: int = 0) -> Base:
    """A causal-capable Qwen3-shaped base read with the full pattern."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<mask>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    trunk = perturbed(QWEN3, seed)
    codec = TextCodec(tokenizer, find_special(tokenizer), QWEN3.max_positions)
    return Base(trunk=trunk, codec=codec, family="qwen3", pattern="full", name="tiny", lm=LMHead(QWEN3).eval())


def toy_task(kind: Kind = "choice", rows: int = 96, seed: int = 0) -> Task:
    """Rows whose answer is decided by whether `good` or `bad` occurs."""
    random = np.random.default_rng(seed)
    parts = [_examples(kind, random, n) for n in (rows, 32, 32)]
    labels = () if kind == "score" else LABELS
    return Task("toy", kind, labels, *parts, Columns("text"), "0" * 64)


def _examples(kind: Kind, random: np.random.Generator, rows: int) -> Examples:
    texts, targets = [], []
    for _ in range(rows):
        words = [str(w) for w in random.choice(WORDS[6:], size=int(random.integers(3, 9)))]
        answer = int(random.integers(0, 2))
        words.insert(int(random.integers(0, len(words))), LABELS_WORD[answer])
        texts.append(tuple(words) if kind == "tags" else " ".join(words))
        targets.append(
            {
                "choice": answer,
                "labels": (answer,),
                "score": float(3 * answer + 1),
                "tags": tuple(int(w in ("good", "cat")) for w in words),
            }[kind]
        )
    return Examples(tuple(texts), None, tuple(targets), tuple(range(rows)))


LABELS_WORD = ("bad", "good")
