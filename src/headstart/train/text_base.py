"""The verb `pretrain`: a recipe and a folder of raw text in, a Base with its lineage out.

`train_text` does the training; here the result becomes a Base: trunk, head, codec, and a record of what it was made
from (shards with digests and licences, recipe, curve, seconds, FLOPs).
"""

from __future__ import annotations

import dataclasses
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import DataRef, Record, code_version, hardware
from headstart.data.built import is_built, licences_of, open_build
from headstart.data.codec import load_tokenizer
from headstart.data.corpus import PackedCorpus
from headstart.ground.errors import DataError, did_you_mean
from headstart.train.checkpoint import Checkpoints, Identity
from headstart.train.pretrain import SILENT, Pretrained, Watch, pack_corpus, train_text
from headstart.train.ranks import ALONE, Ranks
from headstart.train.recipe import Recipe, read_recipe

POINTS = 20  # of the curve, evenly over the run
COMPILE_FROM = (
    2_000_000  # units: compiling takes about a minute of CPU and saves 5-10 % of a step, so short runs lose by it
)


def pretrain(
    recipe: str | Recipe,
    *,
    data: str | Path,
    work: str | Path,
    save_every: float = 300.0,
    fork: bool = False,
    watch: Watch = SILENT,
    ranks: Ranks = ALONE,
) -> Base:
    """Pre-train a base. work: folder for tokenizer, packed corpus and checkpoints; a stopped run goes on from there.

    save_every: seconds between checkpoints. fork: go on although recipe, corpus or tokenizer changed. ranks: the
    processes that do it together (headstart.train.ranks.joined); each calls this and has the base.

    Raises:
        ConfigError: an unknown recipe or key, or a checkpoint made of something else.
        DataError: a shard is missing or cannot be read.
        RunError: no disk space, or a loss that left its course three times.
    """
    chosen = read_recipe(recipe) if isinstance(recipe, str) else recipe
    shards, folder = Path(data), Path(work)
    with ranks.first_alone():
        train, validation = find_corpus(chosen, shards, folder)
    found = train_text(
        chosen,
        train,
        validation,
        probe_every=max(1, chosen.num_steps // POINTS),
        compile_blocks=chosen.optimisation.tokens >= COMPILE_FROM,
        checkpoints=Checkpoints(
            folder / "checkpoints", identity_of(chosen, train), save_every, fork, watch.tell, ranks
        ),
        watch=watch,
        ranks=ranks,
    )
    return base_of(chosen, found, train, tokenizer=shards if is_built(shards) else folder, licences=licences_of(shards))


def find_corpus(recipe: Recipe, shards: Path, work: Path) -> tuple[PackedCorpus, PackedCorpus]:
    """(train, validation) of the recipe: as built, or packed below `work`; DataError where a shard is missing."""
    if is_built(shards):
        return open_build(shards, vocab_size=recipe.shape.vocab_size)
    for name in (*recipe.corpus.train, recipe.corpus.validation):
        if not (shards / name).is_file():
            near = did_you_mean(name, [p.name for p in shards.glob("*")] if shards.is_dir() else [])
            raise DataError(
                f"{shards / name} is missing; expected the shards of the recipe {recipe.name}.{near} Give --data."
            )
    return pack_corpus(recipe, data=shards, work=work)


def identity_of(recipe: Recipe, corpus: PackedCorpus) -> Identity:
    """The digests of what a run is made of."""
    return Identity(
        recipe=sha256(msgspec.json.encode(recipe)).hexdigest(),
        corpus=sha256(msgspec.json.encode(corpus.meta)).hexdigest(),
        tokenizer=corpus.meta.tokenizer_sha256,
    )


def base_of(recipe: Recipe, found: Pretrained, corpus: PackedCorpus, *, tokenizer: Path, licences: str) -> Base:
    """The trained weights as a Base with a one-step lineage."""
    data = tuple(DataRef(name, digest, licences) for name, digest in corpus.meta.shards.items())
    results: dict[str, Any] = {
        "curve": [dataclasses.asdict(point) for point in found.curve],
        "units": found.steps * recipe.optimisation.tokens_per_step,
        "steps": found.steps,
        "stopped": found.stopped,
        "corpus": {
            "units": corpus.meta.num_units,
            "documents": corpus.meta.num_documents,
            "bytes": corpus.meta.num_bytes,
        },
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
    codec = load_tokenizer(tokenizer, max_positions=recipe.shape.max_positions)
    return Base(
        trunk=found.trunk.eval(),
        codec=codec,
        family=recipe.family,
        pattern="causal" if recipe.mixture.causal_share == 1.0 else "full",
        name=recipe.name,
        lm=found.head.eval(),
        lineage=(record,),
    )
