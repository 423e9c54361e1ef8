"""What a pre-training run read: the stretches of its packed corpus that its steps visited, as text, for the sketch.

Enter: a recipe, its packed corpus, how many steps were made. Leave: texts; a stretch ends where a document ends or
where no row was visited, so a word may be cut at either end. A run that went back counts what it passed by as read: it
was, before the weights of an earlier checkpoint took over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from headstart.data.corpus import SPECIALS, PackedCorpus, row_order
from headstart.data.sketch import Sketch, sketch_texts
from headstart.train.recipe import Recipe

BATCH = 1 << 18  # units turned into text together
WEIGHT_BYTES = 2  # of a parameter, in bfloat16
SHARE = 12  # a sketch may have a twelfth of the weights' bytes, or LEAST
LEAST = 1 << 20

Flags = npt.NDArray[np.bool_]


def sketch_run(
    recipe: Recipe, corpus: PackedCorpus, tokenizer: Path, *, steps: int, skipped: int = 0, slack: int = 0
) -> Sketch:
    """The sketch of what the first `steps` steps of a run read.

    tokenizer: the tokenizer.json that the corpus was packed with. skipped: steps' worth of data that was passed by.
    slack: units by which every stretch is widened, where the corpus is known to have been packed a little differently.
    """
    visited = visited_units(recipe, corpus, steps=steps, skipped=skipped, slack=slack)
    names = ", ".join(corpus.meta.shards)
    return sketch_texts(
        texts_of(corpus.units, visited, Tokenizer.from_file(str(tokenizer))),
        max_bytes=max(LEAST, recipe.trunk_config().num_parameters * WEIGHT_BYTES // SHARE),
        covers=f"{int(visited.sum()):,} tokens of {names}, all that {steps:,} steps read",
    )


def visited_units(recipe: Recipe, corpus: PackedCorpus, *, steps: int, skipped: int = 0, slack: int = 0) -> Flags:
    """(units,) whether each unit of the corpus stood in a row that was visited, as input or as the last target."""
    settings, count = recipe.optimisation, len(corpus.units)
    found: Flags = np.zeros(count, dtype=np.bool_)
    widths = np.array([recipe.width(step) for step in range(steps)])
    for width in np.unique(widths).tolist():
        made = np.flatnonzero(widths == width)
        per_step, available = settings.tokens_per_step // width, corpus.num_rows(width)
        first, last = int(made[0]) * per_step, (int(made[-1]) + 1 + skipped) * per_step
        rows: Flags = np.zeros(available + 2, dtype=np.bool_)  # one that is never visited at either end
        for epoch in range(first // available, -(-last // available)):
            order = row_order(available, seed=settings.seed, epoch=epoch)
            rows[1 + order[max(0, first - epoch * available) : last - epoch * available]] = True
        turns = np.flatnonzero(rows[1:] != rows[:-1]) * width
        for start, end in zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True):
            found[max(0, start - slack) : end + 1 + slack] = True
    return found


def texts_of(units: npt.NDArray[np.uint16], visited: Flags, tokenizer: Tokenizer) -> Iterator[str]:
    """The visited stretches as texts, cut at special units; units are mapped and read in pieces."""
    edges: list[int] = []
    was_inside = False
    for begin in range(0, len(units), BATCH):
        inside = visited[begin : begin + BATCH] & (units[begin : begin + BATCH] >= len(SPECIALS))
        turns = np.flatnonzero(inside != np.concatenate([[was_inside], inside[:-1]]))
        was_inside = bool(inside[-1])
        edges += (begin + turns).tolist()
        unfinished = [edges.pop()] if was_inside else []
        yield from tokenizer.decode_batch([units[a:b].tolist() for a, b in zip(edges[::2], edges[1::2], strict=True)])
        edges = unfinished
    if edges:
        yield tokenizer.decode(units[edges[0] :].tolist())
