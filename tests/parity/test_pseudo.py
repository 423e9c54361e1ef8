"""Pseudo-log-likelihoods against transformers, one hidden unit and one row at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.tiny_models import TINY, build, save

from headstart.base.base import Base

TEXTS = ["w4 w5 w6 w7", "w8 w9 w10", "w4 w11 w6 w7", "w12", "w13 w14 w15 w16 w17 w18 w19 w20"]
MASK = 98
TOLERANCE = 1e-4  # fp32, nats of a whole text


@torch.no_grad()
def reference(model: Any, ids: list[int], *, shifted: bool) -> float:
    """Every unit but the first and the last hidden once. shifted: read before it, all positions seeing each other."""
    total = 0.0
    everywhere = torch.zeros(1, 1, len(ids), len(ids))
    for place in range(1, len(ids) - 1):
        units = torch.tensor([ids])
        units[0, place] = MASK
        logits = model(input_ids=units, attention_mask=everywhere if shifted else None).logits
        total += float(logits[0, place - shifted].double().log_softmax(-1)[ids[place]])
    return total


@pytest.mark.parametrize(
    "name", ["bert-mlm", "bert-mlm-untied", "roberta-mlm", "mpnet-mlm", "distilbert-mlm", "qwen3-tied"]
)
def test_equal_to_a_loop_over_transformers(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    base, shifted = Base.load(save(model, tmp_path / "theirs")), name.startswith("qwen3")
    base = dataclasses.replace(base, pattern="full")
    expected = [reference(model, base.codec.encode([text]).ids[0].tolist(), shifted=shifted) for text in TEXTS]
    for batch_tokens in (1, 40, 4096):
        found = base.score([""] * len(TEXTS), TEXTS, pattern="full", batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
