"""Runs a stretch of the toy recipe, alone or under torchrun; leaves its losses and final weights: FOLDER STOP_AT."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import msgspec
from safetensors.torch import save_file

from headstart.train.checkpoint import Checkpoints
from headstart.train.loop import StepRecord
from headstart.train.pretrain import Watch, pack_corpus, train_text
from headstart.train.ranks import joined
from headstart.train.recipe import Recipe
from headstart.train.text_base import identity_of


def main(folder: Path, stop_at: int) -> None:
    """Go on from the checkpoints in `folder` until before step `stop_at`."""
    recipe = msgspec.convert(tomllib.loads((folder / "toy.toml").read_text()), Recipe)
    losses: dict[int, float] = {}

    def see(record: StepRecord) -> None:
        losses[record.step] = record.loss

    with joined() as ranks:
        with ranks.first_alone():
            train, validation = pack_corpus(recipe, data=folder.parent, work=folder)
        found = train_text(
            recipe,
            train,
            validation,
            probe_every=1000,
            compile_blocks=False,
            checkpoints=Checkpoints(folder / "checkpoints", identity_of(recipe, train), every=1e9, ranks=ranks),
            watch=Watch(on_step=see, stop=lambda: bool(losses) and max(losses) + 1 >= stop_at),
            ranks=ranks,
        )
        if ranks.first:
            (folder / f"losses-{stop_at}.json").write_text(json.dumps(losses))
            save_file(dict(found.model.trunk.state_dict()), folder / f"weights-{stop_at}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
