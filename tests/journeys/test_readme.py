"""The README tells the truth: its shell lines and its Python run as they stand, in order, in one folder.

Only the time a command may take is cut down (--budget), so that the tests stay short.
"""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.base.shipped import embedded_names

REPO = Path(__file__).resolve().parents[2]
README = (REPO / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, flags=re.DOTALL)
GOOD = ("works well", "very happy with", "exactly what I wanted", "sturdy and good looking", "arrived early, great")
BAD = (
    "broke after a week",
    "not worth the money",
    "very disappointed by",
    "arrived late and scratched",
    "poor quality",
)
THINGS = ("lamp", "kettle", "rug", "chair", "mixer", "shelf", "sofa", "clock", "pan", "mirror", "vase", "fan")

pytestmark = pytest.mark.skipif(not embedded_names(), reason="the embedded base is not in this checkout")


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README takes for granted."""
    folder = tmp_path_factory.mktemp("desk")
    rows = [
        (f"{words}, the {thing} for the {n} room" if n else f"the {thing} {words}", stars)
        for n, thing in enumerate(THINGS)
        for words, stars in [*((w, 5) for w in GOOD), *((w, 1) for w in BAD)]
    ]
    with (folder / "reviews.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("review", "stars"), *rows])
    with (folder / "new.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("review", "city"), *((text, "Ghent") for text, _ in rows[:7])])
    return folder


def test_the_readme_runs(desk: Path) -> None:
    assert len(BLOCKS) >= 4
    for language, block in BLOCKS:
        if language == "python":
            run([sys.executable, "-c", block], desk)
            continue
        for line in block.strip().splitlines():
            words = shlex.split(re.sub(r"--budget \S+", "--budget 12s", line), comments=True)
            assert words[0] == "headstart"
            run([sys.executable, "-m", *words], desk)
    with (desk / "answers.csv").open(newline="", encoding="utf-8") as handle:
        answers = list(csv.DictReader(handle))
    assert len(answers) == 7
    assert list(answers[0]) == ["review", "city", "prediction", "probability"]
    assert {row["prediction"] for row in answers} <= {"1", "5"}


def test_demo_ends_in_commands_to_paste(desk: Path) -> None:
    printed = run([sys.executable, "-m", "headstart", "demo", "--budget", "15s"], desk)
    following = re.search(r'^next="headstart predict (\S+) new.csv"$', printed, flags=re.MULTILINE)
    assert following is not None, printed
    folder = desk / following.group(1)
    assert (folder / "report.html").stat().st_size < 300_000
    assert (folder / "model.safetensors").is_file()


@pytest.mark.soak
def test_the_whole_demo(tmp_path: Path) -> None:
    assert "verdict=" in run([sys.executable, "-m", "headstart", "demo"], tmp_path)


def test_every_promised_command_exists() -> None:
    from headstart.cli import app

    promised = set(re.findall(r"`?headstart ([a-z]+)", README)) - {"as"}
    known = {name for name in app if not name.startswith("-")}
    assert promised <= known | {"import"}, promised - known
