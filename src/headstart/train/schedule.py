"""Learning-rate schedules: progress in [0, 1] -> factor in [0, 1] of the peak rate."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def cosine(*, warmup: float, floor: float = 0.0) -> Schedule:
    """Linear rise over `warmup`, then half a cosine down to `floor` (Loshchilov & Hutter 2017; GPT-2, nanoGPT)."""

    def factor(progress: float) -> float:
        if warmup > 0.0 and progress < warmup:
            return max(progress / warmup, 0.0)
        along = min(max((progress - warmup) / (1.0 - warmup), 0.0), 1.0)
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * along))

    return factor


def trapezoid(*, warmup: float, cooldown: float, floor: float = 0.0) -> Schedule:
    """Linear rise over `warmup`, flat, linear fall to `floor` over the last `cooldown` of the run.

    warmup + cooldown = 1 is the triangle of BERT fine-tuning (Devlin et al. 2019).
    """

    def factor(progress: float) -> float:
        if warmup > 0.0 and progress < warmup:
            return max(progress / warmup, 0.0)
        left = max(1.0 - progress, 0.0)
        if cooldown > 0.0 and left < cooldown:
            return floor + (1.0 - floor) * left / cooldown
        return 1.0

    return factor
