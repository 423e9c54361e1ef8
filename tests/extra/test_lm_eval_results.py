"""What `--lm-eval` writes is found by lm-evaluation-harness' own functions, and its samples amount to the results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.evaluate.made_sets import write_sets
from tests.extra.test_lm_eval import HERE, peer_python

from headstart.base.base import Base
from headstart.evaluate.suite.run import Settings, evaluate


def test_the_harness_finds_the_files_and_computes_the_same(repo: Path, tiny_base: Base, tmp_path: Path) -> None:
    tasks = ("twins", "moods", "facts", "gaps", "prose", "prejudice", "sums")
    settings = Settings(tasks=tasks, lm_eval=True)
    found = evaluate([tiny_base], data=write_sets(tmp_path / "sets"), out=tmp_path / "out", settings=settings)
    command = [str(peer_python(repo)), str(HERE / "read_lm_eval.py"), str(tmp_path / "out" / "lm-eval" / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["date"][:10] == found.finished[:10]
    assert set(told["samples"]) == set(tasks)
    names = {"accuracy": "acc", "preference": "preference", "answer_match": "exact_match"}
    for table in found.tasks:
        (own,) = [row for row in table.candidates if row.role == "base"]
        samples = told["samples"][table.task.name]
        assert samples[names.get(own.metric, own.metric)] == pytest.approx(own.value, abs=1e-6)
        assert table.task.name in told["table"]
    by_name = {table.task.name: table.candidates for table in found.tasks}
    gaps, facts = (next(row for row in by_name[name] if row.role == "base").metrics for name in ("gaps", "facts"))
    assert told["samples"]["gaps"]["perplexity"] == pytest.approx(gaps["perplexity"])
    assert told["samples"]["facts"]["acc_bytes"] == pytest.approx(facts["accuracy_norm"])
