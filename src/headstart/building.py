"""`headstart data build` and `headstart data check`: raw text looked at, and made into a corpus to train on.

Words for people go to stderr while it runs; stdout gets where the corpus lies, or one JSON object.
"""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from headstart.data.build import build_corpus
from headstart.data.check import SHOWN, check_shard, is_shard
from headstart.data.contamination import TaskItems, read_task_items
from headstart.data.overlap import check_items, comparable, shared_texts, untold
from headstart.data.source import TABLE_SUFFIXES, inner_suffix
from headstart.flags import ColumnFlags
from headstart.ground.errors import ConfigError, DataError
from headstart.labelled import read_labelled
from headstart.train.recipe import Recipe, read_recipe


def build_data(recipe: str, *, data: Path, out: Path, against: Sequence[Path], start: str | None, json: bool) -> int:
    """Build the corpus of a recipe and print what was kept and what was dropped, and why."""
    chosen = read_recipe(recipe)
    tokenizer = None if start is None else units_of(start, chosen)
    begun = time.monotonic()
    built = build_corpus(
        chosen.corpus,
        name=chosen.name,
        vocab_size=chosen.shape.vocab_size,
        data=data,
        out=out,
        against=against,
        tokenizer=tokenizer,
        tell=lambda words: _say(f"{time.monotonic() - begun:6.1f} s  {words}"),
    )
    report = built.report
    if not built.fresh:
        _say(f"{out} was built from the same shards, tasks and recipe; nothing to do")
    for line in report.describe():
        _say(line)
    if json:
        sys.stdout.write(jsonlib.dumps({"saved": str(out), **msgspec.to_builtins(report)}) + "\n")
    else:
        sys.stdout.write(
            f"{report.train_units:,} units of {report.documents_kept:,} documents in {out}\n"
            f"headstart pretrain {recipe} --data {out} --out runs/{chosen.name}"
            f"{'' if start is None else f' --from {start}'}\n"
        )
    return 0


def units_of(start: str, recipe: Recipe) -> Tokenizer:
    """The tokenizer of a base that a run of the recipe can begin with."""
    from headstart.base.base import Base  # torch, which building alone does without
    from headstart.train.text_base import require_start

    base = Base.load(start)
    require_start(recipe, base)
    return base.text_codec.tokenizer


def check_data(file: Path, flags: ColumnFlags, *, against: Sequence[str], json: bool) -> int:
    """Look at a shard or a labelled table; 2 where lines of a shard are broken.

    against: bases, by name or folder, or tables: how much of the file they hold, and nothing else, is looked up.
    flags: how a table is read; with any of them the file is a table.
    """
    if against and flags != ColumnFlags():
        raise ConfigError(
            "--against looks at every text of a table; expected it without the flags that read a labelled one. "
            "Leave --text, --label, --kind and the others out, or --against."
        )
    if against:
        return check_against(file, against, json=json)
    if flags == ColumnFlags() and is_shard(file):
        found = check_shard(file)
        _show(msgspec.to_builtins(found), found.describe(), json=json)
        return DataError.exit_code if found.broken else 0
    task = read_labelled(file, flags)
    facts = {
        "file": file.name,
        "kind": task.kind,
        "text": task.columns.text,
        "pair": task.columns.pair,
        "label": task.columns.label,
        "labels": list(task.labels),
        "rows": {"train": len(task.train), "validation": len(task.validation), "test": len(task.test)},
        "checks": [msgspec.to_builtins(check) for check in task.checks],
        "notes": list(task.notes),
        "first": task.preview(),
    }
    _show(facts, [*task.describe(), *(f"  e.g. {line}" for line in task.preview())], json=json)
    return 0


def check_against(file: Path, against: Sequence[str], *, json: bool) -> int:
    """Say how many rows of a table each base has read, and how many texts stand in each other table too."""
    from headstart.base.base import Base  # torch, which building alone does without
    from headstart.base.read_before import read_before

    items = read_task_items(file)
    told: list[dict[str, Any]] = []
    lines = []
    for name in against:
        if inner_suffix(name) in TABLE_SUFFIXES and Path(name).is_file():
            shared, words = compare_tables(file, items, Path(name))
            told.append({"table": name, **shared})
            lines += words
            continue
        base = Base.load(name)
        known = read_before(base)
        if not known.sketches:
            told.append({"base": name, "status": "unknown", "why": known.words})
            lines.append(f"{base.name}: unknown; {known.words}")
            continue
        checked = check_items(items, known.sketches)
        facts, covers = checked.overlap, "; ".join(sketch.facts.covers for sketch in known.sketches)
        told.append(
            {
                "base": name,
                "status": "checked",
                "sketch": known.words,
                "covers": covers,
                **msgspec.to_builtins(facts),
                "found_rows": sorted(checked.found),
            }
        )
        lines += [
            f"{base.name}: {facts.found:,} of {facts.rows:,} rows found in what it read, {facts.short:,} of them by "
            f"texts of 6 to 12 words alone; chance finds {facts.expected_false:.1f}",
            f"  {facts.unchecked:,} rows cannot be told: "
            f"{untold(facts.unchecked, facts.not_sampled, facts.share)}; looked up in {known.words} ({covers})",
            *(f"  {file.name}:{line}" for line in sorted(checked.found)[:SHOWN]),
        ]
    _show({"file": file.name, "against": told}, lines, json=json)
    return 0


def compare_tables(file: Path, items: TaskItems, other: Path) -> tuple[dict[str, Any], list[str]]:
    """(facts, lines for people) of the texts that stand in two tables; unknown where one has no text to compare."""
    mine, theirs = comparable(items), comparable(read_task_items(other))
    known = mine.too_short < mine.rows and theirs.too_short < theirs.rows
    shared = shared_texts([file], [other]) if known else None
    facts = {
        "status": "unknown" if shared is None else "checked",
        "shared": shared,
        "rows": mine.rows,
        "unchecked": mine.too_short,
        "other_rows": theirs.rows,
        "other_unchecked": theirs.too_short,
    }
    found = "unknown" if shared is None else f"{shared:,} different texts of 6 words or more stand in both"
    lines = [f"{other}: {found}"]
    if mine.too_short or theirs.too_short:
        lines.append(
            f"  {mine.too_short:,} of {mine.rows:,} rows of {file.name} and {theirs.too_short:,} of {theirs.rows:,} "
            f"rows of {other.name} are too short to tell: no text of 6 words with spaces between them"
        )
    return facts, lines


def _show(facts: dict[str, Any], lines: Sequence[str], *, json: bool) -> None:
    sys.stdout.write(jsonlib.dumps(facts) + "\n" if json else "\n".join(lines) + "\n")


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
