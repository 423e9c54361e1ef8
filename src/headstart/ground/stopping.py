"""Ctrl-C and SIGTERM as a request: the first lets the work come to a safe end, the second ends it at once.

Python runs a signal's handler between two of its own instructions, in the main thread. A call into compiled code that
lasts therefore goes to a thread of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from types import FrameType
from typing import TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
T = TypeVar("T")


class Request:
    """Whether to stop, for who looks between two safe places. Before the first look, and once it is `done`, nobody
    would heed a request: a signal then ends the work at once."""

    def __init__(self) -> None:
        self.asked = self.heeded = False

    def __call__(self) -> bool:
        self.heeded = True
        return self.asked

    def done(self) -> None:
        """Nobody looks any more. KeyboardInterrupt where a request came after the last look."""
        self.heeded = False
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def stop_on_signals(tell: Callable[[str], None]) -> Iterator[Request]:
    """Yield what says whether to stop. tell: gets one line when a signal comes that is heeded. Main thread only."""
    request = Request()

    def ask(number: int, _: FrameType | None) -> None:
        if request.asked or not request.heeded:
            raise KeyboardInterrupt
        request.asked = True
        tell(f"{signal.Signals(number).name}: stopping after this step; once more stops at once")

    before = [signal.signal(number, ask) for number in SIGNALS]
    try:
        yield request
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def in_one_piece() -> Iterator[None]:
    """A signal that comes meanwhile is heard afterwards: what happens in here happens as a whole. For short work."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_a_thread(work: Callable[[], T]) -> T:
    """work(), which a signal interrupts although it is one long call into compiled code that cannot be broken off.

    After a KeyboardInterrupt the call goes on unheard until it returns or the process ends.
    """
    done: Future[T] = Future()

    def call() -> None:
        try:
            done.set_result(work())
        except BaseException as problem:
            done.set_exception(problem)

    Thread(target=call, daemon=True).start()
    return done.result()
