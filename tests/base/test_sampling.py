"""Choosing a unit: the same candidates as Hugging Face's processors leave, drawn as often as they should be."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from headstart.base import sampling as module
from headstart.base.sampling import Sampling, choose, log_probabilities
from headstart.ground.errors import ConfigError
from headstart.ground.seeds import stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers.generation import logits_process as theirs

VOCAB = 60
NOTHING = np.empty(0, dtype=np.int32)


def random_logits(seed: int) -> torch.Tensor:
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def reference(logits: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
    """Hugging Face's warpers in its order."""
    warpers = [
        theirs.TemperatureLogitsWarper(settings.get("temperature", 1.0)),
        *([theirs.TopKLogitsWarper(settings["top_k"])] if "top_k" in settings else []),
        *([theirs.TopPLogitsWarper(settings["top_p"])] if "top_p" in settings else []),
        *([theirs.MinPLogitsWarper(settings["min_p"])] if "min_p" in settings else []),
    ]
    scores = logits[None]
    for warper in warpers:
        scores = warper(None, scores)
    return scores[0]


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"top_k": 5},
    {"top_k": 1000},
    {"top_p": 0.6},
    {"top_p": 0.05},
    {"min_p": 0.1},
    {"temperature": 1.7, "top_k": 20, "top_p": 0.8, "min_p": 0.02},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_the_candidates_are_hugging_faces(settings: dict[str, Any], seed: int) -> None:
    logits = random_logits(seed)
    sampling = Sampling(**{"temperature": 1.0, **settings})
    kept = module._narrowed(logits / sampling.temperature, sampling)
    torch.testing.assert_close(torch.softmax(kept, -1), torch.softmax(reference(logits, settings), -1))


@pytest.mark.parametrize("seed", range(5))
def test_penalties(seed: int) -> None:
    logits, prompt, written = random_logits(seed), np.array([3, 4, 4, 9], dtype=np.int32), [4, 7, 7, 7]
    found = module._penalised(logits, Sampling(repetition_penalty=1.3), prompt, written)
    processor = theirs.RepetitionPenaltyLogitsProcessor(1.3)
    torch.testing.assert_close(found, processor(torch.tensor([[*prompt.tolist(), *written]]), logits[None])[0])
    found = module._penalised(logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), prompt, written)
    expected = logits.clone()
    expected[4] -= 0.75
    expected[7] -= 1.25
    torch.testing.assert_close(found, expected)
    assert torch.equal(module._penalised(logits, Sampling(presence_penalty=0.5), prompt, []), logits)


@pytest.mark.parametrize("settings", [{}, {"top_k": 4, "temperature": 0.8}, {"top_p": 0.7}], ids=str)
def test_units_are_drawn_as_often_as_they_should(settings: dict[str, Any]) -> None:
    logits, random, draws = random_logits(1), stream(0, "draws"), 5_000
    sampling = Sampling(**{"temperature": 1.0, **settings})
    chances = torch.softmax(reference(logits, settings), -1).numpy()
    drawn = np.bincount([choose(logits, sampling, random, NOTHING, []) for _ in range(draws)], minlength=VOCAB)
    assert not drawn[chances == 0].any()
    expected = draws * chances
    likely = expected > 5
    surprise = float((((drawn - expected) ** 2)[likely] / expected[likely]).sum())
    freedom = int(likely.sum()) - 1
    assert surprise < freedom + 5 * np.sqrt(2 * freedom)


def test_rounding_in_the_last_digit_does_not_change_a_draw() -> None:
    logits = random_logits(2).float()
    near = logits + 1e-6 * torch.randn(VOCAB, generator=torch.Generator().manual_seed(3))
    sampling = Sampling(temperature=1.5)
    same = [
        choose(logits, sampling, stream(n), NOTHING, []) == choose(near, sampling, stream(n), NOTHING, [])
        for n in range(500)
    ]
    assert all(same)


def test_greedy_and_its_neighbours() -> None:
    logits = random_logits(4)
    best = int(logits.argmax())
    for settings in ({}, {"temperature": 1.0, "top_k": 1}, {"temperature": 1.0, "top_p": 1e-9}, {"temperature": 1e-6}):
        assert choose(logits, Sampling(**settings), stream(0), NOTHING, []) == best
    assert choose(logits, Sampling(presence_penalty=2.0, frequency_penalty=2.0), stream(0), NOTHING, [best] * 9) != best


def test_log_probabilities_are_the_bases_own() -> None:
    logits = random_logits(5)
    own, top = log_probabilities(logits, 7, 3)
    whole = torch.log_softmax(logits.float(), -1)
    assert own == pytest.approx(float(whole[7]))
    assert [unit for unit, _ in top] == logits.argsort(descending=True)[:3].tolist()
    assert log_probabilities(logits, 7, 0) == (own, ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; expected at least 1"),
        ({"temperature": -5.0}, "temperature is -5.0; expected 0 to 100"),
        ({"temperature": float("nan")}, "temperature is nan; expected 0 to 100"),
        ({"top_k": 0}, "top_k is 0; expected at least 1"),
        ({"top_p": 7.0}, "top_p is 7.0; expected more than 0 and at most 1"),
        ({"top_p": 0.0}, "top_p is 0.0; expected more than 0"),
        ({"min_p": 1.5}, "min_p is 1.5; expected 0 to 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0; expected 1e-06 to 100"),
        ({"repetition_penalty": 1e-320}, "repetition_penalty is 1e-320; expected 1e-06 to 100"),
        ({"temperature": 1e-320}, "temperature is 1e-320; expected 0, or 1e-06 to 100. Give 0"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected a number"),
        ({"top_p": None}, "top_p is None; expected a number"),
        ({"max_tokens": float("nan")}, "max_tokens is nan; expected a whole number"),
        ({"max_tokens": 2.5}, "max_tokens is 2.5; expected a whole number"),
        ({"max_tokens": "x"}, "max_tokens is 'x'; expected a whole number"),
        ({"max_tokens": True}, "max_tokens is True; expected a whole number"),
        ({"seed": None}, "seed is None; expected a whole number"),
        ({"top_k": 2.0}, "top_k is 2.0; expected a whole number"),
        ({"logprobs": "3"}, "logprobs is '3'; expected a whole number"),
        ({"presence_penalty": 3.0}, "presence_penalty is 3.0; expected -2 to 2"),
        ({"frequency_penalty": float("inf")}, "frequency_penalty is inf; expected -2 to 2"),
        ({"logprobs": 21}, "logprobs is 21; expected 0 to 20"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**settings)


def test_numbers_of_numpy_are_numbers() -> None:
    sampling = Sampling(max_tokens=np.int64(3), temperature=np.float32(0.5))  # type: ignore[arg-type]
    assert (sampling.max_tokens, sampling.temperature) == (3, 0.5)


def test_defaults_are_plain() -> None:
    assert Sampling().plain
    assert not dataclasses.replace(Sampling(), frequency_penalty=0.1).plain
