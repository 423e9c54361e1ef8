"""Which abilities a base has: shares of right answers with intervals beside chance, and their table.

An ability counts as there where the whole 95 % interval lies above chance and above what random weights reach: a sum
of log-probabilities prefers short sentences, so a network that knows nothing is not always at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.minimal_pairs import groups_of, mean_share
from headstart.evaluate.proportions import wilson

PAIR_CHANCE = 0.5
Record = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """A share of right answers with its 95 % interval, and what guessing gets."""

    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True)
class Column:
    """One base, or the control with random weights (units: None). shares: by ability."""

    name: str
    parameters: int
    units: int | None
    shares: dict[str, Share]


def pair_shares(records: Sequence[Record]) -> dict[str, Share]:
    """BLiMP as a whole and by phenomenon; the mean over paradigms."""
    groups = {name: rows for name, rows in groups_of(records).items() if name.startswith(("all", "phenomenon"))}
    return {
        "all paradigms" if name == "all" else name.removeprefix("phenomenon: ").replace("_", " "): Share(
            *mean_share(rows), PAIR_CHANCE
        )
        for name, rows in groups.items()
    }


def choice_share(record: Record) -> Share:
    """A choice set."""
    value = record["right"] / record["questions"]
    found = wilson(value, record["questions"])
    return Share(value, found.low, found.high, record["chance"])


def is_there(ability: str, column: Column, control: Column) -> bool:
    """Whether the base has the ability."""
    share = column.shares[ability]
    return column.units is not None and share.low > max(share.chance, control.shares[ability].value)


def first_with(ability: str, columns: Sequence[Column], control: Column) -> Column | None:
    """The smallest base from which on every base has the ability."""
    found = None
    for column in reversed(columns):
        if not is_there(ability, column, control):
            break
        found = column
    return found


def ordered(abilities: Sequence[str], columns: Sequence[Column], control: Column) -> list[str]:
    """Abilities that come early first; those that come together by what the largest base reaches."""

    def key(ability: str) -> tuple[int, float]:
        first = first_with(ability, columns, control)
        place = len(columns) if first is None else list(columns).index(first)
        return place, -columns[-1].shares[ability].value

    return sorted(abilities, key=key)


def table(groups: dict[str, list[str]], columns: Sequence[Column], control: Column) -> list[str]:
    """Markdown: a line an ability, a column a base; bold where the ability is there."""
    heads = [f"{column.name} ({column.units or 0:,} tokens)" for column in columns]
    lines = [
        "| % right [95 %] | chance | random weights | " + " | ".join(heads) + " | from |",
        "|" + " --- |" * (4 + len(columns)),
    ]
    for group, abilities in groups.items():
        lines.append(f"| **{group}** |" + " |" * (3 + len(columns)))
        for ability in abilities:
            first = first_with(ability, columns, control)
            cells = [
                f"**{cell(column.shares[ability])}**"
                if is_there(ability, column, control)
                else cell(column.shares[ability])
                for column in columns
            ]
            share = control.shares[ability]
            lines.append(
                f"| {ability} | {100 * share.chance:.1f} | {cell(share)} | "
                + " | ".join(cells)
                + f" | {first.name if first else '-'} |"
            )
    return lines


def cell(share: Share) -> str:
    """57.6 [56.5, 58.6]."""
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"
