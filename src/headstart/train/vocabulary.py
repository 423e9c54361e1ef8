"""Training on the vocabulary a task uses.

A table of labels touches a few thousand of a tokenizer's 30,000 units; the other embedding rows get no gradient, yet
cost their share of every optimiser step (half the parameters of MiniLM). Rows that no example uses are set aside for
the run and put back untouched, which changes nothing but their weight decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from headstart.data.text_codec import Encoded
from headstart.model.embed import TokenEmbedder
from headstart.model.trunk import Trunk

Used = npt.NDArray[np.int64]


def used_units(parts: Sequence[Encoded], pad: int) -> Used:
    """Sorted ids that any row of any part holds, and the padding id."""
    return np.unique(np.concatenate([np.array([pad]), *(ids for part in parts for ids in part.ids)])).astype(np.int64)


def renumbered(encoded: Encoded, used: Used) -> Encoded:
    """The same rows in ids that index `used`."""
    return replace(encoded, ids=[np.searchsorted(used, ids).astype(np.int32) for ids in encoded.ids])


@torch.no_grad()
def narrowed(trunk: Trunk, used: Used) -> Trunk:
    """A trunk whose token table holds the used rows only; every other module is shared with `trunk`."""
    with torch.device("meta"):
        narrow = Trunk(replace(trunk.config, vocab_size=len(used)))
    table = trunk.table[torch.from_numpy(used)].clone()
    narrow.blocks, narrow.norm, narrow.relative = trunk.blocks, trunk.norm, trunk.relative
    for name in ("positions", "segments", "norm"):
        setattr(narrow.embed, name, getattr(trunk.embed, name))
    _put_table(narrow, table)
    return narrow


@torch.no_grad()
def widened(narrow: Trunk, trunk: Trunk, used: Used) -> Trunk:
    """`trunk` with the trained rows put back into its token table; returns `trunk` in the dtype of `narrow`."""
    table = trunk.table.to(narrow.dtype)
    table[torch.from_numpy(used)] = narrow.table.cpu()
    _put_table(trunk, table)
    return trunk


def _put_table(trunk: Trunk, table: torch.Tensor) -> None:
    assert isinstance(trunk.embed, TokenEmbedder)
    trunk.embed.tokens.weight = torch.nn.Parameter(table)
