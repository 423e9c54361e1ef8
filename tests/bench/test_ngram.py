"""The n-gram control against a dictionary version of the same formulas, and against what every chance must obey."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
from bench.ngram import PLAIN_DISCOUNTS, discounts, train

VOCAB, BOS, EOS = 12, 1, 2
ORDER = 4
Gram = tuple[int, ...]


def documents(count: int, *, seed: int = 0) -> list[list[int]]:
    """Documents of a random Markov chain, so that long n-grams repeat."""
    draws = np.random.default_rng(seed)
    moves = draws.dirichlet(np.full(VOCAB - 3, 0.3), size=VOCAB)
    found = []
    for _ in range(count):
        row = [BOS]
        for _ in range(draws.integers(1, 12)):
            row.append(3 + int(draws.choice(VOCAB - 3, p=moves[row[-1]])))
        found.append([*row, EOS])
    return found


class ByHand:
    """Modified Kneser-Ney, recursively, over dictionaries."""

    def __init__(self, rows: list[list[int]]) -> None:
        raw = [Counter(tuple(r[i : i + n]) for r in rows for i in range(len(r) - n + 1)) for n in range(1, ORDER + 1)]
        self.counts: list[dict[Gram, int]] = []
        for size in range(1, ORDER + 1):
            in_front: dict[Gram, set[int]] = defaultdict(set)
            if size < ORDER:
                for gram in raw[size]:
                    in_front[gram[1:]].add(gram[0])
            self.counts.append(
                {
                    g: n if size == ORDER or (g[0] == BOS and size > 1) else len(in_front[g])
                    for g, n in raw[size - 1].items()
                }
            )
        self.taken = [(0.0, *discounts(np.asarray(list(counts.values())))) for counts in self.counts]
        self.chance = cache(self.chance)  # type: ignore[method-assign]

    def chance(self, unit: int, history: Gram) -> float:
        size = len(history) + 1
        lower = self.chance(unit, history[1:]) if history else 1 / VOCAB
        following = {g: n for g, n in self.counts[size - 1].items() if g[:-1] == history}
        total = sum(following.values())
        if not total:
            return lower
        taken = {g: min(self.taken[size - 1][min(n, 3)], n) for g, n in following.items()}
        own = following.get((*history, unit), 0) - taken.get((*history, unit), 0.0)
        return own / total + sum(taken.values()) / total * lower


@pytest.mark.parametrize("count", [3, 40, 400])
def test_equal_to_the_dictionaries(count: int) -> None:
    rows = documents(count)
    model = train(np.concatenate(rows).astype(np.uint16), vocab_size=VOCAB, bos=BOS, order=ORDER)
    by_hand = ByHand(rows)
    asked = [*documents(30, seed=1), [BOS, 5], [BOS]]
    expected = [
        sum(np.log(by_hand.chance(row[i], tuple(row[max(0, i - ORDER + 1) : i]))) for i in range(1, len(row)))
        for row in asked
    ]
    np.testing.assert_allclose(model.log_probabilities([np.asarray(row) for row in asked]), expected, rtol=1e-10)


@pytest.mark.parametrize("history", [[], [5], [5, 6, 7, 8], [11, 11, 11, 11, 11]])
def test_chances_of_all_units_add_up_to_one(history: list[int]) -> None:
    model = train(np.concatenate(documents(200)).astype(np.uint16), vocab_size=VOCAB, bos=BOS, order=5)
    rows = [np.asarray([BOS, *history, unit]) for unit in range(VOCAB)]
    start = model.log_probabilities([np.asarray([BOS, *history])])[0]
    assert np.exp(model.log_probabilities(rows) - start).sum() == pytest.approx(1.0, abs=1e-12)


def test_equal_rows_tie_and_rows_do_not_touch() -> None:
    model = train(np.concatenate(documents(50)).astype(np.uint16), vocab_size=VOCAB, bos=BOS, order=5)
    rows = [np.asarray(row) for row in documents(9, seed=2)]
    together = model.log_probabilities([*rows, *rows])
    assert (together[:9] == together[9:]).all()
    np.testing.assert_allclose([model.log_probabilities([row])[0] for row in rows], together[:9], rtol=1e-12)


def test_discounts_follow_the_paper() -> None:
    counts = np.repeat([1, 2, 3, 4, 7], [100, 40, 20, 10, 5])
    share = 100 / 180
    expected = (1 - 2 * share * 0.4, 2 - 3 * share * 0.5, 3 - 4 * share * 0.5)
    assert discounts(counts) == pytest.approx(expected)
    assert discounts(np.asarray([1, 1, 2])) == PLAIN_DISCOUNTS
