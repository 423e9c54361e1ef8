"""How much of a written text stands in its references: BLEU and ROUGE as per-item statistics.

Enter: for every item its references (a list of texts) and the text that was written. Leave: what each item contributes;
sums become the score, so that a resample of the items is a matrix product as for every other metric (metrics.py).
BLEU is sacrebleu's default (13a words, orders 1 to 4, exponential smoothing, mixed case; Post 2018), over the whole
set. ROUGE-1, -2 and -L are rouge-score's F-measures without stemming (Lin 2004), the best over the references, averaged
over items. Both are between 0 and 1. The two libraries are test oracles.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ORDERS = 4
# mteval-v13a: punctuation stands alone, but periods and commas inside numbers do not.
PUNCTUATION = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
ENTITIES = (("<skipped>", ""), ("-\n", ""), ("\n", " "), ("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
LETTERS = re.compile(r"[a-z0-9]+")

# --- BLEU -----------------------------------------------------------------------------------------------------------


def words_13a(text: str) -> list[str]:
    """The words of mteval-v13a, which WMT counts."""
    text = text.rstrip()
    for entity, plain in ENTITIES:
        text = text.replace(entity, plain)
    text = f" {text} "
    for pattern, apart in PUNCTUATION:
        text = pattern.sub(apart, text)
    return text.split()


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu_counts(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
    """(N, 10): n-grams that a reference has too, n-grams, by order; words written, words of the closest reference."""
    return np.asarray([bleu_item(references, text) for references, text in zip(targets, predictions, strict=True)])


def bleu_item(references: Sequence[str], text: str) -> list[float]:
    written, wanted = words_13a(text), [words_13a(reference) for reference in references]
    hits, totals = [], []
    for order in range(1, ORDERS + 1):
        most: Counter[tuple[str, ...]] = Counter()
        for words in wanted:
            most |= ngrams(words, order)
        found = ngrams(written, order)
        hits.append((found & most).total())
        totals.append(found.total())
    closest = min((len(words) for words in wanted), key=lambda size: (abs(size - len(written)), size))
    return [*hits, *totals, len(written), closest]


def bleu(sums: Floats) -> Floats:
    """BLEU from summed counts (..., 10)."""
    hits, totals, written, wanted = sums[..., :ORDERS], sums[..., ORDERS:-2], sums[..., -2], sums[..., -1]
    missed = np.cumsum((hits == 0) & (totals > 0), axis=-1)  # every order without a hit counts half of the one before
    counted = np.where(hits > 0, hits, 0.5**missed)
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.where(totals > 0, counted / totals, 0.0)
        brevity = np.where(written >= wanted, 1.0, np.where(written > 0, np.exp(1.0 - wanted / written), 0.0))
        score = brevity * np.exp(np.log(precisions).mean(axis=-1))
    return np.where(hits.any(axis=-1), score, 0.0)


# --- ROUGE ----------------------------------------------------------------------------------------------------------


def letters_of(text: str) -> list[str]:
    """rouge-score's words: runs of lower-case letters and digits."""
    return LETTERS.findall(text.lower())


def f_measure(shared: int, wanted: int, written: int) -> float:
    return 2.0 * shared / (wanted + written) if shared else 0.0


def rouge_n(order: int) -> Callable[[Sequence[str], Sequence[str]], float]:
    """ROUGE-N of one reference and one text, both as words."""

    def score(wanted: Sequence[str], written: Sequence[str]) -> float:
        a, b = ngrams(wanted, order), ngrams(written, order)
        return f_measure((a & b).total(), a.total(), b.total())

    return score


def rouge_l(wanted: Sequence[str], written: Sequence[str]) -> float:
    """ROUGE-L of one reference and one text: by their longest common subsequence."""
    return f_measure(longest_common(wanted, written), len(wanted), len(written))


def longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table in the bits of one number (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        shared = row & places.get(word, 0)
        row = (row + shared | row - shared) & full
    return len(a) - row.bit_count()


def best_reference(
    score: Callable[[Sequence[str], Sequence[str]], float],
) -> Callable[[Sequence[Any], Sequence[Any], Sequence[str]], Floats]:
    """(N, 2) statistics: the score against the best reference, and 1."""

    def statistics(targets: Sequence[Any], predictions: Sequence[Any], labels: Sequence[str]) -> Floats:
        rows = [
            (max(score(letters_of(reference), letters_of(text)) for reference in references), 1.0)
            for references, text in zip(targets, predictions, strict=True)
        ]
        return np.asarray(rows, dtype=np.float64).reshape(len(rows), 2)

    return statistics
