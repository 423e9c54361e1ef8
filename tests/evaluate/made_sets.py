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
        set_of(folder, "truths", "truthfulness", {"test": truths(12)}),
        set_of(folder, "gaps", "cloze", {"test": gaps(random, 16)}),
        set_of(folder, "prose", "held_out_text", {"test": prose(random, 6)}),
        set_of(folder, "triples", "bias_triples", {"test": triples(12)}),
        set_of(folder, "pronouns", "bias_coreference", {"test": pronouns(6)}),
        set_of(folder, "sums", "generation", {"train": sums(9), "test": sums(5)}, metric="exact match of the number"),
        set_of(folder, "briefs", "generation", {"validation": briefs(6), "test": briefs(8)}, metric="BLEU, ROUGE-L"),
        set_of(folder, "orders", "instruction", {"train": orders(6), "test": orders(5)}),
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


def truths(count: int) -> list[Row]:
    return [
        {
            "question": f"Is the {thing} number {i} warm?",
            "best_answer": "It is warm.",
            "correct_answers": ["It is warm.", "Yes, it is."],
            "incorrect_answers": ["It is cold.", "Nobody knows."][: 1 + i % 2],
        }
        for i, thing in enumerate((*THINGS, *THINGS)[:count])
    ]


def gaps(random: np.random.Generator, count: int) -> list[Row]:
    return [{"context": sentence(random, GOOD).rsplit(" ", 1)[0], "continuation": GOOD[i % 3]} for i in range(count)]


def prose(random: np.random.Generator, count: int) -> list[Row]:
    return [{"text": ". ".join(sentence(random, GOOD) for _ in range(3 + 4 * i))} for i in range(count)]


def triples(count: int) -> list[Row]:
    return [
        {
            "target": thing,
            "stereotype": f"the {thing} is late",
            "anti_stereotype": f"the {thing} is quick",
            "unrelated": f"the {thing} is of",
        }
        for thing in (*THINGS, *THINGS)[:count]
    ]


def pronouns(count: int) -> list[Row]:
    """Two rows a sentence, and one that has lost its partner."""
    both = [
        {"sentence": f"the {thing} was late because {who} slept", "pro_stereotyped": pro}
        for thing in THINGS[:count]
        for who, pro in (("he", True), ("she", False))
    ]
    return [*both, {"sentence": "the shelf was late because he left", "pro_stereotyped": True}]


def sums(count: int) -> list[Row]:
    return [
        {"question": f"What is {i} and 1,000?", "answer": f"It is {i + 1000}.\n#### 1,{i:03}"} for i in range(count)
    ]


def briefs(count: int) -> list[Row]:
    return [
        {"source": f"name[{thing}], state[warm]", "targets": [f"The {thing} is warm.", f"A warm {thing}."]}
        for thing in THINGS[:count]
    ]


def orders(count: int) -> list[Row]:
    return [
        {
            "instruction": f"Name the {thing}.",
            "input": "It is warm." if i % 2 else "",
            "output": f"A warm {thing}.",
        }
        for i, thing in enumerate(THINGS[:count])
    ]
