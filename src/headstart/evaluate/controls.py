"""Controls: what needs no base model. `majority` and `tfidf` stand beside every adaptation, also when they win; where
inputs are no text, `nearest` takes the place of `tfidf` (see `neighbours`).

Enter: a Task. Leave: a fitted control whose `answer(examples)` gives predictions (label indices or numbers) and, for
choice and labels, probabilities. majority: the most frequent label, the mean, or each word's most frequent tag.
tfidf: word 1-2-grams and character 2-5-grams into a linear model (logistic, one-vs-rest, ridge); a pair also gets the
product and the difference of its members; tags get a logistic model over the word, its shape and its neighbours.
The one free constant, the penalty, is chosen on the validation rows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier

from headstart.data.task import Examples, Task, as_text
from headstart.evaluate.calibration import best_threshold, given_labels
from headstart.evaluate.metrics import Floats, indicators, score_task
from headstart.evaluate.neighbours import fit_nearest

ControlMethod = Literal["majority", "tfidf", "nearest"]
PENALTIES = (1.0, 10.0)  # inverse strength of the logistic penalty; the two that won on the development sets
SHORT_TEXT = 400  # characters; longer texts have words enough and character n-grams only cost time
MOST_FITTED_CELLS = 300_000  # labels x rows; above, one penalty is fitted and not two


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions in the order of the rows; probabilities (N, K) for choice and labels, else None."""

    predictions: tuple[Any, ...]
    probabilities: Floats | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A fitted control; seconds is its wall clock for fitting."""

    method: ControlMethod
    answer: Callable[[Examples], Answers]
    seconds: float
    params_trained: int


def fit_control(task: Task, *, method: ControlMethod, seed: int = 0) -> Control:
    """Fit one control on the train rows of `task`."""
    begin = time.perf_counter()
    if method == "majority":
        fitter = fit_majority
    elif method == "nearest":
        fitter = fit_neighbours
    else:
        fitter = fit_tags if task.kind == "tags" else fit_linear
    answer, params = fitter(task, seed)
    return Control(method, answer, time.perf_counter() - begin, params)


def plain_control(task: Task) -> ControlMethod:
    """The control that learns from the inputs without a base: by what the inputs are."""
    return "tfidf" if task.columns.modality is None else "nearest"


Fitted = tuple[Callable[[Examples], Answers], int]


# --- majority -------------------------------------------------------------------------------------------------------


def fit_majority(task: Task, seed: int) -> Fitted:
    targets = task.train.targets
    if task.kind == "score":
        mean = float(np.mean(np.asarray(targets, dtype=np.float64)))
        return lambda rows: Answers((mean,) * len(rows)), 1
    if task.kind == "tags":
        return majority_tags(task), len(task.labels)
    if task.kind == "choice":
        share = np.bincount(np.asarray(targets, dtype=np.int64), minlength=len(task.labels)) / len(targets)
        best: Any = int(share.argmax())
    else:
        share = indicators([t for t in targets if isinstance(t, tuple)], len(task.labels)).mean(axis=0)
        best = tuple(np.flatnonzero(share >= 0.5).tolist()) or (int(share.argmax()),)
    return lambda rows: Answers((best,) * len(rows), np.tile(share, (len(rows), 1))), len(task.labels)


def majority_tags(task: Task) -> Callable[[Examples], Answers]:
    """Each word's most frequent tag in train; the overall most frequent one for unseen words."""
    seen: dict[str, Counter[int]] = {}
    for words, tags in zip(task.train.written, task.train.targets, strict=True):
        for word, tag in zip(words, as_tags(tags), strict=True):
            seen.setdefault(word, Counter())[tag] += 1
    overall = sum(seen.values(), Counter())
    usual = overall.most_common(1)[0][0]
    best = {word: counts.most_common(1)[0][0] for word, counts in seen.items()}
    return lambda rows: Answers(tuple(tuple(best.get(w, usual) for w in words) for words in rows.written))


def as_tags(target: Any) -> tuple[int, ...]:
    """A tags target, checked once where the types lose it."""
    return tuple(target)


def fit_neighbours(task: Task, seed: int) -> Fitted:
    find, params = fit_nearest(task)
    return lambda rows: Answers(*find(rows)), params


# --- tfidf over whole texts -----------------------------------------------------------------------------------------


class TextFeatures:
    """Rows to sparse features: word and character n-grams, and for a pair what its members share."""

    def __init__(self, rows: Examples) -> None:
        texts = [as_text(t) for t in rows.texts] + list(rows.pairs or ())
        short = float(np.mean([len(t) for t in texts])) <= SHORT_TEXT
        rare = 2 if len(texts) > 20_000 else 1
        self.vectorizers = [
            TfidfVectorizer(
                ngram_range=(1, 2),
                sublinear_tf=True,
                min_df=rare,
                max_features=200_000,
                token_pattern=r"(?u)\b\w+\b|[^\w\s]",
                dtype=np.float32,
            )
        ]
        if short:
            self.vectorizers.append(
                TfidfVectorizer(
                    analyzer="char_wb",
                    ngram_range=(2, 5),
                    sublinear_tf=True,
                    min_df=2,
                    max_features=200_000,
                    dtype=np.float32,
                )
            )
        self.vectorizers = [v for v in self.vectorizers if fits(v, texts)]

    def __call__(self, rows: Examples) -> sp.csr_matrix:
        first = self.texts([as_text(t) for t in rows.texts])
        if rows.pairs is None:
            return first
        second = self.texts(list(rows.pairs))
        shared = first.multiply(second)
        overlap = sp.csr_matrix(
            np.stack([np.asarray(shared.sum(axis=1)).ravel(), length_ratio(rows)], axis=1).astype(np.float32)
        )
        return sp.hstack([first, second, shared, abs(first - second), overlap * 2.0], format="csr")

    def texts(self, texts: Sequence[str]) -> sp.csr_matrix:
        parts = [v.transform(texts) for v in self.vectorizers]
        return sp.hstack(parts, format="csr") if parts else sp.csr_matrix((len(texts), 1), dtype=np.float32)


def fits(vectorizer: TfidfVectorizer, texts: Sequence[str]) -> bool:
    """Fit it; False where the texts hold nothing to count (scikit-learn raises on an empty vocabulary)."""
    try:
        vectorizer.fit(texts)
    except ValueError as problem:
        if "empty vocabulary" in str(problem) or "no terms remain" in str(problem):
            return False
        raise
    return True


def length_ratio(rows: Examples) -> Floats:
    pairs = zip(rows.written, rows.pairs or (), strict=True)
    return np.array([min(len(a), len(b)) / max(len(a), len(b), 1) for a, b in pairs], dtype=np.float64)


def fit_linear(task: Task, seed: int) -> Fitted:
    """TF-IDF into the linear model of the kind, with the better of two penalties on the validation rows."""
    features = TextFeatures(task.train)
    train, held_out = features(task.train), features(task.validation) if len(task.validation) else None
    costly = len(task.labels) * len(task.train) > MOST_FITTED_CELLS
    best: tuple[float, Any, float] | None = None
    for penalty in PENALTIES[-1:] if costly or len(task.validation) < 20 else PENALTIES:
        model = linear_model(task, penalty, seed).fit(train, linear_targets(task))
        value, threshold = 0.0, 0.5
        if held_out is not None:
            if task.kind == "labels":
                threshold = best_threshold(linear_probabilities(task, model, held_out), task.validation.targets)
            found = linear_answers(task, model, held_out, threshold).predictions
            value = score_task(task.kind, None, task.validation.targets, found, labels=task.labels)
        if best is None or value > best[0]:
            best = (value, model, threshold)
    assert best is not None, "PENALTIES is not empty"
    _, chosen, cut = best

    def answer(rows: Examples) -> Answers:
        return linear_answers(task, chosen, features(rows), cut) if len(rows) else Answers(())

    return answer, weights_of(chosen)


def linear_model(task: Task, penalty: float, seed: int) -> Any:
    """liblinear's logistic regression for every label against the rest; ridge for scores."""
    if task.kind == "score":
        return Ridge(alpha=10.0 / penalty, solver="sparse_cg", tol=1e-4, random_state=seed)
    logistic = LogisticRegression(C=penalty, solver="liblinear", dual=True, tol=0.01, max_iter=200, random_state=seed)
    return OneVsRestClassifier(logistic) if task.kind == "labels" or len(task.labels) > 2 else logistic


def linear_targets(task: Task) -> Any:
    targets = task.train.targets
    if task.kind == "labels":
        return indicators([as_tags(t) for t in targets], len(task.labels)).astype(np.int64)
    return np.asarray(targets, dtype=np.float64 if task.kind == "score" else np.int64)


def linear_answers(task: Task, model: Any, features: sp.csr_matrix, threshold: float) -> Answers:
    if task.kind == "score":
        return Answers(tuple(float(v) for v in model.predict(features)))
    probabilities = linear_probabilities(task, model, features)
    if task.kind == "choice":
        return Answers(tuple(probabilities.argmax(axis=1).tolist()), probabilities)
    return Answers(given_labels(probabilities, threshold), probabilities)


def linear_probabilities(task: Task, model: Any, features: sp.csr_matrix) -> Floats:
    """(N, K); zero for a label the model never saw."""
    probabilities = np.zeros((features.shape[0], len(task.labels)))
    probabilities[:, np.asarray(model.classes_, dtype=np.int64)] = model.predict_proba(features)
    return probabilities


def weights_of(model: Any) -> int:
    """Numbers the linear model learned."""
    parts = getattr(model, "estimators_", [model])
    return int(sum(np.size(getattr(p, "coef_", ())) + np.size(getattr(p, "intercept_", ())) for p in parts))


# --- tags -----------------------------------------------------------------------------------------------------------

HASH_BITS = 18  # 262,144 columns: the features of 200,000 tokens collide rarely and the model stays small


def shape_of(word: str) -> str:
    """Xxx, dd, x-x: letters, digits and punctuation as classes, runs kept to three."""
    classes = "".join("X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else c for c in word[:12])
    return "".join(c for i, c in enumerate(classes) if classes[i - 3 : i] != c * 3 or i < 3)


def token_features(words: Sequence[str]) -> Iterator[list[str]]:
    """Names of the features of every word of one row."""
    low = ["", "", *(w.lower() for w in words), "", ""]
    for i, word in enumerate(words):
        here = low[i + 2]
        yield [
            "bias",
            f"w={word}",
            f"l={here}",
            f"s={shape_of(word)}",
            f"-1={low[i + 1]}",
            f"+1={low[i + 3]}",
            f"-2={low[i]}",
            f"+2={low[i + 4]}",
            f"-1l={low[i + 1]}|{here}",
            f"l+1={here}|{low[i + 3]}",
            *(f"e{n}={here[-n:]}" for n in (1, 2, 3)),
            *(f"b{n}={here[:n]}" for n in (1, 2, 3)),
        ]


def fit_tags(task: Task, seed: int) -> Fitted:
    """One logistic model per tag over hashed features of the word and its neighbours."""
    hasher = FeatureHasher(n_features=1 << HASH_BITS, input_type="string", dtype=np.float32, alternate_sign=False)

    def features(rows: Examples) -> sp.csr_matrix:
        return hasher.transform(f for words in rows.written for f in token_features(words))

    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=6, tol=None, average=True, random_state=seed)
    model.fit(features(task.train), np.concatenate([np.asarray(as_tags(t), np.int64) for t in task.train.targets]))

    def answer(rows: Examples) -> Answers:
        if not any(rows.written):
            return Answers(tuple(() for _ in rows.written))
        flat = model.predict(features(rows)).tolist()
        ends = np.cumsum([len(words) for words in rows.written])
        return Answers(tuple(tuple(flat[e - len(w) : e]) for e, w in zip(ends, rows.written, strict=True)))

    return answer, weights_of(model)
