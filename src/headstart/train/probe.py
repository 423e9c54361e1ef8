"""The probe: features of a frozen trunk once, then a linear head in closed form (scores) or by L-BFGS.

(N, D) pooled features, or (number of words, D) for tags. Features are standardised for the solver and the
standardisation is folded back into the head, so the saved head is a plain linear layer. The L2 strength is chosen on
validation, from strong to weak with warm starts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from headstart.base.forward import Reader
from headstart.data.batching import bucket_batches
from headstart.data.examples import Kind
from headstart.data.patch_rows import PatchRows
from headstart.ground.seeds import stream
from headstart.model.heads import Pooling, TaskHead
from headstart.model.trunk import Trunk
from headstart.train.cross_entropy import IGNORE
from headstart.train.supervised import Supervised

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)  # L2 on standardised features, per example; scanned from strong to weak
PASS_TOKENS = 2048  # as in train/fit.py
CHUNK_ROWS = 1024
FIRST_ROWS = 64  # of the first chunk under a deadline, which tells the pace of the others
MAX_WORDS = 60_000  # enough for a linear head; more only costs memory


@dataclass(frozen=True, slots=True)
class Features:
    """X (N, D) float32, (N, 4 D) for pairs that are read apart, and the targets y of its rows in the kind's shape.

    share: of the rows that were to be read; below 1 where a deadline came first.
    """

    x: Tensor
    y: Tensor
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class LinearHead:
    """weight (K, D), bias (K,), the L2 strength that won and its validation loss."""

    weight: Tensor
    bias: Tensor
    strength: float
    loss: float


def encode_features(
    trunk: Trunk,
    data: Supervised,
    *,
    pooling: Pooling,
    channels: int = 1,
    seed: int = 0,
    deadline: float | None = None,
) -> Features:
    """Run the trunk over the rows once, in random chunks; a deadline ends it after the first chunk at the earliest."""
    trunk.eval()
    order = stream(seed, "features").permutation(len(data))
    chunks: list[Features] = []
    words, start, begun, share = 0, 0, time.monotonic(), 1.0
    while start < len(order):
        count = chunk_rows(start, begun, deadline)
        if start and words >= MAX_WORDS:
            break
        if start and count == 0:
            share = start / len(order)
            break
        chunk = data.subset(order[start : start + count])
        start += count
        if pooling == "token":
            chunks.append(_word_features(trunk, chunk))
        else:
            chunks.append(_row_features(trunk, chunk, pooling, channels))
        words += len(chunks[-1].y) if pooling == "token" else 0
    return Features(torch.cat([c.x for c in chunks]), torch.cat([c.y for c in chunks]), share)


def chunk_rows(done: int, begun: float, deadline: float | None) -> int:
    """How many rows to read next: under a deadline what half the time left holds by the pace so far, 0 after it."""
    if deadline is None:
        return CHUNK_ROWS
    if done == 0:
        return FIRST_ROWS
    now = time.monotonic()
    if now >= deadline:
        return 0
    pace = max((now - begun) / done, 1e-9)
    return max(FIRST_ROWS, min(CHUNK_ROWS, int(0.5 * (deadline - now) / pace)))


def _row_features(trunk: Trunk, data: Supervised, pooling: Pooling, channels: int) -> Features:
    reader = Reader(trunk, data.pattern, data.pad, PASS_TOKENS)
    if data.second is None or isinstance(data.encoded, PatchRows):
        x = reader.features(data.encoded, pooling=pooling, channels=channels)
    else:
        x = reader.pair_features(data.encoded, data.second, pooling=pooling)
    return Features(x, data.target_tensor(np.arange(len(data)), 0))


@torch.no_grad()
def _word_features(trunk: Trunk, data: Supervised) -> Features:
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    device = trunk.device
    for rows in bucket_batches(data.encoded.lengths, batch_tokens=PASS_TOKENS):
        batch = data.batch(rows).to(device)
        assert batch.targets is not None
        counted = batch.targets != IGNORE
        xs.append(trunk(batch)[counted].float().cpu())
        ys.append(batch.targets[counted].cpu())
    return Features(torch.cat(xs), torch.cat(ys))


def solve_head(
    head: TaskHead, data: Supervised, train: Features, validation: Features, *, deadline: float | None = None
) -> float:
    """Fill `head` with the best linear one over features of `data`; its validation loss."""
    solved = solve(
        train,
        validation,
        kind=data.kind,
        num_outputs=data.num_outputs,
        class_weights=None if data.class_weights is None else torch.from_numpy(data.class_weights),
        deadline=deadline,
    )
    with torch.no_grad():
        head.out.weight.copy_(solved.weight)
        head.out.bias.copy_(solved.bias)
    return solved.loss


def solve(
    train: Features,
    validation: Features,
    *,
    kind: Kind,
    num_outputs: int,
    class_weights: Tensor | None = None,
    deadline: float | None = None,
) -> LinearHead:
    """The linear head with the least validation loss over the L2 strengths."""
    mean, scale = train.x.mean(0), train.x.std(0, correction=0).clamp_min(1e-6)
    x, x_validation = (train.x - mean) / scale, (validation.x - mean) / scale
    weight, bias = torch.zeros(num_outputs, x.shape[1]), torch.zeros(num_outputs)
    best: LinearHead | None = None
    for strength in STRENGTHS:
        if kind == "score":
            weight, bias = _ridge(x, train.y, strength)
        else:
            weight, bias = _lbfgs(x, train.y, weight, bias, kind, strength, class_weights)
        loss = (
            float(_loss(F.linear(x_validation, weight, bias), validation.y, kind, class_weights))
            if len(validation.y)
            else 0.0
        )
        if best is None or loss < best.loss:
            best = LinearHead(weight / scale, bias - weight @ (mean / scale), strength, loss)
        elif loss > 1.05 * best.loss or (deadline is not None and time.monotonic() > deadline):
            break
    assert best is not None
    return best


def _ridge(x: Tensor, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    x, y = x.double(), y.double()
    gram = x.t() @ x + strength * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, x.t() @ (y - y.mean()))
    return weight[None].float(), y.mean()[None].float()  # x is centred, so the mean is the intercept


def _lbfgs(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, kind: Kind, strength: float, class_weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """SciPy's solver: torch's imports its compiler, which takes longer than most probes."""
    shapes = (weight.shape, bias.shape)
    sizes = [weight.numel(), bias.numel()]

    def value_and_slope(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parts = torch.split(torch.from_numpy(values).float(), sizes)
        weight, bias = (part.view(shape).requires_grad_() for part, shape in zip(parts, shapes, strict=True))
        loss = _loss(F.linear(x, weight, bias), y, kind, class_weights) + 0.5 * strength * weight.square().sum()
        slopes = torch.autograd.grad(loss, (weight, bias))
        return float(loss.detach()), torch.cat([slope.flatten() for slope in slopes]).double().numpy()

    start = torch.cat([weight.flatten(), bias]).double().numpy()
    found = minimize(
        value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": 40, "maxcor": 10, "gtol": 1e-5}
    )
    solved = torch.split(torch.from_numpy(found.x).float(), sizes)
    return solved[0].view(shapes[0]), solved[1].view(shapes[1])


def _loss(outputs: Tensor, y: Tensor, kind: Kind, class_weights: Tensor | None) -> Tensor:
    if kind == "score":
        return F.mse_loss(outputs[:, 0], y)
    if kind == "labels":
        return F.binary_cross_entropy_with_logits(outputs, y, reduction="sum") / len(y)
    return F.cross_entropy(outputs, y, weight=class_weights)
