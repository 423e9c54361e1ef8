"""Pictures, clips and series from the command line: adapt, the report with its pictures, predict; and the demos."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from tests.data import media
from tests.data.made_signals import bars, tone, wave
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.base.base import Base
from headstart.base.shipped import embedded_names
from headstart.cli import run
from headstart.data.patches import Modality

QUICK = ("--method", "probe", "--no-scratch", "--json")
ROWS = 60


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained bases of the three modalities."""
    desk = tmp_path_factory.mktemp("bases")
    names: tuple[Modality, ...] = ("image", "audio", "series")
    return {name: tiny_patch_base(name).save(desk / name) for name in names}


def photos(root: Path) -> Path:
    random = np.random.default_rng(0)
    for row in range(ROWS):
        folder = root / "photos" / "abc"[row % 3]
        folder.mkdir(parents=True, exist_ok=True)
        grey = bars(row % 3, random).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{row}.png")
    return root / "photos"


def adapt(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code = run(["adapt", *map(str, words), *QUICK])
    said = capsys.readouterr()
    assert code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_a_folder_of_photos_is_checked_as_adapt_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(photos(tmp_path)), "--label-from", "folder", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labels"], sum(told["rows"].values())) == (["a", "b", "c"], ROWS)
    assert told["first"][0].startswith("picture 10 x 12")


def test_a_base_is_chosen_for_a_folder_of_photos(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = photos(tmp_path), tmp_path / "out"
    words = ["--label-from", "folder", "--bases", bases["image"], bases["audio"], "--methods", "probe", "--json"]
    assert run(["choose", *map(str, (root, *words, "--out", out))]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["decision"]["base"], told["decision"]["method"]) == ("tiny-image", "probe")
    assert [one["base"] for one in told["excluded"]] == [str(bases["audio"])]
    assert "reads audio" in told["excluded"][0]["reason"]
    assert "nearest" in {one["method"] for one in told["winner"]["candidates"]}
    assert (out / "choice.html").read_text(encoding="utf-8").count("<svg") >= 3
    assert Base.load(out).predict(sorted((root / "b").iterdir())).count("b") > ROWS // 6


def test_a_folder_of_photos(bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = photos(tmp_path), tmp_path / "out"
    for row in range(6):  # wrong labels, so that there are errors to show
        (root / "abc"[row % 3] / f"{row}.png").rename(root / "abc"[(row + 1) % 3] / f"{row}-.png")
    report = adapt(capsys, root, "--label-from", "folder", "--base", bases["image"], "--out", out, "--seed", "3")
    assert {c["method"] for c in report["candidates"]} == {"probe", "nearest", "majority"}
    assert report["task"]["columns"]["text"] == "file"

    page = (out / "report.html").read_text()
    shown = [base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([\w+/=]+)", page)]
    assert len(shown) == len(report["errors"])
    assert all(max(Image.open(io.BytesIO(png)).size) <= 144 for png in shown)
    assert len(page) < 300_000

    assert run(["predict", str(out), str(root / "a")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert set(rows[0]) == {"file", "prediction", "probability"}
    assert sum(row["prediction"] == "a" for row in rows) >= 0.6 * len(rows)

    odd = Path(os.fsdecode(os.fsencode(root / "a") + b"/3\xe9.png"))
    odd.write_bytes((root / "b" / "7.png").read_bytes())
    assert run(["predict", str(out), str(root / "a"), "--out", str(tmp_path / "answers.csv")]) == 2
    assert "has a name that is not UTF-8" in capsys.readouterr().err
    odd.unlink()
    (root / "a" / "bad.png").write_bytes(media.broken_png())
    assert run(["predict", str(out), str(root / "a")]) == 2
    assert "bad.png is damaged" in capsys.readouterr().err
    assert run(["predict", str(out), str(root / "a"), "--drop-missing"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1


def test_a_table_of_clips(bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    lines = ["path,label"]
    for row in range(ROWS):
        clip = tone(row % 3, random)
        soundfile.write(tmp_path / f"{row}.wav", clip.samples, clip.rate)
        lines.append(f"{row}.wav,{'abc'[row % 3]}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    report = adapt(
        capsys, tmp_path / "clips.csv", "--audio", "path", "--base", bases["audio"], "--out", tmp_path / "out"
    )
    assert report["candidates"][0]["value"] >= 0.8
    assert run(["predict", str(tmp_path / "out"), str(tmp_path / "clips.csv"), "--out", str(tmp_path / "a.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert np.mean([row["prediction"] == row["label"] for row in rows]) >= 0.8


def test_a_column_of_series(bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    series = [wave(row % 3, random).tolist() for row in range(ROWS)]
    table = pa.table({"sensors": series, "label": ["abc"[row % 3] for row in range(ROWS)]})
    pq.write_table(table, tmp_path / "sensors.parquet")
    report = adapt(
        capsys,
        tmp_path / "sensors.parquet",
        "--series",
        "sensors",
        "--base",
        bases["series"],
        "--out",
        tmp_path / "out",
    )
    assert report["candidates"][0]["n_test"] == ROWS // 10
    assert run(["predict", str(tmp_path / "out"), str(tmp_path / "sensors.parquet")]) == 0
    assert len(list(csv.reader(io.StringIO(capsys.readouterr().out)))) == ROWS + 1

    series[7] = [[0.0, 1.0]] * 3
    pq.write_table(pa.table({"sensors": series}), tmp_path / "new.parquet")
    assert run(["predict", str(tmp_path / "out"), str(tmp_path / "new.parquet")]) == 2
    assert "new.parquet:8 is a series of 3 channels; expected 2" in capsys.readouterr().err
    assert run(["predict", str(tmp_path / "out"), str(tmp_path / "new.parquet"), "--drop-missing"]) == 0
    said = capsys.readouterr()
    assert len(list(csv.reader(io.StringIO(said.out)))) == ROWS
    assert "new.parquet:8" in said.err


@pytest.mark.parametrize(
    "words",
    [["--label-from", "folder"], ["--image", "x"], ["--audio", "x"], ["--series", "x"]],
    ids=lambda words: words[0],
)
def test_a_length_of_text_is_refused_where_none_is_read(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapt", str(tmp_path), *words, "--max-length", "8"]) == 2
    assert f"--max-length is 8 beside {words[0]}; expected it for text alone" in capsys.readouterr().err


def test_a_base_for_something_else_is_refused_in_words(
    bases: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photos(tmp_path)
    assert run(["adapt", str(root), "--label-from", "folder", "--base", str(bases["audio"])]) == 2
    assert "reads audio and photos holds image" in capsys.readouterr().err
    assert run(["adapt", str(root)]) == 2
    assert "add --label-from folder" in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["image", "audio", "series"])
def test_the_demo_of_every_modality_runs(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if f"{kind}-tiny" not in embedded_names():
        pytest.skip(f"{kind}-tiny is not in this checkout")
    assert run(["demo", kind, "--budget", "20s", "--json", "--out", str(tmp_path / "out")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["candidates"][0]["base"] == f"{kind}-tiny"
    assert report["candidates"][0]["value"] > 0.6


def test_generated_demos_depend_on_the_seed_alone_and_need_a_look_at_the_whole() -> None:
    """No single value tells the kinds apart, so that a demo's score says something."""
    from headstart.demo_signals import series, sounds

    first, again = sounds(), sounds()
    assert len(first["clip"]) == len(first["kind"]) == 480
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(first["clip"], again["clip"], strict=True))
    charts = series()
    values = np.stack(charts["values"])
    assert values.shape == (480, 60)
    assert np.array_equal(values, np.stack(series()["values"]))
    assert not np.array_equal(values, np.stack(series(seed=1)["values"]))
