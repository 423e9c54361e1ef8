"""What a Task is made of: kinds, columns, examples, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["choice", "labels", "score", "tags"]
Text = str | tuple[str, ...]
Target = int | float | tuple[int, ...]
Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold the text, its partner in a pair, and the answer."""

    text: str
    pair: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One finding about the data: `value` is a count or a share, `detail` a sentence for people."""

    id: str
    status: Status
    value: float
    detail: str


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows of one part of a Task.

    texts: one string a row, or one tuple of words a row (kind "tags"). pairs: the partners, or None. targets: choice a
    label index, labels a sorted tuple of label indices, score a float, tags one label index per word. ids: line
    numbers in the source, for messages and for the list of worst errors.
    """

    texts: tuple[Text, ...]
    pairs: tuple[str, ...] | None
    targets: tuple[Target, ...]
    ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> Examples:
        """The rows at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return Examples(
            texts=tuple(self.texts[i] for i in chosen),
            pairs=None if self.pairs is None else tuple(self.pairs[i] for i in chosen),
            targets=tuple(self.targets[i] for i in chosen),
            ids=tuple(self.ids[i] for i in chosen),
        )


EMPTY = Examples(texts=(), pairs=None, targets=(), ids=())
