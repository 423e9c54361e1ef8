"""A small convolutional network from scratch, the plain way for small pictures: six 3 x 3 layers, 0.3 M weights.

32, 32, pool, 64, 64, pool, 128, 128, mean, linear; batch norm and ReLU after every convolution; AdamW at 2e-3 with a
cosine to zero, batches of 64; every epoch moves the pictures by up to an eighth, as our own training does.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (32, 64, 128)
BATCH, RATE, DECAY = 64, 2e-3, 0.05


def small_cnn(channels: int, classes: int) -> nn.Sequential:
    """The network; pictures (B, C, H, W)."""
    layers: list[nn.Module] = []
    wide = channels
    for place, width in enumerate(WIDTHS):
        layers += [nn.MaxPool2d(2)] if place else []
        for _ in range(2):
            layers += [nn.Conv2d(wide, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            wide = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, classes))


def moved(pictures: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Every picture shifted by up to `most` pixels, edges repeated."""
    if not most:
        return pictures
    height, width = pictures.shape[2:]
    padded = F.pad(pictures, (most, most, most, most), mode="replicate")
    down, right = torch.randint(0, 2 * most + 1, (2, len(pictures)), generator=generator).tolist()
    return torch.stack([one[:, y : y + height, x : x + width] for one, y, x in zip(padded, down, right, strict=True)])


def cnn_answers(
    train: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    test: npt.NDArray[np.float32],
    *,
    classes: int,
    steps: int,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """The label of every test row after `steps` steps on the train rows; pictures (N, C, H, W), normalised."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = small_cnn(train.shape[1], classes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    inputs, answers = torch.from_numpy(train), torch.from_numpy(labels)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        if len(order) < min(BATCH, len(inputs)):
            order = torch.randperm(len(inputs), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        outputs = model(moved(inputs[rows], train.shape[2] // 8, generator))
        optimiser.zero_grad()
        F.cross_entropy(outputs, answers[rows]).backward()
        optimiser.step()
    model.eval()
    with torch.inference_mode():
        found = [model(part).argmax(dim=1) for part in torch.from_numpy(test).split(256)]
    return torch.cat(found).numpy()
