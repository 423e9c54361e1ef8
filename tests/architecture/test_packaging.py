"""What the wheel must carry to work offline, and what the repository promises in its files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import headstart

ROOT = Path(__file__).resolve().parents[2]


def test_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", headstart.__version__)
    assert f"## {headstart.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_package_is_typed_and_carries_its_data() -> None:
    package = ROOT / "src" / "headstart"
    assert (package / "py.typed").is_file()
    assert (package / "demo_data" / "train.csv").is_file()
    assert (package / "demo_data" / "test.csv").is_file()
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not any("safetensors" in line or line.startswith("*.csv") for line in ignored)


def test_reading_order_names_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"`(src/headstart/[\w/]+\.py)`", readme)
    assert len(named) >= 7, "the README prints the reading order"
    missing = [name for name in named if not (ROOT / name).is_file()]
    assert missing == []
