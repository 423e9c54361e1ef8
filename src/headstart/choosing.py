"""`headstart choose`: a table, bases and limits -> the base to take, adapted and saved, its evidence, an exit code."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console

from headstart.choose.choose import Choice, choose, require_there
from headstart.choose.page import render_html
from headstart.choose.report import ChoiceReport, to_json
from headstart.choose.terminal import show
from headstart.evaluate.budget import Budget
from headstart.evaluate.conclude import Study
from headstart.evaluate.progress import Event
from headstart.evaluate.terminal import Live
from headstart.flags import ChooseFlags, refuse_blank, seconds_of
from headstart.ground.files import refuse_taken, refuse_unwritable, write_atomic
from headstart.labelled import read_labelled
from headstart.local_bases import RUNS, bases_over
from headstart.specialise import LEAST_SECONDS, after_saving, command, free_folder, save, told_of_interrupts


def choose_base(table: str, flags: ChooseFlags, *, started: float) -> int:
    """Run the whole job. 0, 130 where it was interrupted with something to keep; the rest are HeadstartErrors."""
    seconds = None if flags.budget is None else seconds_of(flags.budget)
    if flags.out is not None:
        refuse_taken(flags.out)
    refuse_unwritable(flags.out or RUNS / "new")
    for name in flags.bases if flags.bases != ("all",) else ():
        refuse_blank(name, "a base of --bases")
    require_there(flags.bases if flags.bases != ("all",) else ())
    task = read_labelled(table, flags, test=flags.test, validation=flags.validation, seed=flags.seed)
    with Live(Console(stderr=True)) as live:
        for line in task.describe():
            live(Event("data", line))
        found = choose(
            task,
            bases_over(task.columns.modality or "text") if flags.bases == ("all",) else flags.bases,
            methods=flags.methods,
            budget=seconds,
            clock=running(seconds, started),
            max_ms_per_row=flags.max_ms_per_row,
            max_mb=flags.max_mb,
            licence=flags.licence,
            metric=flags.metric,
            seed=flags.seed,
            on=flags.on,
            allow_pickle=flags.allow_pickle,
            command=command(),
            on_event=live,
        )
    report = save_choice(found, flags.out or free_folder(task))
    if flags.json:
        sys.stdout.write(to_json(report).decode() + "\n")
    else:
        show(report, Console())
    return after_saving(report.winner)


def running(seconds: float | None, started: float) -> Budget:
    """The budget since the command began, with LEAST_SECONDS left at least; the processor time too is the command's."""
    late = started if seconds is None else time.monotonic() + LEAST_SECONDS - seconds
    return Budget(seconds, max(started, late), cpu=0.0)


def save_choice(found: Choice, out: Path) -> ChoiceReport:
    """The chosen base as `adapt` saves one, and the decision record beside it."""
    winner = save(Study(found.base, found.report.winner), found.task, out)
    report = msgspec.structs.replace(found.report, winner=winner, saved=str(out))
    with told_of_interrupts(
        f"{out} holds the model and its report, but not the choice; take it away to run this again"
    ):
        write_atomic(out / "choice.json", to_json(report) + b"\n")
        write_atomic(out / "choice.html", render_html(report).encode())
    return report
