"""The rows both sides of a comparison get: split, cleared of copies, every label known to every first-n sample."""

from __future__ import annotations

from collections import Counter

import pytest
from bench.speed_probe import default_steps
from bench.tables import BY_NAME, Row, carve, covering_first, known_only, without_copies

CHOICE, LABELS, PAIR = BY_NAME["trec6"], BY_NAME["nlupp_banking"], BY_NAME["mrpc"]


def rows_of(labels: str) -> list[Row]:
    return [{"text": f"row {number}", "label": label} for number, label in enumerate(labels)]


def test_carving_takes_a_tenth_of_every_class_and_loses_nothing() -> None:
    rows = rows_of("a" * 100 + "b" * 50)
    train, held = carve(rows, table=CHOICE)
    assert Counter(row["label"] for row in held) == {"a": 10, "b": 5}
    assert sorted(row["text"] for row in train + held) == sorted(row["text"] for row in rows)
    assert carve(rows, table=CHOICE) == (train, held)


def test_every_sample_from_the_front_knows_every_label() -> None:
    rows = rows_of("aaaabaaac")
    ordered = covering_first(rows, table=CHOICE)
    assert [row["label"] for row in ordered[:3]] == ["a", "b", "c"]
    assert sorted(map(str, ordered)) == sorted(map(str, rows))


def test_rows_with_labels_train_never_shows_are_left_out() -> None:
    train = [{"text": "one", "labels": ["x", "y"]}]
    test = [{"text": "two", "labels": ["y"]}, {"text": "three", "labels": ["y", "z"]}, {"text": "four", "labels": []}]
    assert [row["text"] for row in known_only(test, train=train, table=LABELS)] == ["two", "four"]


def test_copies_are_found_whatever_the_case_and_spacing_and_only_as_whole_pairs() -> None:
    pair = {"text_a": "A cat  sat.", "text_b": "It sat.", "label": "x"}
    splits = {
        "train": [pair, {**pair, "text_b": "It ran."}],
        "validation": [],
        "test": [{"text_a": "a CAT sat.", "text_b": "it sat.", "label": "y"}],
    }
    assert [row["text_b"] for row in without_copies(splits, table=PAIR)] == ["It ran."]


@pytest.mark.parametrize(("shots", "classes", "pairs"), [(8, 77, 2 * 64 * 77 * 76 // 2), (4, 2, 2 * 16)])
def test_the_projected_setfit_epoch_counts_the_larger_kind_twice(shots: int, classes: int, pairs: int) -> None:
    assert default_steps(shots, classes) == pairs // 16
