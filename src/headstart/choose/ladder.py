"""Successive halving as arithmetic: how many candidates may enter, and which go on.

Jamieson & Talwalkar 2016: train many a little, keep the best third, train those three times as far, and so on. Here no
training is begun again on a rung, so a rung costs only the steps it adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

KEEP = 3  # one in so many goes on
RUNGS = (1 / 9, 1 / 3, 1.0)  # shares of a training's steps


def entrants(costs: Sequence[float], left: float) -> int:
    """How many of the candidates, best first, may enter so that the whole ladder fits into `left` seconds.

    costs: predicted seconds of each one's whole training.
    """
    return max((k for k in range(len(costs) + 1) if ladder_cost(costs[:k]) <= left), default=0)


def ladder_cost(costs: Sequence[float]) -> float:
    """Seconds of the whole ladder, if the candidates stay in this order."""
    total, done, number = 0.0, 0.0, len(costs)
    for rung in RUNGS:
        total += (rung - done) * sum(costs[:number])
        done, number = rung, survivors(number)
    return total


def survivors(number: int) -> int:
    """How many of `number` go on."""
    return math.ceil(number / KEEP)
