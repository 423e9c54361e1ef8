"""LoRA: nothing changes at first, merging changes no output, errors name what is wrong."""

from __future__ import annotations

import pytest
import torch
from tests.model.shapes import KINDS, perturbed, random_units

from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError
from headstart.model.adapters import attach_lora, lora_modules, lora_state, merge_lora, merged


@pytest.mark.parametrize("kind", KINDS)
def test_attach_changes_nothing_and_merge_keeps_outputs(kind: str) -> None:
    trunk, batch = perturbed(KINDS[kind]), Batch(random_units(2, 6), torch.tensor([6, 4]), "full")
    before = trunk(batch)
    attach_lora(trunk, rank=3, alpha=6.0, targets=("q", "v", "up", "down"))
    assert torch.equal(trunk(batch), before)
    with torch.no_grad():
        for _, module in lora_modules(trunk):
            module.lora_b.normal_(generator=torch.Generator().manual_seed(1))
    adapted = trunk(batch)
    assert not torch.allclose(adapted, before, atol=1e-3)
    names = set(lora_state(trunk))
    copy = merged(trunk)
    assert torch.equal(trunk(batch), adapted)
    plain = merge_lora(trunk)
    assert torch.allclose(plain(batch), adapted, atol=1e-4)
    assert torch.equal(copy(batch), plain(batch))
    assert not [*lora_modules(plain), *lora_modules(copy)]
    assert merged(plain) is plain
    assert "blocks.0.attn.q" in names
    assert len(names) == 4 * trunk.config.num_layers


def test_adapters_follow_the_seed() -> None:
    states = [
        lora_state(attach_lora(perturbed(KINDS["bert"]), rank=2, alpha=4.0, targets=("q",), seed=s)) for s in (1, 1, 2)
    ]
    a = [state["blocks.0.attn.q"][0] for state in states]
    assert torch.equal(a[0], a[1])
    assert not torch.equal(a[0], a[2])


def test_an_unknown_projection_is_named() -> None:
    with pytest.raises(ConfigError, match=r"the target 'gated'; expected names of q, k, v, o.* Did you mean 'gate'\?"):
        attach_lora(perturbed(KINDS["bert"]), rank=2, alpha=4.0, targets=("q", "gated"))


def test_a_rank_below_one_is_refused_with_one_to_give() -> None:
    with pytest.raises(ConfigError, match=r"LoRA has rank 0; expected 1 or more\. Give lora_rank=8"):
        attach_lora(perturbed(KINDS["bert"]), rank=0, alpha=4.0, targets=("q",))
