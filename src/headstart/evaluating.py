"""`headstart evaluate`: names of bases and a folder of sets -> a leaderboard, a page, one JSON object, an exit code.

Cells and the last result are kept below --out, so a command that was stopped or killed goes on when it is given again.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console

from headstart.base.base import Base
from headstart.base.shipped import DEFAULT
from headstart.evaluate.suite.cards import write_card
from headstart.evaluate.suite.leaderboard import show
from headstart.evaluate.suite.page import write_page
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import to_json
from headstart.evaluate.suite.sources import find_sets
from headstart.evaluate.suite.specs import check_methods, check_suite
from headstart.evaluate.terminal import Live
from headstart.ground.errors import ConfigError, safe_repr
from headstart.ground.fanout import parse_place
from headstart.ground.files import write_atomic
from headstart.prompt.asking import SHOTS

INTERRUPTED = 130
PAGE = "report.html"


def evaluate_bases(
    names: tuple[str, ...],
    *,
    suite: str,
    data: Path,
    tasks: str | None,
    method: str | None,
    shots: int | None,
    limit: int | None,
    seeds: int,
    label_curve: bool,
    on: str,
    lm_eval: bool,
    out: Path,
    card: bool,
    json: bool,
) -> int:
    """Run the evaluation and print it; what is wrong with names, folder or flags is said before any base is loaded."""
    settings = Settings(
        suite=check_suite(suite),
        tasks=() if tasks is None else tuple(name.strip() for name in tasks.split(",") if name.strip()),
        methods=() if method is None else check_methods(method),
        limit=limit,
        seeds=seeds,
        shots=SHOTS if shots is None else shots,
        label_curve=label_curve,
        lm_eval=lm_eval,
        command=shlex.join(["headstart", *sys.argv[1:]]),
    )
    if card:
        require_folders(names)
    find_sets(data, suite=settings.suite, tasks=settings.tasks)
    place = parse_place(on)
    named = tuple(str(Path(name).resolve()) if Path(name).exists() else name for name in names) or (DEFAULT,)
    bases = [Base.load(name) for name in named]
    try:
        with Live(Console(stderr=True)) as live:
            found = evaluate(bases, data=data, out=out, settings=settings, on=place, names=named, on_event=live)
    except KeyboardInterrupt:
        sys.stderr.write(f"headstart: interrupted; what is finished is kept in {out}. To go on: {settings.command}\n")
        return INTERRUPTED
    write_atomic(out / "evaluation.json", to_json(found) + b"\n")
    write_page(found, out / PAGE)
    if card:
        for base, name in zip(found.bases, names, strict=True):
            write_card(found, base, Path(name))
    sys.stderr.write(f"headstart: the page of this evaluation is {out / PAGE}\n")
    if json:
        sys.stdout.write(to_json(found).decode() + "\n")
    else:
        show(found, Console())
    return 0


def require_folders(names: tuple[str, ...]) -> None:
    """ConfigError unless every base lies in a folder of the user's, which scores can be written into."""
    for name in names or (DEFAULT,):
        if not Path(name).is_dir():
            raise ConfigError(
                f"--card writes into the folders of bases; {safe_repr(repr(name), 120)} is none. "
                "Give the path of a folder, or leave --card out."
            )
