"""What a Task is made of: kinds, columns, examples, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.data.raw import Modality, Raw

Kind = Literal["choice", "labels", "score", "tags"]
Text = str | tuple[str, ...]
Input = Text | Raw
Target = int | float | tuple[int, ...]
Status = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table hold the text, its partner in a pair, and the answer.

    modality: what the column holds instead of text.
    """

    text: str
    pair: str | None = None
    label: str | None = None
    modality: Modality | None = None


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

    texts: the inputs: one string a row, one tuple of words (kind "tags"), or one Raw (pictures, clips, series). pairs:
    the partners of texts, or None. targets: choice a label index, labels a sorted tuple of label indices, score a
    float, tags one label index per word. ids: line numbers in the source, for messages and for the worst errors.
    """

    texts: tuple[Input, ...]
    pairs: tuple[str, ...] | None
    targets: tuple[Target, ...]
    ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def written(self) -> tuple[Text, ...]:
        """The inputs of a task over text."""
        return tuple(text for text in self.texts if not isinstance(text, Raw))

    @property
    def raws(self) -> tuple[Raw, ...]:
        """The inputs of a task over pictures, clips or series; empty for one over text."""
        return tuple(text for text in self.texts if isinstance(text, Raw))

    def subset(self, indices: Sequence[int] | NDArray[np.integer]) -> Examples:
        """The rows at `indices`, in that order."""
        chosen = [int(i) for i in indices]
        return Examples(
            texts=tuple(self.texts[i] for i in chosen),
            pairs=None if self.pairs is None else tuple(self.pairs[i] for i in chosen),
            targets=tuple(self.targets[i] for i in chosen),
            ids=tuple(self.ids[i] for i in chosen),
        )


def as_text(given: Input) -> str:
    """An input for people, and for what only counts words: the text, the words with spaces, or a Raw's description."""
    return " ".join(given) if isinstance(given, tuple) else str(given)


EMPTY = Examples(texts=(), pairs=None, targets=(), ids=())
