"""Keep the memory of one training step for the next.

glibc gives a large block back to the system as soon as it is free, and the next step pays for every page of it again:
up to a sixth of a step of a small model on the CPU (docs/notebook). Elsewhere than under glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30  # bytes: blocks up to this size are kept, and that much at the heap's end
USUAL = 32 << 20  # the most that glibc comes to keep by itself


@contextmanager
def memory_kept() -> Iterator[None]:
    """Inside, freed blocks stay with the process; at the end what is free goes back to the system."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    _keep(libc, KEPT, KEPT)
    try:
        yield
    finally:
        _keep(libc, USUAL, 2 * USUAL)
        libc.malloc_trim(0)


def _keep(libc: ctypes.CDLL, block: int, end: int) -> None:
    if not libc.mallopt(M_MMAP_THRESHOLD, block):  # glibc before 2.35 takes no more, and would stay at its first 128 KB
        libc.mallopt(M_MMAP_THRESHOLD, USUAL)
    libc.mallopt(M_TRIM_THRESHOLD, end)
