"""One measured run of one side: its own process, wall and CPU seconds, peak memory, and the machine's other load.

The load average remembers what we ran a minute ago, so it cannot tell our last round from somebody else's job. Here the
other load is counted in cores: busy jiffies of the whole machine minus the CPU seconds of the process we started.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JIFFY = os.sysconf("SC_CLK_TCK")
MAX_OTHER_CORES = 1.0
IDLE_SAMPLE_SECONDS = 3.0


@dataclass(frozen=True)
class Finished:
    """What one process cost. Seconds; memory in MB; `other_cores` = cores kept busy by everything else meanwhile."""

    stdout: str
    stderr: str
    wall: float
    cpu: float
    peak_mb: float
    other_cores: float

    def last_json(self) -> dict[str, Any]:
        """The JSON object that ends standard output: a whole-output object, or the last line."""
        text = self.stdout.strip()
        for candidate in (text, text.splitlines()[-1] if text else ""):
            try:
                value = json.loads(candidate)
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict):
                return value
        raise ValueError(f"standard output ends in {text[-200:]!r}; expected one JSON object.")


def busy_seconds() -> float:
    """CPU seconds all processes of the machine have used since boot (user, nice, system)."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[1]) + int(fields[2]) + int(fields[3])) / JIFFY


def other_cores_now() -> float:
    """Cores busy while this process sleeps."""
    before, start = busy_seconds(), time.perf_counter()
    time.sleep(IDLE_SAMPLE_SECONDS)
    return (busy_seconds() - before) / (time.perf_counter() - start)


def require_quiet(*, force: bool) -> float:
    """Returns the other load in cores; refuses to go on above MAX_OTHER_CORES unless forced."""
    busy = other_cores_now()
    if busy > MAX_OTHER_CORES and not force:
        raise SystemExit(f"other load is {busy:.2f} cores; expected at most {MAX_OTHER_CORES}. Wait, or pass --force.")
    return busy


def measured(command: Sequence[str], *, threads: int | None = None, cwd: Path | None = None) -> Finished:
    """Runs `command` to its end with a fixed thread count; a failure raises with the end of its error output."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PEER_THREADS"):
            environment[name] = str(threads)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        before, start = busy_seconds(), time.perf_counter()
        process = subprocess.Popen(list(command), stdout=out, stderr=err, env=environment, cwd=cwd)
        _, status, usage = os.wait4(process.pid, 0)
        wall, busy = time.perf_counter() - start, busy_seconds() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read(), err.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{stderr[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    others = max(0.0, (busy - cpu) / wall)
    return Finished(stdout, stderr, wall=wall, cpu=cpu, peak_mb=usage.ru_maxrss / 1024, other_cores=others)


def versions(*names: str) -> dict[str, str | None]:
    """Installed versions of this interpreter's packages, None where one is missing."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"python": sys.version.split()[0]}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    """Processor, cores and load average, for the head of every result file."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "started": time.strftime("%FT%TZ"),
    }
