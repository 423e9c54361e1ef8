"""ROCKET: random convolution kernels, two features each, and ridge regression (Dempster, Petitjean & Webb 2020).

An implementation from the paper, for the comparison: lengths 7, 9, 11; weights from N(0, 1), centred; bias from
U(-1, 1); dilation 2^U(0, log2((steps - 1) / (length - 1))); padding or none with even chances; of several channels a
random number, log-uniform; features: the largest value and the share of positive ones. The ridge strength is chosen by
leave-one-out among ten from 1e-3 to 1e3, features are standardised, as in the authors' code.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = npt.NDArray[np.float32]
LENGTHS = (7, 9, 11)
KERNELS = 10_000  # the authors' default
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Kernels:
    """Kernels that share length, dilation and padding. weight: (K, C, length), zero for channels not taken."""

    weight: torch.Tensor
    bias: torch.Tensor
    dilation: int
    padding: int


def draw_kernels(channels: int, steps: int, *, count: int = KERNELS, seed: int = 0) -> list[Kernels]:
    """`count` kernels for series of this shape, grouped so that a group is one convolution."""
    random = np.random.default_rng(seed)
    groups: dict[tuple[int, int, int], list[tuple[Floats, float]]] = defaultdict(list)
    lengths = [length for length in LENGTHS if length <= steps] or [steps]
    for _ in range(count):
        length = int(random.choice(lengths))
        dilation = int(2 ** random.uniform(0, np.log2(max(1.0, (steps - 1) / max(1, length - 1)))))
        padding = (length - 1) * dilation // 2 if random.random() < 0.5 else 0
        taken = int(2 ** random.uniform(0, np.log2(min(channels, length) + 1)))
        weight = np.zeros((channels, length), dtype=np.float32)
        chosen = random.choice(channels, size=taken, replace=False)
        drawn = random.normal(size=(taken, length))
        weight[chosen] = drawn - drawn.mean(axis=1, keepdims=True)
        groups[length, dilation, padding].append((weight, float(random.uniform(-1, 1))))
    return [
        Kernels(
            torch.from_numpy(np.stack([weight for weight, _ in members])),
            torch.tensor([bias for _, bias in members]),
            dilation,
            padding,
        )
        for (_, dilation, padding), members in groups.items()
    ]


@torch.inference_mode()
def transform(series: Floats, kernels: list[Kernels]) -> Floats:
    """(N, C, steps) -> (N, 2 kernels): the largest value and the share above zero of every kernel's output."""
    rows = []
    for start in range(0, len(series), ROWS_AT_ONCE):
        part = torch.from_numpy(series[start : start + ROWS_AT_ONCE])
        features = []
        for group in kernels:
            out = F.conv1d(part, group.weight, group.bias, padding=group.padding, dilation=group.dilation)
            features += [out.amax(dim=2), (out > 0).float().mean(dim=2)]
        rows.append(torch.cat(features, dim=1))
    return torch.cat(rows).numpy()


def rocket_answers(
    train: Floats, labels: npt.NDArray[np.int64], test: Floats, *, count: int = KERNELS, seed: int = 0
) -> npt.NDArray[np.int64]:
    """The label of every test row."""
    kernels = draw_kernels(train.shape[1], train.shape[2], count=count, seed=seed)
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
    model.fit(transform(train, kernels), labels)
    return np.asarray(model.predict(transform(test, kernels)), dtype=np.int64)
