"""Stage 1 beside transformer-ranker: both are given the same texts, and the ratio is of the medians."""

from __future__ import annotations

import json
from pathlib import Path

from bench.speed_rank import summary, write_rows
from tests.train.tiny_base import toy_task


def test_the_peer_is_given_what_our_side_reads(tmp_path: Path) -> None:
    task = toy_task()
    lines = write_rows(task, tmp_path / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["text"] for row in rows] == [*task.train.texts, *task.validation.texts]
    assert [row["label"] for row in rows[:3]] == [task.labels[int(target)] for target in task.train.targets[:3]]


def test_the_ratio_is_of_the_medians() -> None:
    def run(seconds: float) -> dict[str, float]:
        return {"seconds": seconds, "rank_cpu_seconds": 1.0, "peak_mb": 500.0, "other_cores": 0.1, "rows": 2000}

    told = summary({"ours": [run(2.0), run(9.0), run(2.0)], "transformer-ranker": [run(8.0), run(8.0), run(1.0)]})
    assert "| ours | 2,000 | 2.0 (2.0..9.0) | 1.0 | 500 | 1.00x |" in told
    assert "| transformer-ranker | 2,000 | 8.0 (1.0..8.0) | 1.0 | 500 | 4.00x |" in told
