"""Where sets come from: a folder with an index, or task files in lm-evaluation-harness' dialect."""

from __future__ import annotations

from pathlib import Path

from headstart.evaluate.suite import harness, index
from headstart.evaluate.suite.index import SetOnDisk, Unread
from headstart.evaluate.suite.specs import SuiteName


def find_sets(data: Path, *, suite: SuiteName, tasks: tuple[str, ...] = ()) -> tuple[list[SetOnDisk], list[Unread]]:
    """(the sets of a suite that can be evaluated, those that cannot with the reason); `tasks` picks by name.

    Task files have no suites: all of them are asked.

    Raises:
        ConfigError: a name that there is not, or a suite without any set.
        DataError: the index or a file cannot be read.
    """
    if harness.is_dialect(data):
        return harness.find_tasks(data, tasks=tasks)
    return index.find_sets(data, suite=suite, tasks=tasks)
