"""Which abilities appear at which size? BLiMP by phenomenon and a few choice sets, over the bases of a ladder.

Every base below the folder (where `bench ladder` leaves them) reads the same minimal pairs and questions causally; the
control is the smallest one's architecture with random weights. Cells are kept: BLiMP's beside those of `bench blimp`,
which they are, the choice sets' below abilities/.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench.abilities_picture import picture
from bench.ability_shares import Column, Share, choice_share, ordered, pair_shares, table
from bench.blimp import Side, mark_of, run_side
from bench.choice_sets import ABILITIES, answered, read_items
from bench.minimal_pairs import Pair, read_pairs
from bench.places import add_places, places_of
from bench.processes import machine, require_quiet
from bench.sentence_scorers import of_base, units_read
from headstart.base.base import Base
from headstart.evaluate.suite.items import Item
from headstart.evaluate.untrained import untrained

PAIRS_TITLE, CHOICES_TITLE = "BLiMP, by phenomenon", "Choice sets"


def read_bases(folder: Path) -> list[Base]:
    """The bases right below a folder that can be read causally, smallest first; of one size, the one that read less."""
    found = [Base.load(card.parent) for card in sorted(folder.glob("*/headstart.json"))]
    causal = [base for base in found if "causal" in base.score_patterns]
    if not causal:
        raise SystemExit(
            f"{folder} holds {len(found)} bases, none for reading causally. Run `bench ladder`, or --bases."
        )
    return sorted(causal, key=lambda base: (base.trunk.config.num_parameters, units_read(base) or 0))


def choice_cell(base: Base, ability: str, items: Sequence[Item], *, mark: str, folder: Path) -> Share:
    """The share of one set, asked where it is not known yet."""
    kept = folder / mark / f"{ability.replace(', ', '-').replace(' ', '-')}-n{len(items)}.json"
    if not kept.is_file():
        start = time.perf_counter()
        record = answered(items, base.score) | {"seconds": time.perf_counter() - start}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(record), encoding="utf-8")
        print(f"{mark}: {ability}, {record['seconds']:.1f} s", file=sys.stderr)
    return choice_share(json.loads(kept.read_text(encoding="utf-8")))


def column_of(
    base: Base,
    pairs: dict[str, list[Pair]],
    items: dict[str, list[Item]],
    *,
    mark: str,
    results: Path,
    size: str,
    control: bool = False,
) -> Column:
    """Everything about one base, kept under `mark`. control: it has random weights, whatever its lineage says."""
    side = Side(f"{mark} causal", partial(of_base, base, "causal"), results / "blimp" / f"{mark}-causal-{size}")
    shares = pair_shares(run_side(side, pairs))
    for ability, asked in items.items():
        shares[ability] = choice_cell(base, ability, asked, mark=mark, folder=results / "abilities")
    parameters = base.trunk.config.num_parameters
    name = "random weights" if control else f"{parameters / 1e6:.3g} M"
    return Column(name, parameters, None if control else units_read(base) or 0, shares)


def written(groups: dict[str, list[str]], columns: list[Column], control: Column, *, out: Path, head: Any) -> str:
    """Keeps abilities.json, .md and .svg in `out`; returns the table."""
    content = {"machine": head, "control": asdict(control), "columns": [asdict(column) for column in columns]}
    (out / "abilities.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (out / "abilities.svg").write_text(picture(groups, columns, control), encoding="utf-8")
    text = "\n".join(table(groups, columns, control))
    (out / "abilities.md").write_text(text + "\n", encoding="utf-8")
    return text


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench abilities", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--bases", type=Path, help="folder with base folders; default: what `bench ladder` left")
    parser.add_argument("--limit", type=int, default=200, help="the first pairs of every BLiMP paradigm")
    parser.add_argument("--rows", type=int, default=500, help="questions of every choice set, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too (seconds mean nothing then)")
    return parser.parse_args()


def main() -> None:
    """Runs what is missing and prints the table."""
    chosen = options()
    places = places_of(chosen)
    require_quiet(force=chosen.force)
    import torch

    torch.set_num_threads(chosen.threads)
    bases = read_bases(chosen.bases or places.results / "ladder" / "bases")
    tasks = places.shared / "tasks"
    pairs = read_pairs(tasks / "blimp" / "test.parquet", limit=chosen.limit)
    items = {ability: read_items(ability, tasks=tasks, rows=chosen.rows) for ability in ABILITIES}
    run = partial(column_of, pairs=pairs, items=items, results=places.results, size=f"n{chosen.limit}")
    control = run(untrained(bases[0], seed=0), mark=f"{mark_of(bases[0])}-random", control=True)
    columns = [run(base, mark=mark_of(base)) for base in bases]
    phenomena = [ability for ability in control.shares if ability not in items and ability != "all paradigms"]
    groups = {
        PAIRS_TITLE: ["all paradigms", *ordered(phenomena, columns, control)],
        CHOICES_TITLE: ordered(list(items), columns, control),
    }
    print(written(groups, columns, control, out=places.results, head=machine() | {"threads": chosen.threads}))


if __name__ == "__main__":
    main()
