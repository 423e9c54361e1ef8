"""An evaluation as lm-evaluation-harness writes it: results.json and samples_TASK.jsonl, a folder a base.

`results -> task -> "acc,none"` with "acc_stderr,none", and a line an item with its requests and answers, so that what
reads the harness' files reads ours. Only the base's own rows are there; controls, intervals and tests are in our JSON.
acc_norm divides by characters and acc_bytes by bytes, as theirs do. Prompts and answers are kept, the raw row is not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from headstart.evaluate.suite.cells import Sample, Work, plain, read_samples
from headstart.evaluate.suite.scoreboard import Evaluation, Standing, TaskTable
from headstart.ground.files import write_atomic

NAMES = {
    "accuracy": "acc",
    "accuracy_characters": "acc_norm",
    "accuracy_norm": "acc_bytes",
    "answer_match": "exact_match",
}
SHARES = {"acc", "acc_norm", "acc_bytes", "exact_match", "preference"}
SMALLER = {"perplexity", "loss", "bits_per_byte", "preference", "ss"}  # of a stereotype, as crows_pairs has it
FILTER = "none"


def write_results(
    found: Evaluation, works: Mapping[tuple[str, str], Sequence[Work]], *, cells: Path, out: Path
) -> list[Path]:
    """Write every entry of a base below `out`; the folders. works: of the first seed, by task and entry."""
    folders = []
    for entry in dict.fromkeys(row.entry for table in found.tasks for row in table.candidates if row.role == "base"):
        folder = out / plain(entry)
        folder.mkdir(parents=True, exist_ok=True)
        mine = [(table, row) for table in found.tasks for row in table.candidates if row.entry == entry]
        first = {table.task.name: works[table.task.name, entry][0] for table, _ in mine}
        shots = {name: work.side.shots or work.found.shots for name, work in first.items()}
        told = results_of(found, entry, mine, shots)
        write_atomic(folder / "results.json", msgspec.json.format(msgspec.json.encode(told)))
        for table, row in mine:
            samples = chain.from_iterable(read_samples(work, cells) for work in works[table.task.name, entry])
            content = b"".join(
                msgspec.json.encode({"doc_id": place, **line_of(sample, row)}) + b"\n"
                for place, sample in enumerate(samples)
            )
            write_atomic(folder / f"samples_{table.task.name}.jsonl", content)
        folders.append(folder)
    return folders


def results_of(
    found: Evaluation, entry: str, mine: Sequence[tuple[TaskTable, Standing]], shots: Mapping[str, int]
) -> dict[str, Any]:
    """The record of one entry. shots: by task."""
    numbers = {table.task.name: numbers_of(row) for table, row in mine}
    return {
        "results": {name: {"alias": name, **told} for name, told in numbers.items()},
        "group_subtasks": {name: [] for name in numbers},
        "configs": {
            table.task.name: {
                "task": table.task.name,
                "output_type": table.task.protocol,
                "metadata": {"version": table.task.version, "method": row.method, "source": table.task.source},
            }
            for table, row in mine
        },
        "versions": {table.task.name: table.task.version for table, _ in mine},
        "n-shot": dict(shots),
        "higher_is_better": {
            name: {key.split(",")[0]: key.split(",")[0] not in SMALLER for key in told if "_stderr" not in key}
            for name, told in numbers.items()
        },
        "n-samples": {table.task.name: {"original": row.n_test, "effective": row.n_test} for table, row in mine},
        "config": {"model": "headstart", "model_args": f"pretrained={entry}", "limit": found.limit},
        "git_hash": found.code,
        "date": found.finished,
    }


def numbers_of(row: Standing) -> dict[str, float | str]:
    """Every number of a row under the harness' names, shares with their standard error."""
    told: dict[str, float | str] = {}
    for name, value in {row.metric: row.value, **row.metrics}.items():
        metric, _, filtered = NAMES.get(name, name).partition(",")
        key = filtered or FILTER
        told[f"{metric},{key}"] = value
        sure = metric in SHARES and row.n_test > 1
        error = math.sqrt(max(0.0, value * (1 - value)) / (row.n_test - 1)) if sure else "N/A"
        told[f"{metric}_stderr,{key}"] = error
    return told


def line_of(sample: Sample, row: Standing) -> dict[str, Any]:
    """One item."""
    options = requests_of(sample)
    metric = NAMES.get(row.metric, row.metric)
    answers: list[Any] = [[nats, None] for nats in sample.scores] or [sample.text or sample.prediction]
    target = str(sample.target)
    right = sample.target == sample.prediction
    return {
        "doc": {"id": sample.id},
        "target": target,
        "arguments": {
            f"gen_args_{place}": {"arg_0": context, "arg_1": continuation}
            for place, (context, continuation) in enumerate(options)
        },
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": FILTER,
        "metrics": [metric],
        "doc_hash": digest(str(sample.id)),
        "prompt_hash": digest("".join(context for context, _ in options[:1])),
        "target_hash": digest(target),
        metric: float(right),
        "prediction": sample.prediction,
    }


def requests_of(sample: Sample) -> list[tuple[str, str]]:
    """What was asked, as (context, continuation) pairs."""
    prompt = sample.prompt
    if isinstance(prompt, str):
        return [(prompt, "")]
    if prompt and isinstance(prompt[0], str):
        return (
            [(str(prompt[0]), str(prompt[1]) if len(prompt) > 1 else "")]
            if len(prompt) <= 2
            else [(" ".join(prompt), "")]
        )
    return [(str(context), str(continuation)) for context, continuation in prompt]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
