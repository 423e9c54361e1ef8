"""Scores against loops over one row at a time: left to right, and one hidden unit after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.base.tiny_bases import tiny_base

from headstart.base import pseudo, scoring
from headstart.base.base import Base
from headstart.base.pseudo import masked_copies
from headstart.base.scoring import read_asked
from headstart.ground.batch import Batch, Pattern
from headstart.ground.errors import CapabilityError, ConfigError, DataError, HeadstartError
from headstart.train.cross_entropy import IGNORE
from headstart.train.objective import LanguageModel, lm_loss

CLS, SEP, MASK = 2, 3, 98
PATTERNS: dict[str, tuple[Pattern, ...]] = {"gpt2": ("causal",), "bert": ("full",), "hybrid": ("causal", "full")}
CASES = [(name, pattern) for name, patterns in PATTERNS.items() for pattern in patterns]


def base_of(name: str) -> Base:
    """hybrid: a decoder that was trained in both patterns, as its folder says."""
    return dataclasses.replace(tiny_base("qwen3"), pattern="full") if name == "hybrid" else tiny_base(name)


def words(count: int, *, seed: int) -> str:
    return " ".join(f"w{i}" for i in np.random.default_rng(seed).integers(4, 98, count))


def texts_of_all_lengths() -> list[str]:
    return [words(1 + seed % 20, seed=seed) for seed in range(50)]


@torch.no_grad()
def one_by_one(base: Base, ids: Sequence[int], places: range, pattern: Pattern) -> float:
    """log p of the units at `places`, each from a row of its own, in fp64 after the logits."""
    assert base.lm is not None
    total = 0.0
    for place in places:
        units = torch.tensor([ids[:place] if pattern == "causal" else ids])
        if pattern == "full":
            units[0, place] = MASK
        hidden = base.trunk(Batch(units, torch.tensor([units.shape[1]]), pattern))
        read = place if base.family == "bert" else place - 1
        logits = base.lm(hidden[0, read], base.trunk.embed.tokens.weight).double()
        total += float(torch.log_softmax(logits, dim=-1)[ids[place]])
    return total


def plain(base: Base, text: str) -> list[int]:
    return [int(i) for i in base.codec.encode_plain([text])[0]]


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_a_text_alone_equals_the_loop(name: str, pattern: Pattern) -> None:
    base, texts = base_of(name), texts_of_all_lengths()[:12]
    for text, score in zip(texts, base.score([""] * 12, texts, pattern=pattern), strict=True):
        ids = [CLS, *plain(base, text), SEP]
        assert score == pytest.approx(one_by_one(base, ids, range(1, len(ids) - 1), pattern), abs=2e-5)


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_only_the_continuation_is_scored(name: str, pattern: Pattern) -> None:
    base = base_of(name)
    ids = [CLS, *plain(base, "w4 w5 w6 w7 w8"), SEP]
    found = base.score(["w4 w5 w6"], [" w7 w8"], pattern=pattern)[0]
    assert found == pytest.approx(one_by_one(base, ids, range(4, 6), pattern), abs=1e-5)


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_batches_never_change_an_answer(name: str, pattern: Pattern) -> None:
    base, texts = base_of(name), texts_of_all_lengths()
    whole = base.score([""] * len(texts), texts, pattern=pattern)
    for batch_tokens in (1, 7, 64, 1000):
        found = base.score([""] * len(texts), texts, pattern=pattern, batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-5)
    alone = [base.score([""], [text], pattern=pattern)[0] for text in texts]
    np.testing.assert_allclose(alone, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_small_heads_and_small_groups_change_nothing(
    name: str, pattern: Pattern, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, texts = base_of(name), texts_of_all_lengths()
    whole = base.score([""] * len(texts), texts, pattern=pattern)
    monkeypatch.setattr(scoring, "HEAD_LOGITS", 300)
    monkeypatch.setattr(pseudo, "GROUP_UNITS", 90)
    np.testing.assert_allclose(base.score([""] * len(texts), texts, pattern=pattern), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_equal_texts_tie_to_the_last_bit(name: str, pattern: Pattern) -> None:
    base, texts = base_of(name), texts_of_all_lengths()
    found = base.score([""] * 100, [*texts, *reversed(texts)], pattern=pattern, batch_tokens=33)
    assert found[:50] == found[:49:-1]


def test_a_minimal_pair_shares_the_copy_that_hides_its_difference() -> None:
    base = base_of("hybrid")
    asked = read_asked(base.codec, ["", ""], ["w4 w5 w6 w7", "w4 w9 w6 w7"], closed=True)
    copies = masked_copies(asked, mask=MASK)
    assert len(copies.targets) == 8
    assert len(copies.units) == 7
    assert sorted(copies.targets[copies.copy == copies.copy[1]].tolist()) == [5, 9]
    # A text that holds the mask unit itself: equal rows, but other units are asked for.
    asked = read_asked(base.codec, ["", ""], ["[MASK] w5", "w5 [MASK]"], closed=True)
    assert len(masked_copies(asked, mask=MASK).units) == 4


def test_hidden_units_are_asked_as_training_asked_for_them() -> None:
    """The loss of masked next-token prediction over rows with one hidden unit each is the pseudo-log-likelihood."""
    base, text = base_of("hybrid"), words(9, seed=1)
    ids = torch.tensor([CLS, *plain(base, text), SEP])
    places = torch.arange(1, 10)
    units = ids.repeat(9, 1)
    units[torch.arange(9), places] = MASK
    targets = torch.full_like(units, IGNORE)
    targets[torch.arange(9), places - 1] = ids[places]
    documents = (units == CLS).long().cumsum(1)
    batch = Batch(units, torch.full((9,), len(ids)), "full", documents=documents, targets=targets)
    assert base.lm is not None
    with torch.no_grad():
        loss = lm_loss(LanguageModel(base.trunk, base.lm), batch, z_loss=0.0)
    assert base.score([""], [text], pattern="full")[0] == pytest.approx(-9 * float(loss.total) / loss.weight, abs=2e-5)


def test_what_a_base_can_score() -> None:
    assert {name: base_of(name).score_patterns for name in PATTERNS} == PATTERNS
    assert dataclasses.replace(base_of("hybrid"), lm=None).score_patterns == ()


@pytest.mark.parametrize(
    ("base", "pattern", "error", "message"),
    [
        (base_of("bert"), "causal", CapabilityError, 'cannot score: it does not read .* Use pattern="full"'),
        (base_of("gpt2"), "full", CapabilityError, "cannot fill hidden units: it reads under the pattern causal only"),
        (dataclasses.replace(base_of("bert"), lm=None), "full", CapabilityError, "it has no language-model head"),
        (base_of("bert"), "both", ConfigError, "the pattern is 'both'; expected causal or full"),
    ],
)
def test_what_it_cannot_is_said(base: Base, pattern: Pattern, error: type[HeadstartError], message: str) -> None:
    with pytest.raises(error, match=message):
        base.score([""], ["w4"], pattern=pattern)


def test_a_tokenizer_without_a_mask_cannot_hide() -> None:
    base = base_of("hybrid")
    blind = dataclasses.replace(base.codec, special=dataclasses.replace(base.codec.special, mask=None))
    with pytest.raises(CapabilityError, match="its tokenizer has no mask token"):
        dataclasses.replace(base, codec=blind).score([""], ["w4"], pattern="full")


@pytest.mark.parametrize("pattern", ["causal", "full"])
@pytest.mark.parametrize(
    ("contexts", "continuations", "message"),
    [
        (["w4"], [], "1 contexts came with 0 continuations"),
        ("w4", ["w5"], "the contexts are one str; expected a list of texts"),
        (["w4"], "w", "the continuations are one str; expected a list of texts"),
        (["w4"], [""], "continuation 0 is empty"),
        (["w4", "w4"], ["w5", None], r"pair 1 is .*None.*; expected two texts"),
        (["w4", "w4"], ["w5", "\ud800"], "row 1 holds half of a surrogate pair"),
        ([""], [" "], "continuation 0 is .*, which has no tokens"),
        ([""], [" ".join(["w5"] * 60)], "continuation 0 has 60 tokens; expected at most 2[23]"),
    ],
)
def test_bad_texts_are_named(pattern: Pattern, contexts: list[str], continuations: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        base_of("hybrid").score(contexts, continuations, pattern=pattern)


@pytest.mark.parametrize("pattern", ["causal", "full"])
def test_nothing_asked_nothing_answered(pattern: Pattern) -> None:
    assert base_of("hybrid").score([], [], pattern=pattern) == []
