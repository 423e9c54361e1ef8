"""Metrics as per-item statistics: what each item contributes, and how contributions become one number.

Enter: targets and predictions of one split, as label indices (choice, labels, tags) or numbers (score).
Texts (see text_overlap.py) and preferences have no kind of Task: only suites ask for them.
Leave: an (N, S) array of statistics and, for any (R, N) array of item counts, R values of the metric. A bootstrap
resample is nothing but another row of counts, so every interval is a matrix product and no metric is written twice.
Definitions follow scikit-learn (zero_division=0) and the conlleval script of CoNLL-2000 for spans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart.evaluate.text_overlap import best_reference, bleu, bleu_counts, rouge_l, rouge_n
from headstart.ground.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from headstart.data.task import Kind

Floats = npt.NDArray[np.float64]
Statistics = Callable[[Sequence[Any], Sequence[Any], Sequence[str]], Floats]
Resample = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number for a split; larger is better, unless `smaller` is. `low` and `high` bound it.

    `statistics(targets, predictions, labels)` is (N, S); `resample(statistics, counts (R, N))` is (R,).
    """

    name: str
    title: str
    kinds: tuple[Kind, ...]
    statistics: Statistics
    resample: Resample
    low: float = 0.0
    high: float = 1.0
    smaller: bool = False


def ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, and 0 where bottom is 0 (scikit-learn's zero_division=0)."""
    return np.divide(top, bottom, out=np.zeros_like(top, dtype=np.float64), where=bottom > 0)


def of_sums(combine: Callable[[Floats], Floats]) -> Resample:
    """A metric that depends on the items only through the sums of their statistics."""
    return lambda statistics, counts: combine(counts @ statistics)


# --- choice ---------------------------------------------------------------------------------------------------------


def correct_of(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    right = np.asarray(targets) == np.asarray(predictions)
    return np.stack([right, np.ones_like(right)], axis=1).astype(np.float64)


def one_hot(indices: Sequence[Any], num_labels: int) -> Floats:
    """(N, K); an index outside 0..K-1 (an answer that is no label) is a row of zeros."""
    column = np.asarray(indices, dtype=np.int64).reshape(-1, 1)
    return np.asarray(column == np.arange(num_labels), dtype=np.float64)


def class_counts(targets: Floats, predictions: Floats) -> Floats:
    """(N, 3K) true positives, false positives, false negatives per class from two (N, K) indicator arrays."""
    return np.concatenate([targets * predictions, (1 - targets) * predictions, targets * (1 - predictions)], axis=1)


def choice_counts(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    return class_counts(one_hot(targets, len(labels)), one_hot(predictions, len(labels)))


def macro_f1(sums: Floats) -> Floats:
    """Mean F1 over the classes that occur among the targets or the predictions of this (re)sample."""
    hits, wrong, missed = np.split(sums, 3, axis=-1)
    present = hits + wrong + missed > 0
    scores = ratio(2 * hits, 2 * hits + wrong + missed)
    return ratio(scores.sum(-1), present.sum(-1).astype(np.float64))


def micro_f1(sums: Floats) -> Floats:
    hits, wrong, missed = (part.sum(-1) for part in np.split(sums, 3, axis=-1))
    return ratio(2 * hits, 2 * hits + wrong + missed)


def matthews_counts(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    right = correct_of(targets, predictions, labels)
    return np.concatenate([right, one_hot(targets, len(labels)), one_hot(predictions, len(labels))], axis=1)


def matthews(sums: Floats) -> Floats:
    """Matthews correlation for K classes (Gorodkin 2004, R_K); 0 where targets or predictions are constant."""
    right, total = sums[..., 0], sums[..., 1]
    truth, answers = np.split(sums[..., 2:], 2, axis=-1)
    covariance = right * total - (truth * answers).sum(-1)
    scale = (total**2 - (truth**2).sum(-1)) * (total**2 - (answers**2).sum(-1))
    return ratio(covariance, np.sqrt(np.maximum(scale, 0.0)))


# --- labels ---------------------------------------------------------------------------------------------------------


def indicators(rows: Sequence[Sequence[int]], num_labels: int) -> Floats:
    """(N, K) 0/1 from one tuple of label indices a row."""
    array = np.zeros((len(rows), num_labels))
    for i, row in enumerate(rows):
        array[i, list(row)] = 1.0
    return array


def labels_counts(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    return class_counts(indicators(targets, len(labels)), indicators(predictions, len(labels)))


def exact_of(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    right = [set(t) == set(p) for t, p in zip(targets, predictions, strict=True)]
    return np.stack([np.asarray(right), np.ones(len(right))], axis=1).astype(np.float64)


# --- score ----------------------------------------------------------------------------------------------------------


def number_pairs(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    return np.stack([np.asarray(targets, dtype=np.float64), np.asarray(predictions, dtype=np.float64)], axis=1)


def weighted_correlation(x: Floats, y: Floats, counts: Floats) -> Floats:
    """Pearson correlation of x and y (broadcast to (R, N)) under item counts (R, N); 0 where one is constant."""
    total = counts.sum(-1, keepdims=True)
    x = x - (counts * x).sum(-1, keepdims=True) / total
    y = y - (counts * y).sum(-1, keepdims=True) / total
    top = (counts * x * y).sum(-1)
    spread = (counts * x * x).sum(-1) * (counts * y * y).sum(-1)
    # A constant column leaves rounding dust, not an exact zero: 1e-24 is far below any real variance product here.
    return np.clip(ratio(top, np.where(spread > 1e-24, np.sqrt(np.maximum(spread, 0.0)), 0.0)), -1.0, 1.0)


def pearson(statistics: Floats, counts: Floats) -> Floats:
    x, y = statistics.T
    return weighted_correlation(standardised(x), standardised(y), counts)


def standardised(x: Floats) -> Floats:
    """Mean 0 and deviation 1, so that scores near 1e6 lose no digits; a constant stays constant."""
    spread = float(x.std())
    return (x - x.mean()) / spread if spread > 1e-12 * max(1.0, float(np.abs(x).max())) else np.zeros_like(x)


def midranks(x: Floats, counts: Floats) -> Floats:
    """(R, N) average rank of every item inside each resample, ties shared; the exact Spearman ranks of the resample."""
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(x[order]) > 0]))
    members = np.add.reduceat(counts[:, order], starts, axis=1)
    group_rank = np.cumsum(members, axis=1) - members + (members + 1) / 2
    ranks = np.empty_like(counts)
    ranks[:, order] = np.repeat(group_rank, np.diff(np.append(starts, len(x))), axis=1)
    return ranks / len(x)


def spearman(statistics: Floats, counts: Floats) -> Floats:
    x, y = statistics.T
    return weighted_correlation(midranks(x, counts), midranks(y, counts), counts)


# --- tags -----------------------------------------------------------------------------------------------------------


def is_iob(labels: Sequence[str]) -> bool:
    """Whether the tag names are spans: B-X / I-X (or E-, S-) beside O."""
    return any(n.startswith("B-") for n in labels) and all(
        n == "O" or n[:2] in ("B-", "I-", "E-", "S-") for n in labels
    )


def spans(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """(start, end, type) spans as conlleval reads them: an I-X after O or after another type opens a span."""
    found: set[tuple[int, int, str]] = set()
    start, kind, previous = 0, "", "O"
    for i, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and (mark in "OBS" or name != kind or previous in "ES"):
            found.add((start, i, kind))
            kind = ""
        if mark != "O" and not kind:
            start, kind = i, name
        previous = mark
    return found


def span_counts(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    rows = []
    for target, prediction in zip(targets, predictions, strict=True):
        truth = spans([labels[i] if 0 <= i < len(labels) else "O" for i in target])
        answer = spans([labels[i] if 0 <= i < len(labels) else "O" for i in prediction[: len(target)]])
        rows.append((len(truth & answer), len(answer - truth), len(truth - answer)))
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), 3)


def token_counts(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    """Right tokens and all tokens a row; a word without a prediction (cut off by the length limit) counts as wrong."""
    rows = [
        (sum(t == p for t, p in zip(target, prediction, strict=False)), len(target))
        for target, prediction in zip(targets, predictions, strict=True)
    ]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), 2)


def first_over_second(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


# --- texts and preferences ------------------------------------------------------------------------------------------


def own_numbers(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    """(N, S + 1): predictions that are S numbers each already, and 1."""
    numbers = np.asarray(predictions, dtype=np.float64)
    return np.concatenate([numbers, np.ones((len(numbers), 1))], axis=1)


def bits_per_byte(sums: Floats) -> Floats:
    """From summed nats and bytes."""
    return ratio(sums[..., 0], sums[..., 1]) / math.log(2)


def icat(sums: Floats) -> Floats:
    """Idealised CAT score (Nadeem et al. 2021) from sums of stereotypes chosen, sensible sentences chosen, and items.

    1 where sense is always told from nonsense and neither stereotype nor its opposite is preferred.
    """
    stereotyped, sensible = ratio(sums[..., 0], sums[..., 2]), ratio(sums[..., 1], sums[..., 2])
    return sensible * np.minimum(stereotyped, 1.0 - stereotyped) / 0.5


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("accuracy", "accuracy", ("choice",), correct_of, of_sums(first_over_second)),
        Metric("macro_f1", "macro-F1", ("choice",), choice_counts, of_sums(macro_f1)),
        Metric("mcc", "Matthews corr.", ("choice",), matthews_counts, of_sums(matthews), low=-1.0),
        Metric("micro_f1", "micro-F1", ("labels",), labels_counts, of_sums(micro_f1)),
        Metric("labels_macro_f1", "macro-F1", ("labels",), labels_counts, of_sums(macro_f1)),
        Metric("exact_match", "exact match", ("labels",), exact_of, of_sums(first_over_second)),
        Metric("pearson", "Pearson", ("score",), number_pairs, pearson, low=-1.0),
        Metric("spearman", "Spearman", ("score",), number_pairs, spearman, low=-1.0),
        Metric("span_f1", "span-F1", ("tags",), span_counts, of_sums(micro_f1)),
        Metric("token_accuracy", "token accuracy", ("tags",), token_counts, of_sums(first_over_second)),
        Metric("bleu", "BLEU", (), bleu_counts, of_sums(bleu)),
        Metric("rouge1", "ROUGE-1", (), best_reference(rouge_n(1)), of_sums(first_over_second)),
        Metric("rouge2", "ROUGE-2", (), best_reference(rouge_n(2)), of_sums(first_over_second)),
        Metric("rouge_l", "ROUGE-L", (), best_reference(rouge_l), of_sums(first_over_second)),
        Metric("icat", "ICAT", (), own_numbers, of_sums(icat)),
        Metric("bits_per_byte", "bits a byte", (), own_numbers, of_sums(bits_per_byte), high=math.inf, smaller=True),
    )
}


def default_metric(kind: Kind, labels: Sequence[str]) -> str:
    """accuracy, micro_f1, pearson; span_f1 where the tags are IOB spans and token accuracy where not."""
    if kind == "tags":
        return "span_f1" if is_iob(labels) else "token_accuracy"
    return {"choice": "accuracy", "labels": "micro_f1", "score": "pearson"}[kind]


def metric_for(kind: Kind, name: str | None, labels: Sequence[str]) -> Metric:
    """The metric called `name` (None: the kind's default); ConfigError where it does not fit the kind."""
    chosen = default_metric(kind, labels) if name is None else name
    fitting = [m.name for m in metrics_of(kind, labels)]
    if chosen not in fitting:
        raise ConfigError(
            f"metric is {chosen!r}; expected one of {', '.join(fitting)} for a {kind} task."
            f"{did_you_mean(chosen, fitting)} Give one of them, or leave --metric out."
        )
    return METRICS[chosen]


def metrics_of(kind: Kind, labels: Sequence[str]) -> list[Metric]:
    """Every metric that makes sense for a kind; spans only where the tags are spans."""
    return [m for m in METRICS.values() if kind in m.kinds and (m.name != "span_f1" or is_iob(labels))]


def score_task(
    kind: Kind, metric: str | None, targets: Sequence[Any], predictions: Sequence[Any], *, labels: Sequence[str] = ()
) -> float:
    """One number for one split. Targets and predictions are label indices, tuples of them, or floats."""
    chosen = metric_for(kind, metric, labels)
    statistics = chosen.statistics(targets, predictions, labels)
    return float(chosen.resample(statistics, np.ones((1, len(targets))))[0])
