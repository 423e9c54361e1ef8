"""BLiMP: does a base find the grammatical sentence of 67,000 minimal pairs likelier, read in either pattern?

Scores are whole-sentence log-likelihoods: causal, the sum over the units; masked, the pseudo-log-likelihood. Controls:
the same architecture with random weights, and a 5-gram model (modified Kneser-Ney) that counted as many units as the
base read. One file a side and paradigm is kept. The time is compared with a loop that takes one sentence after the
other, on the first pairs of every paradigm. Source: Warstadt et al. 2020, arXiv 1912.00582.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.minimal_pairs import Pair, Record, cost_table, judged, mean_share, read_pairs, sentences, share_table
from bench.places import add_places, places_of
from bench.processes import machine, require_quiet

if TYPE_CHECKING:
    from bench.sentence_scorers import Scorer
    from headstart.base.base import Base
    from headstart.ground.batch import Pattern

READINGS: dict[str, Pattern] = {"causal": "causal", "masked": "full"}  # what Base.score calls them
CONTROLS = ("random", "ngram")
UNITS_UNKNOWN = 10_000_000  # counted by the 5-gram model where no lineage says how many the base read
LOOP_PAIRS = 2  # of every paradigm, for the comparison with a loop


@dataclass(frozen=True)
class Side:
    """Something that scores sentences. make: called once, and only where a paradigm is missing in `folder`."""

    name: str
    make: Callable[[], Scorer]
    folder: Path


def run_side(side: Side, pairs: dict[str, list[Pair]], *, until: float = math.inf) -> list[Record]:
    """Scores the paradigms without a file, none begun after the monotonic time `until`; returns all that is known."""
    side.folder.mkdir(parents=True, exist_ok=True)
    scorer: Scorer | None = None
    records = []
    for name, members in pairs.items():
        kept = side.folder / f"{name}.json"
        if not kept.is_file():
            if time.monotonic() > until:
                continue
            scorer = scorer or side.make()
            wall, cpu = time.perf_counter(), time.process_time()
            scores = scorer(sentences(members))
            cost = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
            kept.write_text(json.dumps(judged(members, scores) | cost), encoding="utf-8")
            print(f"{side.name}: {name}, {cost['seconds']:.1f} s", file=sys.stderr)
        records.append(json.loads(kept.read_text(encoding="utf-8")))
    return records


def mark_of(base: Base) -> str:
    """Name and weights: a base trained anew under its old name starts new files."""
    return f"{base.name}-{base.digest[:8]}"


def size_of(chosen: argparse.Namespace) -> str:
    """Which pairs, as a part of a file name."""
    return "all" if chosen.limit is None else f"n{chosen.limit}"


def sides_of(base: Base, chosen: argparse.Namespace, *, results: Path, corpus: Path) -> list[Side]:
    """The base in every reading asked for and possible, and the controls."""
    from bench.sentence_scorers import ORDER, of_base, of_counts, units_read
    from headstart.evaluate.untrained import untrained

    mark, size = mark_of(base), size_of(chosen)
    asked = list(READINGS) if chosen.pattern == "both" else [chosen.pattern]
    readings = [name for name in asked if READINGS[name] in base.score_patterns]
    if not readings:
        raise SystemExit(f"--pattern is {chosen.pattern}; {base.name} can score {base.score_patterns or 'in none'}.")
    controls = [name for name in chosen.controls.split(",") if name]
    if unknown := sorted({*controls} - {*CONTROLS}):
        raise SystemExit(f"control is {unknown[0]!r}; expected some of {', '.join(CONTROLS)}.")
    scored = dict.fromkeys(readings, base)
    if "random" in controls:
        other = untrained(base, seed=0)
        scored |= {f"random {name}": other for name in readings}
    sides = [
        Side(
            name, partial(of_base, one, READINGS[name.split()[-1]]), results / f"{mark}-{name.replace(' ', '-')}-{size}"
        )
        for name, one in scored.items()
    ]
    if "ngram" in controls:
        most = chosen.ngram_units or units_read(base) or UNITS_UNKNOWN
        folder = results / f"{mark}-{ORDER}gram{most}-{size}"
        sides.append(Side(f"{ORDER}-gram", partial(of_counts, base, corpus, most=most), folder))
    return sides


def loops_of(base: Base, readings: list[str], pairs: dict[str, list[Pair]]) -> dict[str, Record]:
    """For every reading the comparison with a loop over sentences."""
    from bench.sentence_scorers import against_loop

    sample = sentences([pair for members in pairs.values() for pair in members[:LOOP_PAIRS]])
    return {name: against_loop(base, READINGS[name], sample) for name in readings}


def written(found: dict[str, list[Record]], loops: dict[str, Record], *, head: dict[str, Any], out: Path) -> str:
    """Keeps `out`.json (figures without the scores) and `out`.md; returns the latter."""
    bare = {name: [{k: v for k, v in one.items() if k != "scores"} for one in rows] for name, rows in found.items()}
    overall = {name: mean_share(records) for name, records in found.items() if records}
    content = {"machine": head, "overall": overall, "loops": loops, "sides": bare}
    out.with_name(f"{out.name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    text = "\n\n".join([cost_table(found, loops), share_table(found), json.dumps({"machine": head, "loops": loops})])
    out.with_name(f"{out.name}.md").write_text(text + "\n", encoding="utf-8")
    return text


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench blimp", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--base", default="text-small", help="an embedded name or a folder")
    parser.add_argument("--pattern", default="both", choices=[*READINGS, "both"])
    parser.add_argument("--limit", type=int, help="the first pairs of every paradigm; all 1,000 without it")
    parser.add_argument("--controls", default=",".join(CONTROLS), help="random, ngram, both, or an empty word")
    parser.add_argument("--corpus", type=Path, help="for the 5-gram model: raw shards, or a packed folder")
    parser.add_argument("--ngram-units", type=int, help="units it counts; as many as the base read without it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no further paradigm after this long")
    parser.add_argument("--force", action="store_true", help="run on a busy machine too (seconds mean nothing then)")
    return parser.parse_args()


def main() -> None:
    """Runs what is missing and prints the tables."""
    chosen = options()
    places = places_of(chosen)
    require_quiet(force=chosen.force)
    import torch

    from headstart.base.base import Base

    torch.set_num_threads(chosen.threads)
    until = time.monotonic() + 60 * chosen.minutes
    base = Base.load(places.base(chosen.base))
    pairs = read_pairs(places.shared / "tasks" / "blimp" / "test.parquet", limit=chosen.limit)
    kept = places.results / "blimp"
    sides = sides_of(base, chosen, results=kept, corpus=chosen.corpus or places.shared / "corpus")
    head = machine() | {"threads": chosen.threads}
    loops = loops_of(base, [side.name for side in sides if side.name in READINGS], pairs)
    found: dict[str, list[Record]] = {}
    for side in sides:
        found[side.name] = run_side(side, pairs, until=until)
        text = written(found, loops, head=head, out=kept / f"{mark_of(base)}-{size_of(chosen)}")
    print(text)


if __name__ == "__main__":
    main()
