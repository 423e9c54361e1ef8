"""Cross-entropy of a linear layer without ever holding all its logits.

(N, D) hidden rows and a (V, D) matrix go in, mean nats come out. Loss and gradients are computed chunk by chunk in the
forward pass (the idea of Liger-Kernel and Wijmans et al. 2024, "Cut your losses"); the (N, V) matrix never exists.
Where the blocks are compiled and on an accelerator the softmax with its gradient is one compiled kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

IGNORE = -100  # target of a row that is not predicted
CHUNK_ROWS = 512
ACCELERATOR_ROWS = 16_384  # fills it; 0.27 GB of bf16 logits at 8,192 units
Softmax = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def softmax_gradient(logits_NV: Tensor, targets_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """(summed nats with the z-loss, their gradient by the logits (N, V) in fp32); may write over fp32 logits."""
    logits, counted = logits_NV.float(), (targets_N != IGNORE).float()[:, None]
    targets_N1 = targets_N.clamp(min=0)[:, None]
    picked = logits.gather(1, targets_N1)
    most = logits.amax(1, keepdim=True)
    powers = logits.sub_(most).exp_()
    total = powers.sum(1, keepdim=True)
    log_z = total.log() + most
    grad = powers.mul_((1.0 + 2.0 * z_loss * log_z) / total * counted)
    grad.scatter_add_(1, targets_N1, -counted)
    return ((log_z - picked + z_loss * log_z.square()) * counted).sum(), grad


def low_softmax_gradient(logits_NV: Tensor, targets_N: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """The same without a write in place, the gradient in the logits' dtype: what a compiler makes one kernel of."""
    logits, counted = logits_NV.float(), (targets_N != IGNORE).float()[:, None]
    hit = torch.arange(logits.shape[1], device=logits.device) == targets_N[:, None]
    picked = torch.where(hit, logits, 0.0).sum(1, keepdim=True)
    most = logits.amax(1, keepdim=True)
    powers = torch.exp(logits - most)
    total = powers.sum(1, keepdim=True)
    log_z = total.log() + most
    grad = powers * ((1.0 + 2.0 * z_loss * log_z) / total * counted) - hit.float()
    return ((log_z - picked + z_loss * log_z.square()) * counted).sum(), grad.to(logits_NV.dtype)


@cache
def _compiled() -> Softmax:
    return torch.compile(low_softmax_gradient, dynamic=True)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        matrix_VD: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        z_loss: float,
        compiled: bool,
    ) -> Tensor:
        alone = hidden_ND.device.type == "cpu"
        softmax = _compiled() if compiled or not alone else softmax_gradient
        chunk = CHUNK_ROWS if alone else ACCELERATOR_ROWS
        count = torch.count_nonzero(targets_N != IGNORE).clamp(min=1)
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        grad_hidden = torch.empty_like(hidden_ND)
        grad_matrix = torch.zeros(matrix_VD.shape, dtype=torch.float32, device=matrix_VD.device)
        grad_bias = None if bias_V is None else torch.zeros_like(bias_V, dtype=torch.float32)
        for start in range(0, len(targets_N), chunk):
            rows = slice(start, start + chunk)
            logits = torch.nn.functional.linear(hidden_ND[rows], matrix_VD, bias_V)
            part, grad = softmax(logits, targets_N[rows], z_loss)
            total += part
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            low = grad.to(hidden_ND.dtype)
            torch.matmul(low, matrix_VD, out=grad_hidden[rows])
            grad_matrix += low.t() @ hidden_ND[rows]
        ctx.save_for_backward(grad_hidden, grad_matrix, *([] if grad_bias is None else [grad_bias]))
        ctx.count = count
        return total / count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_matrix, *grad_bias = ctx.saved_tensors
        scale = grads[0] / ctx.count
        return (
            grad_hidden * scale,
            (grad_matrix * scale).to(grad_hidden.dtype),
            (grad_bias[0] * scale).to(grad_hidden.dtype) if grad_bias else None,
            None,
            None,
            None,
        )


def linear_cross_entropy(
    hidden_ND: Tensor,
    matrix_VD: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    z_loss: float = 0.0,
    compiled: bool = False,
) -> Tensor:
    """Mean of -log softmax(hidden @ matrix^T + bias)[target] + z_loss * logsumexp^2, in fp32, over the rows that have
    a target other than IGNORE; 0 where there are none.

    compiled: whether the CPU's softmax is worth some seconds of compiling too.
    """
    return _LinearCrossEntropy.apply(  # type: ignore[no-any-return,no-untyped-call]
        hidden_ND, matrix_VD, bias_V, targets_N, z_loss, compiled
    )
