"""Answers that follow a JSON schema: at every step only the units that can still lead to such a text may be drawn.

Enters: a JSON schema. Leaves: a `Constraint` for one request, which the sampler asks which units may come next. The
grammar and its walk over the vocabulary are llguidance's (the extra `json`); what it does not know it refuses by name.
No white space stands between the parts (`{"a":1,"b":[2,3]}`), because a base that may write any amount of it sometimes
writes nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.text_codec import TextCodec
from headstart.ground.errors import CapabilityError, ConfigError, RunError, safe_repr

if TYPE_CHECKING:
    from llguidance import LLMatcher

MAX_SCHEMA_CHARACTERS = 1 << 20
MAX_SCHEMA_DEPTH = 124  # brackets in each other; llguidance reads no more

Schema = Mapping[str, Any]


class SchemaReader:
    """Schemas over one tokenizer's vocabulary, which is walked once (0.1 to 1 s).

    Raises:
        CapabilityError: the extra is missing, or the tokenizer has no end token or spells its units in no known way.
    """

    def __init__(self, codec: TextCodec) -> None:
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError as problem:
            raise CapabilityError(
                "Answers by a JSON schema need the llguidance package. Install it: pip install 'headstart[json]'."
            ) from problem
        if codec.special.eos is None:
            raise CapabilityError(
                "this base has no end token; expected one to end an answer by a schema. Use another base."
            )
        try:
            self._vocabulary = LLTokenizer(
                codec.tokenizer.to_str(), eos_token=codec.special.eos, slices=LLTokenizer.json_slices()
            )
        except ValueError as problem:
            raise CapabilityError(
                f"the tokenizer of this base cannot follow a schema: {safe_repr(str(problem))}; expected a byte-level "
                "or SentencePiece vocabulary. Use another base."
            ) from problem
        self._matcher = LLMatcher

    def constraint(self, schema: Schema) -> JsonConstraint:
        """One answer's way through `schema`.

        Raises:
            ConfigError: it is no JSON object, or uses what is not supported.
        """
        if not isinstance(schema, Mapping):
            raise ConfigError(
                f"the schema is {safe_repr(repr(schema), 40)}; expected a JSON object. Give a JSON schema."
            )
        try:
            text = json.dumps(dict(schema), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as problem:
            raise _unreadable(problem) from problem
        if len(text) > MAX_SCHEMA_CHARACTERS:
            raise ConfigError(
                f"the schema has {len(text):,} characters; expected at most {MAX_SCHEMA_CHARACTERS:,}. Shorten it."
            )
        try:
            grammar = self._matcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False})
        except ValueError as problem:  # its reader of JSON has limits that Python's does not have
            raise _unreadable(problem) from problem
        matcher = self._matcher(self._vocabulary, grammar)
        if matcher.is_error():
            raise ConfigError(
                f"the schema cannot be followed: {safe_repr(matcher.get_error(), 300)}. Change or leave out that part."
            )
        return JsonConstraint(matcher)


class JsonConstraint:
    """A `Constraint`: where one answer stands in its schema."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def allowed(self) -> NDArray[np.bool_]:
        """(V,) True where a unit may come next; the end token where the text may end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, bitorder="little").astype(np.bool_)

    def accept(self, unit: int) -> None:
        """`unit` was written."""
        self._matcher.consume_token(unit)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RunError(
                f"the schema could not be followed further: {safe_repr(self._matcher.get_error(), 300)}; expected a "
                "simpler one. Simplify it."
            )


def _unreadable(problem: Exception) -> ConfigError:
    return ConfigError(
        f"the schema is not JSON: {safe_repr(str(problem))}; expected plain values, at most {MAX_SCHEMA_DEPTH} "
        "brackets in each other. Mend it."
    )
