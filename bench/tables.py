"""The ten public tables of the quality comparison, written once as plain JSONL so that both sides read the same rows.

In: the shared task folders (Parquet). Out: `<out>/<task>/{train,validation,test}.jsonl` with labels as names, and
`card.json` (kind, columns, metrics, rows, what was left out). Rules, the same for every side: sst2 keeps a seeded 8,000
training rows; a set without public test labels (cola, rte) is tested on its validation file; a missing validation file
is a seeded, stratified tenth of train; training rows whose text also stands in validation or test are dropped and
counted, and so are validation and test rows with a label that train never shows (conll2000_chunk: I-LST). Rows that
show a label first stand in front, so that every first-n-rows sample knows every label.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SPLIT_SEED = 20


@dataclass(frozen=True)
class Table:
    """What one set asks: columns, kind, and the metrics of its table (the first one decides)."""

    name: str
    kind: str  # choice | labels | score | tags
    text: str  # "text", or "text_a,text_b" for pairs
    label: str
    metrics: tuple[str, ...]
    train_rows: int | None = None


TABLES = (
    Table("sst2", "choice", "text", "label", ("accuracy",), train_rows=8000),
    Table("banking77", "choice", "text", "label", ("accuracy", "macro_f1")),
    Table("trec6", "choice", "text", "label", ("accuracy", "macro_f1")),
    Table("cola", "choice", "text", "label", ("mcc", "accuracy")),
    Table("mrpc", "choice", "text_a,text_b", "label", ("accuracy", "macro_f1")),
    Table("rte", "choice", "text_a,text_b", "label", ("accuracy",)),
    Table("stsb", "score", "text_a,text_b", "score", ("pearson", "spearman")),
    Table("nlupp_banking", "labels", "text", "labels", ("micro_f1",)),
    Table("conll2000_chunk", "tags", "tokens", "tags", ("span_f1", "token_accuracy")),
    Table("ud_ewt_pos", "tags", "tokens", "tags", ("token_accuracy",)),
)
BY_NAME = {table.name: table for table in TABLES}


def read_split(path: Path, *, table: Table) -> list[Row]:
    """Rows of one Parquet split with integer labels replaced by the names of the file's card."""
    import pyarrow.parquet as pq

    stored = pq.read_table(path)
    names = json.loads(stored.schema.metadata[b"card"])["label_names"]
    columns = (*table.text.split(","), table.label)
    naming: dict[str, Callable[[Any], Any]] = {
        "choice": lambda value: names[value],
        "labels": lambda values: [names[value] for value in values],
        "tags": lambda values: [names[value] for value in values],
        "score": float,
    }
    rows = stored.select(list(columns)).to_pylist()
    return [{**row, table.label: naming[table.kind](row[table.label])} for row in rows]


def text_key(row: Row, *, table: Table) -> str:
    """The input of a row, letter case and spacing ignored."""
    values = [row[column] for column in table.text.split(",")]
    texts = [" ".join(value) if isinstance(value, list) else value for value in values]
    return "\x1f".join(" ".join(text.casefold().split()) for text in texts)


def carve(rows: list[Row], *, table: Table) -> tuple[list[Row], list[Row]]:
    """(train, validation): a seeded tenth, stratified where a row has one label."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[row[table.label] if table.kind == "choice" else ""].append(number)
    draws, held = random.Random(SPLIT_SEED), set[int]()
    for name in sorted(groups):
        held.update(draws.sample(groups[name], round(len(groups[name]) / 10)))
    train = [row for number, row in enumerate(rows) if number not in held]
    return train, [rows[number] for number in sorted(held)]


def splits_of(table: Table, *, tasks: Path) -> dict[str, list[Row]]:
    """Train, validation and test rows by the rules of the module docstring; train is shuffled with a fixed seed."""
    folder = tasks / table.name
    found = {path.stem: read_split(path, table=table) for path in sorted(folder.glob("*.parquet"))}
    train, validation = found["train"], found.get("validation")
    test = found.get("test", validation)
    if test is None:
        raise ValueError(f"splits of {table.name} are {sorted(found)}; expected test or validation beside train.")
    random.Random(SPLIT_SEED).shuffle(train)
    if validation is None or "test" not in found:
        train, validation = carve(train, table=table)
    return {"train": train[: table.train_rows], "validation": validation, "test": test}


def without_copies(splits: dict[str, list[Row]], *, table: Table) -> list[Row]:
    """The training rows whose text stands in neither validation nor test."""
    seen = {text_key(row, table=table) for split in ("validation", "test") for row in splits[split]}
    return [row for row in splits["train"] if text_key(row, table=table) not in seen]


def names_in(row: Row, *, table: Table) -> set[str]:
    """The label names of one row; none for a score."""
    if table.kind == "choice":
        return {row[table.label]}
    return set(row[table.label]) if table.kind in ("labels", "tags") else set()


def covering_first(rows: list[Row], *, table: Table) -> list[Row]:
    """The same rows, those that show a label for the first time in front; otherwise in their order."""
    seen: set[str] = set()
    front: list[Row] = []
    rest: list[Row] = []
    for row in rows:
        fresh = names_in(row, table=table) - seen
        seen |= fresh
        (front if fresh else rest).append(row)
    return front + rest


def known_only(rows: list[Row], *, train: list[Row], table: Table) -> list[Row]:
    """The rows all of whose labels stand in train."""
    known = set[str]().union(*(names_in(row, table=table) for row in train))
    return [row for row in rows if names_in(row, table=table) <= known]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """JSONL, UTF-8, one row a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def export(table: Table, *, tasks: Path, out: Path, rows_cap: int | None = None) -> Path:
    """Writes one set and returns its folder; a folder that is complete already is taken as it is."""
    folder = out / (table.name if rows_cap is None else f"{table.name}-{rows_cap}")
    if (folder / "card.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    splits = splits_of(table, tasks=tasks)
    kept = without_copies(splits, table=table)
    dropped = {"train copies": len(splits["train"]) - len(kept)}
    splits["train"] = covering_first(kept, table=table)[:rows_cap]
    for name in ("validation", "test"):
        known = known_only(splits[name], train=splits["train"], table=table)
        dropped[f"{name} rows with unseen labels"] = len(splits[name]) - len(known)
        splits[name] = known
    for name, rows in splits.items():
        write_rows(folder / f"{name}.jsonl", rows)
    counts = {name: len(rows) for name, rows in splits.items()}
    card = {**asdict(table), "rows": counts, "dropped": dropped, "split_seed": SPLIT_SEED}
    (folder / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")
    return folder
