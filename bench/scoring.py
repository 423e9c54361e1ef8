"""One scoring rule for every side of a comparison: metric, 95 % interval, paired difference, from per-item predictions.

Each metric is a function of sums of per-item statistics, so a bootstrap is one matrix product: resample weights (B, N)
times statistics (N, S). Several seeds are averaged per resample; only the items are resampled, which is the stricter
reading of "not lower by more than the interval" because seed noise does not widen it.
Sources: R_K correlation (Gorodkin 2004) for mcc; conlleval's chunk rules for span_f1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
METRICS: Final = ("accuracy", "macro_f1", "mcc", "micro_f1", "pearson", "spearman", "span_f1", "token_accuracy")
RESAMPLES: Final = 2000


def chunks(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """(first, last, type) of every IOB2 chunk; an I- that continues nothing opens a chunk, as conlleval counts it."""
    found: set[tuple[int, int, str]] = set()
    begin, kind = -1, ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if begin >= 0 and (prefix != "I" or name != kind):
            found.add((begin, position - 1, kind))
            begin = -1
        if begin < 0 and prefix in ("B", "I"):
            begin, kind = position, name
    return found


def confusion(gold: Sequence[str], predicted: Sequence[str]) -> Floats:
    """(N, K * K) one-hot of (gold, predicted) over the K names that occur."""
    names = {name: row for row, name in enumerate(sorted({*gold, *predicted}))}
    cell = [names[g] * len(names) + names[p] for g, p in zip(gold, predicted, strict=True)]
    rows: Floats = np.zeros((len(gold), len(names) ** 2))
    rows[np.arange(len(gold)), cell] = 1.0
    return rows


def overlaps(gold: Sequence[set[Any]], predicted: Sequence[set[Any]]) -> Floats:
    """(N, 3): shared, predicted and gold elements of every item."""
    counts = [(len(g & p), len(p), len(g)) for g, p in zip(gold, predicted, strict=True)]
    return np.asarray(counts, dtype=np.float64)


def moments(gold: Sequence[float], predicted: Sequence[float]) -> Floats:
    """(N, 6): 1, x, y, xx, yy, xy, centred first so that the sums keep their digits."""
    x, y = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    x, y = x - x.mean(), y - y.mean()
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def statistics(metric: str, gold: Sequence[Any], predicted: Sequence[Any]) -> Floats:
    """(N, S) per-item statistics whose sums give `metric`."""
    if metric == "accuracy":
        return np.asarray([(float(g == p), 1.0) for g, p in zip(gold, predicted, strict=True)])
    if metric == "token_accuracy":
        pairs = zip(gold, predicted, strict=True)
        return np.asarray([(float(sum(a == b for a, b in zip(g, p, strict=True))), float(len(g))) for g, p in pairs])
    if metric in ("mcc", "macro_f1"):
        return confusion(gold, predicted)
    if metric == "micro_f1":
        return overlaps([set(g) for g in gold], [set(p) for p in predicted])
    if metric == "span_f1":
        return overlaps([chunks(g) for g in gold], [chunks(p) for p in predicted])
    if metric == "pearson":
        return moments(gold, predicted)
    if metric == "spearman":
        from scipy.stats import rankdata

        return moments(rankdata(gold).tolist(), rankdata(predicted).tolist())
    raise ValueError(f"metric is {metric!r}; expected one of {', '.join(METRICS)}.")


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def from_sums(metric: str, sums: Floats) -> Floats:
    """The metric of summed statistics (..., S) -> (...)."""
    if metric in ("accuracy", "token_accuracy"):
        return ratio(sums[..., 0], sums[..., 1])
    if metric in ("micro_f1", "span_f1"):
        return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
    if metric in ("pearson", "spearman"):
        n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
        return ratio(n * xy - x * y, np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0)))
    classes = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], classes, classes)
    right, true, said = np.trace(table, axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)
    if metric == "macro_f1":
        present = (true + said) > 0
        each = ratio(2 * np.diagonal(table, axis1=-2, axis2=-1), true + said)
        return ratio(each.sum(-1), present.sum(-1).astype(np.float64))
    n = true.sum(-1)
    spread = (n**2 - (said**2).sum(-1)) * (n**2 - (true**2).sum(-1))
    return ratio(right * n - (true * said).sum(-1), np.sqrt(np.maximum(spread, 0)))


def score(metric: str, gold: Sequence[Any], predicted: Sequence[Any]) -> float:
    """The metric of one set of predictions."""
    return float(from_sums(metric, statistics(metric, gold, predicted).sum(0)))


def resampled(metric: str, gold: Sequence[Any], runs: Sequence[Sequence[Any]], *, seed: int = 0) -> Floats:
    """(RESAMPLES,) bootstrap values of the mean over `runs`; equal seed and N: equal resamples, so differences pair."""
    draws = np.random.default_rng(seed)
    weights = draws.multinomial(len(gold), np.full(len(gold), 1 / len(gold)), size=RESAMPLES).astype(np.float64)
    values = [from_sums(metric, weights @ statistics(metric, gold, run)) for run in runs]
    return np.asarray(np.mean(values, axis=0), dtype=np.float64)


def interval(metric: str, gold: Sequence[Any], runs: Sequence[Sequence[Any]]) -> tuple[float, float]:
    """95 % percentile interval over items of the mean over seeds."""
    low, high = np.quantile(resampled(metric, gold, runs), (0.025, 0.975))
    return float(low), float(high)


def difference(
    metric: str, gold: Sequence[Any], ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]
) -> dict[str, float | bool]:
    """ours - theirs of the seed means, its paired 95 % interval, and whether ours is not lower beyond it."""
    values = [np.mean([score(metric, gold, run) for run in side]) for side in (ours, theirs)]
    spread = resampled(metric, gold, ours) - resampled(metric, gold, theirs)
    low, high = (float(edge) for edge in np.quantile(spread, (0.025, 0.975)))
    return {"difference": float(values[0] - values[1]), "low": low, "high": high, "not_lower": high >= 0.0}


def read_lines(path: Path) -> list[Any]:
    """The JSON values of a .jsonl file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]
