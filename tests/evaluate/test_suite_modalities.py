"""Sets of pictures and series through evaluate: the base that reads them, its twin, controls; others are passed by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data import media
from tests.data.made_signals import bars, made, wave
from tests.train.tiny_base import tiny_base
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.evaluate.suite.adapting import prompt_of
from headstart.evaluate.suite.run import Settings, evaluate


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars (pictures as PNG bytes) and waves (lists), 60 train and 30 test rows each."""
    folder = tmp_path_factory.mktemp("sets")
    random = np.random.default_rng(0)

    def picture(label: int) -> bytes:
        grey = bars(label, random).clip(0, 255).astype(np.uint8)
        return media.image_bytes(pixels=np.repeat(grey[:, :, None], 3, axis=2))

    makers = {"bars": ("image", picture), "waves": ("series", lambda label: wave(label, random).tolist())}
    kinds = {"bars": "image_classification", "waves": "timeseries_classification"}
    for name, (column, make) in makers.items():
        (folder / name).mkdir()
        for split, rows in (("train", 60), ("test", 30)):
            labels = [row % 3 for row in range(rows)]
            table = pa.table({column: [make(label) for label in labels], "label": labels})
            pq.write_table(table, folder / name / f"{split}.parquet")
    (folder / "INDEX.json").write_text(json.dumps([{"name": name, "kind": kind} for name, kind in kinds.items()]))
    return folder


def test_a_base_is_asked_what_it_reads_and_the_rest_is_passed_by(sets: Path, tmp_path: Path) -> None:
    found = evaluate([tiny_patch_base("image"), tiny_base()], data=sets, out=tmp_path, settings=Settings(suite="adapt"))
    (bars_task,) = found.tasks
    assert bars_task.task.name == "bars"
    roles = [row.role for row in bars_task.candidates]
    assert {"base", "random", "nearest", "majority"} <= set(roles)
    value = {row.role: row.value for row in bars_task.candidates}
    assert value["nearest"] > 0.9
    assert value["majority"] < 0.5
    reasons = {(one.task, one.entry): one.reason for one in found.skipped}
    assert reasons["waves", ""] == "no base reads series"
    assert any(task == "bars" and "tiny reads text" in reason for (task, _), reason in reasons.items())


def test_an_answered_picture_is_named_in_its_sample() -> None:
    task = made("image")
    assert prompt_of(task.test, 0) == str(task.test.raws[0])
    assert prompt_of(task.test, 0).startswith("picture 10 x 12 (")
