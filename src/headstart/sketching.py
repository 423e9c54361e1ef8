"""`headstart data sketch`: a base that was pre-trained before sketches were kept, and its shards -> its sketch.

The lineage says which rows of which shards were read: recipe, digests, steps. The corpus is packed again with the
base's own tokenizer, the run's visits are replayed without training anything, and the folder gets corpus.sketch and a
lineage record that names it.
"""

from __future__ import annotations

import json as jsonlib
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from headstart.base.base import Base
from headstart.base.families import FAMILIES
from headstart.base.folder import Contents, write_words
from headstart.base.lineage import Record, code_version
from headstart.base.read_before import sketch_facts
from headstart.base.weights import Weights
from headstart.data.built import is_built
from headstart.data.sketch import file_name, write_sketch
from headstart.ground.errors import BaseError, ConfigError, DataError
from headstart.train.reading import sketch_run
from headstart.train.recipe import Recipe
from headstart.train.text_base import find_corpus

MOST_SLACK = 1e-4  # share of the units by which a corpus may differ that was packed by an earlier version


def sketch_base(folder: Path, *, data: Path, json: bool) -> int:
    """Write the sketch into the folder and say what it covers.

    Raises:
        ConfigError: the folder has one already. BaseError: no base, or not one fresh from pre-training.
        DataError: the shards are not those that the lineage names.
    """
    base = Base.load(folder)
    if base.lineage and "sketch" in base.lineage[-1].results:
        raise ConfigError(f"{folder} has its sketch; expected a base without. It needs no other.")
    record, file = base.lineage[-1] if base.lineage else None, folder / file_name(len(base.sketches))
    if record is None or record.verb != "pretrain":
        made = "nothing" if record is None else record.verb
        raise BaseError(
            f"the lineage of {folder} ends with {made}; expected a base fresh from `headstart pretrain`. "
            "Give the folder that it was made from."
        )
    recipe, told = msgspec.convert(record.config, Recipe), record.results
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        shutil.copyfile(folder / "tokenizer.json", work / "tokenizer.json")
        corpus, _ = find_corpus(recipe, data, work)
        named = {ref.name: ref.digest for ref in record.data}
        if corpus.meta.shards != named:
            wrong = next(iter(corpus.meta.shards.items() ^ named.items()))
            raise DataError(
                f"{data / wrong[0]} is not the shard that {folder} was trained on; expected the SHA-256 "
                f"{named.get(wrong[0], 'of another file')[:16]}…. Give the folder of the same shards."
            )
        slack = abs(corpus.meta.num_units - told["corpus"]["units"])
        if slack > MOST_SLACK * corpus.meta.num_units:
            raise DataError(
                f"the shards pack to {corpus.meta.num_units:,} tokens; expected {told['corpus']['units']:,} as when "
                "the base was trained. Use the version of Headstart that trained it."
            )
        tokenizer = data if is_built(data) else work
        sketch = sketch_run(recipe, corpus, tokenizer / "tokenizer.json", steps=told["steps"], slack=slack)
    write_sketch(sketch, file)
    facts = sketch_facts(file)
    added = Record(
        verb="sketch",
        config={"slack": slack},
        parent=base.digest,
        code=code_version(),
        results={"sketch": facts},
    )
    weights = Weights(FAMILIES[base.family], base.trunk, base.lm, base.pooler, base.extras)
    lineage, sketches = (*base.lineage, added), (*base.sketches, file)
    write_words(folder, Contents(weights, base.codec, base.pattern, base.name, lineage, sketches=sketches))
    if json:
        sys.stdout.write(jsonlib.dumps({"saved": str(file), **facts}) + "\n")
    else:
        sys.stdout.write(
            f"{file}: {facts['bytes'] / 1e6:.2f} MB, {facts['grams']:,} word 6-grams of {facts['words']:,} "
            f"words; {facts['covers']}; a 6-gram that was not read is found with a probability of "
            f"{facts['false_rate']:.2%}\n"
        )
    return 0
