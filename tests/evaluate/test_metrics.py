"""Metrics against scikit-learn and scipy, spans against a hand-made reading of conlleval's rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as oracle

from headstart.evaluate.intervals import Evidence
from headstart.evaluate.metrics import METRICS, default_metric, is_iob, metric_for, score_task, spans
from headstart.ground.errors import ConfigError

LABELS = ("a", "b", "c", "d")


def choices(seed: int, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.choice(4, size=rows, p=[0.6, 0.25, 0.1, 0.05])
    return truth, np.where(random.random(rows) < 0.7, truth, random.integers(0, 4, rows))


@pytest.mark.parametrize("seed", range(8))
def test_choice_metrics_equal_scikit_learn(seed: int) -> None:
    truth, answers = choices(seed, rows=12 if seed < 4 else 200)
    expected = {
        "accuracy": oracle.accuracy_score(truth, answers),
        "macro_f1": oracle.f1_score(truth, answers, average="macro", zero_division=0),
        "mcc": oracle.matthews_corrcoef(truth, answers),
    }
    for name, value in expected.items():
        assert score_task("choice", name, truth, answers, labels=LABELS) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", range(4))
def test_labels_metrics_equal_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, answers = (random.random((2, 80, 4)) < 0.3).astype(int)
    rows = [[tuple(np.flatnonzero(r)) for r in part] for part in (truth, answers)]
    expected = {
        "micro_f1": oracle.f1_score(truth, answers, average="micro", zero_division=0),
        "labels_macro_f1": oracle.f1_score(truth, answers, average="macro", zero_division=0),
        "exact_match": oracle.accuracy_score(truth, answers),
    }
    for name, value in expected.items():
        assert score_task("labels", name, *rows, labels=LABELS) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_correlations_equal_scipy_with_ties_and_large_offsets(offset: float) -> None:
    random = np.random.default_rng(3)
    x = np.round(random.normal(size=150), 1) + offset
    y = np.round(0.5 * x + random.normal(size=150), 1)
    assert score_task("score", "pearson", x, y) == pytest.approx(pearsonr(x, y)[0], abs=1e-6)
    assert score_task("score", "spearman", x, y) == pytest.approx(spearmanr(x, y)[0], abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_constant_answer_correlates_with_nothing(name: str) -> None:
    assert score_task("score", name, [1.0, 2.0, 3.0], [0.1, 0.1, 0.1]) == 0.0


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "pearson", "spearman"])
def test_a_resample_is_scored_like_the_rows_it_repeats(name: str) -> None:
    """The whole interval machinery rests on this: counts stand for repeated rows, ranks included."""
    random = np.random.default_rng(5)
    if name in ("pearson", "spearman"):
        kind, truth = "score", np.round(random.normal(size=40), 1)
        answers = np.round(truth + random.normal(size=40), 1)
    else:
        kind, (truth, answers) = "choice", choices(5, rows=40)
    statistics = METRICS[name].statistics(truth, answers, LABELS)
    picks = random.integers(0, 40, size=(7, 40))
    counts = np.stack([np.bincount(p, minlength=40) for p in picks]).astype(float)
    values = Evidence(name, statistics[None]).values(counts)
    for value, pick in zip(values, picks, strict=True):
        assert value == pytest.approx(score_task(kind, name, truth[pick], answers[pick], labels=LABELS), abs=1e-9)


# Worked by hand from conlleval's startOfChunk and endOfChunk.
SPANS: list[tuple[str, set[tuple[int, int, str]]]] = [
    ("B-NP I-NP O B-VP", {(0, 2, "NP"), (3, 4, "VP")}),
    ("B-NP B-NP I-NP", {(0, 1, "NP"), (1, 3, "NP")}),
    ("O I-NP I-NP O", {(1, 3, "NP")}),  # an I after O opens a span
    ("B-NP I-VP I-VP", {(0, 1, "NP"), (1, 3, "VP")}),  # a change of type closes and opens
    ("I-NP B-NP", {(0, 1, "NP"), (1, 2, "NP")}),
    ("S-PER B-LOC E-LOC E-LOC", {(0, 1, "PER"), (1, 3, "LOC"), (3, 4, "LOC")}),
    ("O O", set()),
    ("", set()),
]


@pytest.mark.parametrize(("tags", "expected"), SPANS)
def test_spans_follow_conlleval(tags: str, expected: set[tuple[int, int, str]]) -> None:
    assert spans(tags.split()) == expected


def test_span_f1_and_token_accuracy_by_hand() -> None:
    labels = ("O", "B-NP", "I-NP", "B-VP")
    truth: list[Any] = [(1, 2, 0, 3), (1, 0)]
    answers: list[Any] = [(1, 2, 0, 0), (1, 2)]
    # 3 true spans, 2 given, 1 of them right: P = 1/2, R = 1/3
    assert score_task("tags", "span_f1", truth, answers, labels=labels) == pytest.approx(
        2 * (1 / 2) * (1 / 3) / (5 / 6)
    )
    assert score_task("tags", "token_accuracy", truth, answers, labels=labels) == pytest.approx(4 / 6)


def test_words_without_an_answer_count_as_wrong() -> None:
    assert score_task("tags", "token_accuracy", [(0, 1, 1)], [(0, 1)], labels=("N", "V")) == pytest.approx(2 / 3)


def test_the_default_metric_of_tags_depends_on_their_names() -> None:
    assert is_iob(("O", "B-X", "I-X"))
    assert not is_iob(("NOUN", "VERB"))
    assert default_metric("tags", ("O", "B-X", "I-X")) == "span_f1"
    assert default_metric("tags", ("NOUN", "VERB")) == "token_accuracy"


def test_an_unfit_metric_is_refused_with_the_fitting_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"metric is 'acuracy'; expected one of accuracy, macro_f1, mcc .* Did you mean 'accuracy'"
    ):
        metric_for("choice", "acuracy", LABELS)
    with pytest.raises(ConfigError, match="pearson"):
        metric_for("choice", "pearson", LABELS)
