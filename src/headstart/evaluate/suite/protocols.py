"""The protocols there are, by name. A kind of set names its own (specs.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstart.evaluate.suite.adapting import AdaptProtocol
from headstart.evaluate.suite.cloze import ClozeProtocol
from headstart.evaluate.suite.prose import ProseProtocol
from headstart.evaluate.suite.protocol import Protocol
from headstart.evaluate.suite.scoring import ChoicesProtocol, PairsProtocol
from headstart.evaluate.suite.specs import Method, TaskSpec
from headstart.evaluate.suite.stereotypes import CoreferenceProtocol, TriplesProtocol
from headstart.evaluate.suite.truth import TruthProtocol
from headstart.evaluate.suite.writing import GenerationProtocol, InstructionProtocol

PROTOCOLS: dict[str, Protocol[Any]] = {
    p.name: p
    for p in (
        AdaptProtocol(),
        ChoicesProtocol(),
        PairsProtocol(),
        TruthProtocol(),
        ClozeProtocol(),
        ProseProtocol(),
        TriplesProtocol(),
        CoreferenceProtocol(),
        GenerationProtocol(),
        InstructionProtocol(),
    )
}


def protocol_of(spec: TaskSpec) -> Protocol[Any]:
    assert spec.protocol is not None, "only sets with a protocol are evaluated"
    return PROTOCOLS[spec.protocol]


def methods_of(spec: TaskSpec, asked: Sequence[Method]) -> tuple[Method, ...]:
    """The asked methods that a set can be evaluated by; where none of them fits, the default of its protocol."""
    known = protocol_of(spec).methods
    return tuple(method for method in asked if method in known) or known[:1]
