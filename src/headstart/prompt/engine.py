"""Engine: requests in text, answers in pieces of text, many at a time.

Enters: requests with a prompt each. Leaves: after every step, the pieces of text that became certain. Requests may be
added and cancelled at any time; memory is bounded by `cache_bytes` (one text's at least) and `max_rows`, an answer by
its max_tokens, and what can be wrong with a request is said when it is added, before any compute.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from headstart.base.base import Base
from headstart.base.decoding import CACHE_BYTES, MAX_ROWS, Drawn, Finish
from headstart.base.generating import end_units, prompt_units, spell
from headstart.base.sampling import Sampling
from headstart.base.scoring import opening_ids
from headstart.data.text_codec import Ids
from headstart.ground.errors import ConfigError, DataError, HeadstartError, RunError, safe_repr
from headstart.model.matrices import Precision
from headstart.prompt.chat import Message, render, shortened
from headstart.prompt.schema import Schema, SchemaReader
from headstart.prompt.writing import Spelling, Stops

GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    prompt: a text to continue, or the messages of a conversation whose next answer is wanted (the base's own chat
    template makes a text of them). stop: texts before which the answer ends. truncate: a prompt that leaves no room for
    max_tokens, but for half of the positions at most, loses its beginning (a conversation its oldest turns, but not
    what the system said) instead of being refused. copy: answers to one prompt with different copies are drawn
    independently. schema: a JSON schema that the answer follows; it is whole where the answer's finish is "stop". No
    stop string goes with it. place: where the request stands, such as prompts.csv:3, for messages.
    """

    prompt: str | Sequence[Message]
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    truncate: bool = False
    copy: int = 0
    schema: Schema | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """One unit of an answer with its log-probability in nats.

    top: the most probable units in its place, themselves without. Different units may have the same text, as parts of
    characters do.
    """

    text: str
    unit: int
    logprob: float
    top: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What one unit adds to one answer. finish: why it ended, None where it goes on. token: where logprobs are asked.

    text is empty where the unit completes no character, or may begin a stop string. failure: why it cannot go on, where
    finish is "error".
    """

    request: int
    text: str
    finish: Finish | None = None
    token: Token | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. prompt: its units as they were read. units: how many were drawn, an end unit included. tokens:
    where logprobs were asked for. cut: units that the prompt lost at its beginning.
    """

    text: str
    finish: Finish
    prompt: tuple[int, ...]
    units: int
    tokens: tuple[Token, ...] = ()
    cut: int = 0

    @property
    def prompt_units(self) -> int:
        """Units of the prompt that were read."""
        return len(self.prompt)


@dataclass(eq=False, slots=True)
class _Writing:
    spelling: Spelling
    stops: Stops
    prompt: Ids
    cut: int
    after: list[int]  # what ends the prompt; units are spelled behind it


class Engine:
    """A base that answers requests. weights, max_rows, cache_bytes: see `Base.decoder`.

    Raises:
        CapabilityError: the base cannot read from left to right.
    """

    def __init__(
        self, base: Base, *, weights: Precision = "fp32", max_rows: int = MAX_ROWS, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self._codec = base.text_codec
        self._decoder = base.decoder(weights=weights, max_rows=max_rows, cache_bytes=cache_bytes)
        self._writing: dict[int, _Writing] = {}
        self._schemas: SchemaReader | None = None  # made for the first request that has a schema
        self.units_cut = 0  # that prompts which were too long lost at their beginnings

    @property
    def busy(self) -> bool:
        """Whether a request waits or runs."""
        return self._decoder.busy

    @property
    def units_read(self) -> int:
        """Units of prompts read so far; what requests share is read once."""
        return self._decoder.units_read

    def add(self, request: Request) -> int:
        """Ask; the request's number, which its pieces carry.

        Raises:
            DataError: the prompt is empty, too long, or no text.
            ConfigError: max_tokens, a stop string or the schema cannot be, or a stop string beside a schema.
            CapabilityError: messages for a base without a chat template; a schema without the extra `json`.
        """
        stops = Stops(request.stop)
        ids, cut = self._units(request)
        constraint = None
        if request.schema is not None:
            if request.stop:
                raise ConfigError(
                    f"stop is {safe_repr(repr(request.stop), 80)} beside a schema; expected one of them, because the "
                    "schema ends an answer where its JSON is whole. Leave stop out."
                )
            if self._schemas is None:
                self._schemas = SchemaReader(self._codec)
            constraint = self._schemas.constraint(request.schema)
        number = self._decoder.add(ids, request.sampling, copy=request.copy, constraint=constraint)
        after = end_units(self._codec, ids)
        self._writing[number] = _Writing(Spelling(self._codec, after), stops, ids, cut, after)
        self.units_cut += cut
        return number

    def cancel(self, request: int) -> None:
        """No further piece of this answer comes; one that is done already is no error."""
        self._decoder.cancel(request)
        self._writing.pop(request, None)

    def step(self) -> list[Piece]:
        """One more unit of every running answer, and the first of those that can join."""
        return [self._piece(drawn) for drawn in self._decoder.step()]

    def stream(self, request: Request) -> Generator[Piece, None, None]:
        """The pieces of one answer as they become certain; closing the iterator cancels it.

        For one request at a time: pieces of others are not kept. Several at once go through `add` and `step`.
        """
        number = self.add(request)
        try:
            while number in self._writing:
                yield from (checked(piece) for piece in self.step() if piece.request == number)
        finally:
            self.cancel(number)

    def answers(self, requests: Sequence[Request]) -> list[Answer]:
        """All answers, in the order of the requests; nothing is computed where one of them cannot be asked."""
        return list(self.each(requests))

    def each(self, requests: Sequence[Request]) -> Generator[Answer, None, None]:
        """The answers in the order of the requests, each as soon as it and all before it are done.

        Nothing is computed where one of them cannot be asked; one that cannot go on is said when its turn comes.
        Closing the iterator cancels those that are left.
        """
        numbers: list[int] = []
        names = [one.place or (f"request {n}" if len(requests) > 1 else "") for n, one in enumerate(requests)]
        try:
            for request, name in zip(requests, names, strict=True):
                with named(name):
                    numbers.append(self.add(request))
            asked = {number: self._writing[number] for number in numbers}
            found: dict[int, list[Piece]] = {number: [] for number in numbers}
            for number, name in zip(numbers, names, strict=True):
                while number in self._writing:
                    for piece in self.step():
                        if piece.request in found:
                            found[piece.request].append(piece)
                with named(name):
                    answer = _whole(found.pop(number), asked.pop(number))
                yield answer
        finally:
            for number in numbers:
                if number in self._writing:
                    self.cancel(number)

    def _units(self, request: Request) -> tuple[Ids, int]:
        """(a prompt as it is read, how many of its units were cut)."""
        most = self._codec.max_positions
        room = max(most - request.sampling.max_tokens, most // 2)
        if isinstance(request.prompt, str):
            whole = prompt_units(self._codec, [request.prompt])[0]
            if not request.truncate or len(whole) <= room:
                return whole, 0
            opening = len(opening_ids(self._codec, needed=False))
            ids = np.concatenate((whole[:opening], whole[len(whole) - (room - opening) :]))
            return ids, len(whole) - len(ids)
        ids = whole = self._rendered(request.prompt)
        if request.truncate and len(whole) > room:
            fitting = shortened(request.prompt, lambda messages: len(self._rendered(messages)) <= room)
            ids = self._rendered(fitting)
            if len(ids) >= most:
                raise DataError(
                    f"what is never cut off a conversation has {len(ids):,} tokens: what the system says, and the last "
                    f"turn but for the beginning of its message; expected at most {most - 1:,}, because this base "
                    f"reads {most:,} with its answer. Shorten what the system says."
                )
        return ids, len(whole) - len(ids)

    def _rendered(self, messages: Sequence[Message]) -> Ids:
        return prompt_units(self._codec, [render(self._codec, messages)], opened=True)[0]

    def _piece(self, drawn: Drawn) -> Piece:
        if drawn.finish == "error":
            self.cancel(drawn.request)
            return Piece(drawn.request, "", "error", failure=drawn.failure)
        writing = self._writing[drawn.request]
        ended = drawn.finish == "stop"
        text = writing.stops.add("" if ended else writing.spelling.add(drawn.unit))
        finish = drawn.finish
        if finish is not None and not writing.stops.met:
            text += writing.stops.add(writing.spelling.end())
            text += writing.stops.end()
        if writing.stops.met:
            finish = "stop"
        if finish is not None:
            self.cancel(drawn.request)
        return Piece(drawn.request, text, finish, self._token(drawn, writing.after))

    def _token(self, drawn: Drawn, after: Sequence[int]) -> Token | None:
        if drawn.logprob is None:
            return None
        top = tuple(Token(self._spelled(unit, after), unit, logprob) for unit, logprob in drawn.top)
        return Token(self._spelled(drawn.unit, after), drawn.unit, drawn.logprob, top)

    def _spelled(self, unit: int, after: Sequence[int]) -> str:
        return spell(self._codec, [unit], after=after, skip_special=False)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Errors say which request they are about, unless it has no name."""
    try:
        yield
    except HeadstartError as problem:
        if not name:
            raise
        raise type(problem)(f"{name}: {problem}") from problem


def checked(piece: Piece) -> Piece:
    """The piece; RunError where its answer cannot go on."""
    if piece.finish == "error":
        raise RunError(piece.failure)
    return piece


def _whole(pieces: Sequence[Piece], asked: _Writing) -> Answer:
    finish = checked(pieces[-1]).finish
    assert finish is not None
    tokens = tuple(piece.token for piece in pieces if piece.token is not None)
    text = "".join(piece.text for piece in pieces)
    return Answer(text, finish, tuple(asked.prompt.tolist()), len(pieces), tokens, asked.cut)
