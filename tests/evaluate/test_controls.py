"""Controls: majority by hand, TF-IDF learns what words tell, on every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.data.examples import EMPTY
from headstart.data.task import Columns, Examples, Kind, Task
from headstart.evaluate.controls import fit_control, shape_of
from headstart.evaluate.metrics import score_task

COLOURS = ("red", "green", "blue")
FILL = ("the", "a", "car", "house", "is", "was", "very", "old", "new", "big")


def examples(kind: Kind, rows: int, random: np.random.Generator) -> Examples:
    texts: list[Any] = []
    targets: list[Any] = []
    for _ in range(rows):
        words = random.choice(FILL, size=6).tolist()
        named = random.choice(3, size=2, replace=False)
        if kind == "choice":
            words[3], target = COLOURS[named[0]], int(named[0])
        elif kind == "score":
            words[3], target = COLOURS[named[0]], float(named[0]) + 0.1 * random.normal()
        elif kind == "labels":
            words[1], words[3] = (COLOURS[k] for k in named)
            target = tuple(sorted(named.tolist()))
        else:
            words[3] = COLOURS[named[0]]
            target = tuple(1 if w in COLOURS else 0 for w in words)
        texts.append(tuple(words) if kind == "tags" else " ".join(words))
        targets.append(target)
    return Examples(tuple(texts), None, tuple(targets), tuple(range(rows)))


def make(kind: Kind, *, pairs: bool = False) -> Task:
    random = np.random.default_rng(0)
    parts = [examples(kind, rows, random) for rows in (240, 40, 80)]
    if pairs:  # the same colour in both members, or not: nothing a single bag of words can tell
        parts = [paired(len(p), random) for p in parts]
    labels = {"choice": COLOURS, "labels": COLOURS, "score": (), "tags": ("O", "COLOUR")}[kind]
    return Task("made", kind, ("no", "yes") if pairs else labels, *parts, columns=Columns("text"), digest="0" * 64)


def paired(rows: int, random: np.random.Generator) -> Examples:
    one, two = random.integers(0, 3, size=(2, rows))
    two = np.where(random.random(rows) < 0.5, one, two)
    return Examples(
        tuple(f"the car is {COLOURS[i]}" for i in one),
        tuple(f"a {COLOURS[i]} car" for i in two),
        tuple(int(i == j) for i, j in zip(one, two, strict=True)),
        tuple(range(rows)),
    )


def score(task: Task, method: Any, metric: str | None = None) -> float:
    answers = fit_control(task, method=method).answer(task.test)
    return score_task(task.kind, metric, task.test.targets, answers.predictions, labels=task.labels)


@pytest.mark.parametrize("kind", ["choice", "labels", "score", "tags"])
def test_tfidf_learns_what_words_tell(kind: Kind) -> None:
    assert score(make(kind), "tfidf") > 0.95


def test_tfidf_sees_what_the_members_of_a_pair_share() -> None:
    assert score(make("choice", pairs=True), "tfidf") > 0.95


@pytest.mark.parametrize("kind", ["choice", "labels"])
@pytest.mark.parametrize("method", ["tfidf", "majority"])
def test_probabilities_agree_with_answers(kind: Kind, method: Any) -> None:
    task = make(kind)
    answers = fit_control(task, method=method).answer(task.test)
    assert answers.probabilities is not None
    assert answers.probabilities.shape == (len(task.test), 3)
    if kind == "choice":
        assert answers.probabilities.sum(axis=1) == pytest.approx(np.ones(len(task.test)))
        assert tuple(answers.probabilities.argmax(axis=1)) == answers.predictions


def test_majority_by_hand() -> None:
    rows = Examples(("x",) * 5, None, (2, 2, 1, 2, 0), tuple(range(5)))
    task = Task("m", "choice", COLOURS, rows, EMPTY, rows, Columns("text"), "0" * 64)
    answers = fit_control(task, method="majority").answer(rows)
    assert answers.predictions == (2,) * 5
    assert answers.probabilities is not None
    assert answers.probabilities[0] == pytest.approx([0.2, 0.2, 0.6])


def test_majority_tags_are_each_words_most_frequent_tag() -> None:
    train = Examples((("run", "run", "run", "dog"),), None, ((1, 1, 0, 0),), (1,))
    test = Examples((("run", "unseen"),), None, ((1, 0),), (1,))
    task = Task("m", "tags", ("N", "V"), train, EMPTY, test, Columns("tokens"), "0" * 64)
    answers = fit_control(task, method="majority").answer(test)
    assert answers.predictions[0][0] == 1  # two of three
    assert answers.predictions[0][1] in (0, 1)


def test_majority_of_scores_is_their_mean_and_correlates_with_nothing() -> None:
    task = make("score")
    answers = fit_control(task, method="majority").answer(task.test)
    assert set(answers.predictions) == {float(np.mean(task.train.targets))}
    assert score(task, "majority") == 0.0


@pytest.mark.parametrize("texts", [("", "", "", ""), ("!", "?", "!", "?")])
def test_texts_without_words_are_no_crash(texts: tuple[str, ...]) -> None:
    rows = Examples(texts, None, (0, 1, 0, 1), (1, 2, 3, 4))
    task = Task("empty", "choice", ("a", "b"), rows, EMPTY, rows, Columns("text"), "0" * 64)
    assert len(fit_control(task, method="tfidf").answer(rows).predictions) == 4


def test_a_label_absent_from_train_gets_no_probability() -> None:
    train = Examples(("red car", "blue car") * 10, None, (0, 2) * 10, tuple(range(20)))
    task = Task("gap", "choice", COLOURS, train, EMPTY, train, Columns("text"), "0" * 64)
    answers = fit_control(task, method="tfidf").answer(train)
    assert answers.probabilities is not None
    assert answers.probabilities[:, 1].max() == 0.0
    assert answers.predictions == train.targets


def test_controls_are_the_same_every_time() -> None:
    task = make("tags")
    assert fit_control(task, method="tfidf").answer(task.test) == fit_control(task, method="tfidf").answer(task.test)


@pytest.mark.parametrize(("word", "shape"), [("McDonald's", "XxXxxx'x"), ("1999", "ddd"), ("U.S.", "X.X."), ("", "")])
def test_shapes(word: str, shape: str) -> None:
    assert shape_of(word) == shape
