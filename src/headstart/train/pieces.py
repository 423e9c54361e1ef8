"""A training in pieces: stopped after a share of its steps, kept in a folder, and taken up again as if it had run on.

Enter and leave: `Kept`, everything that the next step of a fit depends on. The order of the rows is a pure function of
the step, so no generator state is kept; pieces end in the same weights as one run (tests/train/test_pieces.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from torch import Tensor

from headstart.base.tensors import SafetensorsFile, save_tensors
from headstart.ground.errors import ConfigError
from headstart.ground.files import write_atomic
from headstart.train.loop import StepRecord

STATE, BEST = "state--", "best--"  # of the optimiser, and of the weights of the best validation pass
SLASH = "--"  # stands for the / of the optimiser's names, which a tensor's name on disk may not have


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a fit's state is kept between its pieces, and the share of all steps after which this piece ends."""

    folder: Path
    until: float

    def __post_init__(self) -> None:
        if not 0.0 < self.until <= 1.0:
            raise ConfigError(f"the piece ends at {self.until} of the steps; expected a share above 0, at most 1.")


class Standing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a fit stands between two pieces, besides its tensors.

    identity: what it is a fit of. best, last: qualities of validation passes, None before the first one; since: passes
    since the best. seconds: of all pieces so far.
    """

    identity: str
    step: int = 0
    best: float | None = None
    last: float | None = None
    since: int = 0
    seconds: float = 0.0
    history: list[StepRecord] = []


@dataclass(frozen=True, slots=True)
class Kept:
    """A fit between two pieces. state: of the optimiser; best: weights of the best validation pass, by name."""

    standing: Standing
    state: dict[str, Tensor]
    best: dict[str, Tensor]


def keep(folder: Path, kept: Kept) -> None:
    """Write it; what was kept before is replaced. A kill between the two files costs the fit's beginning, no more."""
    folder.mkdir(parents=True, exist_ok=True)
    standing = folder / "standing.json"
    standing.unlink(missing_ok=True)
    sides = {STATE: kept.state, BEST: kept.best}
    named = {mark + name.replace("/", SLASH): value for mark, side in sides.items() for name, value in side.items()}
    save_tensors({n: t.detach().cpu().contiguous() for n, t in named.items()}, folder / "tensors.safetensors")
    write_atomic(standing, msgspec.json.encode(kept.standing))


def take_up(folder: Path, *, identity: str) -> Kept | None:
    """What was kept of this very fit; None where there is nothing, and the fit begins anew.

    Raises:
        ConfigError: it is of another fit.
    """
    path = folder / "standing.json"
    if not path.is_file():
        return None
    standing = msgspec.json.decode(path.read_bytes(), type=Standing)
    if standing.identity != identity:
        raise ConfigError(
            f"{folder} keeps another fit; expected one of the same base, rows and settings. Give another."
        )
    source = SafetensorsFile(folder / "tensors.safetensors")
    state, best = (
        {
            name.removeprefix(mark).replace(SLASH, "/"): source.tensor(name)
            for name in source.entries
            if name.startswith(mark)
        }
        for mark in (STATE, BEST)
    )
    return Kept(standing, state, best)
