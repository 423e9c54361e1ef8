"""Counting what trunks read."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.model.trunk import Trunk


class Forwards:
    """While entered, counts every trunk's forward passes, and the rows and real units of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch, self._forward = monkeypatch, Trunk.forward
        self.passes = self.rows = self.units = 0

    def __enter__(self) -> Forwards:
        def forward(trunk: Trunk, batch: Any, *rest: Any, **named: Any) -> Any:
            self.passes += 1
            self.rows += len(batch.lengths)
            self.units += int(batch.lengths.sum())
            return self._forward(trunk, batch, *rest, **named)

        self._patch.setattr(Trunk, "forward", forward)
        return self

    def __exit__(self, kind: object, problem: object, at: object) -> None:
        self._patch.setattr(Trunk, "forward", self._forward)
