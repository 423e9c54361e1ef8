"""Interleaved rounds: every side runs once a round, in a rotating order, and the medians over rounds are compared.

Interleaving is what makes a ratio fair on a machine whose clock drifts: a slow minute hits every side. Each run is
its own process. A round during which the rest of the machine kept more than one core busy is marked, and the summary
says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.processes import MAX_OTHER_CORES, machine, require_quiet

Record = dict[str, Any]
Side = Callable[[int], Record]


def interleaved(sides: dict[str, Side], *, rounds: int, force: bool, out: Path) -> dict[str, list[Record]]:
    """Runs every side `rounds` times; writes what is known after every run to `out`. side(round) -> record."""
    found: dict[str, list[Record]] = {name: [] for name in sides}
    head = machine()
    names = list(sides)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            busy = require_quiet(force=force)
            record = sides[name](turn) | {"other_cores_before": busy}
            found[name].append(record)
            print(f"round {turn + 1}/{rounds}  {name}  {short(record)}", file=sys.stderr)
            out.write_text(json.dumps({"machine": head, "runs": found}, indent=1), encoding="utf-8")
    return found


def short(record: Record) -> str:
    """The numbers of one run on one line."""
    numbers = {name: value for name, value in record.items() if isinstance(value, int | float)}
    return " ".join(f"{name}={value:.4g}" for name, value in numbers.items())


def medians(runs: list[Record], names: tuple[str, ...]) -> Record:
    """Median over rounds of each figure that every run has."""
    return {name: median(run[name] for run in runs) for name in names if all(name in run for run in runs)}


def spread(runs: list[Record], name: str) -> str:
    """lowest .. highest of one figure."""
    values = [run[name] for run in runs]
    return f"{min(values):.1f}..{max(values):.1f}"


def quiet_note(found: dict[str, list[Record]]) -> str:
    """One sentence on how quiet the machine was."""
    worst = max(run["other_cores"] for runs in found.values() for run in runs)
    verdict = "quiet" if worst <= MAX_OTHER_CORES else "NOT quiet: quote the CPU seconds, not the wall clock"
    return f"Other load during the runs: at most {worst:.2f} cores ({verdict})."
