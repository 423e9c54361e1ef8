"""What can score sentences: a base in either pattern, the same architecture with random weights, a 5-gram model.

A scorer takes texts and gives one log-likelihood a text, in nats, not divided by length. Beside them the plain loop
that takes one sentence after the other, as the other side of a measurement of time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.ngram import train
from headstart.base.base import Base
from headstart.base.families import FAMILIES
from headstart.base.scoring import closing_ids, opening_ids
from headstart.data.corpus import read_documents
from headstart.ground.batch import Batch, Pattern

Scorer = Callable[[list[str]], Sequence[float]]
ORDER = 5
ROUNDS = 3


def of_base(base: Base, pattern: Pattern) -> Scorer:
    """Whole sentences under one pattern."""
    return lambda texts: base.score([""] * len(texts), texts, pattern=pattern)


def loop_score(base: Base, text: str, pattern: Pattern) -> float:
    """One sentence as a plain loop has it: one row, or its masked copies, and the logits of every position."""
    assert base.lm is not None
    opening, closing = (
        opening_ids(base.text_codec, needed=True),
        closing_ids(base.text_codec) if pattern == "full" else [],
    )
    ids = torch.tensor([*opening, *base.text_codec.encode_plain([text])[0].tolist(), *closing])
    places = torch.arange(len(opening), len(ids) - len(closing))
    rows, units = torch.zeros_like(places), ids[None]
    if pattern == "full":
        rows, units = torch.arange(len(places)), ids.repeat(len(places), 1)
        units[rows, places] = base.text_codec.special.mask or 0
    with torch.inference_mode():
        hidden = base.trunk(Batch(units, torch.full((len(units),), len(ids)), pattern))
        found = torch.log_softmax(base.lm(hidden, base.trunk.embed.tokens.weight), dim=-1)
    read = places - 1 if FAMILIES[base.family].pattern == "causal" else places
    return float(found[rows, read, ids[places]].double().sum())


def against_loop(base: Base, pattern: Pattern, texts: list[str]) -> dict[str, Any]:
    """Median seconds of both over the same sentences, in turn, and how far their answers lie apart at most (nats)."""
    scorer, ours, theirs, apart = of_base(base, pattern), [], [], 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = scorer(texts)
        middle = time.perf_counter()
        plain = [loop_score(base, text, pattern) for text in texts]
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
        apart = max(apart, float(np.abs(np.subtract(found, plain)).max()))
    return {
        "sentences": len(texts),
        "seconds": float(np.median(ours)),
        "loop_seconds": float(np.median(theirs)),
        "ratio": float(np.median(theirs) / np.median(ours)),
        "largest_difference": apart,
    }


def units_read(base: Base) -> int | None:
    """Units of pre-training text that the lineage counts, None where it does not."""
    counted = [record.results.get("units") for record in base.lineage if record.verb == "pretrain"]
    return counted[-1] if counted else None


def corpus_units(folder: Path, base: Base, *, most: int) -> NDArray[np.integer[Any]]:
    """At most `most` units: of a packed folder (units.bin, meta.json), or of raw shards, tokenised here.

    The shards are those that the base's lineage names; where it names none, every train shard of the folder.
    """
    if (folder / "units.bin").is_file():
        vocabulary = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["vocab_size"]
        if vocabulary != base.text_codec.vocab_size:
            raise SystemExit(
                f"the vocabulary of {folder} is {vocabulary}; expected the base's {base.text_codec.vocab_size}."
            )
        return np.asarray(np.memmap(folder / "units.bin", dtype=np.uint16, mode="r")[:most])
    named = [ref.name for record in base.lineage if record.verb == "pretrain" for ref in record.data]
    shards = [folder / name for name in named] or sorted(folder.glob("train*.jsonl*"))
    if not shards:
        raise SystemExit(f"{folder} holds no units.bin and no train*.jsonl shard; expected one. Give --corpus.")
    special, pieces, size = base.text_codec.special, list[NDArray[np.integer[Any]]](), 0
    for text in read_documents(shards):
        pieces.append(np.asarray([special.bos, *base.text_codec.encode_plain([text])[0], special.eos], dtype=np.int32))
        size += len(pieces[-1])
        if size >= most:
            break
    return np.concatenate(pieces)[:most]


def of_counts(base: Base, corpus: Path, *, most: int) -> Scorer:
    """The 5-gram model over the base's own units, trained now."""
    start = time.perf_counter()
    units, bos = corpus_units(corpus, base, most=most), base.text_codec.special.bos
    if bos is None:
        raise SystemExit(f"{base.name} has no start token; expected one for the {ORDER}-gram model. Leave ngram out.")
    model = train(units, vocab_size=base.text_codec.vocab_size, bos=bos, order=ORDER)
    print(f"{ORDER}-gram over {len(units):,} units: {time.perf_counter() - start:.0f} s", file=sys.stderr)

    def scorer(texts: list[str]) -> Sequence[float]:
        rows = [np.asarray([bos, *ids]) for ids in base.text_codec.encode_plain(texts)]
        return [float(value) for value in model.log_probabilities(rows)]

    return scorer
