"""scikit-learn's own estimator checks, and what people do with estimators of texts.

The checks feed arrays of numbers, and scikit-learn skips them all for an estimator that reads texts. To run them all
the same, the classes under test write each row of numbers as a text; everything else is the shipped code. What cannot
hold is listed below, each with its reason, and a listed check that passes fails the test: the list stays true.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

from headstart.base.base import Base
from headstart.ground.errors import CapabilityError, ConfigError, DataError
from headstart.sklearn import HeadstartClassifier, HeadstartRegressor


class _ReadsNumbers:
    """Mixed in before the shipped class: rows of numbers become texts, checked by scikit-learn's own validation."""

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = False
        tags.input_tags.string = False
        return tags

    def _texts(self, X: Any, *, fitting: bool) -> tuple[list[str], None]:
        matrix = validate_data(self, X, reset=fitting, dtype="numeric")
        return [" ".join(f"{value:+.1f}" for value in row) for row in matrix], None


class NumbersClassifier(_ReadsNumbers, HeadstartClassifier):
    pass


class NumbersRegressor(_ReadsNumbers, HeadstartRegressor):
    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # a random base that reads "+1.3 -0.2" as words cannot do arithmetic
        return tags


BATCHES = (
    "texts are padded to the longest of their batch, so fp32 sums run in another order: answers differ by about 1e-6 "
    "between a subset and the whole, above the check's 1e-7"
)
EXPECTED: dict[str, str] = {}
EXPECTED_REGRESSOR = {"check_methods_subset_invariance": BATCHES}


@pytest.mark.parametrize(
    ("estimator_class", "expected"), [(NumbersClassifier, EXPECTED), (NumbersRegressor, EXPECTED_REGRESSOR)]
)
@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.SkipTestWarning", "ignore::sklearn.exceptions.EstimatorCheckFailedWarning"
)
def test_scikit_learns_own_checks(
    estimator_class: type[BaseEstimator], expected: dict[str, str], tiny_base_folder: Path
) -> None:
    estimator = estimator_class(base=str(tiny_base_folder))
    results = check_estimator(estimator, expected_failed_checks=expected, on_fail="warn", on_skip=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed, "\n".join(f"{name}: {problem!r}" for name, problem in failed.items())
    listed = {r["check_name"] for r in results if r["status"] == "xfail"}
    assert listed == set(expected), f"these pass now, take them off the list: {set(expected) - listed}"
    assert sum(r["status"] == "passed" for r in results) >= 40


TEXTS = [
    f"{opening} {thing}"
    for opening in ("please cancel my", "stop the", "where is my", "any news on the")
    for thing in ("lamp", "order", "parcel", "chair", "rug", "box", "kettle", "sofa")
]
INTENTS = np.repeat(["cancel", "status"], 16)


def test_classifier_answers_in_the_words_of_y(tiny_base: Base) -> None:
    model = HeadstartClassifier(tiny_base).fit(TEXTS, INTENTS)
    chances = model.predict_proba(TEXTS)
    assert chances.shape == (32, 2)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, atol=1e-12)
    assert list(model.classes_) == ["cancel", "status"]
    assert np.array_equal(model.predict(TEXTS), model.classes_[chances.argmax(axis=1)])
    assert model.score(TEXTS, INTENTS) >= 0.9
    numbers = HeadstartClassifier(tiny_base).fit(TEXTS, np.repeat([7, -2], 16))
    assert set(numbers.predict(TEXTS)) <= {7, -2}


def test_works_in_pipeline_grid_and_cross_validation(tiny_base_folder: Path) -> None:
    lower = FunctionTransformer(lambda texts: [t.lower() for t in texts])
    pipeline = Pipeline([("lower", lower), ("model", HeadstartClassifier(str(tiny_base_folder)))])
    scores = cross_val_score(pipeline, np.array(TEXTS, dtype=object), INTENTS, cv=4)
    assert scores.shape == (4,)
    assert scores.mean() > 0.7
    grid = GridSearchCV(HeadstartClassifier(str(tiny_base_folder)), {"max_length": [2, 32]}, cv=2, error_score="raise")
    assert grid.fit(TEXTS, INTENTS).best_score_ > 0.7
    assert len(grid.cv_results_["mean_test_score"]) == 2


def test_clone_and_copies_answer_the_same(tiny_base_folder: Path) -> None:
    first = HeadstartClassifier(str(tiny_base_folder), seed=3)
    second = clone(first)
    assert second.get_params() == first.get_params()
    first.fit(TEXTS, INTENTS)
    second.fit(TEXTS, INTENTS)
    assert np.array_equal(first.predict_proba(TEXTS), second.predict_proba(TEXTS))
    copied = pickle.loads(pickle.dumps(first))
    assert np.array_equal(first.predict_proba(TEXTS), copied.predict_proba(TEXTS))


def test_pairs_and_frames(tiny_base: Base) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": TEXTS, "b": TEXTS[::-1]})
    model = HeadstartRegressor(tiny_base).fit(frame, np.arange(32.0))
    assert model.n_features_in_ == 2
    assert model.predict(frame).shape == (32,)
    assert np.allclose(model.predict(frame), model.predict(list(zip(TEXTS, TEXTS[::-1], strict=True))), atol=1e-5)
    with pytest.raises(DataError, match=r"1 features.*expecting 2"):
        model.predict(TEXTS)


def test_a_fitted_base_is_a_base(tiny_base: Base, tmp_path: Path) -> None:
    model = HeadstartClassifier(tiny_base).fit(TEXTS, INTENTS)
    again = Base.load(model.base_.save(tmp_path / "specialist"))
    assert again.predict(TEXTS) == model.predict(TEXTS).tolist()


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ("ab", ["x", "y"], "one str"),
        ([["a", "b", "c"]] * 2, ["x", "y"], "one column of texts, or two"),
        (["a", None], ["x", "y"], "row 1 of X is None"),
        (["a", "b"], ["x", "x"], "one class"),
        (["a", "b"], None, "requires y"),
    ],
)
def test_wrong_input_is_said_clearly(tiny_base: Base, X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        HeadstartClassifier(tiny_base).fit(X, y)


def test_a_wrong_method_is_named_when_fitting(tiny_base: Base) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'probe'"):
        HeadstartClassifier(tiny_base, method="prob").fit(TEXTS, INTENTS)
    with pytest.raises(CapabilityError, match="number"):
        HeadstartRegressor(tiny_base).fit(TEXTS, np.arange(32.0)).base_.predict_proba(TEXTS)
