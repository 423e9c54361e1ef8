"""The requests of `speed-prompt`: what is asked, which label wins, and labels that have too many tokens."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bench.prompt_requests import CASES, Case, accuracy, read_requests, write_requests

from headstart.base.base import Base


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks" / "ag_news"
    folder.mkdir(parents=True)
    rows = {"text": [f"News number {n} of the day" for n in range(8)], "label": [n % 4 for n in range(8)]}
    for split in ("train", "test"):
        pq.write_table(pa.table(rows), folder / f"{split}.parquet")
    return folder.parent


def test_rows_become_requests(tiny_base: Base, tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = (" a", " b", " c", " d")
    monkeypatch.setitem(CASES, "few-shot", Case(labels, 5, 1))
    size = write_requests("few-shot", tasks=tasks, codec=tiny_base.codec, rows=3, target=tmp_path / "out.jsonl")
    asked = read_requests(tmp_path / "out.jsonl")
    contexts, continuations, right = ([one[key] for one in asked] for key in ("context", "continuation", "right"))
    assert len(contexts) == 12
    assert size["preamble_tokens"] > 20
    assert continuations[:4] == list(labels)
    assert [right[4 * n : 4 * n + 4].index(True) for n in range(3)] == [0, 1, 2]
    assert contexts[0].count("Topic:") == 6
    assert len({context[: -len("Text: News number 0 of the day\nTopic:")] for context in contexts}) == 1


def test_labels_of_another_length_are_refused(tiny_base: Base, tasks: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"the labels of zero-shot have .* tokens; expected 2 each"):
        write_requests("zero-shot", tasks=tasks, codec=tiny_base.codec, rows=3, target=tmp_path / "out.jsonl")


def test_accuracy_counts_rows() -> None:
    asked = [{"item": n // 2, "right": right} for n, right in enumerate([True, False, False, True, True, False])]
    assert accuracy([-1.0, -2.0, -1.0, -2.0, -3.0, -2.9], asked) == pytest.approx(1 / 3)
