"""Duplicates across parts: against brute force, on short texts that must not be confused, in both ways of repair."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from headstart.data.examples import Examples
from headstart.data.leakage import NEAR, find_duplicates, normalise
from headstart.data.table import read_table
from headstart.data.task import Task

WORDS = ["account", "transfer", "money", "card", "bank", "yesterday", "please", "balance", "payment", "refused", "shop",
         "online", "twice", "charged", "fee", "abroad"]  # fmt: skip


def examples(texts: list[str], targets: list[int] | None = None, pairs: list[str] | None = None) -> Examples:
    return Examples(
        texts=tuple(texts),
        pairs=None if pairs is None else tuple(pairs),
        targets=tuple(targets or [0] * len(texts)),
        ids=tuple(range(len(texts))),
    )


def together(texts: list[str], targets: list[int] | None = None) -> bool:
    return len(set(find_duplicates(examples(texts, targets)).groups.tolist())) == 1


def shingles(text: str) -> set[str]:
    text = normalise(text)
    return {text[i : i + 5] for i in range(len(text) - 4)}


def test_finds_what_brute_force_finds() -> None:
    random = np.random.default_rng(0)
    texts = []
    for _ in range(150):
        words = list(random.choice(WORDS, size=random.integers(8, 40)))
        texts.append(" ".join(words))
        for _ in range(random.integers(0, 3)):
            changed = list(words)
            changed[random.integers(len(changed))] = str(random.choice(WORDS))
            texts.append(" ".join(changed))
    sets = [shingles(text) for text in texts]
    close = [(a, b) for a, b in itertools.combinations(range(len(texts)), 2)
             if len(sets[a] & sets[b]) >= NEAR * len(sets[a] | sets[b])]  # fmt: skip
    groups = find_duplicates(examples(texts)).groups
    found = sum(groups[a] == groups[b] for a, b in close)
    assert len(close) > 60
    assert found >= 0.99 * len(close)
    # nothing is joined that no chain of close pairs joins
    parent = list(range(len(texts)))
    for a, b in close:
        joined = parent[b]
        parent = [parent[a] if p == joined else p for p in parent]
    for a, b in itertools.combinations(range(len(texts)), 2):
        if groups[a] == groups[b]:
            assert parent[a] == parent[b]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Where is my card?", "where is  my card"),
        ("How do I track the card you sent me?", "How do I track the card you sent to me?"),
        ("The ATM gave me less cash than requested", "The ATM gave me less cash than I requested"),
    ],
)
def test_same_question_is_one(a: str, b: str) -> None:
    assert together([a, b])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Where is my card?", "Where is my cash?"),
        ("activate card", "activate cards"),
        ("top up failed", "top up failed again"),
        ("How do I activate my card", "How do I cancel my card"),
        ("Why was my transfer declined today", "Why was my payment declined today"),
        (":)", ":("),
        ("1 2 3 4 5", "1 2 3 4 6"),
    ],
)
def test_short_texts_are_not_confused(a: str, b: str) -> None:
    assert not together([a, b])


def test_a_near_duplicate_with_another_answer_is_no_leak() -> None:
    texts = [
        "Can I use my account for payments abroad while the identity verification has not passed yet, please?",
        "Can I use my account for payments abroad when the identity verification has not passed yet, please?",
    ]
    assert together(texts, [1, 1])
    assert not together(texts, [1, 2])
    assert len(set(find_duplicates(examples(texts, [1, 2]), any_answer=True).groups.tolist())) == 1


def test_both_members_of_a_pair_must_match() -> None:
    long = "the parliament in the capital passed a new law on public transport this week"
    other = "nobody had expected that the opposition would agree to any of its paragraphs"
    near = long.replace("new law", "new bill on law")
    assert len(set(find_duplicates(examples([long, near], pairs=[other, other])).groups.tolist())) == 1
    assert len(set(find_duplicates(examples([long, long], pairs=[other, near])).groups.tolist())) == 2


def test_given_test_stays_and_train_loses_the_copies() -> None:
    train = [
        {"text": f"message {i} about order {i * 7919 % 997} and nothing else", "label": "ab"[i % 2]} for i in range(100)
    ]
    test = [
        {"text": train[4]["text"].upper() + "!", "label": "a"},
        {"text": "quite another thing is asked here", "label": "b"},
    ]
    task = Task.read(train, test=test)
    (leak,) = [check for check in task.checks if check.id == "split.leak"]
    assert (leak.status, leak.value) == ("ok", 1.0)
    assert "1 word for word" in leak.detail
    assert len(task.test) == 2
    assert 5 not in (*task.train.ids, *task.validation.ids)
    kept = Task.read(train, test=test, keep_duplicates=True)
    assert len(kept.train) + len(kept.validation) == 100
    assert kept.checks[0].status == "warn"


def test_copies_within_train_do_not_make_a_near_copy_of_a_test_row_a_word_for_word_one() -> None:
    train = [
        {"text": f"message {i} about order {i * 7919 % 997} and nothing else", "label": "ab"[i % 2]} for i in range(100)
    ]
    train += [{"text": "the parcel with my new kettle came late on a monday morning", "label": "a"}] * 2
    test = [
        {"text": "the parcel with my new kettle came late on a monday mornin", "label": "a"},
        {"text": "quite another thing is asked here", "label": "b"},
    ]
    assert "2 rows repeat rows of test (0 word for word, 2 nearly)" in Task.read(train, test=test).checks[0].detail


def test_duplicates_kept_across_our_own_split_are_not_called_absent() -> None:
    data = [
        {"text": f"message {i // 4} about the order {i // 4 * 7919 % 997} again", "label": "ab"[i // 4 % 2]}
        for i in range(400)
    ]
    task = Task.read(data, keep_duplicates=True)
    held_out = {row for part in (task.validation, task.test) for row in part.texts}
    assert held_out & set(task.train.texts), "the split must cut some groups for this test to say anything"
    assert (task.checks[0].status, task.checks[0].value > 0) == ("warn", True)
    assert "were kept, as asked" in task.checks[0].detail


def test_own_split_moves_whole_groups_to_train() -> None:
    data = [
        {"text": f"message {i // 4} about the order {i // 4 * 7919 % 997} again", "label": "ab"[i // 4 % 2]}
        for i in range(400)
    ]
    task = Task.read(
        data + [{"text": f"single text number {i} of the {i * 31} kinds", "label": "ab"[i % 2]} for i in range(200)]
    )
    parts = [{normalise(str(text)) for text in part.texts} for part in (task.train, task.validation, task.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert len(task.train) + len(task.validation) + len(task.test) == 600
    assert task.checks[0].value > 0


def test_conflicting_labels_are_counted() -> None:
    data = [
        {"text": f"message {i} about order {i * 7919 % 997} and nothing else", "label": "ab"[i % 2]} for i in range(60)
    ]
    task = Task.read([*data, {"text": data[0]["text"], "label": "b"}])
    (conflict,) = [check for check in task.checks if check.id == "labels.conflict"]
    assert (conflict.status, conflict.value) == ("warn", 2.0)


def test_public_intents_stay_apart(shared: Path) -> None:
    """13,083 short questions: few groups, small, and each of one intent but for texts that are the same."""
    tables = [read_table(shared / "tasks" / "banking77" / f"{part}.parquet") for part in ("train", "test")]
    pool = examples(
        [t for table in tables for t in table.columns["text"]], [t for table in tables for t in table.columns["label"]]
    )
    start = time.process_time()
    twins = find_duplicates(pool)
    assert time.process_time() - start < 1.5
    sizes = np.unique(twins.groups, return_counts=True)[1]
    assert sizes.max() <= 8
    assert (sizes > 1).sum() < 0.06 * len(pool)


def test_speed_on_long_texts() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, size=200)) for _ in range(2_000)]
    start = time.process_time()
    find_duplicates(examples(texts))
    assert time.process_time() - start < 2.0
