"""Rows as prompts: the text before the answer and the text after it, demonstrations in front.

Enter: a Prompt and rows. Leave: two texts a question. N rows; kind labels asks about K options a row, N x K questions
in that order, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.prompt import MARK, Prompt, Shot
from headstart.base.rows import Rows
from headstart.base.sandbox import Template
from headstart.data.text_codec import TextCodec
from headstart.ground.errors import DataError, safe_repr

Features = Callable[[list[str] | list[tuple[str, str]]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Questions:
    """befores: what stands before the answer, demonstrations included. afters: what stands behind it."""

    befores: list[str]
    afters: list[str]


class Wording:
    """A prompt that is about to be asked. max_length: units a row's text keeps, its own and a demonstration's.

    features: of texts or pairs, (N, D); asked only where the nearest demonstrations are wanted.
    """

    def __init__(self, prompt: Prompt, codec: TextCodec, *, max_length: int, features: Features) -> None:
        self._prompt, self._codec, self._features = prompt, codec, features
        self._template = Template(prompt.template)
        self._room = max_length
        self._shots = self._shortened(prompt.shots)
        self._told = [self._told_of(shot) for shot in self._shots]

    @property
    def preamble(self) -> str:
        """The demonstrations that stand before every row; nothing where each row has its own."""
        return "" if self._prompt.nearest else "".join(self._told)

    def questions(self, rows: Rows) -> Questions:
        """One question a row, or one a row and option.

        Raises:
            DataError: a row holds the character that stands for the answer.
        """
        texts, pairs = self._cut(list(map(str, rows.texts))), None if rows.pairs is None else self._cut(rows.pairs)
        preambles = self._preambles(texts, pairs)
        befores, afters = [], []
        for row, text in enumerate(texts):
            for option in self._prompt.options or (None,):
                before, after = self._rendered(text, None if pairs is None else pairs[row], option, where=f"row {row}")
                befores.append(preambles[row] + before)
                afters.append(after)
        return Questions(befores, afters)

    def _preambles(self, texts: list[str], pairs: list[str] | None) -> list[str]:
        """The demonstrations in front of every row; the nearest one stands next to it (Liu et al. 2022, 2101.06804)."""
        if not self._prompt.nearest or not texts:
            return [self.preamble] * len(texts)
        pool = [shot.text if shot.pair is None else (shot.text, shot.pair) for shot in self._shots]
        asked = texts if pairs is None else list(zip(texts, pairs, strict=True))
        near = nearest(self._features(asked), self._features(pool), count=self._prompt.nearest)  # type: ignore[arg-type]
        return ["".join(self._told[shot] for shot in shots) for shots in near.tolist()]

    def _told_of(self, shot: Shot) -> str:
        before, after = self._rendered(shot.text, shot.pair, shot.option, where="a demonstration")
        return f"{before}{self._prompt.lead}{shot.answer}{after}{self._prompt.joiner}"

    def _rendered(self, text: str, pair: str | None, option: str | None, *, where: str) -> tuple[str, str]:
        values = {"text": text, "pair": pair or "", "option": option or "", "label": MARK}
        whole = self._template.render(values)
        if whole.count(MARK) != 1:
            raise DataError(
                f"{where} holds the character U+0000 in {safe_repr(text, 60)!r}; expected text. Take it out."
            )
        before, _, after = whole.partition(MARK)
        return (before.rstrip(" ") if self._prompt.lead else before), after

    def _shortened(self, shots: Sequence[Shot]) -> list[Shot]:
        texts = self._cut([shot.text for shot in shots])
        pairs = self._cut([shot.pair or "" for shot in shots])
        return [
            Shot(text, shot.answer, None if shot.pair is None else pair, shot.option)
            for shot, text, pair in zip(shots, texts, pairs, strict=True)
        ]

    def _cut(self, texts: list[str]) -> list[str]:
        return cut_texts(self._codec, texts, most=self._room)


def cut_texts(codec: TextCodec, texts: Sequence[str], *, most: int) -> list[str]:
    """Every text, or its beginning that holds `most` units.

    Raises:
        DataError: a text that no tokenizer can read.
    """
    found = list(texts)
    long = [row for row, text in enumerate(found) if len(text.encode(errors="replace")) > most]  # a unit has a byte
    if long:
        units = codec.encode_plain([found[row] for row in long])
        for row, ids in zip(long, units, strict=True):
            if len(ids) > most:
                ends = codec.tokenizer.encode(found[row], add_special_tokens=False).offsets
                found[row] = found[row][: ends[most - 1][1]]
    return found


def nearest(asked: NDArray[np.float32], pool: NDArray[np.float32], *, count: int) -> NDArray[np.int64]:
    """(N, count) rows of the pool by cosine of the features about the pool's mean, the nearest last."""
    middle = pool.mean(axis=0)
    one, other = (unit_vectors(side - middle) for side in (asked, pool))
    order = np.argsort(-(one @ other.T), axis=1, kind="stable")[:, :count]
    return np.ascontiguousarray(order[:, ::-1])


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(sizes, 1e-12), dtype=np.float32)
