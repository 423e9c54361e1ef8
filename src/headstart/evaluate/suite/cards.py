"""An evaluation's scores for the cards of its bases: a `model-index` block and `.eval_results/*.yaml`.

Enter: an `Evaluation` and the folder of one of its bases. Leave: README.md with the block in its front matter (all else
as it was), and a file a set below .eval_results, both as the hub's library reads them (huggingface_hub:
repocard_data.py, _eval_results.py). A score takes the place of an older one of the same dataset and revision; all other
scores stay, whoever wrote them. Never a word of verification: that is for the hub to give.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from headstart.base.front_matter import as_yaml, block_of, with_block
from headstart.evaluate.suite.leaderboard import metric_title
from headstart.evaluate.suite.scoreboard import BaseFacts, Evaluation, Standing, TaskCard
from headstart.ground.errors import ConfigError, safe_repr
from headstart.ground.files import disk_errors, write_atomic

RESULTS = ".eval_results"
INDEX = "model-index"
Entry = dict[str, Any]  # of either list: a score, or a model with its scores
PIPELINES = {  # the hub's names of what a kind of set asks
    "text_classification": "text-classification",
    "multilabel_classification": "text-classification",
    "pair_classification": "text-classification",
    "pair_regression": "sentence-similarity",
    "token_tagging": "token-classification",
    "multiple_choice": "multiple-choice",
    "schema": "multiple-choice",
    "truthfulness": "multiple-choice",
    "image_classification": "image-classification",
    "audio_classification": "audio-classification",
}
OTHER = "text-generation"  # minimal pairs, hidden ends, written answers, measures of bias


class _Model(msgspec.Struct):
    """What a merge needs to know of a model in a `model-index`."""

    name: str
    results: list[Entry]


def require_card(folder: Path, tasks: Iterable[str]) -> None:
    """For before any work: that scores on these sets can be put into a folder beside what is there.

    Raises:
        ConfigError: it cannot be written, or what is there cannot be read and so not be kept.
    """
    for place in (folder, folder / RESULTS):
        if place.exists() and not (place.is_dir() and os.access(place, os.W_OK)):
            raise ConfigError(
                f"--card writes into {place}, which is no folder that can be written into; expected one. "
                "Mend that, or leave --card out."
            )
    read_index(folder)
    for name in tasks:
        read_results(folder, name)


def write_card(found: Evaluation, base: BaseFacts, folder: Path) -> None:
    """Put the scores of one base into its folder.

    Raises:
        ConfigError: what is there cannot be kept. RunError: the disk refuses.
    """
    told, models = read_index(folder)
    new = model_index(found, base)
    scores = [(card.name, [eval_result(found, card, row) for row in rows]) for card, rows in scores_of(found, base)]
    files = {name: merged(read_results(folder, name), entries) for name, entries in scores}
    text = told or f"# {base.name}\n"
    write_atomic(folder / "README.md", with_block(text, INDEX, merged_models(models, new)).encode())
    with disk_errors(folder / RESULTS):
        (folder / RESULTS).mkdir(exist_ok=True)
    for name, entries in files.items():
        write_atomic(folder / RESULTS / f"{name}.yaml", as_yaml(entries).encode())


def read_index(folder: Path) -> tuple[str, list[Entry]]:
    """(README.md, "" where there is none; the models of its `model-index`).

    Raises:
        ConfigError: one of them cannot be read.
    """
    readme = folder / "README.md"
    text = read_text(readme)
    block = block_of(text, INDEX)
    models = [] if not block else as_entries(block, readme, f"a {INDEX} of models with results", INDEX)
    for model in models:
        try:
            msgspec.convert(model, _Model)
        except msgspec.ValidationError as problem:
            raise unkept(readme, f"a {INDEX} of models with results", str(problem)) from problem
    return text, models


def read_results(folder: Path, task: str) -> list[Entry]:
    """The entries of one file below .eval_results; none where there is no such file.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / RESULTS / f"{task}.yaml"
    text = read_text(path)
    return as_entries(text, path, "a list of results", None) if text.strip() else []


def read_text(path: Path) -> str:
    """A file's text with its line ends as they are, "" where there is none."""
    if not path.exists():
        return ""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise unkept(path, "a text in UTF-8", str(problem)) from problem


def as_entries(text: str, path: Path, expected: str, key: str | None) -> list[Entry]:
    """A YAML list of objects, in which dates are texts; with `key` it stands under that."""
    try:
        told = msgspec.to_builtins(yaml.safe_load(text), str_keys=True)
        return msgspec.convert(told if key is None else (told[key] or []), list[Entry])
    except (yaml.YAMLError, msgspec.ValidationError, TypeError, RecursionError) as problem:
        raise unkept(path, expected, str(problem)) from problem


def unkept(path: Path, expected: str, problem: str) -> ConfigError:
    return ConfigError(
        f"--card would lose what is in {path} ({safe_repr(problem, 160)}); expected {expected}. "
        "Mend the file, or leave --card out."
    )


def merged_models(old: Sequence[Entry], new: Sequence[Entry]) -> list[Entry]:
    """The models of `new` first, where the hub looks, each with what `old` has under its name; then the others."""
    ours = []
    for one in new:
        kept = [result for model in old if model["name"] == one["name"] for result in model["results"]]
        ours.append({**one, "results": merged(kept, one["results"])})
    return [*ours, *(model for model in old if model["name"] not in {one["name"] for one in new})]


def merged(old: Sequence[Entry], new: Sequence[Entry]) -> list[Entry]:
    """What `old` has of other datasets and revisions as it is, then `new`."""
    taken = [dataset_key(entry) for entry in new]
    return [*(entry for entry in old if dataset_key(entry) not in taken), *new]


def dataset_key(entry: Entry) -> object:
    """What a score was measured on, as either list tells it."""
    dataset = entry.get("dataset")
    names = ("type", "split", "id", "task_id", "revision")
    return [dataset.get(name) for name in names] if isinstance(dataset, dict) else dataset


def scores_of(found: Evaluation, base: BaseFacts) -> list[tuple[TaskCard, list[Standing]]]:
    """The base's own rows by set: one, or one a method."""
    names = {base.entry} | {
        row.entry for t in found.tasks for row in t.candidates if row.entry.startswith(f"{base.entry}, ")
    }
    every = [(t.task, [r for r in t.candidates if r.role == "base" and r.entry in names]) for t in found.tasks]
    return [(card, rows) for card, rows in every if rows]


def model_index(found: Evaluation, base: BaseFacts) -> list[dict[str, Any]]:
    """The block: one model, a result a set, and in it the score, its interval, and the score on unread items."""
    results = [
        {
            "task": {"type": PIPELINES.get(card.kind, OTHER), "name": card.kind.replace("_", " ")},
            "dataset": {"name": card.name, "type": card.name, "split": card.split, "revision": card.digest},
            "metrics": [metric for row in rows for metric in metrics_of(card, row)],
        }
        for card, rows in scores_of(found, base)
    ]
    return [{"name": base.name, "results": results}]


def metrics_of(card: TaskCard, row: Standing) -> list[dict[str, Any]]:
    title = metric_title(card.metric)
    settings = {"method": row.method, "rows": row.n_test, "seeds": row.seeds, "guessing": rounded(card.guess)}
    whole = {
        "type": card.metric,
        "value": rounded(row.value),
        "name": f"{title} ({row.method})",
        "args": {"ci95": [rounded(bound) for bound in row.ci95], **settings},
    }
    told = row.contamination
    if told is None or told.clean is None:
        return [whole]
    unread = {
        "type": card.metric,
        "value": rounded(told.clean.value),
        "name": f"{title} ({row.method}), without items found in the pre-training text",
        "args": {
            "ci95": [rounded(bound) for bound in told.clean.ci95],
            "rows": told.clean.n,
            "found": told.found,
            "found_by_chance": rounded(told.expected_false),
            "too_short_to_tell": told.unchecked - told.not_sampled,
            "not_sampled": told.not_sampled,
        },
    }
    return [whole, unread]


def eval_result(found: Evaluation, card: TaskCard, row: Standing) -> dict[str, Any]:
    """An entry of .eval_results: the hub asks for the value, and for one line of notes on how it was measured."""
    return {
        "dataset": {"id": card.name, "task_id": f"{card.kind}/{card.split}", "revision": card.digest},
        "value": rounded(row.value),
        "date": iso_date(found.finished),
        "notes": notes_of(found, card, row),
    }


def notes_of(found: Evaluation, card: TaskCard, row: Standing) -> str:
    """Metric, method, interval, and what is known of items that were read before."""
    told = row.contamination
    read = (
        "whether its items were read in pre-training is unknown"
        if told is None or told.status != "checked"
        else f"{told.found} of {told.rows} items found in the pre-training text (chance: {told.expected_false:.1f})"
        + ("" if told.clean is None else f", without them {told.clean.value:.4f}")
    )
    limit = "" if found.limit is None else f"; at most {found.limit} rows: a quick look, no result"
    return (
        f"{metric_title(card.metric)} by {row.method}, 95 % interval {row.ci95[0]:.4f} to {row.ci95[1]:.4f} on "
        f"{row.n_test} rows, guessing {card.guess:.4f}; {read}; {found.code}{limit}"
    )


def iso_date(finished: str) -> str:
    """The time of an evaluation as the hub writes it."""
    moment = datetime.datetime.strptime(finished, "%Y-%m-%d %H:%M UTC").replace(tzinfo=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def rounded(value: float) -> float:
    return round(value, 6)
