"""The verb `pretrain`: a recipe and a folder of raw text in, a Base with its lineage out.

`train_text` does the training; here the result becomes a Base: trunk, head, codec, a sketch of what was read, and a
record of what it was made from (shards with digests and licences, recipe, curve, seconds, FLOPs).
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.base import Base
from headstart.base.lineage import DataRef, Record, code_version, hardware
from headstart.base.read_before import sketch_facts
from headstart.data.built import is_built, licences_of, open_build
from headstart.data.codec import load_tokenizer
from headstart.data.corpus import SPECIALS, PackedCorpus
from headstart.data.sketch import FILE as SKETCH
from headstart.data.sketch import write_sketch
from headstart.ground.errors import ConfigError, DataError, did_you_mean
from headstart.ground.files import write_atomic
from headstart.model.adapters import merged
from headstart.train.checkpoint import Checkpoints, Identity
from headstart.train.course import Outcome
from headstart.train.held_out import validation_width
from headstart.train.objective import LanguageModel
from headstart.train.pretrain import SILENT, TOKENIZER, Watch, pack_corpus, train_text
from headstart.train.ranks import ALONE, Ranks
from headstart.train.reading import sketch_run
from headstart.train.recipe import Recipe, in_fast_numbers, read_recipe

POINTS = 20  # of the curve, evenly over the run
COMPILE_FROM = (
    2_000_000  # units: compiling takes about a minute of CPU and saves 5-10 % of a step, so short runs lose by it
)


def pretrain(
    recipe: str | Recipe,
    *,
    data: str | Path,
    work: str | Path,
    start: Base | None = None,
    save_every: float = 300.0,
    fork: bool = False,
    watch: Watch = SILENT,
    ranks: Ranks = ALONE,
) -> Base:
    """Pre-train a base. work: folder for tokenizer, packed corpus and checkpoints; a stopped run goes on from there.

    start: a base of the recipe's shape to begin with (on text of one's own, say) instead of random weights; its
    tokenizer is used and its lineage kept. save_every: seconds between checkpoints. fork: go on although recipe,
    corpus, tokenizer or start changed. ranks: the processes that do it together (headstart.train.ranks.joined); each
    calls this and has the base.

    Raises:
        ConfigError: an unknown recipe or key, a checkpoint made of something else, or a start of another shape.
        DataError: a shard is missing or cannot be read.
        RunError: no disk space, or a loss that left its course three times.
    """
    chosen = read_recipe(recipe) if isinstance(recipe, str) else recipe
    shards, folder = Path(data), Path(work)
    with ranks.first_alone():
        train, validation = find_corpus(chosen, shards, folder, start)
    found = train_text(
        chosen,
        train,
        validation,
        probe_every=max(1, chosen.num_steps // POINTS),
        compile_blocks=chosen.optimisation.tokens >= COMPILE_FROM,
        checkpoints=Checkpoints(
            folder / "checkpoints", identity_of(chosen, train, start), save_every, fork, watch.tell, ranks
        ),
        watch=watch,
        ranks=ranks,
        start=None if start is None else started_from(start),
    )
    if found.stopped != "asked":
        watch.done()
    tokenizer, sketch = shards if is_built(shards) else folder, None
    if ranks.first and found.stopped != "asked":
        sketch = folder / SKETCH
        read = sketch_run(chosen, train, tokenizer / "tokenizer.json", steps=found.steps, skipped=found.skipped)
        write_sketch(read, sketch)
    base = base_of(
        chosen,
        found,
        train,
        tokenizer=tokenizer,
        licences=licences_of(shards),
        sketch=sketch,
        prepared=is_built(shards),
    )
    return base if start is None else after(start, base)


def started_from(base: Base) -> LanguageModel:
    """The weights of a base that passed `require_start`, with its adapters folded in where it has some."""
    assert base.lm is not None
    return LanguageModel(merged(base.trunk), base.lm)


def after(start: Base, base: Base) -> Base:
    """`base` with what it was made from: the lineage and the sketches of `start` before its own."""
    lineage = (*start.lineage, replace(base.lineage[0], parent=start.digest))
    return replace(base, lineage=lineage, sketches=(*start.sketches, *base.sketches))


def require_start(recipe: Recipe, start: Base) -> None:
    """ConfigError unless training by the recipe can begin with the weights and units of `start`."""
    wanted, found = recipe.trunk_config().as_dict(), start.trunk.config.as_dict()
    other = [name for name in wanted if wanted[name] != found[name]]
    if start.lm is None or start.family != recipe.family or other:
        differs = (
            f"{other[0]} is {found[other[0]]}; expected {wanted[other[0]]}"
            if other
            else f"its family is {start.family}; expected {recipe.family}"
            if start.family != recipe.family
            else "it has no language-model head; expected one"
        )
        raise ConfigError(
            f"{start.name} cannot start a run of the recipe {recipe.name}: {differs}. Give a base that was trained by "
            "this recipe, or write the base's shape into a recipe of your own."
        )
    units = [start.text_codec.tokenizer.token_to_id(special) for special in SPECIALS]
    if units != list(range(len(SPECIALS))):
        raise ConfigError(
            f"the tokenizer of {start.name} has {', '.join(SPECIALS)} at {units}; expected them as its first units. "
            "Only bases that `headstart pretrain` made can start a run."
        )


def find_corpus(
    recipe: Recipe, shards: Path, work: Path, start: Base | None = None
) -> tuple[PackedCorpus, PackedCorpus]:
    """(train, validation) of the recipe: as built, or packed below `work` in the units of `start` where it is given.

    Raises:
        DataError: a shard is missing. ConfigError: `start` fits neither the recipe nor the units of a built corpus.
    """
    if start is not None:
        require_start(recipe, start)
    if is_built(shards):
        if start is not None and load_tokenizer(shards).tokenizer.get_vocab() != start.text_codec.tokenizer.get_vocab():
            raise ConfigError(
                f"{shards} was built with other units than those of {start.name}; expected the same. Build it again "
                f"with `headstart data build ... --from {start.name}`."
            )
        train, validation = open_build(shards, vocab_size=recipe.shape.vocab_size)
        require_rows(recipe, train, validation, shards)
        return train, validation
    require_shards(recipe, shards)
    if start is not None:
        use_units_of(start, work)
    train, validation = pack_corpus(recipe, data=shards, work=work)
    require_rows(recipe, train, validation, shards)
    return train, validation


def require_shards(recipe: Recipe, shards: Path) -> None:
    """DataError unless a folder holds the files that a recipe names."""
    for name in (*recipe.corpus.train, recipe.corpus.validation):
        if not (shards / name).is_file():
            there = [p.name for p in shards.glob("*")] if shards.is_dir() else []
            raise DataError(
                f"{shards / name} is missing; expected the shards that the recipe {recipe.name} names."
                f"{did_you_mean(name, there)} Give the folder they lie in as --data, write your own files' names under "
                "[corpus] in a recipe file, or let --size take the shards that are there."
            )


def use_units_of(start: Base, work: Path) -> None:
    """Put the tokenizer of `start` into `work`; ConfigError where another one lies there."""
    file = work / TOKENIZER
    if not file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        write_atomic(file, start.text_codec.tokenizer.to_str(pretty=True).encode())
    elif load_tokenizer(work).tokenizer.get_vocab() != start.text_codec.tokenizer.get_vocab():
        raise ConfigError(
            f"{file} has other units than {start.name}, from a run without --from; expected the same. Give another "
            f"--out, or remove {work}."
        )


def require_rows(recipe: Recipe, train: PackedCorpus, validation: PackedCorpus, where: Path) -> None:
    """DataError unless both parts hold a row of the widest that they are read in."""
    widest = max(width for _, width in recipe.optimisation.lengths)
    for what, corpus, width in (
        ("train", train, widest),
        ("validation", validation, validation_width(recipe.shape.max_positions)),
    ):
        if corpus.num_rows(width) == 0:
            raise DataError(
                f"the {what} text in {where} has {corpus.meta.num_units:,} units; expected more than {width:,}, a row. "
                "Give more text, or shorter rows in optimisation.lengths."
            )


def identity_of(recipe: Recipe, corpus: PackedCorpus, start: Base | None = None) -> Identity:
    """The digests of what a run is made of."""
    return Identity(
        recipe=sha256(msgspec.json.encode(recipe)).hexdigest(),
        corpus=sha256(msgspec.json.encode(corpus.meta)).hexdigest(),
        tokenizer=corpus.meta.tokenizer_sha256,
        start=None if start is None else start.digest,
    )


def base_of(
    recipe: Recipe,
    found: Outcome[LanguageModel],
    corpus: PackedCorpus,
    *,
    tokenizer: Path,
    licences: str,
    sketch: Path | None,
    prepared: bool,
) -> Base:
    """The trained weights as a Base with a one-step lineage.

    sketch: the file that tells what was read. prepared: whether `data build` had applied the recipe's filters, weights
    and search for repeats; raw shards are as they are.
    """
    data = tuple(DataRef(name, digest, licences) for name, digest in corpus.meta.shards.items())
    results: dict[str, Any] = {
        "curve": [dataclasses.asdict(point) for point in found.curve],
        "units": found.steps * recipe.optimisation.tokens_per_step,
        "steps": found.steps,
        "stopped": found.stopped,
        "numbers": in_fast_numbers(recipe.optimisation).dtype,
        "corpus": {
            "units": corpus.meta.num_units,
            "documents": corpus.meta.num_documents,
            "bytes": corpus.meta.num_bytes,
            "prepared": prepared,
        },
    }
    if sketch is not None:
        results["sketch"] = sketch_facts(sketch)
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
        trunk=found.model.trunk.eval(),
        codec=codec,
        family=recipe.family,
        pattern="causal" if recipe.mixture.causal_share == 1.0 else "full",
        name=recipe.name,
        lm=found.model.lm.eval(),
        lineage=(record,),
        sketches=() if sketch is None else (sketch,),
    )
