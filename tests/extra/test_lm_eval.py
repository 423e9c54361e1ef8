"""lm-evaluation-harness itself, run on our engine and on its own hf model: the same numbers, item by item.

It lives in an interpreter of its own (HEADSTART_PEER_PYTHON, or .cache/peers, which `make bench` makes).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TASKS = ("made_choice", "made_text", "made_words")
COMMON = "dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {file}\ntest_split: test\n"
CHOICE = """task: made_choice
{common}output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
TEXT = """task: made_text
{common}output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: bits_per_byte}}]
"""
WORDS = """task: made_words
{common}output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{text}}}}"
generation_kwargs: {{until: ["card"], max_gen_toks: 12, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
ROWS = [
    {"question": f"Where is my {name}", "choices": [" card", " parcel?", " money"], "answer": n % 3, "text": text}
    for n, (name, text) in enumerate(
        [
            ("card", "Where is my parcel? I want my money back."),
            ("money", "W"),
            ("parcel", "I want my money back, please. " * 60),
            ("order", "naïve 漢字"),
        ]
    )
]


def peer_python(repo: Path) -> Path:
    """The interpreter that has the harness."""
    python = Path(os.environ.get("HEADSTART_PEER_PYTHON") or repo / ".cache" / "peers" / "bin" / "python")
    if not python.is_file():
        pytest.skip(f"{python} is missing; `make bench` makes it")
    return python


@pytest.fixture(scope="module")
def results(repo: Path, tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What both models told, by model and task."""
    folder = tmp_path_factory.mktemp("harness")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    common = COMMON.format(file=folder / "rows.jsonl")
    for name, task in zip(TASKS, (CHOICE, TEXT, WORDS), strict=True):
        (folder / f"{name}.yaml").write_text(task.format(common=common), encoding="utf-8")
    ours = Path(importlib.util.find_spec("msgspec").origin).parents[1]  # type: ignore[union-attr, arg-type]
    command = [str(peer_python(repo)), str(HERE / "run_lm_eval.py"), str(tiny_base_folder), str(folder), str(ours)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(repo / "src"),
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def numbers(value: Any) -> list[float]:
    """Every number of a nested answer, in order."""
    if isinstance(value, list):
        return [number for one in value for number in numbers(one)]
    return [float(value)] if isinstance(value, int | float) else []


def test_log_likelihoods_item_by_item(results: dict[str, Any]) -> None:
    for task in ("made_choice", "made_text"):
        ours, theirs = (results[model]["samples"][task] for model in ("headstart", "hf"))
        assert len(ours) == len(theirs) == len(ROWS)
        for mine, other in zip(ours, theirs, strict=True):
            assert numbers(mine["resps"]) == pytest.approx(numbers(other["resps"]), abs=1e-3, rel=1e-5)


def test_answers_item_by_item(results: dict[str, Any]) -> None:
    ours, theirs = (results[model]["samples"]["made_words"] for model in ("headstart", "hf"))
    assert [one["resps"] for one in ours] == [one["resps"] for one in theirs]
    assert any(one["resps"][0][0] for one in ours)


def test_metrics(results: dict[str, Any]) -> None:
    for task in TASKS:
        ours, theirs = (results[model]["results"][task] for model in ("headstart", "hf"))
        for name, value in theirs.items():
            if isinstance(value, float):
                assert ours[name] == pytest.approx(value, rel=1e-4), (task, name)
