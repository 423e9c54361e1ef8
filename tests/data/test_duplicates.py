"""Repeats planted at a known similarity are found above the threshold and not below; the disk grouping is exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.data.prose import Prose

from headstart.data import scratch
from headstart.data.duplicates import (
    PERMUTATIONS,
    SHINGLE,
    SIGNATURE,
    digest,
    exact_repeats,
    jaccard,
    near_repeats,
    signatures,
)
from headstart.data.gather import ROW
from headstart.data.scratch import KEYED, Column, Parts, groups, keyed_parts, part_of
from headstart.data.words import distinct, find_words


def repeats(texts: Sequence[str], folder: Path, threshold: float, held: int = 0) -> dict[int, int]:
    """row -> witness, as the build drops them; the first `held` rows may not go."""
    folder.mkdir()
    words = find_words(texts)
    signs = Column(folder / "signs", SIGNATURE, PERMUTATIONS)
    signs.append(signatures(words))
    gone: dict[int, int] = {}
    for row, witness in near_repeats(
        signs,
        threshold=threshold,
        stays=lambda row: row not in gone,
        may_go=lambda row: row >= held,
        text_of=texts.__getitem__,
        scratch=folder,
    ):
        gone[row] = witness
    signs.close()
    return gone


def similarity(a: str, b: str) -> float:
    """Jaccard of the word 5-grams, on strings."""
    sets = []
    for text in (a, b):
        words = text.lower().replace(".", " ").split()
        sets.append({" ".join(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_planted_repeats_are_found_by_their_true_similarity(tmp_path: Path) -> None:
    prose = Prose(21)
    originals = [prose.text(300) for _ in range(120)]
    shares = np.linspace(0, 0.09, 120)
    copies = [prose.changed(text, share) for text, share in zip(originals, shares, strict=True)]
    truth = [similarity(a, b) for a, b in zip(originals, copies, strict=True)]
    assert min(truth) < 0.6 < 0.95 < max(truth)
    found = repeats([*originals, *copies], tmp_path / "s", 0.8)
    above = [i for i in range(120) if truth[i] >= 0.8]
    assert {row - 120: witness for row, witness in found.items()} == {i: i for i in above}
    assert 30 < len(above) < 100


def test_the_similarity_is_the_one_of_the_strings() -> None:
    prose = Prose(22)
    for share in (0.0, 0.02, 0.1, 1.0):
        a = prose.text(150)
        b = prose.changed(a, share)
        sets = [distinct(find_words([text]).numbers, SHINGLE) for text in (a, b)]
        assert jaccard(*sets) == pytest.approx(similarity(a, b))


def test_every_dropped_document_has_a_witness_that_stays(tmp_path: Path) -> None:
    """A chain of small changes: each is near its neighbour, the ends are far from each other."""
    prose = Prose(23)
    chain = [prose.text(400)]
    for _ in range(15):
        chain.append(prose.changed(chain[-1], 0.015))
    found = repeats(chain, tmp_path / "s", 0.8)
    assert found
    for row, witness in found.items():
        assert witness not in found
        assert witness < row
        assert similarity(chain[row], chain[witness]) >= 0.8
    stay = [row for row in range(len(chain)) if row not in found]
    assert all(similarity(chain[a], chain[b]) < 0.8 for a in stay for b in stay if a < b)


def test_a_crowd_of_repeats_leaves_one(tmp_path: Path) -> None:
    prose = Prose(24)
    first = prose.text(500)
    crowd = [first, *(prose.changed(first, 0.004) for _ in range(200))]
    assert set(repeats(crowd, tmp_path / "s", 0.8)) == set(range(1, 201))


def test_what_is_held_out_never_goes(tmp_path: Path) -> None:
    text = Prose(25).text(200)
    assert repeats([text] * 4, tmp_path / "s", 0.8, held=2) == {2: 0, 3: 0}


def test_exact_repeats_ignore_case_and_punctuation(tmp_path: Path) -> None:
    prose = Prose(26)
    texts = [prose.text(40) for _ in range(50)]
    texts += [texts[7].upper(), texts[9].replace(".", "!"), texts[7], "...", "…", "..."]
    words = find_words(texts)
    rows = np.zeros(len(texts), dtype=ROW)
    for i, text in enumerate(texts):
        rows[i]["digest"], rows[i]["check"] = digest(text, words.numbers[words.span(i)])
    column = Column(tmp_path / "rows", ROW)
    column.append(rows)
    assert dict(exact_repeats(column, tmp_path)) == {50: 7, 51: 9, 52: 7, 55: 53}
    column.close()


def test_groups_on_disk_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "GROUP_BYTES", 4096)
    random = np.random.default_rng(5)
    records = np.zeros(3000, dtype=KEYED)
    records["key"] = random.integers(0, 500, 3000).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    records["check"] = random.integers(0, 2, 3000)
    records["row"] = np.arange(3000)
    parts, shift = keyed_parts(tmp_path / "parts", len(records))
    assert parts.count > 8
    for piece in np.array_split(records, 7):
        parts.add(piece, part_of(piece["key"], shift))
    seen: dict[tuple[int, int], list[int]] = {}
    for part in range(parts.count):
        ordered, begins = groups(parts.read(part))
        for i in range(len(ordered)):
            first = ordered[begins[i]]
            assert (first["key"], first["check"]) == (ordered[i]["key"], ordered[i]["check"])
            seen.setdefault((int(first["key"]), int(first["check"])), []).append(int(ordered["row"][i]))
    expected: dict[tuple[int, int], list[int]] = {}
    for record in records:
        expected.setdefault((int(record["key"]), int(record["check"])), []).append(int(record["row"]))
    assert seen == expected
    assert not list((tmp_path / "parts").iterdir())


def test_columns_come_back_by_piece_and_by_row(tmp_path: Path) -> None:
    column = Column(tmp_path / "c", np.dtype(np.uint32), 3)
    values = np.arange(30, dtype=np.uint32).reshape(10, 3)
    column.append(values[:4])
    column.append(values[4:])
    assert [(first, len(piece)) for first, piece in column.pieces(4)] == [(0, 4), (4, 4), (8, 2)]
    assert len(column) == 10
    assert column.take(np.array([9, 0, 9])).tolist() == values[[9, 0, 9]].tolist()
    column.close()
    assert Parts(tmp_path / "p", np.dtype(np.int64), 2).read(1).tolist() == []
