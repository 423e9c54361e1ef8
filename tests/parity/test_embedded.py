"""The bases inside the package are plain Hugging Face folders: transformers loads them as they are, and agrees."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from tests.parity.tiny_models import random_batch, real_difference, reference

from headstart.base.base import Base
from headstart.base.shipped import EMBEDDED, embedded_names


@pytest.mark.parametrize("name", embedded_names())
def test_transformers_loads_it_unchanged(name: str) -> None:
    base, folder = Base.load(name), EMBEDDED / name
    assert base.lm is not None
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, loading = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    batch = random_batch(vocab=base.trunk.config.vocab_size, pattern="causal", segments=False, lengths=(40, 7, 64))
    theirs = reference(model.float().eval(), batch)
    with torch.no_grad():
        hidden = base.trunk(batch)
        logits = base.lm(hidden, base.trunk.embed.tokens.weight)
    assert real_difference(hidden, theirs.hidden_states[-1], batch) <= 1e-4
    assert real_difference(logits, theirs.logits, batch) <= 1e-4
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "Where is my parcel? It's 3 days late — naïve me."
    assert tokenizer(text)["input_ids"] == base.codec.encode([text]).ids[0].tolist()
