"""The control that says what pre-training was worth without any training: the same architecture with random weights."""

from __future__ import annotations

import dataclasses

import torch

from headstart.base.base import Base
from headstart.base.families import FAMILIES
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk, initialise

HEAD_STD = 0.02  # of a random head's matrices, as `initialise` draws the trunk's


def untrained(base: Base, *, seed: int) -> Base:
    """The base's architecture and tokenizer with random weights, which depend on the seed alone."""
    config = base.trunk.config
    trunk = Trunk(config, base.trunk.patches)
    initialise(trunk, seed=seed)
    return dataclasses.replace(
        base,
        trunk=trunk.eval(),
        lm=None if base.lm is None else random_head(base, seed=seed),
        pooler=None,
        extras={},
        sketches=(),
        name=f"{base.name}-random",
    )


def random_head(base: Base, *, seed: int) -> LMHead:
    """A language-model head in the shape of the base's family."""
    family = FAMILIES[base.family]
    head = LMHead(base.trunk.config, transform=family.lm_transform, bias=family.lm_bias)
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        if parameter.dim() == 2:
            parameter.data.normal_(0.0, HEAD_STD, generator=generator)
    return head.eval()
