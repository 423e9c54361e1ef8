"""`headstart doctor`: what this machine can do.

Every figure is measured or read here and now; nothing is looked up over a network.
"""

from __future__ import annotations

import json as jsonlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from headstart.ground.errors import HeadstartError

GIB = 1 << 30
ROOF_SECONDS = 1.0
PARTS = ("torch", "numpy", "tokenizers", "safetensors", "scikit-learn", "pyarrow")


def check_machine(*, json: bool) -> int:
    """Print the machine's facts; 1 where the embedded base cannot answer."""
    import torch

    facts: dict[str, Any] = {
        "headstart": metadata.version("headstart"),
        "python": platform.python_version(),
        **{part: metadata.version(part) for part in PARTS},
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(machine_bytes() / GIB, 1),
        "disk_free_gib": round(shutil.disk_usage(".").free / GIB, 1),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gflops_float32": round(arithmetic_speed("float32"), 1),
        "gflops_bfloat16": round(arithmetic_speed("bfloat16"), 1),
    }
    facts["base"], healthy = try_base()
    show(facts, json=json)
    return 0 if healthy else 1


def machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def arithmetic_speed(dtype: str) -> float:
    """GFLOP/s of a square matrix product where training runs, the best of a second: 1,024 wide on the CPU, 8,192
    elsewhere. In its first tenths a new process may have all its threads on one core."""
    import torch

    from headstart.ground.device import pick_device

    device = pick_device()
    size = 1024 if device.type == "cpu" else 8192
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0)).to(device, getattr(torch, dtype))
    best, until = float("inf"), time.perf_counter() + ROOF_SECONDS
    while time.perf_counter() < until:
        begun = time.perf_counter()
        float(torch.mm(a, a)[0, 0])  # reading a value waits for it
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best / 1e9


def try_base() -> tuple[str, bool]:
    """One sentence on the embedded base, and whether it answered."""
    from headstart.base.base import Base

    begun = time.perf_counter()
    try:
        base = Base.load()
        width = base.encode(["Where is my parcel?"]).shape[1]
    except HeadstartError as problem:
        return str(problem), False
    return f"{base.name}: {width} features in {time.perf_counter() - begun:.2f} s, loading included", True


def show(facts: Mapping[str, Any], *, json: bool) -> None:
    """One JSON object, or one line a fact."""
    if json:
        sys.stdout.write(jsonlib.dumps(facts, ensure_ascii=False) + "\n")
        return
    for line in aligned(facts.items()):
        sys.stdout.write(line + "\n")


def aligned(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    """'key   value' lines with the values below each other."""
    rows = [(key, "-" if value is None else str(value)) for key, value in pairs]
    width = max((len(key) for key, _ in rows), default=0)
    return [f"{key:<{width}}  {value}" for key, value in rows]
