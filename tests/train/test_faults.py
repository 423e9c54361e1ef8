"""A kill or a refusing disk at every single file operation of a run: nothing is lost, and the end is the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.train.test_pretrain import TOY
from tests.train.test_pretrain import corpus as corpus  # a fixture

ROOT = Path(__file__).parents[2]
STEPS = 3
SMALL = {
    "tokens = 40_960": f"tokens = {STEPS * 128}",
    "tokens_per_step = 1024": "tokens_per_step = 128",
    "micro_tokens = 512": "micro_tokens = 64",
}
WORDS = {"ENOSPC": "no space left", "EIO": "input/output error"}
KINDS = {"make", "create", "write", "tear", "sync", "rename", "remove"}


def faults(what: str, fault: str, corpus: Path, first: int) -> list[dict[str, Any]]:
    """A record an operation of the run from step `first` on; the record of no fault comes first (fault_run.met)."""
    text = TOY
    for old, new in SMALL.items():
        assert old in text
        text = text.replace(old, new)
    (corpus / "toy.toml").write_text(text)
    line = [sys.executable, "-m", "tests.train.fault_run", what, fault, str(corpus), str(corpus / "room"), str(first)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert found.returncode == 0, found.stderr
    return [json.loads(said) for said in found.stdout.splitlines()]


def kinds(record: dict[str, Any]) -> list[str]:
    """What is done, operation by operation, without the names."""
    return [operation.split()[0] for operation in record["operations"]]


def published(record: dict[str, Any], before: int | None = None) -> list[int]:
    """The steps whose checkpoints got their names, in all or before an operation."""
    done = record["operations"][: None if before is None else before - 1]
    return [int(operation.removeprefix("rename step-")) for operation in done if operation.startswith("rename step-")]


def require_nothing_lost(found: list[dict[str, Any]], fault: str, first: int) -> None:
    """What holds after every fault: the checkpoints of before, no half ones, and the same end after going on."""
    usual, *met = found
    assert (usual["code"], usual["broken"], usual["hidden"]) == (0, [], [])
    assert len(met) == len(usual["operations"])
    for at, record in enumerate(met, start=1):
        place = f"operation {at}, {record['operations'][at - 1]}: {record['words']}"
        saved = max([first, *published(record, before=at)])
        if fault == "kill":
            assert record["code"] == -9, place
            assert kinds(record) == kinds(usual)[:at], place
        else:
            assert record["code"] in (0, 1, 2), place
            assert "Traceback" not in record["words"], place
            assert record["code"] == 0 or WORDS[fault] in record["words"].lower(), place
        assert record["broken"] == [], place
        assert not saved or max(record["whole"]) >= saved, place
        assert record["again"] == 0, f"{place}\n{record['words_again']}"
        assert record["outcome"] == usual["outcome"], place
        told = fault == "EIO" and "cannot be removed" in record["words"]  # and stays until training starts again
        assert record["hidden"] == [] or told, place


def test_a_save_that_is_killed_at_any_operation(corpus: Path) -> None:
    """The third checkpoint of a run, in whose place the first one goes."""
    found = faults("course", "kill", corpus, first=2)
    assert set(kinds(found[0])) == KINDS
    assert published(found[0]) == [3], "what the run stood on was written again"
    require_nothing_lost(found, "kill", first=2)


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["kill", "ENOSPC", "EIO"])
def test_a_run_that_meets_a_fault_at_any_operation(fault: str, corpus: Path) -> None:
    """Three checkpoints, one of which goes again: from the first folder to the last file."""
    found = faults("course", fault, corpus, first=0)
    assert published(found[0]) == [1, 2, 3]
    require_nothing_lost(found, fault, first=0)


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["kill", "ENOSPC", "EIO"])
@pytest.mark.parametrize("first", [0, STEPS])
def test_a_command_that_meets_a_fault_at_any_operation(fault: str, first: int, corpus: Path) -> None:
    """`headstart pretrain`: tokenizer, packed text, checkpoints, metrics, sketch, base and page; or, where all steps
    are made, what comes after them: a base is there with its page, or there is none."""
    found = faults("command", fault, corpus, first)
    made = {done.split(maxsplit=1)[1] for done in found[0]["operations"] if done.startswith("create ")}
    assert "model.safetensors" in made
    assert first or {"units.bin", "metrics.jsonl", "manifest.json"} <= made
    require_nothing_lost(found, fault, first)
    assert {"report.html", "model.safetensors", "headstart.json"} <= set(found[0]["outcome"]["files"])
    assert found[0]["outcome"]["folder"] == ["out", "out.work"]
