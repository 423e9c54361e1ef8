"""The scoring of the measurements agrees with scikit-learn, SciPy and chunks counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from bench.scoring import chunks, difference, interval, score
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from sklearn.preprocessing import MultiLabelBinarizer


@pytest.fixture
def draws() -> np.random.Generator:
    return np.random.default_rng(3)


def test_choice_metrics_equal_scikit_learn(draws: np.random.Generator) -> None:
    gold = [str(value) for value in draws.integers(0, 4, 300)]
    said = [g if draws.random() < 0.6 else str(draws.integers(0, 4)) for g in gold]
    assert score("accuracy", gold, said) == pytest.approx(accuracy_score(gold, said))
    assert score("mcc", gold, said) == pytest.approx(matthews_corrcoef(gold, said))
    assert score("macro_f1", gold, said) == pytest.approx(f1_score(gold, said, average="macro"))


def test_mcc_of_one_constant_answer_is_zero() -> None:
    assert score("mcc", ["a", "b", "a"], ["a", "a", "a"]) == 0.0


def test_micro_f1_equals_scikit_learn(draws: np.random.Generator) -> None:
    names = list("abcde")
    gold = [[n for n in names if draws.random() < 0.3] for _ in range(200)]
    said = [[n for n in names if draws.random() < 0.3] for _ in range(200)]
    table = MultiLabelBinarizer(classes=names)
    expected = f1_score(table.fit_transform(gold), table.transform(said), average="micro")
    assert score("micro_f1", gold, said) == pytest.approx(expected)


def test_correlations_equal_scipy(draws: np.random.Generator) -> None:
    gold = draws.integers(0, 6, 150).astype(float).tolist()
    said = (np.asarray(gold) + draws.normal(size=150)).tolist()
    assert score("pearson", gold, said) == pytest.approx(pearsonr(gold, said)[0])
    assert score("spearman", gold, said) == pytest.approx(spearmanr(gold, said)[0])


def test_chunks_follow_conlleval() -> None:
    found = chunks(["B-NP", "I-NP", "O", "I-VP", "I-PP", "B-PP"])
    assert found == {(0, 1, "NP"), (3, 3, "VP"), (4, 4, "PP"), (5, 5, "PP")}


def test_span_f1_counts_whole_chunks() -> None:
    gold = [["B-NP", "I-NP", "O"], ["B-VP", "O", "O"]]
    said = [["B-NP", "O", "O"], ["B-VP", "O", "B-NP"]]
    assert score("span_f1", gold, said) == pytest.approx(2 * 1 / (3 + 2))


def test_interval_holds_the_value_and_a_clear_loss_is_seen(draws: np.random.Generator) -> None:
    gold = [str(value) for value in draws.integers(0, 2, 400)]
    good = [g if draws.random() < 0.9 else "x" for g in gold]
    poor = [g if draws.random() < 0.7 else "x" for g in gold]
    low, high = interval("accuracy", gold, [good])
    assert low < score("accuracy", gold, good) < high
    assert difference("accuracy", gold, [poor], [good])["not_lower"] is False
    assert difference("accuracy", gold, [good], [good])["difference"] == 0.0
