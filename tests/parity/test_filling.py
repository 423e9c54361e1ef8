"""Words filled in at masks against transformers: one row, one word at a time, no padding."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.tiny_models import TINY, build, save

from headstart.base.base import Base

BEFORES = ["w4 w5 w6 w7", "w8", "w9 w10 w11"]
AFTERS = ["w20 w21", "", "w22"]
WORDS = ["w30", "w31 w32", "w33", "w34 w35 w36"]
MASK = 98
TOLERANCE = 1e-4  # fp32, nats of a whole word


@torch.no_grad()
def reference(model: Any, base: Base, before: str, word: str, after: str, *, shifted: bool) -> float:
    """log p of a word's units, all of them hidden at once. shifted: read before them, all seeing each other."""
    left, inner, right = (ids.tolist() for ids in base.codec.encode_plain([before, word, after]))
    whole = base.codec.encode(["w4"]).ids[0].tolist()  # the template round one word
    units = torch.tensor([[whole[0], *left, *[MASK] * len(inner), *right, *whole[2:]]])
    everywhere = torch.zeros(1, 1, units.shape[1], units.shape[1])
    logits = model(input_ids=units, attention_mask=everywhere if shifted else None).logits[0].double().log_softmax(-1)
    first = 1 + len(left) - shifted
    return sum(float(logits[first + place, unit]) for place, unit in enumerate(inner))


@pytest.mark.parametrize("name", ["bert-mlm", "roberta-mlm", "mpnet-mlm", "distilbert-mlm", "qwen3-tied"])
def test_equal_to_a_loop_over_transformers(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    base, shifted = Base.load(save(model, tmp_path / "theirs")), name.startswith("qwen3")
    base = dataclasses.replace(base, pattern="full")
    expected = [
        [reference(model, base, before, word, after, shifted=shifted) for word in WORDS]
        for before, after in zip(BEFORES, AFTERS, strict=True)
    ]
    for batch_tokens in (1, 40, 4096):
        found = base.score_words(BEFORES, WORDS, afters=AFTERS, pattern="full", batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    # Of a word of one unit it is the pseudo-log-likelihood.
    ends = base.score(BEFORES, [" w30"] * len(BEFORES), pattern="full")
    same = base.score_words(BEFORES, ["w30"], pattern="full")[:, 0]
    np.testing.assert_allclose(same, ends, rtol=0, atol=TOLERANCE)
