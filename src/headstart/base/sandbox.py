"""Templates that came with a base are data from outside: rendered without files, without Python's insides, with limits.

Jinja's immutable sandbox keeps a template from reaching attributes and from changing what it is given. It does not keep
one from looping for ever or from doubling a text forty times. So every turn of a loop, every call and every text that
is made costs work, and a template has so much and no more. No clock: what renders here renders anywhere.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any, NoReturn, cast

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from headstart.ground.errors import DataError, safe_repr

MAX_TEMPLATE_BYTES = 64 << 10
MAX_TEXT = 4 << 20  # characters of a rendered text, and of any text on the way
MAX_WORK = 200_000  # about two seconds at the worst; a long conversation takes 10 a message
TEXT_PER_WORK = 256  # characters that cost as much as a turn of a loop
TOO_LONG = f"it makes a text of more than {MAX_TEXT:,} characters"

TROUBLE = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
FILTERS = (
    "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "int", "items", "join", "last",
    "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe",
    "select", "selectattr", "sort", "string", "sum", "title", "trim", "unique", "upper",
)  # fmt: skip
# Methods of texts whose result is no longer than the text, or is a number; `join` and `replace` are weighed.
TEXT_METHODS = frozenset(
    (
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower",
        "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
        "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase",
        "title", "upper",
    )
)  # fmt: skip


def render_template(source: str, values: Mapping[str, Any]) -> str:
    """`source` rendered with `values`, once.

    Raises:
        DataError: the template is too long, cannot be read, reaches where it may not, works too long, or refuses.
    """
    return Template(source, what="chat template").render(values)


class Template:
    """A template that is rendered many times; every rendering has the whole allowance of work.

    what: how messages call it. strict: white space as it stands, and no name that is not given (Jinja's own defaults
    with StrictUndefined, as lm-evaluation-harness has it); else as chat templates have it.

    Raises:
        DataError: the template is too long or cannot be read.
    """

    def __init__(self, source: str, *, what: str = "template", strict: bool = False) -> None:
        size = len(source.encode(errors="replace"))
        if size > MAX_TEMPLATE_BYTES:
            raise DataError(
                f"the {what} has {size:,} bytes; expected at most {MAX_TEMPLATE_BYTES:,}. Give a shorter one."
            )
        self._what = what
        self._sandbox = _Sandbox(strict=strict)
        try:
            self._template = self._sandbox.from_string(_Weighed(self._sandbox).visit(self._sandbox.parse(source)))
        except TROUBLE as problem:
            raise self._unusable(problem) from problem

    def render(self, values: Mapping[str, Any]) -> str:
        """The text.

        Raises:
            DataError: the template reaches where it may not, works too long, or refuses.
        """
        self._sandbox.begin()
        pieces: list[str] = []
        total = 0
        try:
            for piece in self._template.generate(values):
                total += len(piece)
                if total > MAX_TEXT:
                    raise SecurityError(TOO_LONG)
                self._sandbox.made(len(piece))
                pieces.append(piece)
        except TROUBLE as problem:
            raise self._unusable(problem) from problem
        return "".join(pieces)

    def _unusable(self, problem: Exception) -> DataError:
        return DataError(
            f"the {self._what} cannot be used here: {safe_repr(str(problem), 300)}. "
            "Change what it is given, or give a plain prompt."
        )


def parsed(source: str) -> nodes.Template:
    """The syntax tree of a template, for who has rules of its own about what may stand in it.

    Raises:
        TemplateError: it cannot be read.
    """
    return _Sandbox().parse(source)


class _Sandbox(ImmutableSandboxedEnvironment):
    """For one template, because it counts what a rendering does."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, *, strict: bool = False) -> None:
        super().__init__(
            trim_blocks=not strict,
            lstrip_blocks=not strict,
            keep_trailing_newline=strict,
            undefined=StrictUndefined if strict else Undefined,
            extensions=[loopcontrols],
        )
        self._work = MAX_WORK
        self.filters = {name: self.filters[name] for name in FILTERS if name in self.filters}
        self.filters |= {"tojson": _to_json, "replace": self._replace, "join": self._join}
        self.filters |= {"weighed_items": self._items, "weighed_text": self._text}
        self.globals = {
            "range": self._range,
            "namespace": self.globals["namespace"],
            "dict": dict,
            "raise_exception": _refuse,
            "strftime_now": _now,
        }

    def begin(self) -> None:
        """A rendering begins: nothing is spent yet."""
        self._work = MAX_WORK

    def made(self, characters: int) -> None:
        """A text of so many characters was made."""
        if characters > MAX_TEXT:
            raise SecurityError(TOO_LONG)
        self._spend(1 + characters // TEXT_PER_WORK)

    def is_safe_callable(self, obj: Any) -> bool:
        """Asked before every call, so the place to count them."""
        self._spend(1)
        return super().is_safe_callable(obj)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Of a text only the methods whose result is as long as it looks."""
        if isinstance(obj, str):
            if attribute == "join":
                return lambda values: self._join(values, obj)
            if attribute == "replace":
                return partial(self._replace, obj)
            if attribute not in TEXT_METHODS:
                return self.unsafe_undefined(obj, attribute)
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self._spend(1)
        if operator == "%" and not isinstance(left, int | float):
            raise SecurityError("it formats a text with %")
        if operator == "*" and isinstance(left, int | float) and isinstance(right, str | list | tuple):
            left, right = right, left
        if operator == "*" and isinstance(left, str | list | tuple):
            self.made(len(left) * max(0, int(right)))
        elif operator == "+" and isinstance(left, str | list | tuple):
            self.made(len(left) + len(right))
        elif any(isinstance(side, int) and side.bit_length() > 64 for side in (left, right)):
            raise SecurityError("it makes a number of more than 64 bits")
        elif operator == "**" and (abs(right) > 64 or abs(left) > 1000):
            raise SecurityError(f"it raises {left} to the power {right}")
        return super().call_binop(context, operator, left, right)

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise SecurityError("it loops too long")

    def _items(self, values: Iterable[Any]) -> list[Any]:
        """What a loop runs over."""
        found = list(islice(values, self._work + 1))
        self._spend(len(found))
        return found

    def _text(self, value: Any) -> Any:
        """What an expression, a call or a block made, where it is a text."""
        if isinstance(value, str):
            self.made(len(value))
        return value

    def _range(self, *bounds: int) -> range:
        found = range(*bounds)
        self._spend(len(found))
        return found

    def _replace(self, text: Any, old: str, new: str, count: int = -1) -> str:
        whole = str(text)
        self.made(len(whole) + whole.count(old) * len(new))
        return whole.replace(old, new, count)

    def _join(self, values: Iterable[Any], between: str = "", attribute: str | int | None = None) -> str:
        parts = [str(value if attribute is None else self.getitem(value, attribute)) for value in self._items(values)]
        self.made(sum(map(len, parts)) + len(parts) * len(between))
        return str(between).join(parts)


class _Weighed(NodeTransformer):
    """A template's syntax tree with a filter of ours round everything that loops or makes text."""

    def __init__(self, sandbox: _Sandbox) -> None:
        self._sandbox = sandbox

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = self._filtered(node.iter, "weighed_items")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._filtered(node, "weighed_text")

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        self.generic_visit(node)
        return self._filtered(node, "weighed_text")

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = self._filtered(node.filter, "weighed_text")
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        raise SecurityError("it has a call block")

    def _filtered(self, node: nodes.Node | None, name: str) -> nodes.Filter:
        found = nodes.Filter(cast(nodes.Expr | None, node), name, [], [], None, None)
        if node is not None:
            found.set_lineno(node.lineno)
        return found.set_environment(self._sandbox)  # type: ignore[return-value]


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form[:100])


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """As transformers has it: plain JSON, not the HTML-safe one of Jinja."""
    if indent is not None and not 0 <= indent <= 8:
        raise SecurityError(f"it indents JSON by {indent}")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
