"""Low-rank adapters (Hu et al. 2021): W x + (alpha / r) B A x on named projections, W frozen.

Adapters replace single Linear modules inside a trunk, in place; `merge_lora` folds them back into W,
`merged` does so in a copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from headstart.ground.errors import ConfigError, did_you_mean, safe_repr
from headstart.model.blocks import Detoured
from headstart.model.trunk import Trunk

PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


class LoraLinear(Detoured):
    """A frozen Linear with a trainable low-rank detour; B starts at zero, so nothing changes at first."""

    def __init__(self, base: nn.Linear, *, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(base.weight.new_zeros(rank, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, rank))

    def detour(self, x: Tensor) -> Tensor:
        """(alpha / r) B A x."""
        return self.scale * nn.functional.linear(nn.functional.linear(x, self.lora_a), self.lora_b)


def attach_lora(trunk: Trunk, *, rank: int, alpha: float, targets: tuple[str, ...], seed: int = 0) -> Trunk:
    """Wrap every projection named in `targets` (q, k, v, o, gate, up, down); returns the same trunk.

    A is drawn uniformly with bound 1/sqrt(in) (PEFT's kaiming_uniform(a=sqrt(5))), from the seed alone.
    """
    unknown = sorted(set(targets) - set(PROJECTIONS))
    if unknown:
        raise ConfigError(
            f"LoRA has the target {safe_repr(repr(unknown[0]), 80)}; expected names of {', '.join(PROJECTIONS)}."
            f"{did_you_mean(unknown[0], PROJECTIONS)} Give some of these as targets."
        )
    if rank < 1:
        raise ConfigError(f"LoRA has rank {rank}; expected 1 or more. Give lora_rank=8, which is usual.")
    generator = torch.Generator().manual_seed(seed)
    for path, linear in list(_projections(trunk, targets)):
        wrapped = LoraLinear(linear, rank=rank, alpha=alpha)
        bound = 1.0 / math.sqrt(linear.in_features)
        with torch.no_grad():
            wrapped.lora_a.copy_((torch.rand(wrapped.lora_a.shape, generator=generator) * 2 - 1) * bound)
        _put(trunk, path, wrapped)
    return trunk


@torch.no_grad()
def merge_lora(trunk: Trunk) -> Trunk:
    """Fold every adapter into its matrix and put plain Linear modules back; returns the same trunk."""
    for path, module in list(lora_modules(trunk)):
        module.base.weight.add_(module.scale * (module.lora_b @ module.lora_a))
        _put(trunk, path, module.base)
    return trunk


def merged(trunk: Trunk) -> Trunk:
    """What training starts from: `trunk` itself, or where it has adapters an fp32 copy with them folded in."""
    adapters = list(lora_modules(trunk))
    if not adapters:
        return trunk
    with torch.device("meta"):
        copy = Trunk(trunk.config, trunk.patches)
    copy.to_empty(device="cpu")
    for path, module in adapters:
        linear, rank = copy.get_submodule(path), module.lora_a.shape[0]
        assert isinstance(linear, nn.Linear)
        _put(copy, path, LoraLinear(linear, rank=rank, alpha=module.scale * rank))
    copy.load_state_dict(trunk.state_dict())
    return merge_lora(copy)


@torch.no_grad()
def put_back(trunk: Trunk, start: Trunk) -> Trunk:
    """Give every weight beside the adapters the very value it has in `start`, which has none; returns `trunk`."""
    values = start.state_dict()
    for name, weight in plain_state(trunk).items():
        weight.copy_(values[name])
    return trunk


def plain_state(trunk: Trunk) -> dict[str, Tensor]:
    """The weights beside the adapters, under the names of a trunk that has none."""
    return {name.replace(".base.", "."): t for name, t in trunk.state_dict().items() if ".lora_" not in name}


def lora_modules(trunk: Trunk) -> Iterator[tuple[str, LoraLinear]]:
    """(path inside the trunk, adapter), in the trunk's order."""
    for path, module in trunk.named_modules():
        if isinstance(module, LoraLinear):
            yield path, module


def lora_state(trunk: Trunk) -> dict[str, tuple[Tensor, Tensor]]:
    """{projection path: (A (r, in), B (out, r))}."""
    return {path: (module.lora_a.detach(), module.lora_b.detach()) for path, module in lora_modules(trunk)}


def _projections(trunk: Trunk, targets: tuple[str, ...]) -> Iterator[tuple[str, nn.Linear]]:
    for path, module in trunk.blocks.named_modules(prefix="blocks"):
        if path.rpartition(".")[2] in targets and isinstance(module, nn.Linear):
            yield path, module


def _put(trunk: Trunk, path: str, module: nn.Module) -> None:
    """Replace the module at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(trunk.get_submodule(parent), name, module)
