"""The optimiser: AdamW and Muon over parameter groups, with fp32 masters where the model computes in bf16.

Micro-batch gradients are accumulated in fp32. Muon (Jordan et al. 2024) takes the trunk's matrices, with updates scaled
to AdamW's size (Liu et al. 2025, "Muon is scalable"), AdamW everything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from headstart.ground.errors import ConfigError
from headstart.train.ranks import everywhere, whole

Kind = Literal["adamw", "muon"]
Model = TypeVar("Model", bound=nn.Module)
State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that share a rule and a peak learning rate. numbers: that Muon's products are computed in."""

    params: tuple[nn.Parameter, ...]
    kind: Kind
    lr: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.98)
    numbers: torch.dtype = torch.bfloat16


class Optimiser:
    """accumulate() after every micro-batch's backward, then one step(factor)."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._params = [p for g in groups for p in g.params]
        self._masters = [p if p.dtype == torch.float32 else nn.Parameter(p.detach().float()) for p in self._params]
        self._low = [i for i, p in enumerate(self._params) if p.dtype != torch.float32]
        self._sums: dict[int, Tensor] = {}  # fp32 gradients of the low parameters, kept from step to step
        master_of = dict(zip(map(id, self._params), self._masters, strict=True))
        self._muon = [master_of[id(p)] for g in groups if g.kind == "muon" for p in g.params]
        self._inner: list[tuple[torch.optim.Optimizer, list[float]]] = []
        for kind in ("adamw", "muon"):
            chosen = [g for g in groups if g.kind == kind and g.params]
            if chosen:
                self._inner.append((_inner(kind, chosen, master_of), [g.lr for g in chosen]))

    @torch.no_grad()
    def accumulate(self) -> None:
        """Move bf16 gradients into the fp32 masters; fp32 parameters accumulate by themselves."""
        moved = [i for i in self._low if self._params[i].grad is not None]
        fresh = [i for i in moved if self._masters[i].grad is None]
        older = [i for i in moved if self._masters[i].grad is not None]
        for i in fresh:
            if i not in self._sums:
                self._sums[i] = torch.empty_like(self._masters[i])
            self._masters[i].grad = self._sums[i]
        if fresh:
            torch._foreach_copy_([self._sums[i] for i in fresh], [_grad(self._params[i]) for i in fresh])
        if older:
            torch._foreach_add_([self._sums[i] for i in older], [_grad(self._params[i]) for i in older])
        for i in moved:
            self._params[i].grad = None

    @torch.no_grad()
    def step(self, *, factor: float, weight: float, clip: float | None) -> float:
        """Divide the summed gradients by `weight`, clip, update at `factor` of the peak rates.

        Returns the gradient norm before clipping. A norm that is not finite changes nothing.
        """
        grads = [m.grad for m in self._masters if m.grad is not None]
        value = float(whole(nn.utils.get_total_norm(grads))) / weight
        if math.isfinite(value):
            shrink = 1.0 if clip is None else coarse(min(1.0, clip / (value + 1e-6)))
            torch._foreach_mul_(grads, shrink / weight)  # the mean and the clipping in one pass over memory
            for master in self._muon:  # its rule takes a matrix as a whole
                master.grad = None if master.grad is None else everywhere(master.grad)
            for optimiser, rates in self._inner:
                for group, rate in zip(optimiser.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                optimiser.step()
            if self._low:
                torch._foreach_copy_([self._params[i] for i in self._low], [self._masters[i] for i in self._low])
        for master in self._masters:
            master.grad = None
        return value

    def state(self, model: nn.Module) -> State:
        """Every tensor the next step depends on, as "what/parameter name": the fp32 weights, then each rule's own."""
        names = {id(p): name for name, p in model.named_parameters()}
        found: State = {}
        for parameter, master in zip(self._params, self._masters, strict=True):
            name = names[id(parameter)]
            found[f"weight/{name}"] = master.detach()
            for inner, _ in self._inner:
                found |= {f"{what}/{name}": value for what, value in inner.state.get(master, {}).items()}
        return found

    @torch.no_grad()
    def restore(self, model: nn.Module, shapes: Mapping[str, torch.Size], read: Callable[[State], None]) -> None:
        """Take over what `state` gave, into the same model and groups, however many processes wrote or read it.

        shapes: of every tensor there is. read: fills the tensors it is given, by those names.

        Raises:
            ConfigError: a tensor is missing, left over or of another shape.
        """
        names = {id(p): name for name, p in model.named_parameters()}
        masters = {names[id(p)]: m for p, m in zip(self._params, self._masters, strict=True)}
        inner_of = {id(p): inner for inner, _ in self._inner for group in inner.param_groups for p in group["params"]}
        strange = [key for key in shapes if key.partition("/")[2] not in masters]
        wrong = [name for name, master in masters.items() if shapes.get(f"weight/{name}") != master.shape]
        if wrong or strange:
            raise ConfigError(
                f"the checkpoint does not fit this model: {(wrong + strange)[0]} and {len(wrong + strange) - 1} more "
                "tensors differ; expected the same names and shapes. Give another --out."
            )
        whole_matrices = set(map(id, self._muon))
        into: State = {}
        for key, shape in shapes.items():
            what, _, name = key.partition("/")
            master = masters[name]
            if what == "weight":
                into[key] = master.detach()
                continue
            value = torch.zeros_like(master.detach()) if shape else torch.zeros((), device=master.device)
            into[key] = everywhere(value) if id(master) in whole_matrices else value
            inner_of[id(master)].state[master][what] = into[key]
        read(into)
        for i in self._low:
            self._params[i].copy_(self._masters[i])

    @torch.no_grad()
    def in_full_precision(self, model: Model) -> Model:
        """`model` converted to fp32 with the masters' unrounded values; returns the same module."""
        names = [name for name, p in model.named_parameters() if any(p is self._params[i] for i in self._low)]
        where = {id(self._params[i]): self._masters[i] for i in self._low}
        masters = {name: where[id(model.get_parameter(name))].detach() for name in names}
        model.float()
        for name, master in masters.items():
            model.get_parameter(name).copy_(master)
        return model


def coarse(factor: float) -> float:
    """A factor to 12 bits: the last bits of a norm depend on how many processes sum it, and must not reach weights."""
    mantissa, exponent = math.frexp(factor)
    return math.ldexp(round(mantissa * 4096) / 4096, exponent)


class StackedMuon(torch.optim.Muon):
    """torch's Muon with the matrices of one shape in one product: dozens of launches a step instead of thousands.

    A group's `numbers` is the dtype of those products.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; no closure is expected."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for shape, matrices in alike.items():
                self._update(matrices, group, 0.2 * math.sqrt(max(shape)) * group["lr"])

    def _update(self, matrices: list[Tensor], group: dict[str, Any], rate: float) -> None:
        grads = [_grad(matrix) for matrix in matrices]
        for matrix in matrices:
            if "momentum_buffer" not in self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(_grad(matrix))  # whole, as it is
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        updates = orthogonal(torch.stack(torch._foreach_lerp(grads, momenta, group["momentum"])), group)
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(updates.float().unbind()), alpha=-rate)


def orthogonal(stack_NAB: Tensor, group: dict[str, Any]) -> Tensor:
    """Every matrix of a stack with its singular values near 1, by Newton and Schulz as torch.optim.Muon, in the group's
    numbers: torch's own knows bf16 only, which makes of a last bit of a gradient 5e-5 of a weight in 20 steps."""
    a, b, c = group["ns_coefficients"]
    tall = stack_NAB.shape[1] > stack_NAB.shape[2]
    found = stack_NAB.to(group["numbers"])
    found = found.mT if tall else found
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _inner(kind: Kind, groups: Sequence[Group], master_of: dict[int, nn.Parameter]) -> torch.optim.Optimizer:
    rows = [
        {"params": [master_of[id(p)] for p in g.params], "lr": g.lr, "weight_decay": g.weight_decay} for g in groups
    ]
    if kind == "muon":
        for row, group in zip(rows, groups, strict=True):
            row["numbers"] = group.numbers
        torchs = groups[0].params[0].device.type == "cpu" and all(g.numbers == torch.bfloat16 for g in groups)
        return (torch.optim.Muon if torchs else StackedMuon)(
            rows, lr=1e-3, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
        )
    for row, group in zip(rows, groups, strict=True):
        row["betas"] = group.betas
    return torch.optim.AdamW(rows, lr=1e-3, eps=1e-8, fused=True)
