"""Freed memory stays with the process inside `memory_kept`, and goes back at its end."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import resource
import torch
from headstart.ground.allocator import memory_kept

def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        doubled = (given + 1) * 2  # 64 MB each, more than glibc keeps by itself
        del doubled
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

given = torch.zeros(16 << 20)
outside = faults(20)
with memory_kept():
    faults(20)
    inside = faults(20)
    held = resident()
print(outside, inside, held - resident() > 50_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_blocks_are_used_again_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60)
    outside, inside, given_back = done.stdout.split()
    assert int(inside) < int(outside) / 10
    assert given_back == "True"
