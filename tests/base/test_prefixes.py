"""A prefix tree's plan: every row once, every unit with its own past, and nothing shared that is asked about."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.base import prefixes
from headstart.base.prefixes import common_units, pack, plan_reading
from headstart.data.text_codec import Ids


def random_rows(seed: int, *, count: int = 40, letters: int = 2) -> list[Ids]:
    """Rows over few letters, so that they share much; some are equal, some end inside others."""
    random = np.random.default_rng(seed)
    return [random.integers(0, letters, random.integers(1, 14)).astype(np.int32) for _ in range(count)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bush_units", [1, 5, 40, 1000])
def test_every_row_stands_once_and_sees_itself(seed: int, bush_units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "STEM_UNITS", 2)
    rows = random_rows(seed, letters=2 + seed)
    random = np.random.default_rng(seed)
    unasked = [int(random.integers(0, len(row))) for row in rows]
    stems = plan_reading(rows, unasked, bush_units=bush_units)
    found = [row for stem in stems for bush in stem.bushes for row in bush]
    assert sorted(found) == list(range(len(rows)))
    for number, stem in enumerate(stems):
        if stem.parent >= 0:
            assert stem.parent < number
            assert stem.start == len(stems[stem.parent].ids) < len(stem.ids)
            assert common_units(stem.ids, stems[stem.parent].ids) == stem.start
        for bush in stem.bushes:
            check_bush([rows[row] for row in bush], stem.ids, [unasked[row] for row in bush])


def check_bush(rows: list[Ids], stem: Ids, unasked: list[int]) -> None:
    bush = pack(rows, len(stem))
    for row, columns, free in zip(rows, bush.columns, unasked, strict=True):
        assert len(stem) <= free
        np.testing.assert_array_equal(stem, row[: len(stem)])
        np.testing.assert_array_equal(bush.units[columns], row[len(stem) :])
        np.testing.assert_array_equal(bush.positions[columns], np.arange(len(stem), len(row)))
        for place, column in enumerate(columns):
            seen = [key for key in range(column + 1) if column < bush.until[key]]
            assert seen == columns[: place + 1].tolist()


def test_equal_rows_are_read_once() -> None:
    row = np.arange(9, dtype=np.int32)
    (stem,) = plan_reading([row, row, row], [0, 0, 0])
    (together,) = stem.bushes
    assert len(pack([row] * 3, 0).units) == 9
    assert sorted(together) == [0, 1, 2]


def test_a_preamble_is_a_stem_and_a_question_with_its_labels_a_bush() -> None:
    random = np.random.default_rng(0)
    preamble = random.integers(0, 100, 300)
    rows = [
        np.concatenate((preamble, question, label)).astype(np.int32)
        for question in random.integers(0, 100, (20, 30))
        for label in (np.array([1, 2]), np.array([3, 4]), np.array([1, 5]), np.array([6]))
    ]
    root, stem = plan_reading(rows, [329] * 80)
    assert root.bushes == []
    assert 300 <= len(stem.ids) <= 301  # questions may begin alike, but not all of them
    assert sorted(map(sorted, stem.bushes)) == [list(range(4 * n, 4 * n + 4)) for n in range(20)]
    units = len(stem.ids) + sum(len(pack([rows[row] for row in bush], len(stem.ids)).units) for bush in stem.bushes)
    assert units <= 300 + 20 * (30 + 6)


def test_unrelated_rows_stay_apart() -> None:
    rows = [np.asarray([n, *range(20)], dtype=np.int32) for n in range(50)]
    (root,) = plan_reading(rows, [0] * 50)
    assert all(len(bush) == 1 for bush in root.bushes)


def test_nothing_to_read() -> None:
    (root,) = plan_reading([], [])
    assert root.bushes == []
