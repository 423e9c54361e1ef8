"""Templates as data: three ways to ask by kind of question, and templates of one's own.

One prompt is an anecdote, so there are several, and a result is their mean with its spread. They say nothing about the
subject of a table; who knows the subject writes a better one (`--template`).
"""

from __future__ import annotations

from collections.abc import Sequence

from headstart.base.prompt import check_places, check_template
from headstart.data.examples import Kind
from headstart.ground.batch import Pattern
from headstart.ground.errors import CapabilityError

# (kind, over a pair, pattern). The text comes first, so that the labels that are asked about share it.
TEMPLATES: dict[tuple[Kind, bool, Pattern], tuple[str, ...]] = {
    ("choice", False, "causal"): (
        "{{ text }}\nAnswer: {{ label }}",
        "Text: {{ text }}\nLabel: {{ label }}",
        "Input: {{ text }}\nCategory: {{ label }}",
    ),
    ("choice", True, "causal"): (
        "{{ text }}\n{{ pair }}\nAnswer: {{ label }}",
        "First: {{ text }}\nSecond: {{ pair }}\nLabel: {{ label }}",
        "Text 1: {{ text }}\nText 2: {{ pair }}\nRelation: {{ label }}",
    ),
    ("labels", False, "causal"): (
        "{{ text }}\nIs this about {{ option }}? {{ label }}",
        "Text: {{ text }}\nQuestion: Does {{ option }} apply?\nAnswer: {{ label }}",
        "Text: {{ text }}\nLabel: {{ option }}\nCorrect: {{ label }}",
    ),
    ("labels", True, "causal"): (
        "{{ text }}\n{{ pair }}\nIs this about {{ option }}? {{ label }}",
        "First: {{ text }}\nSecond: {{ pair }}\nQuestion: Does {{ option }} apply?\nAnswer: {{ label }}",
        "Text 1: {{ text }}\nText 2: {{ pair }}\nLabel: {{ option }}\nCorrect: {{ label }}",
    ),
    ("score", False, "causal"): (
        "{{ text }}\nScore: {{ label }}",
        "Text: {{ text }}\nRating: {{ label }}",
        "Input: {{ text }}\nGrade: {{ label }}",
    ),
    ("score", True, "causal"): (
        "{{ text }}\n{{ pair }}\nScore: {{ label }}",
        "First: {{ text }}\nSecond: {{ pair }}\nSimilarity: {{ label }}",
        "Text 1: {{ text }}\nText 2: {{ pair }}\nRating: {{ label }}",
    ),
    ("choice", False, "full"): (
        "{{ text }} It was {{ label }}.",
        "{{ text }} Answer: {{ label }}.",
        "{{ text }} This is about {{ label }}.",
    ),
    ("choice", True, "full"): (
        "{{ text }} Answer: {{ label }}. {{ pair }}",
        "{{ text }} {{ pair }} Answer: {{ label }}.",
        "{{ text }} {{ pair }} It was {{ label }}.",
    ),
    ("labels", False, "full"): (
        "{{ text }} Is this about {{ option }}? {{ label }}.",
        "{{ text }} Does {{ option }} apply? {{ label }}.",
        "{{ text }} Label: {{ option }}. Correct: {{ label }}.",
    ),
    ("labels", True, "full"): (
        "{{ text }} {{ pair }} Is this about {{ option }}? {{ label }}.",
        "{{ text }} {{ pair }} Does {{ option }} apply? {{ label }}.",
        "{{ text }} {{ pair }} Label: {{ option }}. Correct: {{ label }}.",
    ),
    ("score", False, "full"): (
        "{{ text }} Score: {{ label }}.",
        "{{ text }} It was rated {{ label }}.",
        "{{ text }} Grade: {{ label }}.",
    ),
    ("score", True, "full"): (
        "{{ text }} {{ pair }} Score: {{ label }}.",
        "{{ text }} {{ pair }} Similarity: {{ label }}.",
        "{{ text }} {{ pair }} It was rated {{ label }}.",
    ),
}


def templates_for(kind: Kind, *, pair: bool, pattern: Pattern, given: Sequence[str] = ()) -> tuple[str, ...]:
    """The templates to ask with: those given, checked, else ours.

    Raises:
        CapabilityError: tags, which are not asked by prompting.
        ConfigError: a given template that cannot be used for this task.
    """
    if kind == "tags":
        raise CapabilityError(
            "this task tags words; expected choice, labels or score to ask by prompting. Use --method probe."
        )
    for template in given:
        check_template(template)
        check_places(template, pair=pair, option=kind == "labels")
    return tuple(given) or TEMPLATES[kind, pair, pattern]
