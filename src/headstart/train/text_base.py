"""The verb `pretrain`: a recipe and a folder of raw text in, a Base with its lineage out.

`train_text` does the training; here the result becomes a Base: trunk, head, codec, and a record of what it was made
from (shards with digests and licences, recipe, curve, seconds, FLOPs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import DataRef, Record, code_version, hardware
from headstart.data.codec import load_tokenizer
from headstart.data.corpus import PackedCorpus
from headstart.ground.errors import DataError, did_you_mean
from headstart.train.loop import StepRecord
from headstart.train.pretrain import CurvePoint, Pretrained, pack_corpus, train_text
from headstart.train.recipe import Recipe, read_recipe

FAMILY = "qwen3"  # the shape of every recipe, so that other engines load the result
POINTS = 20  # of the curve, evenly over the run
COMPILE_FROM = (
    2_000_000  # units: compiling takes about a minute of CPU and saves 5-10 % of a step, so short runs lose by it
)


def pretrain(
    recipe: str | Recipe,
    *,
    data: str | Path,
    work: str | Path,
    on_step: Callable[[StepRecord], None] | None = None,
    on_point: Callable[[CurvePoint], None] | None = None,
) -> Base:
    """Pre-train a base. work: folder for the tokenizer and the packed corpus, reused by a second run.

    Raises:
        ConfigError: an unknown recipe or key. DataError: a shard is missing or cannot be read.
    """
    chosen = read_recipe(recipe) if isinstance(recipe, str) else recipe
    shards = Path(data)
    for name in (*chosen.corpus.train, chosen.corpus.validation):
        if not (shards / name).is_file():
            near = did_you_mean(name, [p.name for p in shards.glob("*")] if shards.is_dir() else [])
            raise DataError(
                f"{shards / name} is missing; expected the shards of the recipe {chosen.name}.{near} Give --data."
            )
    train, validation = pack_corpus(chosen, data=shards, work=Path(work))
    steps = chosen.optimisation.tokens // chosen.optimisation.tokens_per_step
    found = train_text(
        chosen,
        train,
        validation,
        probe_every=max(1, steps // POINTS),
        compile_blocks=chosen.optimisation.tokens >= COMPILE_FROM,
        on_step=on_step,
        on_point=None if on_point is None else lambda point, _: on_point(point),
    )
    return base_of(chosen, found, train, tokenizer=Path(work), licences=read_licences(shards))


def base_of(recipe: Recipe, found: Pretrained, corpus: PackedCorpus, *, tokenizer: Path, licences: str) -> Base:
    """The trained weights as a Base with a one-step lineage."""
    data = tuple(DataRef(name, digest, licences) for name, digest in corpus.meta.shards.items())
    results: dict[str, Any] = {
        "curve": [dataclasses.asdict(point) for point in found.curve],
        "units": found.result.units,
        "steps": found.result.steps,
        "stopped": found.result.stopped,
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
        seconds=found.result.seconds,
        flops=found.flops,
        results=results,
    )
    codec = load_tokenizer(tokenizer, max_positions=recipe.shape.max_positions)
    return Base(
        trunk=found.trunk.eval(),
        codec=codec,
        family=FAMILY,
        pattern="full",
        name=recipe.name,
        lm=found.head.eval(),
        lineage=(record,),
    )


def read_licences(shards: Path) -> str:
    """The licences that the corpus' MANIFEST.json names, or "not stated"."""
    manifest = shards / "MANIFEST.json"
    if not manifest.is_file():
        return "not stated"
    try:
        sources = msgspec.json.decode(manifest.read_bytes())["sources"]
        return "; ".join(sorted({str(source["licence"]) for source in sources}))
    except (msgspec.DecodeError, KeyError, TypeError) as problem:
        raise DataError(
            f"{manifest} is not a manifest ({problem}); expected sources with a licence each. Mend or remove it."
        ) from problem
