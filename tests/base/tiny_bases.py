"""Small bases with random weights, made without any file."""

from __future__ import annotations

import torch
from tests.base.tiny_folders import CONFIG, word_codec

from headstart.base.base import Base
from headstart.base.families import FAMILIES
from headstart.base.families.family import Fields
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk

LLAMA = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
    "head_dim": 8,
    "tie_word_embeddings": True,
}
GPT2 = {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}
CONFIGS = {"bert": CONFIG, "llama": LLAMA, "qwen3": LLAMA, "gpt2": GPT2}


def tiny_base(family: str = "bert", *, seed: int = 0) -> Base:
    """Every parameter random, norms near one."""
    row = FAMILIES[family]
    config = row.trunk_config(Fields(CONFIGS[family]))
    trunk, lm = Trunk(config), LMHead(config, transform=row.lm_transform, bias=row.lm_bias)
    generator = torch.Generator().manual_seed(seed)
    for module in (trunk, lm):
        for name, parameter in module.named_parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + ("norm" in name) * 1.0
    return Base(trunk.eval(), word_codec(), family, row.pattern, f"tiny-{family}", lm=lm.eval())
