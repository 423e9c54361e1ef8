"""Learning-rate schedules: progress in [0, 1] -> factor in [0, 1] of the peak rate."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[float], float]


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
