"""An evaluation's scores for the cards of its bases: a `model-index` block and `.eval_results/*.yaml`.

Enter: an `Evaluation` and the folder of one of its bases. Leave: README.md with the block in its front matter (in the
place of an older one, all else as it was), and a file a set below .eval_results, both as the hub's library reads them
(huggingface_hub: repocard_data.py, _eval_results.py). Never a word of verification: that is for the hub to give.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from headstart.base.front_matter import as_yaml, with_block
from headstart.evaluate.suite.leaderboard import metric_title
from headstart.evaluate.suite.scoreboard import BaseFacts, Evaluation, Standing, TaskCard
from headstart.ground.files import write_atomic

RESULTS = ".eval_results"
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


def write_card(found: Evaluation, base: BaseFacts, folder: Path) -> None:
    """Put the scores of one base into its folder; RunError where the disk refuses."""
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {base.name}\n"
    write_atomic(readme, with_block(text, "model-index", model_index(found, base)).encode())
    (folder / RESULTS).mkdir(exist_ok=True)
    for card, rows in scores_of(found, base):
        entries = [eval_result(found, card, row) for row in rows]
        write_atomic(folder / RESULTS / f"{card.name}.yaml", as_yaml(entries).encode())


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
