"""Our adapters in PEFT, where q, k and v are one matrix (GPT-2) and where they are three."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from tests.parity.tiny_models import TINY, build, random_batch, real_difference, reference, save

from headstart.base.base import Base
from headstart.model.adapters import attach_lora, lora_modules

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft uses a name transformers renamed
ALL = ("q", "k", "v", "o", "gate", "up", "down")


@pytest.mark.parametrize("targets", [("q", "v"), ALL])
@pytest.mark.parametrize(
    "name", ["bert", "bert-mlm", "roberta-mlm", "mpnet", "mpnet-mlm", "distilbert", "gpt2", "llama", "qwen3-tied"]
)
def test_peft_computes_the_same(name: str, targets: tuple[str, ...], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import PeftModel

    base = Base.load(save(build(TINY[name]), tmp_path / "theirs"))
    attach_lora(base.trunk, rank=4, alpha=6.0, targets=targets)
    for place, (_, module) in enumerate(lora_modules(base.trunk)):
        module.lora_b.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(place))
    folder = base.save(tmp_path / "ours")
    plain = TINY[name].model.from_pretrained(folder).eval()
    model = PeftModel.from_pretrained(plain, folder / "adapter").eval()
    batch = random_batch(vocab=99, pattern=base.pattern, segments=base.trunk.config.num_segments > 1)
    pad = plain.config.pad_token_id or 0
    with torch.no_grad():
        states = base.trunk.hidden_states(batch)
    theirs = reference(model, batch, pad=pad).hidden_states
    assert max(real_difference(a, b, batch) for a, b in zip(states, theirs, strict=True)) <= 1e-4
    with model.disable_adapter():
        unchanged = reference(model, batch, pad=pad).hidden_states[-1]
    assert real_difference(states[-1], unchanged, batch) > 1e-2
