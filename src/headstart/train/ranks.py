"""The processes that train one model together: torchrun starts them, FSDP2 spreads the model's tensors over them.

Enter: torchrun's environment, or nothing. Leave: Ranks, which gives the loop its share of a step, sums over all
processes, and one answer where every process must do the same. A process of its own is the only one of 1. FSDP2 and
DTensor are imported where they are used: they take 0.8 s, which an adaptation need not wait for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from headstart.ground.device import pick_device
from headstart.ground.errors import ConfigError, HeadstartError, RunError

T = TypeVar("T")
PATIENCE = timedelta(hours=24)  # with a process that packs the text for all, while the others wait


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `size` that train together."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of a step's micro-batches; ConfigError where they cannot be dealt out evenly."""
        if len(items) % self.size:
            raise ConfigError(
                f"a step has {len(items)} micro-batches for {self.size} processes; expected a multiple. Start another "
                "number of processes, or change tokens_per_step or micro_tokens in the recipe."
            )
        return items[self.rank :: self.size]

    def sums(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=pick_device())
        dist.all_reduce(total)
        return [float(value) for value in total]

    def any(self, flag: bool) -> bool:
        """Whether one process says yes."""
        return self.sums(float(flag))[0] > 0.0

    def first_says(self, number: int) -> int:
        """The number that the first process gives."""
        if self.size == 1:
            return number
        told = torch.tensor([number], dtype=torch.int64, device=pick_device())
        dist.broadcast(told, src=0)
        return int(told)

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does the block before the others begin it: for work whose result lies on disk."""
        if self.first:
            yield
        self.any(False)
        if not self.first:
            yield

    @contextmanager
    def together(self) -> Iterator[None]:
        """An error of one process in the block is an error of all, so that none waits for it."""
        problem: HeadstartError | None = None
        try:
            yield
        except HeadstartError as caught:
            problem = caught
        if self.any(problem is not None):
            raise problem or RunError(
                "another process of this run met an error; expected all to go on. See its message above."
            )


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that torchrun started this one with; ALONE where it did not."""
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def spread(model: nn.Module, blocks: Iterable[nn.Module], *, dtype: torch.dtype) -> None:
    """Shard `model` in place, each block on its own: weights and sums in fp32, matrix products in `dtype`.

    Gradients are summed over the processes, not averaged: the loop divides by the weight of the whole step.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(pick_device().type, (dist.get_world_size(),))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for part in (*blocks, model):
        fully_shard(part, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo has no multiply-and-sum


def reduce_at(model: nn.Module, *, last: bool) -> None:
    """Whether the next backward pass sums gradients over the processes: only that of a step's last micro-batch."""
    if not dist.is_initialized():
        return
    from torch.distributed.fsdp import FSDPModule

    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts that other processes hold; every process must ask."""
    if not dist.is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def mine(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    if not dist.is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def everywhere(tensor: Tensor) -> Tensor:
    """A spread tensor with all its values in every process, still one of the mesh; another tensor as it is."""
    if not dist.is_initialized():
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    if not isinstance(tensor, DTensor):
        return tensor
    return tensor.redistribute(placements=[Replicate()] * tensor.device_mesh.ndim)
