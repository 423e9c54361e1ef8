"""A labelled table as the command line names it -> a Task: one way for `adapt`, `choose` and `data check`."""

from __future__ import annotations

from typing import Any

from headstart.data.task import Task
from headstart.flags import ColumnFlags


def read_labelled(
    table: Any,
    flags: ColumnFlags,
    *,
    test: str | None = None,
    validation: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> Task:
    """table: a path, or what `Task.read` takes. name: of the task, from the file's name by default."""
    return Task.read(
        table,
        test=test,
        validation=validation,
        text=flags.text,
        image=flags.image,
        audio=flags.audio,
        series=flags.series,
        label=flags.label,
        label_from=flags.label_from,
        kind=flags.kind,
        seed=seed,
        drop_missing=flags.drop_missing,
        max_reject=flags.max_reject,
        name=name,
    )
