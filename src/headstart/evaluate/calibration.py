"""Calibration: does "80 % sure" mean right eight times in ten, and one temperature that brings it there.

Enter: (N, K) probabilities and targets; a choice is judged by its top answer, a `labels` task label by label.
Leave: a temperature fitted on validation rows, ECE, NLL, Brier, the reliability table, what acting only on sure answers
would give, and the probability from which a label is given. Sources: Guo et al. 2017 (temperature); Kumar, Liang & Ma
2019 (debiased ECE over equal-mass bins).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.evaluate.metrics import Floats, indicators, one_hot
from headstart.evaluate.proportions import wilson

NUM_BINS = 15
FLOOR = 1e-12  # a probability is never taken as exactly 0 or 1
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Judged:
    """Statements with the confidence they were made with and whether they came true, both (M,)."""

    confidence: Floats
    outcome: Floats


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: mean confidence, share that came true, its 95 % interval, statements."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How honest the probabilities are on one split. ece is debiased, over equal-mass bins."""

    ece: float
    nll: float
    brier: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Selective:
    """Acting only on answers with at least `threshold` confidence: share of rows covered, share right among them."""

    threshold: float
    coverage: float
    accuracy: float


def log_odds(kind: str, probabilities: Floats) -> Floats:
    """Logits that give these probabilities back under softmax (choice) or sigmoid (labels)."""
    p = np.clip(probabilities, FLOOR, 1.0)
    return np.log(p) if kind == "choice" else np.log(p) - np.log(np.clip(1.0 - probabilities, FLOOR, 1.0))


def warmed(kind: str, probabilities: Floats, temperature: float) -> Floats:
    """The probabilities after dividing their logits by `temperature`."""
    logits = log_odds(kind, probabilities) / temperature
    if kind != "choice":
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def target_array(kind: str, targets: Sequence[Any], num_labels: int) -> Floats:
    return one_hot(targets, num_labels) if kind == "choice" else indicators(targets, num_labels)


def nll(kind: str, probabilities: Floats, truth: Floats) -> float:
    """Mean negative log likelihood in nats: per row for a choice, per decision for labels."""
    p = np.clip(probabilities, FLOOR, 1.0)
    if kind == "choice":
        return float(-(truth * np.log(p)).sum(axis=1).mean())
    return float(-(truth * np.log(p) + (1 - truth) * np.log(np.clip(1 - probabilities, FLOOR, 1.0))).mean())


def fit_temperature(kind: str, probabilities: Floats, targets: Sequence[Any]) -> float:
    """The temperature with the lowest NLL on these (validation) rows, between 1/20 and 20.

    A weak prior on log T (deviation 1, one row's weight) keeps a small split that is all right, or all wrong, from
    running off to certainty: with no errors to see, no split of 30 rows proves a probability of 0.999.
    """
    from scipy.optimize import minimize_scalar

    if len(targets) == 0:
        return 1.0
    truth = target_array(kind, targets, probabilities.shape[1])
    found = minimize_scalar(
        lambda log_t: (
            nll(kind, warmed(kind, probabilities, float(np.exp(log_t))), truth) + 0.5 * log_t**2 / len(targets)
        ),
        bounds=(-np.log(20.0), np.log(20.0)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def best_threshold(probabilities: Floats, targets: Sequence[Any]) -> float:
    """The probability from which labels are given that has the highest micro-F1; the nearest to 0.5 among equals.

    probabilities (N, K); targets: a tuple of label indices a row. Every cut between two probabilities that occur is
    tried. 0.5 where no row has a label.
    """
    truth = indicators(targets, probabilities.shape[1]).ravel()
    if not truth.any():
        return 0.5
    order = np.argsort(-probabilities.ravel(), kind="stable")
    sure, right = probabilities.ravel()[order], np.cumsum(truth[order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + truth.sum())
    below = np.append(sure[1:], 0.0)
    cuts, f1 = ((sure + below) / 2)[sure > below], f1[sure > below]
    best = cuts[f1 >= f1.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def given_labels(probabilities: Floats, threshold: float) -> tuple[tuple[int, ...], ...]:
    """For kind labels: every label with at least `threshold` probability."""
    return tuple(tuple(np.flatnonzero(row >= threshold).tolist()) for row in probabilities)


def judged(kind: str, probabilities: Floats, targets: Sequence[Any]) -> Judged:
    """Top answer of every row (choice) or every single label decision (labels)."""
    if kind == "choice":
        best = probabilities.argmax(axis=1)
        return Judged(probabilities.max(axis=1), (best == np.asarray(targets)).astype(np.float64))
    truth = target_array(kind, targets, probabilities.shape[1])
    return Judged(probabilities.ravel(), truth.ravel())


def bin_index(confidence: Floats) -> npt.NDArray[np.intp]:
    """Equal-mass bin of every statement; equal confidences share a bin, and a bin holds ten statements or more."""
    count = int(np.clip(len(confidence) // 10, 1, NUM_BINS))
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, count + 1)[1:-1]))
    index = np.searchsorted(edges, confidence, side="right")
    return np.unique(index, return_inverse=True)[1].ravel()


def reliability(statements: Judged) -> tuple[Bin, ...]:
    """Equal-mass bins in order of confidence."""
    index = bin_index(statements.confidence)
    count = np.bincount(index)
    mean = np.bincount(index, statements.confidence) / count
    share = np.bincount(index, statements.outcome) / count
    bounds = [wilson(float(s), int(n)) for s, n in zip(share, count, strict=True)]
    return tuple(
        Bin(float(m), float(s), b.low, b.high, int(n)) for m, s, b, n in zip(mean, share, bounds, count, strict=True)
    )


def debiased_ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error with the part that sampling noise alone adds taken out (at least 0).

    A perfectly calibrated model still shows |gap| > 0 in a finite bin. With the noise of a bin taken as normal with
    variance a(1-a)/n, the mean of |gap + noise| is a folded normal's; its excess over |gap| is the bias removed.
    """
    from scipy.stats import norm

    share = np.array([b.accuracy for b in bins])
    count = np.array([b.count for b in bins], dtype=np.float64)
    gap = np.abs(np.array([b.confidence for b in bins]) - share)
    noise = np.sqrt(share * (1 - share) / count)
    safe = np.where(noise > 0, noise, 1.0)
    folded = safe * np.sqrt(2 / np.pi) * np.exp(-(gap**2) / (2 * safe**2)) + gap * (1 - 2 * norm.cdf(-gap / safe))
    excess = np.where(noise > 0, folded - gap, 0.0)
    return float(max(0.0, ((gap - excess) * count).sum() / count.sum()))


def plain_ece(bins: Sequence[Bin]) -> float:
    """The textbook ECE: mean |confidence - accuracy| over bins, weighted by rows."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / total


def calibrate(kind: str, probabilities: Floats, targets: Sequence[Any]) -> Calibration:
    """Everything the report says about the probabilities of one split."""
    bins = reliability(judged(kind, probabilities, targets))
    truth = target_array(kind, targets, probabilities.shape[1])
    brier = (
        ((probabilities - truth) ** 2).sum(axis=1) if kind == "choice" else ((probabilities - truth) ** 2).mean(axis=1)
    )
    return Calibration(debiased_ece(bins), nll(kind, probabilities, truth), float(brier.mean()), bins)


def selective(probabilities: Floats, targets: Sequence[Any]) -> tuple[Selective, ...]:
    """For a choice: what remains, and how right it is, when answers below each threshold are left to a person."""
    statements = judged("choice", probabilities, targets)
    rows = []
    for threshold in THRESHOLDS:
        kept = statements.confidence >= threshold
        if kept.any():
            rows.append(Selective(threshold, float(kept.mean()), float(statements.outcome[kept].mean())))
    return tuple(rows)
