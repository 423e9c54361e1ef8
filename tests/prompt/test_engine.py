"""Requests in text: streamed or together, alone or among others, an answer is the same."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.base.test_decoding import Breaks
from tests.base.tiny_bases import sentence_codec
from tests.base.tiny_bases import tiny_base as random_base

from headstart.base.base import Base
from headstart.base.sampling import Sampling
from headstart.base.scoring import opening_ids
from headstart.ground.errors import CapabilityError, ConfigError, DataError, HeadstartError, RunError
from headstart.model.cache import KvCache, Window
from headstart.prompt.engine import Answer, Engine, Request

PROMPTS = [
    "Where is my parcel?",
    "I want my money back",
    "Where is my card?",
    "naïve 漢字",
    "W",
    "I want my money back",
]
DRAWN = Sampling(max_tokens=24, temperature=1.0, seed=3)


def requests(**settings: Any) -> list[Request]:
    sampling = dataclasses.replace(DRAWN, **settings)
    return [Request(prompt, sampling, copy=PROMPTS[:n].count(prompt)) for n, prompt in enumerate(PROMPTS)]


def streamed(base: Base, request: Request) -> str:
    return "".join(piece.text for piece in Engine(base).stream(request))


def test_streamed_or_together(tiny_base: Base) -> None:
    together = Engine(tiny_base, max_rows=3).answers(requests())
    assert [answer.text for answer in together] == [streamed(tiny_base, request) for request in requests()]
    assert together[1].text != together[5].text
    assert all((answer.finish == "length" and answer.units == 24) or answer.finish == "stop" for answer in together)


def test_answers_are_what_generate_gives(tiny_base: Base) -> None:
    found = tiny_base.generate(PROMPTS, max_tokens=24, seed=3, temperature=1.0)
    assert [answer.text for answer in Engine(tiny_base).answers(requests())] == found


def test_a_stop_string_ends_an_answer_before_it(tiny_base: Base) -> None:
    whole = Engine(tiny_base).answers(requests())
    for request, answer in zip(requests(), whole, strict=True):
        stop = answer.text[5:9]
        stopped = Engine(tiny_base).answers([dataclasses.replace(request, stop=("never to be seen", stop))])[0]
        assert stopped == Answer(answer.text[: answer.text.find(stop)], "stop", answer.prompt, stopped.units)
        assert stopped.units < answer.units


def test_closing_a_stream_cancels_it(tiny_base: Base) -> None:
    engine = Engine(tiny_base)
    other = engine.add(Request("W", DRAWN))
    stream = engine.stream(requests()[0])
    assert len(list(islice(stream, 3))) == 3
    assert engine.busy
    stream.close()  # type: ignore[attr-defined]
    engine.cancel(other)
    assert not engine.busy
    assert engine.step() == []


def test_tokens_carry_log_probabilities(tiny_base: Base) -> None:
    greedy = Request("Where is", Sampling(max_tokens=8, logprobs=2))
    answer = Engine(tiny_base).answers([greedy])[0]
    assert len(answer.tokens) == answer.units == 8
    assert answer.text == "".join(token.text for token in answer.tokens)
    assert all(token.top[0] == dataclasses.replace(token, top=()) and len(token.top) == 2 for token in answer.tokens)
    assert all(token.text == tiny_base.text_codec.decode([token.unit]) for token in answer.tokens)
    assert Engine(tiny_base).answers([Request("Where is", Sampling(max_tokens=8))])[0].tokens == ()


def test_a_prompt_is_cut_when_asked(tiny_base: Base) -> None:
    engine, long = Engine(tiny_base), "money " * 200
    sampling = Sampling(max_tokens=28)
    with pytest.raises(DataError, match=r"the prompt has .* tokens; expected 1 to 127, .* Shorten it, or ask to trunc"):
        engine.add(Request(long, sampling))
    answer = engine.answers([Request(long, sampling, truncate=True)])[0]
    assert answer.prompt_units == 100
    opening = len(opening_ids(tiny_base.text_codec, needed=False))
    assert answer.cut == engine.units_cut == opening + len(tiny_base.text_codec.encode_plain([long])[0]) - 100 > 0


@pytest.mark.parametrize("when", range(1, 40))
@pytest.mark.parametrize("where", [(Window, "write"), (KvCache, "copy")])
def test_an_engine_that_was_interrupted_answers_as_ever(
    tiny_base: Base, when: int, where: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C wherever keys are written: what was asked is forgotten, and the next question has its own answer."""
    asked = [Request(f"Where is {word}", Sampling(max_tokens=3 + n)) for n, word in enumerate("abcdef")]
    later = [Request("Where is a", Sampling(max_tokens=9)), Request("money", Sampling(max_tokens=9))]
    wanted = Engine(tiny_base, max_rows=4).answers(later)
    engine, original, passed = Engine(tiny_base, max_rows=4), getattr(*where), 0

    def interrupted(*given: Any, **more: Any) -> Any:
        nonlocal passed
        passed += 1
        if passed == when:
            raise KeyboardInterrupt
        return original(*given, **more)

    monkeypatch.setattr(*where, interrupted)
    with suppress(KeyboardInterrupt):
        engine.answers(asked)
    monkeypatch.undo()
    assert not engine.busy
    assert engine.answers(later) == wanted


def test_a_prompt_that_fits_is_not_cut_for_a_long_answer(tiny_base: Base) -> None:
    """Half of the positions are a prompt's, however long the answer may be."""
    engine, sampling = Engine(tiny_base), Sampling(max_tokens=128)
    plain, asked = engine.answers([Request("Where is", sampling), Request("Where is", sampling, truncate=True)])
    assert (asked.text, asked.prompt_units, asked.cut) == (plain.text, plain.prompt_units, 0)
    assert engine.answers([Request("money " * 200, sampling, truncate=True)])[0].prompt_units == 64


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (Request(""), DataError, "the prompt is empty"),
        (Request("\ud800"), DataError, "half of a surrogate pair"),
        (
            Request("a", Sampling(max_tokens=10**18)),
            ConfigError,
            "max_tokens is 1,000,000,000,000,000,000; expected at",
        ),
        (Request("a", stop=("",)), ConfigError, "a stop string is ''"),
        (Request("a", stop=("x",), schema={}), ConfigError, r"stop is \('x',\) beside a schema; expected one of them"),
        (Request([{"role": "user", "content": "a"}]), CapabilityError, "has no chat template"),
    ],
)
def test_what_cannot_be_asked_is_said_first(
    tiny_base: Base, request_: Request, error: type[HeadstartError], message: str
) -> None:
    engine = Engine(tiny_base)
    with pytest.raises(error, match=message):
        engine.add(request_)
    with pytest.raises(error, match="request 1: "):
        engine.answers([Request("good"), request_])
    assert not engine.busy
    assert engine.units_read == 0


def test_units_of_sentencepiece_keep_their_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the answer, in its tokens, and so for a stop string at its very beginning."""
    base = random_base("llama", codec=sentence_codec())
    tokenizer = base.text_codec.tokenizer
    (answer,) = Engine(base).answers([Request("the city", Sampling(max_tokens=1, logprobs=20))])
    spelled = {one.unit: one.text for one in answer.tokens[0].top}
    assert any(text.startswith(" ") for text in spelled.values())
    assert all(text.startswith(" ") is tokenizer.id_to_token(unit).startswith("▁") for unit, text in spelled.items())
    monkeypatch.setattr("headstart.prompt.engine.SchemaReader", lambda codec: Always(tokenizer.token_to_id("▁of")))
    request = Request("the city", Sampling(max_tokens=3, logprobs=0), schema={})
    (answer,) = Engine(base).answers([request])
    assert answer.text == " of of of" == "".join(token.text for token in answer.tokens)


def test_an_answer_comes_as_soon_as_those_before_it_are_done(tiny_base: Base) -> None:
    asked = [dataclasses.replace(one, sampling=dataclasses.replace(DRAWN, max_tokens=4)) for one in requests()]
    expected = Engine(tiny_base).answers(asked)
    engine = Engine(tiny_base, max_rows=2)
    coming = engine.each(asked)
    assert [next(coming), next(coming)] == expected[:2]
    assert engine.busy
    assert list(coming) == expected[2:]
    coming = engine.each(asked)
    next(coming)
    coming.close()
    assert not engine.busy


class Counted(dict[int, Any]):
    """How often it was asked for a key."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_answers_that_are_done_are_not_looked_at_again(tiny_base: Base) -> None:
    engine, many = Engine(tiny_base, max_rows=1), 60
    engine._writing = looked = Counted()
    engine.answers([Request("W", Sampling(max_tokens=2))] * many)
    assert looked.asked <= 5 * many


def test_answers_before_one_that_cannot_go_on_still_come(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.prompt.engine.SchemaReader", lambda codec: Followed())
    broken = dataclasses.replace(requests()[0], schema={}, place="prompts.csv:7")
    coming = Engine(tiny_base).each([requests()[1], broken])
    assert next(coming).text == streamed(tiny_base, requests()[1])
    with pytest.raises(RunError, match=r"^prompts\.csv:7: .*could not be followed further"):
        next(coming)


def test_what_cannot_be_asked_is_named_by_its_place(tiny_base: Base) -> None:
    engine = Engine(tiny_base)
    with pytest.raises(DataError, match=r"^prompts\.csv:3: the prompt is empty"):
        engine.answers([Request("good"), Request("", place="prompts.csv:3")])
    with pytest.raises(DataError, match=r"^the prompt is empty"):
        engine.answers([Request("")])


def test_a_base_that_cannot_generate() -> None:
    with pytest.raises(CapabilityError, match="cannot generate: it does not read from left to right"):
        Engine(random_base("bert"))


class Always:
    """A reader of schemas after which only one unit may come."""

    def __init__(self, unit: int) -> None:
        self._unit = unit

    def constraint(self, schema: object) -> Always:
        return self

    def allowed(self) -> NDArray[np.bool_]:
        return np.arange(self._unit + 1) == self._unit

    def accept(self, unit: int) -> None:
        assert unit == self._unit


class Followed:
    """A reader of schemas whose constraints break after two units."""

    def constraint(self, schema: object) -> Breaks:
        return Breaks(2)


def test_an_answer_that_cannot_go_on_is_an_error_of_its_own(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.prompt.engine.SchemaReader", lambda codec: Followed())
    broken = dataclasses.replace(requests()[0], schema={})
    engine = Engine(tiny_base)
    for ask in (lambda: list(engine.stream(broken)), lambda: engine.answers([broken])):
        with pytest.raises(RunError, match="could not be followed further"):
            ask()
        assert not engine.busy
    numbers = [engine.add(one) for one in (requests()[1], broken)]
    pieces = []
    while engine.busy:
        pieces += engine.step()
    told = ["".join(piece.text for piece in pieces if piece.request == number) for number in numbers]
    assert told[0] == streamed(tiny_base, requests()[1])
    assert [piece.finish for piece in pieces if piece.request == numbers[1]] == [None, None, "error"]


def test_answers_leave_requests_of_others_running(tiny_base: Base) -> None:
    engine = Engine(tiny_base)
    other = engine.add(dataclasses.replace(requests()[3], sampling=dataclasses.replace(DRAWN, max_tokens=60)))
    (answer,) = engine.answers([requests()[0]])
    assert answer.text == streamed(tiny_base, requests()[0])
    engine.cancel(other)
    assert not engine.busy
