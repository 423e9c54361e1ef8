"""What rows share is read once, and no answer knows it: every way to share gives the score of a row alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.base.tiny_bases import tiny_base

from headstart.base import prefixes, reading
from headstart.base.base import Base
from headstart.ground.batch import Batch
from headstart.ground.errors import DataError
from headstart.model import attention

FAMILIES = ["gpt2", "llama", "qwen3"]


def few_shot(*, questions: int = 12, seed: int = 0) -> tuple[list[str], list[str]]:
    """A preamble of 10 words, questions of 1 to 6, labels of 1 to 3 that begin alike."""
    random = np.random.default_rng(seed)
    preamble = " ".join(f"w{i}" for i in random.integers(4, 98, 10))
    contexts, continuations = [], []
    for _ in range(questions):
        question = " ".join(f"w{i}" for i in random.integers(4, 9, random.integers(1, 7)))
        for label in (" w10", " w11 w12", " w11 w13 w14", " w15"):
            contexts.append(f"{preamble} {question}")
            continuations.append(label)
    return contexts, continuations


def alone(base: Base, context: str, continuation: str) -> float:
    """log p of the continuation, every unit from a pass over what stands before it."""
    assert base.lm is not None
    before = [2, *base.codec.encode_plain([context])[0].tolist()]
    total = 0.0
    for unit in base.codec.encode_plain([continuation])[0].tolist():
        hidden = base.trunk(Batch(torch.tensor([before]), torch.tensor([len(before)]), "causal"))
        logits = base.lm(hidden[0, -1], base.trunk.embed.tokens.weight).double()
        total += float(torch.log_softmax(logits, dim=-1)[unit])
        before.append(unit)
    return total


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Slots of every forward pass."""
    slots: list[int] = []
    forward = reading.Trunk.forward

    def counting(self: reading.Trunk, batch: Batch, past: object = None, *, quick: bool = False) -> torch.Tensor:
        slots.append(batch.num_units)
        return forward(self, batch, past, quick=quick)  # type: ignore[arg-type]

    monkeypatch.setattr(reading.Trunk, "forward", counting)
    return slots


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("stem_units", "bush_units"), [(2, 12), (2, 1), (6, 12), (99, 999), (99, 1), (1, 30)])
@torch.no_grad()
def test_sharing_never_changes_a_score(
    family: str, stem_units: int, bush_units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, (contexts, continuations) = tiny_base(family), few_shot()
    expected = [alone(base, *pair) for pair in zip(contexts, continuations, strict=True)]
    monkeypatch.setattr(prefixes, "STEM_UNITS", stem_units)
    monkeypatch.setattr(reading, "BUSH_UNITS", bush_units)
    for batch_tokens in (1, 40, 2048):
        found = base.score(contexts, continuations, batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_likeliest_is_what_the_base_writes_itself(family: str) -> None:
    base, (asked, _) = tiny_base(family), few_shot()
    answers = zip(asked, base.generate(asked, max_tokens=3), strict=True)
    pairs = [(context, f" {text}") for context, text in answers if len(text.split()) == 3]  # no special unit in it
    assert len(pairs) > 20
    contexts, written = zip(*pairs, strict=True)
    assert base.likelihoods(contexts, written).likeliest.all()
    wrong = [f" w{5 if text.split()[0] != 'w5' else 6}{text[text.find(' ', 1) :]}" for text in written]
    assert not base.likelihoods(contexts, wrong).likeliest.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_chained_stems(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two preambles that begin alike, each with many rows: three stems, one before the other two."""
    monkeypatch.setattr(prefixes, "STEM_UNITS", 3)
    monkeypatch.setattr(reading, "BUSH_UNITS", 8)
    base = tiny_base(family)
    start = "w4 w5 w6 w7"
    contexts = [f"{start} {middle} w{n}" for middle in ("w20 w21 w22", "w30 w31 w32") for n in range(40, 60)]
    continuations = [f" w{60 + n % 7} w{70 + n % 5}" for n in range(len(contexts))]
    with torch.no_grad():
        expected = [alone(base, *pair) for pair in zip(contexts, continuations, strict=True)]
    np.testing.assert_allclose(base.score(contexts, continuations), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fused_kernel_and_bf16_share_too(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base, (contexts, continuations) = tiny_base(family), few_shot()
    expected = base.score(contexts, continuations)
    monkeypatch.setattr(prefixes, "STEM_UNITS", 2)
    monkeypatch.setattr(reading, "BUSH_UNITS", 12)
    monkeypatch.setattr(attention, "MAX_EXPLICIT_KEYS", 0)
    np.testing.assert_allclose(base.score(contexts, continuations), expected, rtol=0, atol=1e-5)
    assert base.lm is not None
    half = dataclasses.replace(base, trunk=base.trunk.bfloat16(), lm=base.lm.bfloat16())
    np.testing.assert_allclose(half.score(contexts, continuations), expected, rtol=0.05, atol=0.3)
    assert len(half.generate(["w4 w5", "w4 w6 w7"], max_tokens=6)) == 2


def test_a_preamble_is_read_once(counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "STEM_UNITS", 4)
    monkeypatch.setattr(reading, "BUSH_UNITS", 20)
    base, (contexts, continuations) = tiny_base("qwen3"), few_shot(questions=30)
    base.score(contexts, continuations)
    whole = sum(len(base.codec.encode_plain([c])[0]) for c in contexts)
    question = sum(len(base.codec.encode_plain([c])[0]) - 10 for c in contexts[::4])
    assert sum(counted) <= 11 + question + 30 * 3 < whole / 5


def test_labels_of_one_token_cost_nothing(counted: list[int]) -> None:
    base = tiny_base("gpt2")
    base.score(["w4 w5 w6"] * 3, [" w7", " w8", " w9"])
    assert sum(counted) == 4


def test_a_pair_that_is_too_long_is_cut_only_when_asked() -> None:
    base = tiny_base("qwen3")
    long = " ".join(f"w{4 + i}" for i in range(60))
    with pytest.raises(DataError, match=r"pair 1 has 61 tokens; expected at most 23, .* ask to truncate"):
        base.score(["w4", long], [" w9", " w9"])
    with pytest.raises(DataError, match="pair 0 has 61 tokens; expected at most 22"):
        tiny_base("bert").score([long], [" w9"], pattern="full")
    room = base.codec.max_positions - 2
    cut = base.score([" ".join(long.split()[-room:])], [" w9"])[0]
    assert base.score([long], [" w9"], truncate=True)[0] == pytest.approx(cut, abs=1e-5)
