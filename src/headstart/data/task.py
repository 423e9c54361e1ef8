"""Task: examples, what is asked, and how they are split; read from any table with the columns found by themselves."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.data.examples import Check, Columns, Examples, Kind, Status, Target, Text

__all__ = ["Check", "Columns", "Examples", "Kind", "Status", "Target", "Task", "Text"]


@dataclass(frozen=True, slots=True)
class Task:
    """Train, validation and test examples of one question.

    labels: names by label index, empty for kind "score". digest: SHA-256 over the sources. notes: lines for people.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    train: Examples
    validation: Examples
    test: Examples
    columns: Columns
    digest: str
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
