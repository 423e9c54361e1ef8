"""The guard of a long run: says when a loss has left its course, so that the run can go back instead of on.

Enter: the losses in order. Leave: an error that names the step. The rule is OLMo-core's stability monitor (a window of
128 steps, six deviations), with patience, because one bad batch is no divergence.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from headstart.ground.errors import RunError

WINDOW = 128
DEVIATIONS = 6.0
PATIENCE = 10  # steps in a row above the limit


class Diverged(RunError):
    """Training left its course: seen at `step`, begun at `first`."""

    def __init__(self, step: int, words: str, *, first: int) -> None:
        super().__init__(words)
        self.step, self.first = step, first


class Guard:
    """Sees every loss; raises Diverged after PATIENCE steps above mean + DEVIATIONS deviations of the last WINDOW.

    recent, above: where an earlier guard of the same run stood, so that a run that goes on is judged as it was.
    """

    def __init__(self, recent: Iterable[float] = (), above: int = 0) -> None:
        self._window: deque[float] = deque(recent, maxlen=WINDOW)
        self.above = above

    @property
    def recent(self) -> tuple[float, ...]:
        """The losses that the next one is compared with."""
        return tuple(self._window)

    def see(self, step: int, loss: float) -> None:
        """Take the loss of a step."""
        if math.isfinite(loss) and (len(self._window) < WINDOW or loss <= self.limit):
            self._window.append(loss)
            self.above = 0
            return
        self.above += 1
        if self.above >= PATIENCE:
            raise Diverged(
                step,
                f"the loss at step {step} is {loss:.3f}, {PATIENCE} steps running above {self.limit:.3f}; expected it "
                "to stay on its course. Lower the learning rate.",
                first=step - PATIENCE + 1,
            )

    @property
    def limit(self) -> float:
        """The loss from which a step counts as off course; infinite until the window is full."""
        if len(self._window) < WINDOW:
            return math.inf
        mean = sum(self._window) / WINDOW
        return mean + DEVIATIONS * math.sqrt(sum((loss - mean) ** 2 for loss in self._window) / WINDOW)
