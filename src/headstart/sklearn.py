"""scikit-learn estimators over a base: fit, predict, predict_proba, clone; at home in Pipeline and cross_val_score.

X is one text a row (a list, a Series or an array of strings), or two columns of texts for pairs. A tenth of the rows
decides when to stop and fits the temperature; the evidence is what you measure around the estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length, column_or_1d

from headstart.base.base import Base
from headstart.data.examples import Columns, Examples, Kind, Target
from headstart.data.splits import take_share
from headstart.data.task import Task
from headstart.evaluate.calibration import fit_temperature
from headstart.ground.errors import DataError, safe_repr
from headstart.train.fit import fit
from headstart.train.methods import FitSettings

__all__ = ["HeadstartClassifier", "HeadstartRegressor"]

VALIDATION_SHARE = 0.1


class _Specialist(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share: parameters, the reading of X, the way into `train.fit`."""

    def __init__(
        self,
        base: str | Base | None = None,
        *,
        method: str = "probe",
        class_weights: bool = False,
        epochs: int | None = None,
        max_length: int = 256,
        seed: int = 0,
    ) -> None:
        self.base = base
        self.method = method
        self.class_weights = class_weights
        self.epochs = epochs
        self.max_length = max_length
        self.seed = seed

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def _texts(self, X: Any, *, fitting: bool) -> tuple[list[str], list[str] | None]:
        """(texts, partners or None) of X; its width is kept when fitting and compared afterwards."""
        texts, pairs = read_texts(X)
        width = 1 if pairs is None else 2
        if fitting:
            self.n_features_in_ = width
        elif width != self.n_features_in_:
            raise DataError(
                f"X has {width} features, but {type(self).__name__} is expecting {self.n_features_in_} features "
                "as input. Give the columns that it was fitted on."
            )
        return texts, pairs

    def _adapt(self, X: Any, targets: Sequence[Target], *, kind: Kind, labels: tuple[str, ...]) -> None:
        texts, pairs = self._texts(X, fitting=True)
        check_consistent_length(texts, targets)
        rows = Examples(
            texts=tuple(texts),
            pairs=None if pairs is None else tuple(pairs),
            targets=tuple(targets),
            ids=tuple(range(len(texts))),
        )
        kept, taken = take_share(rows, kind=kind, share=VALIDATION_SHARE, seed=self.seed, name="validation")
        held_out = len(taken) > 0  # with one or two rows a class nothing can be spared
        validation = rows.subset(taken if held_out else kept)
        task = Task(
            name="table",
            kind=kind,
            labels=labels,
            train=rows.subset(kept),
            validation=validation,
            test=rows.subset([]),
            columns=Columns("text", None if pairs is None else "pair", "label"),
            digest="",
        )
        base = self.base if isinstance(self.base, Base) else Base.load(self.base)
        settings = FitSettings(epochs=self.epochs, max_length=self.max_length, class_weights=self.class_weights)
        adapted = fit(base, task, method=self.method, seed=self.seed, settings=settings).base
        self.base_ = calibrated(adapted, validation) if held_out and kind == "choice" else adapted

    def _read(self, X: Any) -> list[str] | list[tuple[str, str]]:
        if not hasattr(self, "base_"):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with texts and answers first."
            )
        texts, pairs = self._texts(X, fitting=False)
        return texts if pairs is None else list(zip(texts, pairs, strict=True))


class HeadstartClassifier(ClassifierMixin, _Specialist):  # type: ignore[misc]
    """A classifier of texts or pairs of texts that starts from a base.

    base: a name, a folder, a Base, or None for the embedded one. method: probe (seconds), lora, full, or scratch as
    the control. epochs None means: as many as the table needs. max_length: units a text is cut to.
    """

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Learn from texts and their classes, which may be any values that can be sorted.

        Raises:
            DataError: no rows, fewer than two classes, or a cell that is no text.
        """
        answers = read_answers(y, self)
        check_consistent_length(X, answers)
        kind = type_of_target(answers, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise DataError(
                f"Unknown label type: {kind}. y is expected to hold classes. Use HeadstartRegressor for numbers."
            )
        self.classes_, indices = np.unique(answers, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(
                f"y holds one class, {safe_repr(repr(self.classes_[0]), 60)}; expected at least two. "
                "Add rows of another class."
            )
        self._adapt(X, indices.tolist(), kind="choice", labels=tuple(str(c) for c in self.classes_))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(N, classes) calibrated probabilities in the order of `classes_`."""
        rows = self._read(X)
        return np.asarray(self.base_.predict_proba(rows), dtype=np.float64)

    def predict(self, X: Any) -> NDArray[Any]:
        """(N,) classes, as y spelt them."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])


class HeadstartRegressor(RegressorMixin, _Specialist):  # type: ignore[misc]
    """A regressor of texts or pairs of texts that starts from a base; parameters as in HeadstartClassifier."""

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Learn from texts and their numbers.

        Raises:
            DataError: no rows, or an answer that is not a finite number.
        """
        answers = read_answers(y, self).astype(np.float64)
        check_consistent_length(X, answers)
        self._adapt(X, answers.tolist(), kind="score", labels=())
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(N,) numbers in y's units."""
        rows = self._read(X)
        return np.asarray(self.base_.predict(rows), dtype=np.float64)


def read_texts(X: Any) -> tuple[list[str], list[str] | None]:
    """(texts, partners or None) of a list, Series, array or DataFrame with one or two columns of texts."""
    if isinstance(X, str | bytes):
        raise DataError(f"X is one {type(X).__name__}; expected a list of texts. Put it into a list.")
    cells = np.array(X.tolist() if hasattr(X, "tolist") else X, dtype=object)
    if cells.ndim == 1:
        cells = cells.reshape(-1, 1)
    if cells.ndim != 2 or cells.shape[1] not in (1, 2):
        raise DataError(
            f"X has the shape {np.shape(X)}; expected one column of texts, or two for pairs. Choose the columns."
        )
    if not len(cells):
        raise DataError(
            f"Found array with 0 sample(s) (shape={cells.shape}) while a minimum of 1 is required. Give rows."
        )
    for row, members in enumerate(cells.tolist()):
        for cell in members:
            if not isinstance(cell, str):
                raise DataError(f"row {row} of X is {safe_repr(repr(cell), 60)}; expected text. Convert or drop it.")
    return cells[:, 0].tolist(), cells[:, 1].tolist() if cells.shape[1] == 2 else None


def read_answers(y: Any, estimator: BaseEstimator) -> NDArray[Any]:
    """(N,) answers."""
    if y is None:
        raise DataError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. Give the answers."
        )
    answers = np.asarray(column_or_1d(y, warn=True))
    if len(answers) < 2:
        raise DataError(
            f"y holds {len(answers)} samples (n_samples={len(answers)}); expected at least 2. Give more rows."
        )
    if answers.dtype.kind == "f" and not np.isfinite(answers).all():
        raise DataError("y contains NaN or infinity; expected an answer for every row. Drop these rows.")
    return answers


def calibrated(base: Base, validation: Examples) -> Base:
    """The base with the temperature that makes its validation probabilities honest."""
    assert base.contract is not None
    rows = validation.texts if validation.pairs is None else list(zip(validation.texts, validation.pairs, strict=True))
    chances = np.asarray(base.predict_proba(list(rows)), dtype=np.float64)
    temperature = fit_temperature("choice", chances, validation.targets)
    return replace(base, contract=replace(base.contract, temperature=temperature))
