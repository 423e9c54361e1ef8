"""`headstart adapt`: what was asked on the command line -> a saved specialist, its report, and an exit code.

Order: refuse a taken --out, read the table, load the base, run the study, save, load again and compare, report. What a
person must know before waiting (columns, split, duplicates, cut rows) is said before training starts.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from headstart.asking_flags import NO_ASKING, prompting_of
from headstart.base.base import Base
from headstart.base.references import require_plain
from headstart.base.shipped import DEFAULTS
from headstart.data.patches import PatchCodec
from headstart.data.raw import Raw
from headstart.data.task import Task
from headstart.evaluate.asking import verify_saved
from headstart.evaluate.findings import as_row
from headstart.evaluate.html import render_html
from headstart.evaluate.plan import BY_PROMPT, Plan, check_method
from headstart.evaluate.progress import Event
from headstart.evaluate.report import Report, to_json, with_saved
from headstart.evaluate.study import Study, study
from headstart.evaluate.terminal import Live, show, without_out
from headstart.flags import AdaptFlags, AskFlags, refuse_blank
from headstart.ground.errors import INTERRUPTED, ConfigError, GateError
from headstart.ground.files import refuse_taken, refuse_unwritable, write_atomic
from headstart.labelled import read_labelled
from headstart.local_bases import RUNS
from headstart.train.fit import check_inputs
from headstart.train.methods import FitSettings

REJECTS_SHOWN = 5
SAVE_SECONDS = 1.5  # writing, loading again and the report, kept out of the study's budget
LEAST_SECONDS = 1.0  # given to the study even where loading used the budget up


def specialise(
    train: Any, flags: AdaptFlags, asking: AskFlags = NO_ASKING, *, started: float, name: str | None = None
) -> int:
    """Run the whole job. 0, 130 where it was interrupted with something to keep; the rest are HeadstartErrors.

    train: a path, or a table that `Task.read` takes. started: time.monotonic() when the budget's clock began. name: of
    the task, from the file's name by default.
    """
    seconds = flags.seconds
    if flags.base is not None:
        refuse_blank(flags.base, "--base")
    if flags.out is not None:
        refuse_taken(flags.out)
    refuse_unwritable(flags.out or RUNS / "new")
    settings = settings_of(flags)
    Plan(check_method(flags.method), seconds, flags.seeds, flags.seed)  # says what cannot be before the table is read
    prompting = prompting_of(asking, flags.method, max_length=flags.max_length)
    task = read_labelled(train, flags, test=flags.test, validation=flags.validation, seed=flags.seed, name=name)
    named = DEFAULTS[task.columns.modality] if flags.base is None else flags.base
    base = Base.load(named, allow_pickle=flags.allow_pickle)
    if flags.allow_pickle and flags.method in BY_PROMPT:
        require_plain(base.place)
    with Live(Console(stderr=True)) as live:
        for line in before_training(task, base, settings, trains=flags.method not in BY_PROMPT):
            live(Event("data", line))
        found = study(
            base,
            task,
            method=flags.method,
            budget=None if seconds is None else max(LEAST_SECONDS, started + seconds - SAVE_SECONDS - time.monotonic()),
            metric=flags.metric,
            seeds=flags.seeds,
            seed=flags.seed,
            settings=settings,
            label_curve=flags.label_curve,
            twin=not flags.no_scratch,
            command=command(),
            prompting=prompting,
            on_event=live,
        )
    report = save(found, task, flags.out or free_folder(task))
    if flags.json:
        sys.stdout.write(to_json(report).decode() + "\n")
    else:
        show(report, Console())
    return after_saving(report)


def settings_of(flags: AdaptFlags) -> FitSettings:
    """How to train: the flags that were given, the defaults for the rest.

    Raises:
        ConfigError: a number below 1, or a length of text where none is read.
    """
    for flag, value in (("--epochs", flags.epochs), ("--batch", flags.batch), ("--max-length", flags.max_length)):
        if value is not None and value < 1:
            raise ConfigError(f"{flag} is {value}; expected at least 1. Leave it out for the default.")
    others = {"image": flags.image, "audio": flags.audio, "series": flags.series, "label-from": flags.label_from}
    other = next((flag for flag, value in others.items() if value is not None), None)
    if flags.max_length is not None and other is not None:
        raise ConfigError(
            f"--max-length is {flags.max_length} beside --{other}; expected it for text alone, since a base reads "
            "pictures, sounds and series at a size of its own. Leave it out."
        )
    usual = FitSettings()
    return FitSettings(
        epochs=flags.epochs,
        batch_rows=flags.batch or usual.batch_rows,
        max_length=flags.max_length or usual.max_length,
        class_weights=flags.class_weights,
    )


def before_training(task: Task, base: Base, settings: FitSettings, *, trains: bool = True) -> list[str]:
    """What was understood of the table, which rows were set aside, and how many texts will lose their end."""
    described = task.describe()
    lines = described[: len(described) - len(task.notes)]  # the study says the notes
    rejects = [(source, reject) for source, found in task.rejects.items() for reject in found]
    lines += [f"{source}:{reject.line}: {reject.reason}; set aside" for source, reject in rejects[:REJECTS_SHOWN]]
    if len(rejects) > REJECTS_SHOWN:
        lines.append(f"{len(rejects) - REJECTS_SHOWN:,} more rows set aside, all in rejected.jsonl")
    check_inputs(base, task)
    if isinstance(base.codec, PatchCodec):
        return [*lines, *cut_inputs(task.train.raws, base.codec)]
    if not trains:
        base.codec.encode(task.train.written[:1], max_length=settings.max_length)  # has the probe room for a unit?
        return lines
    encoded = base.codec.encode(task.train.written, task.train.pairs, max_length=settings.max_length)
    if encoded.truncated:
        units = sum(map(len, encoded.ids)) + encoded.lost
        lines.append(
            f"{encoded.truncated:,} of {len(task.train):,} train rows are longer than the limit and lose their end "
            f"({encoded.lost / units:.1%} of all units)"
        )
    return lines


def cut_inputs(raws: Sequence[Raw], codec: PatchCodec) -> list[str]:
    """What the codec takes away from pictures, clips or series; nothing where they fit."""
    if codec.modality == "image":
        height, width = codec.size
        return [f"every picture is read at {width} x {height}"]
    longer = sum(map(codec.exceeds, raws))
    return [f"{longer:,} of {len(raws):,} train rows {codec.too_long}"] if longer else []


def save(found: Study, task: Task, out: Path) -> Report:
    """Write the folder, load it again and compare, then put the report (and rejected rows) beside the model."""
    refuse_taken(out)
    found.base.save(out)
    with told_of_interrupts(f"{out} holds the model, but not its report; take it away to run this again"):
        return _save_report(found, task, out)


@contextmanager
def told_of_interrupts(left: str) -> Iterator[None]:
    """KeyboardInterrupts within say what they left behind, for the message that ends the command."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(left) from None


def _save_report(found: Study, task: Task, out: Path) -> Report:
    """Compare what was saved, and put the report and the rejected rows beside it."""
    report = with_saved(found.report, str(out), as_row(verify_saved(found.base, out, task.test)))
    write_atomic(out / "report.json", to_json(report) + b"\n")
    write_atomic(out / "report.html", render_html(report).encode())
    rejects = [
        {"source": source, "line": r.line, "reason": r.reason, "excerpt": r.excerpt}
        for source, rows in task.rejects.items()
        for r in rows
    ]
    if rejects:
        write_atomic(
            out / "rejected.jsonl", b"".join(chain.from_iterable((msgspec.json.encode(r), b"\n") for r in rejects))
        )
    return report


def after_saving(report: Report) -> int:
    """The exit code of a finished run; GateError where the saved folder answers differently."""
    parity = next(check for check in report.checks if check.id == "reload.parity")
    if parity.status == "fail":
        raise GateError(
            f"{report.saved} answers differently after loading: {parity.detail}; expected the same answers. "
            "Do not use this folder, and report it with its report.json."
        )
    if report.interrupted:
        sys.stderr.write(
            f"headstart: interrupted; the best so far is in {report.saved}. To run it again: "
            f"{without_out(report.command)}\n"
        )
        return INTERRUPTED
    return 0


def free_folder(task: Task) -> Path:
    """runs/NAME-DIGEST, with a number behind it where that is taken."""
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in task.name) or "task"
    stem = f"{name}-{task.digest[:4]}"
    names = (RUNS / (stem if n == 1 else f"{stem}-{n}") for n in range(1, 10_000))
    return next(path for path in names if not path.exists())


def command() -> str:
    """This call as one line to paste."""
    return shlex.join(["headstart", *sys.argv[1:]])
