"""The demonstrations of few-shot against lm-evaluation-harness itself: the same texts for the same rows and seed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.extra.test_lm_eval import peer_python

from headstart.evaluate.suite.index import find_sets
from headstart.evaluate.suite.protocols import protocol_of
from headstart.evaluate.suite.shots import SEED

HERE = Path(__file__).parent
MADE = HERE.parent / "evaluate" / "shots"
COPA = """task: copa
dataset_path: parquet
dataset_kwargs: {{data_files: {{validation: {file}}}}}
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""


def theirs(repo: Path, folder: Path, *, shots: int, seed: int) -> dict[str, list[list[str]]]:
    """The harness' requests of the task files in a folder."""
    command = [str(peer_python(repo)), str(HERE / "lm_eval_requests.py"), str(folder), str(shots), str(SEED + seed)]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "requests.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def ours(data: Path, name: str, *, shots: int, seed: int) -> list[list[str]]:
    (found,), _ = find_sets(data, suite="all", tasks=(name,))
    items: Any = protocol_of(found.spec).shown(found, limit=None, shots=shots, seed=seed)
    return [list(option) for item in items for option in item.options]


def test_made_sets(repo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(MADE, tmp_path / "shots")
    kept = json.loads((MADE / "requests.json").read_text(encoding="utf-8"))
    assert theirs(repo, folder, shots=2, seed=0) == kept
    for name, requests in theirs(repo, folder, shots=3, seed=5).items():
        assert ours(MADE, name, shots=3, seed=5) == requests, name


def test_copa(repo: Path, shared: Path, tmp_path: Path) -> None:
    file = shared / "tasks" / "copa" / "validation.parquet"
    (tmp_path / "copa.yaml").write_text(COPA.format(file=file), encoding="utf-8")
    requests = theirs(repo, tmp_path, shots=4, seed=0)["copa"]
    assert len(requests) == 200
    assert ours(shared / "tasks", "copa", shots=4, seed=0) == requests
