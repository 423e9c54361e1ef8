"""An adapted base's answers: head outputs -> probabilities and predictions under its TaskContract.

Probabilities are softmax (choice, tags) or sigmoid (labels) of outputs / temperature (Guo et al. 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.base.contract import TaskContract
from headstart.data.text_codec import Encoded, TextCodec

Probabilities = NDArray[np.float64]
Outputs = Callable[[Encoded], list[NDArray[np.float64]]]


def probabilities(outputs: NDArray[np.float64], contract: TaskContract) -> Probabilities:
    """(.., K) of outputs (.., K), calibrated by the contract's temperature."""
    scaled = outputs / contract.temperature
    if contract.kind == "labels":
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(scaled, -700.0, 700.0))))
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def labels_of(chances: Probabilities, contract: TaskContract) -> list[str] | list[list[str]]:
    """The most probable label per row (choice), or every label from the threshold up (labels)."""
    if contract.kind == "labels":
        return [[contract.labels[k] for k in np.flatnonzero(row >= contract.threshold)] for row in chances]
    return [contract.labels[k] for k in chances.argmax(axis=-1)]


def word_probabilities(
    rows: Sequence[tuple[str, ...]], *, codec: TextCodec, contract: TaskContract, outputs: Outputs
) -> list[Probabilities]:
    """Per row (words, K), read at every word's first unit.

    A row longer than max_length is read in pieces, so every word gets an answer; a word without any unit (control
    characters only) gets equal chances for all labels.
    """
    num_labels = len(contract.labels)
    answers = [np.full((len(words), num_labels), 1.0 / num_labels) for words in rows]
    waiting = [(row, 0) for row, words in enumerate(rows) if words]
    while waiting:
        encoded = codec.encode([rows[row][start:] for row, start in waiting], max_length=contract.max_length)
        read = outputs(encoded)
        places = encoded.words or []
        following = []
        for (row, start), units, first in zip(waiting, read, places, strict=True):
            seen = np.flatnonzero(first >= 0)
            if len(seen):
                answers[row][start + seen] = probabilities(units[first[seen]], contract)
            reached = start + (int(seen[-1]) + 1 if len(seen) else 1)
            if reached < len(rows[row]):
                following.append((row, reached))
        waiting = following
    return answers
