"""A prompted base's answers: rows -> questions -> scores of the spelt answers -> outputs under its TaskContract.

W words, K labels. Scores are raw log-likelihoods in nats: (N, W), or (N, K, 2) for kind labels, where every label is
asked about with no and yes. Outputs are what a head would give: (N, K) for choice and labels, (N, 1) for a score, which
is the mean of the levels under their probabilities. A calibration is a bias on the scores, so that it costs nothing and
a row's answer never depends on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.base.contract import TaskContract
from headstart.base.prompt import Prompt
from headstart.base.rows import Rows
from headstart.base.scoring import closing_ids, opening_ids
from headstart.base.wording import Features, Questions, Wording
from headstart.data.text_codec import TextCodec
from headstart.ground.errors import DataError, safe_repr

Scores = NDArray[np.float64]
ScoreWords = Callable[[Sequence[str], Sequence[str], Sequence[str]], Scores]  # befores, words, afters -> (N, W)


@dataclass(frozen=True, eq=False, slots=True)
class Asker:
    """A base as a prompt needs it. score: see `Base.score_words`. features: see `Wording`."""

    codec: TextCodec
    contract: TaskContract
    score: ScoreWords
    features: Features

    def scores(self, rows: Rows) -> Scores:
        """Raw log-likelihoods of every word for every row.

        Raises:
            DataError: a prompt is longer than the base has positions for, before anything is scored.
        """
        prompt = self._prompt
        if not len(rows):
            return np.empty((0, *raw_shape(prompt)))
        questions = self.worded().questions(rows)
        self.check_room(questions)
        found = self.score(questions.befores, prompt.continuations, questions.afters)
        return found.reshape(len(rows), *raw_shape(prompt))

    def check(self, rows: Rows) -> None:
        """Whether the rows' prompts fit, without reading one; nothing where each row gets demonstrations of its own.

        Raises:
            DataError: a prompt is longer than the base has positions for.
        """
        if not self._prompt.nearest:
            self.check_room(self.worded().questions(rows))

    def worded(self) -> Wording:
        return Wording(self._prompt, self.codec, max_length=self.contract.max_length, features=self.features)

    def check_room(self, questions: Questions) -> None:
        """Whether every question fits with the longest word.

        Raises:
            DataError: with the units of the first that does not, and how many fit.
        """
        codec, prompt = self.codec, self._prompt
        longest = max(map(len, codec.encode_plain(list(prompt.continuations))))
        ends = len(opening_ids(codec, needed=False)) + (len(closing_ids(codec)) if prompt.pattern == "full" else 0)
        room = codec.max_positions - longest - ends
        after = questions.afters if prompt.pattern == "full" else [""] * len(questions.befores)
        for place, (start, end) in enumerate(zip(questions.befores, after, strict=True)):
            if len(start.encode(errors="replace")) + len(end.encode(errors="replace")) <= room:
                continue  # a unit has a byte at least
            units = sum(map(len, codec.encode_plain([start, end])))
            if units > room:
                raise DataError(
                    f"the prompt of row {place // max(1, len(prompt.options))} has {units + longest + ends:,} tokens; "
                    f"expected at most {codec.max_positions:,}, which is what the base has positions for. "
                    "Give fewer --shots or a smaller --max-length."
                )

    @property
    def _prompt(self) -> Prompt:
        assert self.contract.prompt is not None, "only a prompted base is asked by a prompt"
        return self.contract.prompt


def check_words_asked(befores: Sequence[str], words: Sequence[str], afters: Sequence[str] | None) -> None:
    """DataError for one text where a list of texts is due, and for another number of texts after than before."""
    for name, given in (("befores", befores), ("words", words), ("afters", afters)):
        if isinstance(given, str):
            raise DataError(
                f"{name} is {safe_repr(repr(given), 60)}; expected a list of texts. Put it into a list of one."
            )
    if afters is not None and len(afters) != len(befores):
        raise DataError(
            f'{len(befores)} befores came with {len(afters)} afters; expected as many. Give "" where nothing follows.'
        )


def raw_shape(prompt: Prompt) -> tuple[int, ...]:
    """The shape of one row's raw scores."""
    return (len(prompt.options), len(prompt.words)) if prompt.options else (len(prompt.words),)


def outputs_of(scores: Scores, contract: TaskContract) -> Scores:
    """(N, O) outputs from raw scores: calibrated by the prompt's bias, and a score's mean level."""
    prompt = contract.prompt
    assert prompt is not None, "only a prompted base has raw scores"
    bias = np.asarray(prompt.bias) if prompt.bias else 0.0
    if contract.kind == "labels":
        return np.asarray(scores[..., 1] - scores[..., 0] + bias)
    if contract.kind == "score":
        levels = np.asarray(prompt.levels)[:, None]
        return np.asarray(shares((scores + bias) / contract.temperature) @ levels)
    return np.asarray(scores + bias)


def shares(scores: Scores) -> Scores:
    """Softmax over the last axis."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
