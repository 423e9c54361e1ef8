"""The command line: flags -> one verb call -> data on stdout, words on stderr.

Nothing heavy is imported here: each command imports what it needs when it runs, so `headstart --help` costs a sixth of
a second. Exit codes: 0 ok, 1 run failed, 2 usage, 3 gate failed, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

from headstart import __version__
from headstart.ground.errors import ConfigError, HeadstartError

INTERRUPTED = 130

Method = Literal["auto", "probe", "lora", "full", "scratch"]
Kind = Literal["choice", "labels", "score", "tags"]
Table = Annotated[str, Parameter(allow_leading_hyphen=True)]  # "-" is standard input
Flag = Annotated[bool, Parameter(negative=(), show_default=False)]

app = App(
    name="headstart",
    version=__version__,
    help="""Turn a base model into a specialist for your table, and see whether starting from it was worth it.

    headstart demo                                 bundled data, no network
    headstart adapt reviews.csv --label stars      your own table
    headstart predict runs/reviews-7f3a new.csv    use what came out
    """,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    code = run(tokens)
    if code == INTERRUPTED:
        # An interrupt that passed through exec (dataclasses use it) makes CPython die by the signal at exit, after it was
        # handled: Python/pythonrun.c, unhandled_keyboard_interrupt. Scripts are promised 130.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(tokens: Sequence[str] | None = None) -> int:
    """Run one command; every error a user can mend becomes one message on stderr."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(sys.argv[1:] if tokens is None else list(tokens), exit_on_error=False, print_error=False,
                   result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as problem:
        say(f"{' '.join(('headstart', *(problem.command_chain or ())))}: {problem} Run it with --help to see the flags.")
        return ConfigError.exit_code
    except HeadstartError as problem:
        say(f"headstart: {problem}")
        return problem.exit_code
    except KeyboardInterrupt:
        say("headstart: interrupted; nothing was written.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


@app.command
def adapt(
    train: Table,
    *,
    test: Table | None = None,
    validation: Table | None = None,
    text: str | None = None,
    label: str | None = None,
    kind: Kind | None = None,
    base: str | None = None,
    method: Method = "auto",
    budget: str | None = None,
    seeds: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    batch: int | None = None,
    max_length: int | None = None,
    out: Path | None = None,
    label_curve: Flag = False,
    no_scratch: Flag = False,
    class_weights: Flag = False,
    drop_missing: Flag = False,
    max_reject: float = 0.01,
    allow_pickle: Flag = False,
    json: Flag = False,
) -> int:
    """Turn a base into a specialist for a labelled table, with the evidence beside it.

    Parameters
    ----------
    train
        CSV, TSV, JSONL, JSON or Parquet (.gz and .zst too); - reads standard input.
    test
        Test rows. Without it a tenth of TRAIN is set aside.
    validation
        Rows that choose between methods. Without it a tenth of TRAIN is set aside.
    text
        Text column, or two for a pair: premise,hypothesis. Found by itself where the names are usual.
    label
        Label column.
    kind
        What is asked: one label, many, a number, or a tag per word. Found by itself from the column.
    base
        Name of a base or a folder in Hugging Face layout. Without it the embedded one.
    method
        auto tries the probe first, then what the budget allows.
    budget
        Time for everything, such as 90s, 5m or 1h.
    seeds
        Train this many times with different seeds and average.
    seed
        First seed.
    epochs
        Passes over the training rows at most. Without it 3 to 20, more for small tables.
    batch
        Rows a training step. Without it 32.
    max_length
        Units of text a row keeps. Without it 256.
    out
        New folder for the result. Without it runs/NAME-DIGEST.
    label_curve
        Train on 1/8, 1/4, 1/2 and all labels, with the base and from scratch: what is pre-training worth?
    no_scratch
        Leave the from-scratch control out: faster, but nothing then says what pre-training was worth.
    class_weights
        Weigh rare classes up.
    drop_missing
        Drop rows without text or label instead of refusing the table.
    max_reject
        Largest share of unreadable rows that is set aside instead of refusing the table.
    allow_pickle
        Read .bin and .pt weights of a folder that has no safetensors (tensors only, never code).
    json
        Print the report as one JSON object.
    """
    from headstart.specialise import Ask, specialise

    return specialise(
        Ask(train=train, test=test, validation=validation, text=text, label=label, kind=kind, base=base, method=method,
            budget=None if budget is None else seconds_of(budget), seeds=seeds, seed=seed,
            epochs=epochs, batch=batch, max_length=max_length, out=out, label_curve=label_curve,
            no_scratch=no_scratch, class_weights=class_weights, drop_missing=drop_missing,
            max_reject=max_reject, allow_pickle=allow_pickle, json=json)
    )


@app.command
def demo(*, out: Path | None = None, budget: str = "2m", json: Flag = False) -> int:
    """Run the main job on 536 support messages in 8 intents, with the embedded base and no network.

    Parameters
    ----------
    out
        New folder for the result. Without it runs/demo.
    budget
        Time for everything.
    json
        Print the report as one JSON object.
    """
    from headstart.demo import run_demo

    return run_demo(out=out, budget=seconds_of(budget), json=json)


@app.command
def predict(folder: Path, table: Table, *, out: Path | None = None, drop_missing: Flag = False) -> int:
    """Answer every row of a table: its columns, then prediction and probability.

    Parameters
    ----------
    folder
        An adapted base, as `headstart adapt` saves it.
    table
        CSV, TSV, JSONL, JSON or Parquet (.gz and .zst too); - reads standard input.
    out
        A .csv or .jsonl file. Without it the answers go to standard output, as JSONL where the table is JSON or JSONL
        and as CSV otherwise.
    drop_missing
        Leave rows without text out instead of refusing the table.
    """
    from headstart.predictions import answer_table

    return answer_table(folder, table, out=out, drop_missing=drop_missing)


@app.command
def pretrain(recipe: str, *, data: Path, out: Path, json: Flag = False) -> int:
    """Pre-train a base from raw text.

    Parameters
    ----------
    recipe
        A recipe that ships with Headstart (text-tiny), or a TOML file.
    data
        Folder with the recipe's shards (.jsonl.zst, one {"text": ...} a line).
    out
        New folder for the base.
    json
        Print the result as one JSON object.
    """
    from headstart.pretraining import pretrain_base

    return pretrain_base(recipe, data=data, out=out, json=json)


@app.command
def bases(*, json: Flag = False) -> int:
    """List the bases on this machine: the embedded ones, and the specialists below runs/.

    Parameters
    ----------
    json
        Print one JSON object.
    """
    from headstart.doctor import list_bases

    return list_bases(json=json)


@app.command
def doctor(*, json: Flag = False) -> int:
    """Check this machine: versions, cores, memory, disk, arithmetic speed, and the embedded base.

    Parameters
    ----------
    json
        Print one JSON object.
    """
    from headstart.doctor import check_machine

    return check_machine(json=json)


def seconds_of(text: str) -> float:
    """Seconds of a duration such as 90s, 2m, 1h30m or 45."""
    units = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    pieces = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip().lower())
    if not pieces or "".join(a + b for a, b in pieces) != text.strip().lower():
        raise ConfigError(f"--budget is {text!r}; expected a time. Write it like 90s, 5m or 1h30m.")
    total = sum(float(amount) * units[unit] for amount, unit in pieces)
    if total <= 0:
        raise ConfigError(f"--budget is {text!r}; expected more than nothing. Write it like 90s, 5m or 1h30m.")
    return total


def say(words: str) -> None:
    """Words for people, on stderr."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
