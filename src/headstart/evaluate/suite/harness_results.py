"""An evaluation as lm-evaluation-harness writes it: results_DATE.json and samples_TASK_DATE.jsonl, a folder a base.

`results -> task -> "acc,none"` with "acc_stderr,none", and a line an item with its requests and answers, so that what
reads the harness' files reads ours. Only the base's own rows are there; controls, intervals and tests are in our JSON.
acc_norm divides by characters and acc_bytes by bytes, as theirs do. Prompts and answers are kept, the raw row is not.
Of an item stands what its metric is computed from, as theirs: a score, or the pair of gold and prediction where only a
whole set has a score (mcc, F1, BLEU), or log-likelihood and bytes. Of a labelled row the one request is its text and
the answer its label, because no likelihoods were asked. Written against lm-evaluation-harness 0.4.13.
"""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headstart.evaluate.metrics import METRICS
from headstart.evaluate.suite.cells import Sample, Work, plain, read_samples
from headstart.evaluate.suite.scoreboard import Evaluation, Standing, TaskCard, TaskTable
from headstart.evaluate.suite.scoring import RULES
from headstart.ground.files import write_atomic

NAMES = {
    "accuracy": "acc",
    "accuracy_characters": "acc_norm",
    "accuracy_norm": "acc_bytes",
    "answer_match": "exact_match",
}
SHARES = {"acc", "acc_norm", "acc_bytes", "exact_match", "preference"}
SMALLER = {"perplexity", "loss", "bits_per_byte", "preference", "ss"}  # of a stereotype, as crows_pairs has it
RIGHT = {"accuracy", "accuracy_norm", "accuracy_characters", "answer_match", "preference"}  # of an item: 0 or 1
MEANS = {"exact_match", "rouge1", "rouge2", "rouge_l"}  # of a set: the mean of what `METRICS` says of one item
FILTER = "none"


def write_results(
    found: Evaluation, works: Mapping[tuple[str, str], Sequence[Work]], *, cells: Path, out: Path
) -> list[Path]:
    """Write every entry of a base below `out`; the folders. works: of the first seed, by task and entry."""
    folders, date = [], file_date(found.finished)
    for entry in dict.fromkeys(row.entry for table in found.tasks for row in table.candidates if row.role == "base"):
        folder = out / plain(entry)
        folder.mkdir(parents=True, exist_ok=True)
        mine = [(table, row) for table in found.tasks for row in table.candidates if row.entry == entry]
        first = {table.task.name: works[table.task.name, entry][0] for table, _ in mine}
        shots = {name: work.side.shots or work.found.shots for name, work in first.items()}
        told = results_of(found, entry, mine, shots)
        write_atomic(folder / f"results_{date}.json", msgspec.json.format(msgspec.json.encode(told)))
        for table, row in mine:
            samples = chain.from_iterable(read_samples(work, cells) for work in works[table.task.name, entry])
            content = b"".join(
                msgspec.json.encode({"doc_id": place, **line_of(sample, table.task, row)}) + b"\n"
                for place, sample in enumerate(samples)
            )
            write_atomic(folder / f"samples_{table.task.name}_{date}.jsonl", content)
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


def line_of(sample: Sample, card: TaskCard, row: Standing) -> dict[str, Any]:
    """One item."""
    requests = requests_of(sample, card)
    weighed = [] if card.protocol == "adapt" else sample.scores[: len(requests)]  # a labelled row has probabilities
    answers: list[Any] = [[nats, None] for nats in weighed] or [sample.text or sample.prediction]
    target = str(sample.target)
    measured = measured_of(sample, row)
    return {
        "doc": {"id": sample.id},
        "target": target,
        "arguments": {f"gen_args_{place}": one for place, one in enumerate(requests)},
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": FILTER,
        "metrics": list(measured),
        "doc_hash": digest(str(sample.id)),
        "prompt_hash": digest(requests[0]["arg_0"]),
        "target_hash": digest(target),
        **measured,
        "prediction": sample.prediction,
    }


def measured_of(sample: Sample, row: Standing) -> dict[str, Any]:
    """What an item brings to the metrics of its set, under the harness' names."""
    told = {NAMES.get(row.metric, row.metric): measured_by(row.metric, sample)}
    told |= {NAMES[rule]: float(sample.target == place) for rule, place in zip(RULES, sample.rules, strict=False)}
    if "perplexity" in row.metrics and "nats" in sample.numbers:
        told["perplexity"] = sample.numbers["nats"]
    return told


def measured_by(name: str, sample: Sample) -> Any:
    """A score, or what the harness keeps where an item has none: (gold, prediction), or (log-likelihood, bytes)."""
    if name in RIGHT:
        return float(sample.target == sample.prediction)
    if name in MEANS:
        metric = METRICS[name]
        return float(metric.resample(metric.statistics([sample.target], [sample.prediction], []), np.ones((1, 1)))[0])
    if name == "bits_per_byte":
        nats, size = sample.prediction
        return [-nats, size]
    return [sample.target, sample.prediction]


def requests_of(sample: Sample, card: TaskCard) -> list[dict[str, str]]:
    """What was asked: a text to answer, or (context, continuation) pairs that were weighed."""
    prompt = sample.prompt
    if isinstance(prompt, str):
        return [{"arg_0": prompt}]
    if card.protocol == "adapt":  # a pair of texts, or words with a tag each
        return [{"arg_0": ("\n" if card.kind.startswith("pair") else " ").join(prompt)}]
    return [{"arg_0": str(context), "arg_1": str(continuation)} for context, continuation in prompt]


def file_date(finished: str) -> str:
    """The time of an evaluation as the harness puts it into names of files."""
    return datetime.datetime.strptime(finished, "%Y-%m-%d %H:%M UTC").isoformat().replace(":", "-")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
