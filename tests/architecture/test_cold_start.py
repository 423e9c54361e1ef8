"""Cold start: what a person waits for before anything happens, in CPU seconds of a fresh process, best of three.

CPU and not wall time, and beside what the command line's own library takes: the figure must depend neither on what else
the machine is doing nor on how fast it is: --help took 0.17 s on one and 0.31 on another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "scipy", "sklearn", "pyarrow", "matplotlib", "tokenizers", "pandas", "jinja2", "safetensors")

# The audit hook sees every socket the process asks the kernel for, whoever asks.
PROBE = """
import json, resource, sys
sockets = []
sys.addaudithook(lambda event, args: sockets.append(event) if event.startswith("socket.") else None)
try:
    {statement}
except SystemExit as stop:
    code = stop.code or 0
else:
    code = 0
usage = resource.getrusage(resource.RUSAGE_SELF)
heavy = sorted(set({heavy!r}) & set(sys.modules))
sys.stderr.write(json.dumps(dict(cpu=usage.ru_utime + usage.ru_stime, heavy=heavy, sockets=sockets, code=code,
                                 loaded=len(sys.modules))))
"""


def measure(statement: str) -> tuple[dict[str, object], float]:
    """The last probe's record and the best CPU seconds of three processes."""
    code = PROBE.format(statement=statement, heavy=HEAVY)
    seconds, record = [], {}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        record = json.loads(done.stderr.splitlines()[-1])
        seconds.append(float(record["cpu"]))
    return record, min(seconds)


@pytest.mark.parametrize("statement", ["import headstart", "import headstart; headstart.HeadstartError"])
def test_import_is_light(statement: str) -> None:
    record, seconds = measure(statement)
    assert record["heavy"] == []
    assert record["sockets"] == []
    assert seconds <= 0.1


@pytest.fixture(scope="module")
def library() -> float:
    """CPU seconds of importing what parses and prints, of which no command line built on it can be rid."""
    return measure("import cyclopts, rich.console, rich.table, rich.panel")[1]


@pytest.mark.parametrize("arguments", [["--help"], ["adapt", "--help"], ["--version"]])
def test_help_is_quick_and_opens_no_socket(arguments: list[str], library: float) -> None:
    record, seconds = measure(f"from headstart.cli import main; main({arguments!r})")
    assert record["code"] == 0
    assert record["heavy"] == []
    assert record["sockets"] == []
    assert seconds <= 3 * library
