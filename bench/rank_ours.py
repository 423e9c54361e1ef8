"""Our side of `speed-rank`: stage 1 of `choose` on a task file with every base, one after the other.

Prints one JSON line: seconds of loading and reading (importing not), the estimates, the versions.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import msgspec
import torch

from bench.processes import versions
from headstart.base.base import Base
from headstart.choose.reading import read
from headstart.choose.task_file import task_of


def main() -> None:
    """Read once with every base."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True)
    parser.add_argument("--models", required=True, help="folders with commas")
    parser.add_argument("--threads", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    task = task_of(asked.task)
    begun, cpu, found, rows = time.perf_counter(), time.process_time(), {}, 0
    for source in asked.models.split(","):
        reading = read(Base.load(source, allow_pickle=True), task, metric="accuracy", seed=0, seconds=float("inf"))
        found[Path(source).name] = msgspec.to_builtins(reading.estimates)
        rows = reading.rows + reading.held_out
    record = {
        "seconds": time.perf_counter() - begun,
        "rank_cpu_seconds": time.process_time() - cpu,
        "rows": rows,
        "scores": {name: told["h_score"] for name, told in found.items()},
        "estimates": found,
        "versions": versions("torch", "headstart"),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
