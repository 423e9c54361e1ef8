"""Prompt: a question as data. What a prompted base asks for every row, and how it reads the answer.

A prompt travels inside the TaskContract; no weight changes. It holds a template with the places of a row's texts and of
the answer, the words an answer is spelt with (the verbaliser), demonstrations, and a calibration of the words' scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from jinja2 import nodes

from headstart.base.sandbox import FILTERS, TROUBLE, Template, parsed
from headstart.ground.batch import Pattern
from headstart.ground.errors import ConfigError, DataError, safe_repr

Calibration = Literal["none", "contextual", "batch"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
MARK = "\x00"  # stands for the answer while a template is rendered; no text of a row may hold it
PLACES = ("text", "pair", "option", "label")
HARMLESS = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Filter, nodes.Const)


@dataclass(frozen=True, slots=True)
class BaseReference:
    """The base that is asked: its name, where it lies (a name or a path), and the SHA-256 of its weights."""

    name: str
    place: str
    digest: str


@dataclass(frozen=True, slots=True)
class Shot:
    """A demonstration: the texts of a row and its answer, spelt. option: the label it was asked about (kind labels)."""

    text: str
    answer: str
    pair: str | None = None
    option: str | None = None


@dataclass(frozen=True)
class Prompt:
    """How a base is asked.

    template: text with {{ text }}, {{ label }} once, {{ pair }} for pairs and {{ option }} for kind labels, where every
    label is asked about on its own. words: the spelt answers; choice: one a label; labels: no and yes; score: one for
    each of `levels`. options: kind labels: how each label is called. pattern: causal scores a word as what follows,
    full fills it in at mask units. shots: stand before every row, `joiner` after each; nearest: only so many of them,
    those nearest to the row by the base's own features. bias: added to the scores (to each label's log-odds for kind
    labels), which is what `calibration` comes down to.

    Raises:
        ConfigError: a template or a word that cannot be asked with.
    """

    template: str
    words: tuple[str, ...]
    pattern: Pattern
    shots: tuple[Shot, ...] = ()
    nearest: int = 0
    joiner: str = "\n\n"
    levels: tuple[float, ...] = ()
    options: tuple[str, ...] = ()
    calibration: Calibration = "none"
    bias: tuple[float, ...] = ()
    base: BaseReference | None = None

    def __post_init__(self) -> None:
        check_template(self.template)
        empty = next((place for place, word in enumerate(self.words) if not word.strip()), None)
        if len(self.words) < 2 or empty is not None:
            what = "fewer than two words" if empty is None else f"an empty word for answer {empty}"
            raise ConfigError(f"the prompt has {what}; expected a word for every answer. Give --verbaliser.")
        if self.levels and len(self.levels) != len(self.words):
            raise ConfigError(
                f"the prompt has {len(self.levels)} levels and {len(self.words)} words; expected as many."
            )
        if self.bias and len(self.bias) != len(self.options or self.words):
            raise ConfigError(f"the prompt has {len(self.bias)} biases; expected {len(self.options or self.words)}.")
        if not all(math.isfinite(number) for number in (*self.bias, *self.levels)):
            raise ConfigError("a bias or level of the prompt is not finite; expected numbers. Adapt again.")
        if not 0 <= self.nearest <= len(self.shots):
            raise ConfigError(f"nearest is {self.nearest}; expected 0 to {len(self.shots)}, the number of shots.")

    @cached_property
    def lead(self) -> str:
        """The white space before a spelt answer; it belongs to the word, as tokenizers of running text have it."""
        before = ""
        for node in _printed(parsed(self.template)):
            if isinstance(node, nodes.Name) and node.name == "label":
                break
            before = before + node.data if isinstance(node, nodes.TemplateData) else ""
        return " " if before.endswith(" ") else ""

    @cached_property
    def continuations(self) -> tuple[str, ...]:
        """Every word as it follows the text before it."""
        return tuple(self.lead + word for word in self.words)


def check_template(source: str) -> None:
    """What may stand in a template: text, the names of a row's parts, and filters on them.

    Raises:
        ConfigError: it cannot be read, loops, reaches for attributes, has an unknown name, or no single {{ label }}.
    """
    shown = safe_repr(repr(source), 80)
    try:
        tree = parsed(source)
        found = list(tree.find_all(nodes.Node))
    except TROUBLE as problem:
        raise _unreadable(shown, str(problem)) from problem
    for node in found:
        if not isinstance(node, HARMLESS) or (isinstance(node, nodes.Filter) and node.name not in FILTERS):
            raise ConfigError(
                f"the template {shown} has a {type(node).__name__.lower()} in line {getattr(node, 'lineno', 1)}; "
                "expected text and names alone, such as {{ text }}: no loops, conditions, calls or attributes. "
                "Take it out."
            )
    names = [node.name for node in found if isinstance(node, nodes.Name)]
    odd = next((name for name in names if name not in PLACES), None)
    if odd is not None:
        raise ConfigError(f"the template {shown} names {odd!r}; expected some of {', '.join(PLACES)}. Rename it.")
    if names.count("label") != 1 or "text" not in names:
        raise ConfigError(
            f"the template {shown} has {names.count('label')} places for the answer and {names.count('text')} for the "
            "text; expected {{ label }} once and {{ text }}. Write both."
        )
    if not any(isinstance(node, nodes.Name) and node.name == "label" for node in _printed(tree)):
        raise ConfigError(
            f"the template {shown} has a filter on the answer; expected {{{{ label }}}} as it stands here, because the "
            "answer is scored as it is spelt. Take the filter out, or spell the answers with --verbaliser."
        )
    texts = [node.data if isinstance(node, nodes.TemplateData) else getattr(node, "value", "") for node in found]
    if any(isinstance(text, str) and MARK in text for text in texts):
        raise ConfigError(f"the template {shown} holds the character U+0000; expected text. Take it out.")
    try:
        Template(source)
    except DataError as problem:
        raise _unreadable(shown, str(problem.__cause__ or problem)) from problem


def _printed(tree: nodes.Template) -> list[nodes.Expr]:
    """What a template of text and names prints, in its order."""
    return [node for output in tree.find_all(nodes.Output) for node in output.nodes]


def _unreadable(shown: str, problem: str) -> ConfigError:
    return ConfigError(
        f"the template {shown} cannot be read: {safe_repr(problem, 120)}; expected text with {{{{ text }}}} "
        "and {{ label }}. Mend it."
    )


def check_places(template: str, *, pair: bool, option: bool) -> None:
    """ConfigError where a template's places are not those of the task: a pair's second text, a label asked about."""
    names = {node.name for node in parsed(template).find_all(nodes.Name)}
    for name, wanted, what in (("pair", pair, "pairs"), ("option", option, "kind labels")):
        if (name in names) != wanted:
            lacks = "has no" if wanted else "has a"
            raise ConfigError(
                f"the template {safe_repr(repr(template), 80)} {lacks} place {{{{ {name} }}}}; expected it for {what} "
                "and for nothing else. Change the template."
            )
