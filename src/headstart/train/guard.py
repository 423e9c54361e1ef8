"""The guard of a long run: says when a loss has left its course, so that the run can go back instead of on.

Enter: the losses in order. Leave: an error that names the step. The rule is OLMo-core's stability monitor (a window of
128 steps, six deviations), with patience, because one bad batch is no divergence.
"""

from __future__ import annotations

import math
from collections import deque

from headstart.ground.errors import RunError

WINDOW = 128
DEVIATIONS = 6.0
PATIENCE = 10  # steps in a row above the limit


class Diverged(RunError):
    """Training left its course at `step`."""

    def __init__(self, step: int, words: str) -> None:
        super().__init__(words)
        self.step = step


class Guard:
    """Sees every loss; raises Diverged after PATIENCE steps above mean + DEVIATIONS deviations of the last WINDOW."""

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._above = 0

    def see(self, step: int, loss: float) -> None:
        """Take the loss of a step."""
        if math.isfinite(loss) and (len(self._window) < WINDOW or loss <= self.limit):
            self._window.append(loss)
            self._above = 0
            return
        self._above += 1
        if self._above >= PATIENCE:
            raise Diverged(
                step,
                f"the loss at step {step} is {loss:.3f}, {PATIENCE} steps running above {self.limit:.3f}; expected it "
                "to stay on its course. Lower the learning rate.",
            )

    @property
    def limit(self) -> float:
        """The loss from which a step counts as off course; infinite until the window is full."""
        if len(self._window) < WINDOW:
            return math.inf
        mean = sum(self._window) / WINDOW
        return mean + DEVIATIONS * math.sqrt(sum((loss - mean) ** 2 for loss in self._window) / WINDOW)
