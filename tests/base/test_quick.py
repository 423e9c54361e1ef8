"""Which verbs multiply by oneDNN: all that read many units and want no gradient, on a CPU that has it, in fp32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.base.tiny_bases import tiny_base

from headstart.base.base import Base
from headstart.model import blocks, heads, matrices, trunk
from headstart.model.adapters import attach_lora

TEXTS = [" ".join(f"w{4 + 7 * row + place}" for place in range(7)) for row in range(8)]  # no two begin alike
VERBS: dict[str, Callable[[Base], Any]] = {
    "encode": lambda base: base.encode(TEXTS),
    "score": lambda base: base.score(TEXTS, [" w80 w81 w82"] * 8),
    "score, full": lambda base: base.score(TEXTS, [" w80 w81 w82"] * 8, pattern="full"),
    "fill": lambda base: base.score_words(TEXTS, [" w90", " w91"], pattern="full"),
}
quick_here = pytest.mark.skipif(
    not (torch._C._has_mkldnn and torch._C.has_mkl), reason="this torch has no oneDNN beside MKL"
)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every quick product."""
    found: list[int] = []

    def counting(x: torch.Tensor, *weights: Any) -> torch.Tensor:
        found.append(len(x))
        return multiplied(x, *weights)

    multiplied = matrices.multiplied
    for module in (blocks, heads):
        monkeypatch.setattr(module, "multiplied", counting)
    return found


def base_for(verb: str) -> Base:
    return tiny_base("bert" if verb in ("score, full", "fill") else "llama")


@quick_here
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_multiply_by_onednn_and_say_the_same(verb: str, rows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    base = base_for(verb)
    quick = VERBS[verb](base)
    assert rows
    rows.clear()
    for module in (heads, trunk):
        monkeypatch.setattr(module, "has_quick", lambda weight: False)
    plain = VERBS[verb](base)
    assert not rows
    np.testing.assert_allclose(quick, plain, atol=1e-5)


@quick_here
def test_lora_multiplies_what_it_stands_beside(rows: list[int]) -> None:
    bare = tiny_base("bert")
    bare.encode(TEXTS)
    wanted = len(rows)
    wrapped = attach_lora(tiny_base("bert").trunk, rank=2, alpha=4.0, targets=("q", "v", "up", "down"))
    rows.clear()
    replace(bare, trunk=wrapped).encode(TEXTS)
    assert len(rows) == wanted


@quick_here
def test_a_short_text_is_not_filled_up(rows: list[int]) -> None:
    base = tiny_base("bert")
    base.encode(["w4 w5"])
    assert not rows
    base.encode(TEXTS)
    assert rows


def test_under_autocast_the_products_are_torchs_own(rows: list[int]) -> None:
    base = tiny_base("bert")
    with torch.autocast("cpu", torch.bfloat16):
        assert base.encode(TEXTS).shape == (8, 32)
    assert not rows
