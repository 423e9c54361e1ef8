"""The command line: flags -> one verb call -> data on stdout, words on stderr.

Nothing heavy is imported here: each command imports what it needs when it runs, so `headstart --help` costs a sixth of
a second. Exit codes: 0 ok, 1 run failed, 2 usage, 3 gate failed, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from headstart import __version__
from headstart.flags import AdaptFlags, AskFlags, ChooseFlags, ColumnFlags, DemoKind, Flag, PromptFlags, Table, Time
from headstart.ground.errors import INTERRUPTED, ConfigError, HeadstartError, RunError

NO_FLAGS = AdaptFlags()
NO_ASKING = AskFlags()
NO_PROMPT_FLAGS = PromptFlags()
NO_CHOOSE_FLAGS = ChooseFlags()
NO_COLUMN_FLAGS = ColumnFlags()

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
data_app = App(name="data", help="Raw text: look at it, and build a corpus to pre-train on.", help_format="plaintext")
app.command(data_app)
bases_app = App(name="bases", help="List, show, import and verify the bases on this machine.", help_format="plaintext")
app.command(bases_app)


def main(tokens: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave with its exit code."""
    code = run(tokens)
    if code == INTERRUPTED:
        # An interrupt that passed through exec (dataclasses use it) makes CPython die by the signal at exit although it
        # was handled: Python/pythonrun.c, unhandled_keyboard_interrupt. Scripts are promised 130.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(tokens: Sequence[str] | None = None) -> int:
    """Run one command; every error a user can mend becomes one message on stderr."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # data is UTF-8 whatever the locale says, as it is in files
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = app(
            sys.argv[1:] if tokens is None else list(tokens),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as problem:
        verb = " ".join(("headstart", *(problem.command_chain or ())))
        say(f"{verb}: {problem} Run it with --help to see the flags.")
        return ConfigError.exit_code
    except HeadstartError as problem:
        say(f"headstart: {problem}")
        return problem.exit_code
    except KeyboardInterrupt as stop:
        say(f"headstart: interrupted; {str(stop) or 'nothing was written'}.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader (`| head`) has what it wanted
        drop_output()
        return 0
    except OSError as problem:
        drop_output()
        place = f"{problem.filename}: " if problem.filename else ""
        say(
            f"headstart: {place}{problem.strerror or problem}; expected a place to read or write, with room. "
            "Check it, or name another."
        )
        return RunError.exit_code
    return code if isinstance(code, int) else 0


def drop_output() -> None:
    """Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command
def adapt(train: Table, *, flags: AdaptFlags = NO_FLAGS, asking: AskFlags = NO_ASKING) -> int:
    """Turn a base into a specialist for a labelled table, with the evidence beside it.

    Parameters
    ----------
    train
        CSV, TSV, JSONL, JSON or Parquet (.gz and .zst too); - reads standard input. With --label-from folder, a folder.
    """
    started = time.monotonic()  # the budget's clock runs while torch is imported
    from headstart.specialise import specialise

    return specialise(train, flags, asking, started=started)


@app.command
def demo(kind: DemoKind = "text", *, out: Path | None = None, budget: Time = "2m", json: Flag = False) -> int:
    """Run the main job on data that comes with it, with the embedded base and no network.

    Parameters
    ----------
    kind
        text: 536 support messages in 8 intents. image: scikit-learn's handwritten digits. audio, series: 480 generated
        sounds or control charts of 6 kinds.
    out
        New folder for the result. Without it runs/demo-DIGEST.
    budget
        Time for everything.
    json
        Print the report as one JSON object.
    """
    started = time.monotonic()
    from headstart.demo import run_demo

    return run_demo(kind, out=out, budget=budget, json=json, started=started)


@app.command
def predict(folder: Path, table: Table, *, out: Path | None = None, drop_missing: Flag = False) -> int:
    """Answer every row of a table: its columns, then prediction and probability.

    Parameters
    ----------
    folder
        An adapted base, as `headstart adapt` saves it.
    table
        CSV, TSV, JSONL, JSON or Parquet (.gz and .zst too); - reads standard input. Or a folder of pictures or sounds.
    out
        A .csv or .jsonl file. Without it the answers go to standard output, as JSONL where the table is JSON or JSONL
        and as CSV otherwise.
    drop_missing
        Leave rows without text out instead of refusing the table.
    """
    from headstart.predictions import answer_table

    return answer_table(folder, table, out=out, drop_missing=drop_missing)


@app.command
def evaluate(
    *bases: str,
    data: Path,
    suite: str = "core",
    tasks: str | None = None,
    method: str | None = None,
    shots: int | None = None,
    limit: int | None = None,
    seeds: int = 1,
    label_curve: Flag = False,
    on: str = "here",
    lm_eval: Flag = False,
    out: Path = Path("runs/evaluate"),
    card: Flag = False,
    json: Flag = False,
) -> int:
    """Score bases on benchmark sets, with intervals, controls and paired tests. Stopped, it goes on when given again.

    Parameters
    ----------
    bases
        Names of bases, or folders in Hugging Face layout. Without any the embedded one.
    data
        Folder of sets: an INDEX.json with a card a set (name, kind, columns, metric), and a folder a set. Or a task
        file of lm-evaluation-harness (.yaml), or a folder of them.
    suite
        core, language (scored by likelihood), adapt (labelled sets), bias, or all.
    tasks
        Names of sets instead of a suite, with commas.
    method
        How a base is turned to labelled sets: probe, lora, full, zero-shot or few-shot; several with commas. Without
        it probe. Sets scored by likelihood know zero-shot and, with options or gaps, few-shot.
    shots
        Demonstrations of few-shot; without it 8. Every seed draws others. Before options and gaps they stand as
        lm-evaluation-harness puts them, from the train or the validation part.
    limit
        At most this many rows of every part of a set: a quick look, no result.
    seeds
        Repeat whatever draws at random (trainings, random weights) with this many seeds.
    label_curve
        Labelled sets also with 1/8, 1/4 and 1/2 of their rows, against training from scratch: how many labels does
        pre-training save?
    on
        Where to compute: here, local:N (so many processes, a thread each) or ray://HOST:PORT. The result is the same.
    lm_eval
        Write results and samples as lm-evaluation-harness does, too: OUT/lm-eval/BASE.
    out
        Folder for evaluation.json, the page report.html, and the finished cells with every item as it was asked and
        answered.
    card
        Also write the scores into the folders of the bases: model-index in README.md, and .eval_results/.
    json
        Print the result as one JSON object.
    """
    from headstart.evaluating import evaluate_bases

    return evaluate_bases(
        bases,
        suite=suite,
        data=data,
        tasks=tasks,
        method=method,
        shots=shots,
        limit=limit,
        seeds=seeds,
        label_curve=label_curve,
        on=on,
        lm_eval=lm_eval,
        out=out,
        card=card,
        json=json,
    )


@app.command
def choose(table: Table, *, flags: ChooseFlags = NO_CHOOSE_FLAGS) -> int:
    """Which base, by which method, for your table, within your budget? The winner is saved, adapted.

    Parameters
    ----------
    table
        CSV, TSV, JSONL, JSON or Parquet (.gz and .zst too); - reads standard input. With --label-from folder, a folder.
    """
    started = time.monotonic()  # the budget's clock runs while torch is imported
    from headstart.choosing import choose_base

    return choose_base(table, flags, started=started)


@app.command
def prompt(base: str, text: str | None = None, *, flags: PromptFlags = NO_PROMPT_FLAGS) -> int:
    """Let a base go on with a text, written as it comes. Without TEXT, answer line after line.

    Parameters
    ----------
    base
        Name of a base, a folder in Hugging Face layout, or a .gguf file.
    text
        The text to continue, or with --chat the message to answer.
    """
    from headstart.prompting import prompt_base

    return prompt_base(base, text, flags)


@app.command
def pretrain(
    recipe: str | None = None,
    *,
    size: str | None = None,
    data: Path | None = None,
    out: Path | None = None,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    micro_tokens: int | None = None,
    save_every: str = "5m",
    fork: Flag = False,
    verify_resume: Flag = False,
    dry_run: Flag = False,
    json: Flag = False,
) -> int:
    """Pre-train a base from raw text, pictures, sounds or series. A run that was stopped goes on when asked again.

    Parameters
    ----------
    recipe
        A recipe that ships with Headstart (text-tiny, text-small, text-11m, bert-tiny, gpt2-tiny; image-tiny,
        audio-tiny, series-tiny), or a TOML file.
    size
        Instead of a recipe: about how many parameters, such as 3m or 30m. The rest follows, with reasons.
    data
        Folder with the recipe's shards (.jsonl.zst, one {"text": ...} a line); for patches, with pictures, sounds or
        Parquet tables, whose labels are never read.
    out
        New folder for the base. Tokenizer, packed text, metrics.jsonl and checkpoints lie beside it in OUT.work.
    from_
        A base that the recipe made, by name or folder: go on training it, on this text, instead of random weights.
    micro_tokens
        Tokens of one pass instead of the recipe's, whose gradients are added up to a step: fewer need less memory.
    save_every
        Time between checkpoints, such as 90s or 5m.
    fork
        Go on from the last checkpoint although recipe, corpus, tokenizer or --from changed since.
    verify_resume
        Train a few steps in one piece and in two, compare them bit for bit, and end.
    dry_run
        Say what would be trained, why, and what it would cost here, and end.
    json
        Print the result as one JSON object.
    """
    from headstart.pretraining import pretrain_base

    return pretrain_base(
        recipe,
        size=size,
        data=data,
        out=out,
        start=from_,
        micro_tokens=micro_tokens,
        save_every=save_every,
        fork=fork,
        verify=verify_resume,
        dry_run=dry_run,
        json=json,
    )


@app.command
def plan(
    *,
    flops: float | None = None,
    hours: float | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    json: Flag = False,
) -> int:
    """Divide a budget of compute or time between size and text; foretell loss, memory and minutes on this machine.

    Parameters
    ----------
    flops
        FLOPs of the whole training, such as 1e17.
    hours
        Hours on this machine, instead of --flops.
    from_
        Folder with bases of earlier runs; a loss law is fitted to them. Without it no loss is predicted.
    json
        Print one JSON object.
    """
    from headstart.planning import plan_run

    return plan_run(flops=flops, hours=hours, runs=from_, json=json)


@data_app.command(name="build")
def data_build(
    recipe: str,
    *,
    data: Path,
    out: Path,
    against: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative=())] = (),
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    json: Flag = False,
) -> int:
    """Turn raw text into a corpus to pre-train on: filtered, without repeats and task text, tokenised.

    Parameters
    ----------
    recipe
        A recipe that ships with Headstart (text-tiny, text-small, ...), or a TOML file.
    data
        Folder with the recipe's shards (.jsonl, .jsonl.gz or .jsonl.zst, one {"text": ...} a line).
    out
        New folder for the corpus, for `headstart pretrain --data`. What is up to date there is kept.
    against
        Tables of test items; documents that hold one are dropped.
    from_
        A base by name or folder whose units to write, so that its training can go on with this text.
    json
        Print the report as one JSON object.
    """
    from headstart.building import build_data

    return build_data(recipe, data=data, out=out, against=against, start=from_, json=json)


@data_app.command(name="check")
def data_check(
    file: Path,
    *,
    flags: ColumnFlags = NO_COLUMN_FLAGS,
    against: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = (),
    json: Flag = False,
) -> int:
    """Look at a shard of raw text or a labelled table: what it holds, what is broken, what would be dropped.

    Parameters
    ----------
    file
        JSON lines with a text each, or a table (CSV, TSV, JSONL, JSON, Parquet); .gz and .zst too. With --label-from
        folder, a folder.
    against
        Bases, by name or folder: which rows of the table they read in pre-training. Or other tables: how many texts
        stand in both.
    json
        Print one JSON object.
    """
    from headstart.building import check_data

    return check_data(file, flags, against=against, json=json)


@data_app.command(name="sketch")
def data_sketch(base: Path, *, data: Path, json: Flag = False) -> int:
    """Give a base from an earlier `headstart pretrain` the sketch of what it read, from the shards it was trained on.

    Parameters
    ----------
    base
        Folder of the base; corpus.sketch is written into it, and its lineage names the digest.
    data
        The folder of shards, or the built corpus, that was given to `headstart pretrain`.
    json
        Print one JSON object.
    """
    from headstart.sketching import sketch_base

    return sketch_base(base, data=data, json=json)


@bases_app.default
def bases(*, json: Flag = False) -> int:
    """List the bases on this machine: the embedded ones, and what lies below runs/.

    Parameters
    ----------
    json
        Print one JSON object.
    """
    from headstart.local_bases import list_bases

    return list_bases(json=json)


@bases_app.command(name="show")
def bases_show(base: str, *, json: Flag = False) -> int:
    """Say what a base is and what made it: size, licence, modality, and every step of its life.

    Parameters
    ----------
    base
        A name that `headstart bases` lists, or a folder.
    json
        Print one JSON object.
    """
    from headstart.local_bases import show_base

    return show_base(base, json=json)


@bases_app.command(name="verify")
def bases_verify(base: str, *, json: Flag = False) -> int:
    """Load a base with every check, compute with it, and print its digest and its speed on this machine.

    Parameters
    ----------
    base
        A name that `headstart bases` lists, a folder, a .gguf file or a model of the Hugging Face cache.
    json
        Print one JSON object.
    """
    from headstart.local_bases import verify_base

    return verify_base(base, json=json)


@bases_app.command(name="import")
def bases_import(source: str, *, name: str | None = None, allow_pickle: Flag = False, json: Flag = False) -> int:
    """Copy a model below runs/, checked and in one layout, so that it is listed and `choose --bases all` tries it.

    Parameters
    ----------
    source
        A Hugging Face folder, a .gguf file, or the name of a model in the Hugging Face cache. Nothing is downloaded.
    name
        What to call it. Without it, what it is called where it lies.
    allow_pickle
        Also read .bin and .pt weights, with torch's restricted loader.
    json
        Print one JSON object.
    """
    from headstart.local_bases import import_base

    return import_base(source, name=name, allow_pickle=allow_pickle, json=json)


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


def say(words: str) -> None:
    """Words for people, on stderr."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()
