"""Answers by a JSON schema: every one parses and fits, whatever stands beside it; what cannot be followed is said."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import numpy as np
import pytest
from tests.base.tiny_bases import tiny_base as random_base

from headstart.base.base import Base
from headstart.base.sampling import Sampling
from headstart.ground.errors import CapabilityError, ConfigError
from headstart.prompt.engine import Engine, Request
from headstart.prompt.schema import MAX_SCHEMA_DEPTH, SchemaReader

pytest.importorskip("llguidance", reason="the extra `json` is not installed")

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS: list[dict[str, Any] | None] = [
    PERSON,
    {"enum": ["red", "green"]},
    None,
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    {"type": "number", "multipleOf": 7, "minimum": 7, "maximum": 70},
    {"const": {"a": [1, None, "漢"]}},
]


def fits(value: Any, schema: Any) -> bool:
    """Whether `value` is what the schemas above ask for, told without any schema library."""
    if schema is PERSON:
        return set(value) == {"name", "age"} and len(value["name"]) <= 8 and 0 <= value["age"] <= 99
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    if schema["type"] == "array":
        return 2 <= len(value) <= 3 and all(isinstance(one, bool) for one in value)
    return value % 7 == 0 and 7 <= value <= 70


def asked(**settings: Any) -> list[Request]:
    sampling = Sampling(max_tokens=80, **settings)
    return [Request("Where is", sampling, schema=schema, copy=copy) for copy in range(3) for schema in SCHEMAS]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 1.5},
        {"temperature": 1.0, "top_k": 3, "repetition_penalty": 1.3},
        {"temperature": 1.0, "top_p": 0.4, "min_p": 0.1},
    ],
)
def test_every_answer_follows_its_own_schema(tiny_base: Base, settings: dict[str, Any]) -> None:
    requests = asked(**settings)
    together = Engine(tiny_base, max_rows=7).answers(requests)
    for request, answer in zip(requests, together, strict=True):
        if request.schema is not None:
            assert answer.finish == "stop"
            assert fits(json.loads(answer.text), request.schema)
    alone = [Engine(tiny_base).answers([request])[0] for request in requests[: len(SCHEMAS)]]
    assert together[: len(SCHEMAS)] == alone
    free = dataclasses.replace(requests[2], schema=None)
    assert Engine(tiny_base).answers([free])[0] == alone[2]


def test_no_white_space_between_the_parts(tiny_base: Base) -> None:
    schema = {"const": {"a": [1, 2], "b": "x"}}
    assert Engine(tiny_base).answers([Request("Where is", schema=schema)])[0].text == '{"a":[1,2],"b":"x"}'


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_an_answer_that_is_cut_is_the_beginning_of_one(tiny_base: Base) -> None:
    request = Request("Where is", Sampling(max_tokens=4), schema=PERSON)
    answer = Engine(tiny_base).answers([request])[0]
    assert answer.finish == "length"
    assert answer.text.startswith("{")


def test_log_probabilities_are_the_base_s_own(tiny_base: Base) -> None:
    free = Engine(tiny_base).answers([Request("Where is", Sampling(max_tokens=1, logprobs=20))])[0]
    bound = Engine(tiny_base).answers([Request("Where is", Sampling(max_tokens=1, logprobs=20), schema=PERSON)])[0]
    assert bound.tokens[0].top == free.tokens[0].top
    assert bound.tokens[0].logprob < 0


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "enum"}, "the schema cannot be followed: Invalid type: enum"),
        ({"not": {}}, 'Unimplemented keys: \\["not"\\]'),
        ({"$ref": "#/nope"}, "Pointer '/nope' does not exist"),
        ({"type": "string", "pattern": "("}, "unclosed group"),
        ({"enum": []}, "Unsatisfiable schema"),
        ({"const": np.int64(1)}, "the schema is not JSON"),
        ({"const": float("nan")}, "the schema is not JSON"),
        ({"const": "a" * (1 << 21)}, "the schema has 2,097,165 characters; expected at most 1,048,576"),
        (nested(MAX_SCHEMA_DEPTH), "the schema cannot be followed: recursion limit exceeded"),
        (
            nested(400),
            "the schema is not JSON: recursion limit exceeded.*; expected plain values, at most 124 brackets",
        ),
        (nested(10_000), "the schema is not JSON: maximum recursion depth exceeded"),
        ({"const": "\ud800"}, "the schema is not JSON: unexpected end of hex escape"),
        ([1], "the schema is \\[1\\]; expected a JSON object"),
    ],
)
def test_schemas_that_cannot_be_followed(tiny_base: Base, schema: Any, message: str) -> None:
    engine = Engine(tiny_base)
    with pytest.raises(ConfigError, match=message):
        engine.add(Request("Where is", schema=schema))
    assert not engine.busy


def test_the_deepest_schema_is_followed(tiny_base: Base) -> None:
    codec = tiny_base.text_codec
    constraint = SchemaReader(codec).constraint(nested(MAX_SCHEMA_DEPTH - 1))
    bracket = codec.encode_plain(["["])[0].tolist()
    for _ in range(3):  # only brackets may come, and each leaves the next
        allowed = np.flatnonzero(constraint.allowed()).tolist()
        assert bracket[0] in allowed
        assert {codec.decode([unit]).strip("[") for unit in allowed} <= {"", "]"}
        constraint.accept(bracket[0])


def test_a_base_whose_units_cannot_be_followed() -> None:
    with pytest.raises(CapabilityError, match="the tokenizer of this base cannot follow a schema"):
        Engine(random_base("llama")).add(Request("w4", schema=PERSON))


def test_a_base_without_an_end_token(tiny_base: Base) -> None:
    text = tiny_base.text_codec
    codec = dataclasses.replace(text, special=dataclasses.replace(text.special, eos=None))
    with pytest.raises(CapabilityError, match="has no end token"):
        SchemaReader(codec)


def test_without_the_extra(tiny_base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(CapabilityError, match=r"pip install 'headstart\[json\]'"):
        Engine(tiny_base).add(Request("Where is", schema=PERSON))
