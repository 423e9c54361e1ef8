"""What a study tells while it runs: one event a step, for whoever shows it (terminal, log file, notebook)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["data", "plan", "choose", "control", "adapt", "curve", "score", "note"]


@dataclass(frozen=True, slots=True)
class Event:
    """stage: data and plan come once. done: share of this piece of work, None for a plain message.

    key names the piece of work ("full, seed 0"), so that several events update one line.
    """

    stage: Stage
    text: str
    key: str = ""
    done: float | None = None


OnEvent = Callable[[Event], None]


def silent(event: Event) -> None:
    """Show nothing."""
