"""Ctrl-C and SIGTERM as a request: the first lets the work come to a safe end, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(tell: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether to stop. tell: gets one line when the first signal comes. Main thread only."""
    asked = False

    def ask(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell(f"{signal.Signals(number).name}: stopping after this step; once more stops at once")

    before = [signal.signal(number, ask) for number in SIGNALS]
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
