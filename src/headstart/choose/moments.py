"""What a ridge probe needs to know of the rows so far: sums that grow with every row and never see a row twice.

Enter: features and answers, block by block. Leave: at any moment the probe of all rows so far, for several strengths;
so one pass over the rows gives the probe at 100, 200, 400, ... labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headstart.choose.estimators import STRENGTHS, Floats


@dataclass(frozen=True, slots=True)
class Probe:
    """outputs = X weight + bias. weight: (D, K); bias: (K,)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        """(N, K)."""
        found: Floats = x @ self.weight + self.bias
        return found


@dataclass
class Moments:
    """Sums over rows: of x (D,), y (K,), x xᵀ (D, D), x yᵀ (D, K). shift: taken off x first, to lose no digits."""

    dim: int
    outputs: int
    count: int = 0
    shift: Floats | None = None
    x: Floats = field(init=False)
    y: Floats = field(init=False)
    xx: Floats = field(init=False)
    xy: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.x, self.y = np.zeros(self.dim), np.zeros(self.outputs)
        self.xx, self.xy = np.zeros((self.dim, self.dim)), np.zeros((self.dim, self.outputs))

    def add(self, x: Floats, y: Floats) -> None:
        """Take in a block of rows, (n, D) and (n, K)."""
        if self.shift is None:
            self.shift = x.mean(axis=0)
        x = x - self.shift
        self.count += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def probes(self, strengths: Sequence[float] = STRENGTHS) -> list[Probe]:
        """One probe a strength, of all rows so far, with features of variance 1 and a bias that is not shrunk."""
        assert self.count, "a probe needs rows"
        n, mean, middle = self.count, self.x / self.count, self.y / self.count
        gram = self.xx - n * np.outer(mean, mean)
        scale = np.sqrt(np.maximum(np.diag(gram), 0.0) / n)
        over = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 1e-9)
        values, vectors = np.linalg.eigh(gram * np.outer(over, over))
        shadow = vectors.T @ ((self.xy - n * np.outer(mean, middle)) * over[:, None])
        shift = np.zeros(self.dim) if self.shift is None else self.shift
        found = []
        for strength in strengths:
            weight = (vectors @ (shadow / (np.maximum(values, 0.0) + strength * n)[:, None])) * over[:, None]
            found.append(Probe(weight, middle - (mean + shift) @ weight))
        return found
