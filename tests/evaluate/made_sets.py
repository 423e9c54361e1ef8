"""A folder of small sets of every kind that is evaluated, in the layout of the public ones, with made-up names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

GOOD = ("lovely", "quick", "warm", "bright")
BAD = ("broken", "late", "cold", "dull")
THINGS = ("lamp", "kettle", "rug", "chair", "mixer", "shelf", "sofa", "clock", "pan", "mirror")
Row = dict[str, Any]


def write_sets(folder: Path) -> Path:
    """Every set and the index; returns the folder."""
    random = np.random.default_rng(0)
    cards = [
        set_of(folder, "moods", "text_classification", {"train": moods(random, 60), "test": moods(random, 30)}),
        set_of(
            folder,
            "twins",
            "pair_classification",
            {"train": twins(random, 60), "validation": twins(random, 24)},
            metric="Matthews correlation",
        ),
        set_of(folder, "words", "token_tagging", {"train": words(random, 50), "test": words(random, 20)}),
        set_of(folder, "grades", "pair_regression", {"train": grades(random, 60), "test": grades(random, 30)}),
        set_of(
            folder, "topics", "multilabel_classification", {"train": topics(random, 80), "test": topics(random, 30)}
        ),
        set_of(folder, "facts", "multiple_choice", {"test": facts(random, 20)}),
        set_of(folder, "who", "schema", {"test": schemas(12)}),
        set_of(folder, "grammar", "minimal_pairs", {"test": grammar(6)}),
        set_of(folder, "prejudice", "bias_pairs", {"test": prejudice(12)}),
        set_of(folder, "pictures", "image_classification", {"test": [{"image": "?", "label": 0}]}),
        set_of(folder, "smells", "smell_classification", {"test": [{"smell": "?", "label": 0}]}),
    ]
    (folder / "INDEX.json").write_text(json.dumps(cards), encoding="utf-8")
    return folder


def set_of(folder: Path, name: str, kind: str, splits: dict[str, list[Row]], *, metric: str = "") -> Row:
    (folder / name).mkdir(parents=True)
    for split, rows in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return {
        "name": name,
        "kind": kind,
        "metric": metric,
        "columns": list(next(iter(splits.values()))[0]),
        "licence": "CC0-1.0",
        "source": "made up",
        "splits": {split: {"rows": len(rows)} for split, rows in splits.items()},
    }


def sentence(random: np.random.Generator, mood: tuple[str, ...]) -> str:
    thing, other = random.choice(THINGS, 2, replace=False)
    return f"the {thing} near the {other} {int(random.integers(1000))} is {random.choice(mood)}"


def moods(random: np.random.Generator, count: int) -> list[Row]:
    return [{"text": sentence(random, (BAD, GOOD)[i % 2]), "label": ("bad", "good")[i % 2]} for i in range(count)]


def twins(random: np.random.Generator, count: int) -> list[Row]:
    rows = []
    for i in range(count):
        first = sentence(random, GOOD)
        second = f"indeed, {first}" if i % 2 else sentence(random, BAD)
        rows.append({"text_a": first, "text_b": second, "label": ("other", "same")[i % 2]})
    return rows


def words(random: np.random.Generator, count: int) -> list[Row]:
    rows = []
    for i in range(count):
        tokens = sentence(random, (BAD, GOOD)[i % 2]).split()
        rows.append({"tokens": tokens, "tags": ["B-THING" if t in THINGS else "O" for t in tokens]})
    return rows


def grades(random: np.random.Generator, count: int) -> list[Row]:
    pairs = twins(random, count)
    return [
        {"text_a": p["text_a"], "text_b": p["text_b"], "score": round(4.0 * (i % 2) + float(random.random()), 2)}
        for i, p in enumerate(pairs)
    ]


def topics(random: np.random.Generator, count: int) -> list[Row]:
    rows = []
    for i in range(count):
        text = sentence(random, (BAD, GOOD)[i % 2])
        rows.append({"text": text, "labels": [["mood-bad", "mood-good"][i % 2], *(["lamp"] if "lamp" in text else [])]})
    return rows


def facts(random: np.random.Generator, count: int) -> list[Row]:
    rows = []
    for i in range(count):
        thing = str(random.choice(THINGS))
        options = [f"a {thing} is here", "nobody is here", "it rains"][: 2 + i % 2]
        rows.append({"query": f"Question: where is the {thing} number {i}?", "choices": options, "answer": i % 2})
    return rows


def schemas(count: int) -> list[Row]:
    return [
        {
            "contexts": [f"the lamp fell on the rug {i} and the lamp", f"the lamp fell on the rug {i} and the rug"],
            "continuation": "broke.",
            "answer": i % 2,
        }
        for i in range(count)
    ]


def grammar(paradigms: int) -> list[Row]:
    return [
        {"good": f"the {thing} is warm {p}", "bad": f"the {thing} are warm {p}", "paradigm": f"p{p}"}
        for p in range(paradigms)
        for thing in THINGS[: 4 + p % 2]
    ]


def prejudice(count: int) -> list[Row]:
    return [
        {"sent_more": f"the cold {t} is bad", "sent_less": f"the warm {t} is bad"} for t in (*THINGS, "a", "b")[:count]
    ]
