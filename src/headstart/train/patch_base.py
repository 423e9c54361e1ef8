"""The verb `pretrain` on patches: a recipe and a folder of pictures, sounds or series in, a Base with lineage out."""

from __future__ import annotations

import dataclasses
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import DataRef, Record, code_version, hardware
from headstart.data.patch_corpus import PatchCorpus, pack_patches
from headstart.train.checkpoint import Checkpoints, Identity
from headstart.train.course import SILENT, Outcome, Watch, follow
from headstart.train.masked_patches import PatchModel
from headstart.train.patch_course import PatchCourse
from headstart.train.patch_recipe import FAMILY, PatchRecipe, read_patch_recipe
from headstart.train.ranks import ALONE, Ranks
from headstart.train.recipe import in_fast_numbers

POINTS = 20  # of the curve, evenly over the run


def pretrain_patches(
    recipe: str | PatchRecipe,
    *,
    data: str | Path,
    work: str | Path,
    save_every: float = 300.0,
    fork: bool = False,
    watch: Watch = SILENT,
    ranks: Ranks = ALONE,
) -> Base:
    """Pre-train a base on everything of the recipe's modality below `data`; labels are never read.

    The other arguments and the errors are those of `headstart.train.text_base.pretrain`.
    """
    chosen = read_patch_recipe(recipe) if isinstance(recipe, str) else recipe
    folder = Path(work)
    with ranks.first_alone():
        corpus = pack_patches(Path(data), chosen.codec(), folder / "planes")
    found = follow(
        PatchCourse(chosen, corpus),
        probe_every=max(1, chosen.num_steps // POINTS),
        compile_blocks=False,  # micro-batches of several widths would be compiled one by one
        checkpoints=Checkpoints(
            folder / "checkpoints", identity_of(chosen, corpus), save_every, fork, watch.tell, ranks
        ),
        watch=watch,
        ranks=ranks,
    )
    if found.stopped != "asked":
        watch.done()
    return base_of(chosen, found, corpus)


def identity_of(recipe: PatchRecipe, corpus: PatchCorpus) -> Identity:
    """The digests of what a run is made of; the codec stands in the tokenizer's place."""
    return Identity(
        recipe=sha256(msgspec.json.encode(recipe)).hexdigest(),
        corpus=sha256(msgspec.json.encode(corpus.meta)).hexdigest(),
        tokenizer=corpus.meta.codec,
    )


def base_of(recipe: PatchRecipe, found: Outcome[PatchModel], corpus: PatchCorpus) -> Base:
    """The trained trunk as a Base with a one-step lineage; the decoder is left behind."""
    licences = corpus.meta.licences
    data = tuple(DataRef(name, digest, licences.get(name, "not stated")) for name, digest in corpus.meta.files.items())
    results: dict[str, Any] = {
        "curve": [dataclasses.asdict(point) for point in found.curve],
        "units": found.steps * recipe.optimisation.tokens_per_step,
        "steps": found.steps,
        "stopped": found.stopped,
        "numbers": in_fast_numbers(recipe.optimisation).dtype,
        "corpus": {"planes": len(corpus), "shape": list(corpus.meta.shape)},
    }
    record = Record(
        verb="pretrain",
        config=msgspec.to_builtins(recipe),
        data=data,
        code=code_version(),
        seed=recipe.optimisation.seed,
        hardware=hardware(),
        seconds=found.seconds,
        flops=found.flops,
        results=results,
    )
    return Base(
        trunk=found.model.trunk.eval(),
        codec=recipe.codec(),
        family=FAMILY,
        pattern="full",
        name=recipe.name,
        lineage=(record,),
    )
