"""`headstart evaluate`: names of bases and a folder of sets -> a leaderboard, a page, one JSON object, an exit code.

Cells and the last result are kept below --out, so a command that was stopped or killed goes on when it is given again.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from headstart.base.base import Base
from headstart.base.shipped import DEFAULT
from headstart.evaluate.suite.cards import require_card, write_card
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.leaderboard import show
from headstart.evaluate.suite.page import write_page
from headstart.evaluate.suite.protocols import methods_of
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import to_json
from headstart.evaluate.suite.sources import find_sets
from headstart.evaluate.suite.specs import Method, check_methods, check_suite
from headstart.evaluate.terminal import Live
from headstart.flags import refuse_blank
from headstart.ground.errors import INTERRUPTED, ConfigError, safe_repr
from headstart.ground.fanout import parse_place
from headstart.ground.files import write_atomic
from headstart.prompt.asking import SHOTS

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
    methods = () if method is None else check_methods(method)
    if shots is not None and "few-shot" not in methods:
        raise ConfigError(
            f"--shots is {shots} and no base is asked by few-shot; expected both. Add --method few-shot, or leave "
            "--shots out."
        )
    for name in names:
        refuse_blank(name, "a base")
    settings = Settings(
        suite=check_suite(suite),
        tasks=() if tasks is None else check_tasks(tasks),
        methods=methods,
        limit=limit,
        seeds=seeds,
        shots=SHOTS if shots is None else shots,
        label_curve=label_curve,
        lm_eval=lm_eval,
        command=shlex.join(["headstart", *sys.argv[1:]]),
    )
    sets, _ = find_sets(data, suite=settings.suite, tasks=settings.tasks)
    if card:
        require_folders(names, [one.spec.name for one in sets])
    earlier = earlier_in(out)
    if earlier is not None:
        require_as_much(out, earlier, settings, sets)
    place = parse_place(on)
    named = tuple(os.path.abspath(name) if Path(name).exists() else name for name in names) or (DEFAULT,)
    bases = [Base.load(name) for name in named]
    if earlier is not None:
        held = {told for base in bases for told in (base.identity, base.digest)}
        lost = [one.name for one in earlier.bases if (one.identity or one.digest) not in held]
        refuse_loss(out, lost, "the same bases")
    try:
        with Live(Console(stderr=True)) as live:
            found = evaluate(bases, data=data, out=out, settings=settings, on=place, names=named, on_event=live)
    except KeyboardInterrupt:
        sys.stderr.write(f"headstart: interrupted; what is finished is kept in {out}. To go on: {settings.command}\n")
        return INTERRUPTED
    write_atomic(out / "evaluation.json", to_json(found) + b"\n")
    write_page(found, out / PAGE)
    if card:
        for base, name in zip(found.bases, names or (DEFAULT,), strict=True):
            write_card(found, base, Path(name))
    sys.stderr.write(f"headstart: the page of this evaluation is {out / PAGE}\n")
    if json:
        sys.stdout.write(to_json(found).decode() + "\n")
    else:
        show(found, Console())
    return 0


def check_tasks(words: str) -> tuple[str, ...]:
    """Names of sets from a list with commas, or an error where there is none: that would be the whole suite."""
    names = tuple(name for part in words.split(",") if (name := part.strip()))
    if not names:
        raise ConfigError(
            f"--tasks is {safe_repr(words, 60)!r}; expected names of sets. Give some with commas, or leave --tasks out."
        )
    return names


class _Card(msgspec.Struct):
    name: str


class _Table(msgspec.Struct):
    task: _Card


class _Base(msgspec.Struct):
    name: str
    digest: str
    identity: str = ""


class Earlier(msgspec.Struct):
    """What is read of an evaluation.json that lies in --out already; what has a default did not always stand there."""

    tasks: list[_Table]
    schema_version: int
    bases: list[_Base] = []
    limit: int | None = None
    seeds: int = 1
    methods: list[Method] | None = None
    shots: int = 0
    label_curve: bool = False


def earlier_in(out: Path) -> Earlier | None:
    """The evaluation that lies in `out`, None where that is new, empty or holds cells alone: a run that was stopped.

    Raises:
        ConfigError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    last = out / "evaluation.json"
    if not last.is_file():
        if not (out / "cells").is_dir():
            raise ConfigError(
                f"{out} holds something and no evaluation; expected a new or empty folder, or one of an earlier "
                "evaluate. Give another --out."
            )
        return None
    try:
        return msgspec.json.decode(last.read_bytes(), type=Earlier)
    except msgspec.DecodeError as problem:
        raise ConfigError(
            f"{last} is no result of evaluate ({safe_repr(str(problem), 80)}); expected one, or a new folder. "
            "Give another --out."
        ) from problem


def require_as_much(out: Path, earlier: Earlier, settings: Settings, sets: Sequence[SetOnDisk]) -> None:
    """ConfigError unless the sets, rows, seeds and methods of an earlier evaluation are asked again, or more."""
    asked = {one.spec.name for one in sets}  # what can no longer be read would be lost
    before = {table.task.name for table in earlier.tasks}
    refuse_loss(out, sorted(before - asked), "the same sets")
    if settings.limit is not None and (earlier.limit is None or earlier.limit > settings.limit):
        rows = "all rows" if earlier.limit is None else f"{earlier.limit:,} rows a part"
        refuse_loss(out, [rows], "as many rows")
    if earlier.seeds > settings.seeds:
        refuse_loss(out, [f"{earlier.seeds} seeds"], "as many seeds")
    if earlier.label_curve and not settings.label_curve:
        refuse_loss(out, ["label curves"], "--label-curve")
    if earlier.methods and "few-shot" in earlier.methods and earlier.shots not in (0, settings.shots):
        refuse_loss(out, [f"few-shot with {earlier.shots} demonstrations"], f"--shots {earlier.shots}")
    if earlier.methods is not None:
        gone = {
            one.spec.name: set(methods_of(one.spec, earlier.methods)) - set(methods_of(one.spec, settings.methods))
            for one in sets
            if one.spec.name in before
        }
        refuse_loss(out, [f"{name} by {', '.join(sorted(lost))}" for name, lost in gone.items() if lost], "its methods")


def refuse_loss(out: Path, lost: Sequence[str], expected: str) -> None:
    """ConfigError where something of the evaluation in `out` would be lost."""
    if lost:
        named = ", ".join(lost[:5]) + (f" and {len(lost) - 5:,} more" if len(lost) > 5 else "")
        raise ConfigError(
            f"{out} holds an evaluation of {named}, which would be lost; expected {expected} again, or more. "
            "Give another --out."
        )


def require_folders(names: tuple[str, ...], tasks: Sequence[str]) -> None:
    """ConfigError unless every base lies in a folder of the user's, which scores on these sets can be written into."""
    for name in names or (DEFAULT,):
        if not Path(name).is_dir():
            raise ConfigError(
                f"--card writes into the folders of bases; {safe_repr(repr(name), 120)} is none. "
                "Give the path of a folder, or leave --card out."
            )
        require_card(Path(name), tasks)
