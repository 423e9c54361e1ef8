"""Minimal pairs: reading them, judging them, and the tables of shares with their intervals.

A pair is right where the good sentence has the strictly higher score; a tie is wrong. A score here is any number per
sentence. Intervals speak about pairs: the paradigms are fixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.evaluate.proportions import mean_of_groups

Record = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two sentences, and where they stand: paradigm (67), phenomenon (13 terms in the file), field (4)."""

    good: str
    bad: str
    paradigm: str
    phenomenon: str
    field: str


def read_pairs(file: Path, *, limit: int | None) -> dict[str, list[Pair]]:
    """The first `limit` pairs of every paradigm (None: all), by paradigm."""
    import pyarrow.parquet as pq

    found: dict[str, list[Pair]] = defaultdict(list)
    for row in pq.read_table(file, columns=list(Pair.__dataclass_fields__)).to_pylist():
        if limit is None or len(found[row["paradigm"]]) < limit:
            row["field"] = row["field"].replace("/", "_")  # the source spells one field in two ways
            found[row["paradigm"]].append(Pair(**row))
    return dict(found)


def sentences(pairs: Sequence[Pair]) -> list[str]:
    """good, bad, good, bad, ..."""
    return [text for pair in pairs for text in (pair.good, pair.bad)]


def judged(pairs: Sequence[Pair], scores: Sequence[float]) -> Record:
    """The record of one paradigm; scores in the order of `sentences`."""
    both = np.asarray(scores, dtype=np.float64).reshape(len(pairs), 2)
    good, bad = both[:, 0], both[:, 1]
    first = pairs[0]
    return {
        "paradigm": first.paradigm,
        "phenomenon": first.phenomenon,
        "field": first.field,
        "pairs": len(pairs),
        "right": int((good > bad).sum()),
        "ties": int((good == bad).sum()),
        "scores": [[round(a, 4), round(b, 4)] for a, b in both.tolist()],
    }


def mean_share(records: Sequence[Record]) -> tuple[float, float, float]:
    """(mean over paradigms of the share of right pairs, low, high): 95 %, Wilson at the variance of that mean."""
    right, pairs = (np.asarray([record[key] for record in records], dtype=np.float64) for key in ("right", "pairs"))
    found = mean_of_groups(right, pairs)
    return float((right / pairs).mean()), found.low, found.high


def groups_of(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of every line of the table: all, each field, each phenomenon, each paradigm."""
    found: dict[str, list[Record]] = {"all": list(records)}
    for kind in ("field", "phenomenon", "paradigm"):
        for record in sorted(records, key=lambda one: str(one[kind])):
            found.setdefault(f"{kind}: {record[kind]}", []).append(record)
    return found


def share_table(found: dict[str, list[Record]]) -> str:
    """Markdown: one line a group, one column a side; a side that lacks a paradigm of a group shows no figure for it."""
    sides = {name: groups_of(records) for name, records in found.items() if records}
    most: dict[str, int] = {}
    for groups in sides.values():
        for group, records in groups.items():
            most[group] = max(most.get(group, 0), len(records))
    lines = ["| % right [95 %] | " + " | ".join(sides) + " |", "|" + " --- |" * (1 + len(sides))]
    for group, count in most.items():
        cells = [_cell(groups.get(group, []), count) for groups in sides.values()]
        lines.append(f"| {group} ({count}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(records: list[Record], count: int) -> str:
    if len(records) < count:
        return "-"
    mean, low, high = (100 * value for value in mean_share(records))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def cost_table(found: dict[str, list[Record]], loops: dict[str, Record]) -> str:
    """Markdown: pairs, ties, seconds, and how often longer a loop over sentences takes on its sample."""
    lines = ["| side | paradigms | pairs | ties | seconds | CPU s | loop's time / this |", "|" + " --- |" * 7]
    for name, records in found.items():
        pairs, ties = (sum(record[key] for record in records) for key in ("pairs", "ties"))
        wall, cpu = (sum(record[key] for record in records) for key in ("seconds", "cpu_seconds"))
        ratio = f"{loops[name]['ratio']:.1f}x" if name in loops else "-"
        lines.append(f"| {name} | {len(records)} | {pairs:,} | {ties} | {wall:.0f} | {cpu:.0f} | {ratio} |")
    return "\n".join(lines)
