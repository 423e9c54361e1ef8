"""Templates that came with a base are data from outside: rendered without files, without Python's insides, with limits.

Jinja's immutable sandbox keeps a template from reaching attributes and from changing what it is given. It does not keep
one from looping for ever, from doubling a text forty times, or from comparing lists that hold themselves 2^40 times. So
a template is built of known things alone (statements, filters, tests and methods that are listed here), and all it
does costs work, of which it has so much and no more:

- every node of the syntax tree, each time the body that holds it is run;
- every character that is read or made, and every item that is run over or copied;
- what spells, sorts, hashes or compares a value: all its parts, counted as often as they are met, before it begins.

What one operation makes is bounded before it is made, so memory is too. No clock: what renders here renders anywhere.
"""

from __future__ import annotations

import datetime
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from sys import getsizeof
from types import CodeType
from typing import Any, NoReturn, cast

from jinja2 import StrictUndefined, TemplateError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.filters import FILTERS as JINJAS_FILTERS
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS as JINJAS
from jinja2.utils import Namespace

from headstart.base.template_tree import BYTES_PER_WORK, ITEM, Weighed, check_number
from headstart.ground.errors import DataError, safe_repr

MAX_TEMPLATE_BYTES = 64 << 10
MAX_TEXT = 2 << 20  # characters of a rendered text, and of any text on the way; half a million tokens
MAX_WORK = 1_000_000  # about a second at the worst; a message of a long conversation takes 50 to 300
MAX_DEPTH = 64  # lists in lists; what hashes them in C does not watch its stack
MAX_DIGITS = 1_000  # of a text that is read as a number
STEPS_PER_WORK = 1_024  # of a search in C
SPELT = 4  # work for a part that is spelt: Python writes a character with up to ten
SORTED = 20  # comparisons of each of a million items
TITLE = 128  # work for 64 bytes that are split into words in Python
TOO_LONG = f"it makes a text of more than {MAX_TEXT:,} characters"

TROUBLE = (
    TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SyntaxError, TypeError,
    ValueError,
)  # fmt: skip
AS_THEY_ARE = ("abs", "count", "d", "default", "first", "last", "length")
ONE_BY_ONE = ("items", "map", "reject", "rejectattr", "reverse", "select", "selectattr")  # read when they are run over
OF_A_TEXT = ("capitalize", "e", "escape", "lower", "safe", "string", "title", "trim", "upper")
OF_ALL_ITEMS = ("dictsort", "max", "min", "sort", "unique")
OF_A_NUMBER = ("float", "int")
OUR_OWN = ("indent", "join", "list", "replace", "round", "sum")
FILTERS = (*AS_THEY_ARE, *ONE_BY_ONE, *OF_A_TEXT, *OF_ALL_ITEMS, *OF_A_NUMBER, *OUR_OWN)
NAMED = frozenset((*FILTERS, "tojson"))

JINJAS_TESTS: dict[str, Any] = dict(JINJAS)  # which says less of them
TESTS = (
    "boolean", "callable", "defined", "escaped", "false", "float", "integer", "iterable", "mapping", "none", "number",
    "sameas", "sequence", "string", "true", "undefined",
)  # fmt: skip
OF_NUMBERS = ("divisibleby", "even", "odd")  # a text would be formatted
COMPARISONS = {
    "eq": ("==", "equalto"), "ne": ("!=",), "lt": ("<", "lessthan"), "lteq": ("<=", "le"), "gt": (">", "greaterthan"),
    "gteq": (">=", "ge"), "in": (), "notin": (),
}  # fmt: skip
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "lteq": operator.le, "gt": operator.gt,
    "gteq": operator.ge, "in": lambda one, many: one in many, "notin": lambda one, many: one not in many,
}  # fmt: skip

# Methods of texts whose result is no longer than the text, or is a number; `join` and `replace` are weighed.
TEXT_METHODS = frozenset(
    (
        "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isdigit", "islower",
        "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
        "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase",
        "title", "upper",
    )
)  # fmt: skip
MEMBERS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, TEXT_METHODS),
    (dict, frozenset(("copy", "get", "items", "keys", "values"))),
    (list, frozenset(("copy", "count", "index"))),
    (tuple, frozenset(("count", "index"))),
    (LoopContext, frozenset(
        ("changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length", "nextitem", "previtem",
         "revindex", "revindex0")
    )),
)  # fmt: skip
SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # all of Unicode's, the ends of lines among them
VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))
MANY: tuple[type, ...] = (dict, list, tuple, *VIEWS)
SIZED: Any = (str, *MANY)


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
            code = _compiled(source, strict)
            self._template = self._sandbox.template_class.from_code(
                self._sandbox, code, self._sandbox.make_globals(None)
            )
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
                pieces.append(piece)
        except TROUBLE as problem:
            raise self._unusable(problem) from problem
        return "".join(pieces)

    def _unusable(self, problem: Exception) -> DataError:
        said = safe_repr(str(problem) or type(problem).__name__, 300)
        return DataError(
            f"the {self._what} cannot be used here: {said.rstrip('.')}. "
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

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self, *, strict: bool = False) -> None:
        super().__init__(
            trim_blocks=not strict,
            lstrip_blocks=not strict,
            keep_trailing_newline=strict,
            undefined=StrictUndefined if strict else Undefined,
            extensions=[loopcontrols],
            optimized=False,  # nothing is worked out before the work is counted
            finalize=pass_context(lambda context, value: self._told(value)),
        )
        self._work = MAX_WORK
        self.filters = {name: JINJAS_FILTERS[name] for name in FILTERS}
        self.filters |= {"indent": self._indent, "join": self._join, "list": self._list, "replace": self._replace}
        self.filters |= {"round": _round, "sum": self._sum, "tojson": self._to_json}
        self.filters |= {"weighed_call": self._call, "weighed_filter": self._filter}
        self.filters |= {"weighed_compare": self._compare, "weighed_items": self._items, "weighed_key": self._key}
        self.filters |= {"weighed_slice": self._slice, "weighed_text": self._made, "weighed_told": self._told}
        self.filters |= {"weighed_turn": self._spend}
        self.tests = {name: JINJAS_TESTS[name] for name in TESTS}
        self.tests |= {name: _of_numbers(JINJAS_TESTS[name]) for name in OF_NUMBERS}
        self.tests |= {name: self._of_a_text(JINJAS_TESTS[name]) for name in ("lower", "upper")}
        for name, others in COMPARISONS.items():
            self.tests |= dict.fromkeys((name, *others), self._test(name))
        self.globals = {
            "range": self._range,
            "namespace": _Names,
            "dict": dict,
            "raise_exception": _refuse,
            "strftime_now": _now,
        }

    def begin(self) -> None:
        """A rendering begins: nothing is spent yet."""
        self._work = MAX_WORK

    # --- what Jinja asks before it does something ---------------------------------------------------------------------

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only what is listed; names of a namespace are its own."""
        if isinstance(obj, _Names):
            return not attr.startswith("_")
        return any(isinstance(obj, kind) and attr in names for kind, names in MEMBERS)

    def wrap_str_format(self, value: Any) -> None:
        """No text is formatted; `is_safe_attribute` says so."""

    def call_filter(
        self,
        name: str,
        value: Any,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        eval_ctx: EvalContext | None = None,
    ) -> Any:
        """Any filter, of a template or asked for by its name in another one; ours that count are not for templates."""
        if name not in NAMED:
            raise SecurityError(f"it has the filter {safe_repr(repr(name), 40)}")
        value = self._ready(name, value, (*(args or ()), *(kwargs or {}).values()))
        found = super().call_filter(name, value, args, kwargs, context, eval_ctx)
        if name in AS_THEY_ARE:
            return found
        return self._counted(found) if isinstance(found, Iterator) else self._made(found)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, str) and attribute == "join":
            return lambda values: self._join(values, obj)
        if isinstance(obj, str) and attribute == "replace":
            return lambda old, new, count=-1: self._replace(obj, old, new, count)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        self._spend(1)  # `attribute="a.b.c"` of a filter comes here too
        return super().getitem(obj, argument if isinstance(argument, str | int) else self._key(argument))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and not isinstance(left, int | float):
            raise SecurityError("it formats a text with %")
        if operator == "*" and isinstance(left, int | float) and isinstance(right, str | list | tuple):
            left, right = right, left
        if operator == "*" and isinstance(left, str | list | tuple):
            _fits(len(left) * max(0, int(right)))
        elif operator == "+" and isinstance(left, str | list | tuple):
            _fits(len(left) + (len(right) if isinstance(right, str | list | tuple) else 0))
        else:
            _check_numbers(operator, left, right)
        return self._made(super().call_binop(context, operator, left, right))

    # --- what things cost ---------------------------------------------------------------------------------------------

    def _spend(self, work: int) -> None:
        self._work -= work
        if self._work < 0:
            raise SecurityError("it loops too long")

    def _made(self, value: Any) -> Any:
        """`value`, which an operation made: a text or a list is paid for as it stands, its items were paid before."""
        if isinstance(value, str):
            _fits(len(value))
        if isinstance(value, str | list | tuple):
            self._spend(1 + getsizeof(value) // BYTES_PER_WORK)
        return value

    def _weigh(self, value: Any, each: int = 1, depth: int = 0) -> None:
        """Pay for all parts of a value, as often as they are met; `each`: work for a part, and for 64 bytes of text."""
        if depth > MAX_DEPTH:
            raise SecurityError(f"it has values nested more than {MAX_DEPTH} deep")
        if isinstance(value, str):
            self._spend(each * (1 + getsizeof(value) // BYTES_PER_WORK))
            return
        self._spend(each)
        parts: Any = value.items() if isinstance(value, dict) else value if isinstance(value, MANY) else ()
        for part in parts:
            self._weigh(part, each, depth + 1)

    def _search(self, text: str, wanted: tuple[Any, ...]) -> None:
        """Pay for a search in C; from the end, and in what is stripped, it is as long as both texts multiplied."""
        sizes = (len(part) for part in wanted if isinstance(part, str | tuple))
        self._spend(len(text) * (4 + sum(sizes)) // STEPS_PER_WORK)

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._spend(ITEM)
            yield value

    def _items(self, values: Iterable[Any], each: int = ITEM) -> list[Any]:
        """What a loop runs over, or a list. each: work for an item."""
        found = list(islice(values, self._work // each + 1))
        self._spend(len(found) * each)
        return found

    def _told(self, value: Any) -> Any:
        """What is printed or joined: a text, or what Python spells in few characters."""
        if isinstance(value, str):
            return self._made(value)
        if isinstance(value, MANY):
            return self._made(str(self._spelt(value)))
        return value

    def _spelt(self, value: Any, each: int = SPELT) -> Any:
        """`value`, after its parts are paid for and a spelling of it is known to be no longer than a few texts."""
        before = self._work
        self._weigh(value, each)
        if before - self._work > MAX_WORK // 4:
            raise SecurityError(TOO_LONG)
        return value

    def _key(self, value: Any) -> Any:
        """What is hashed."""
        self._weigh(value)
        return value

    # --- filters and tests --------------------------------------------------------------------------------------------

    @pass_context
    def _call(
        self,
        context: Context,
        obj: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        more_args: list[Any],
        more_kwargs: dict[str, Any],
    ) -> Any:
        given, named = (*args, *more_args), kwargs | more_kwargs
        self._spend(ITEM * (2 + len(given) + len(named)))
        if not isinstance(obj, Macro):
            self._weigh((given, named))
        of = getattr(obj, "__self__", None)
        if isinstance(of, str):
            self._search(of, given)
            if obj.__name__ in ("split", "rsplit", "splitlines"):
                self._spend(ITEM * (1 + _parts(of, given[0] if given else named.get("sep"))))
        elif isinstance(of, list | tuple) or getattr(obj, "__name__", "") == "copy":
            self._weigh(of)
        return self._made(self.call(context, obj, *given, **named))

    @pass_context
    def _filter(self, context: Context, value: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return self.call_filter(name, value, args, kwargs, context)

    def _ready(self, name: str, value: Any, given: tuple[Any, ...]) -> Any:
        """The value for a filter, after its work is paid for."""
        if name in ONE_BY_ONE:
            self._weigh([one for one in given if isinstance(one, str)], SORTED)  # the parts of an attribute
        elif name in OF_A_TEXT:
            value = self._told(value)
            if isinstance(value, str):
                self._weigh(value, TITLE if name == "title" else 1)
                self._search(value, given)
        elif name in OF_ALL_ITEMS:
            value = self._items(value) if isinstance(value, str | range | Iterator) else value
            self._weigh((value, given), SORTED)
        elif name in OF_A_NUMBER and isinstance(value, str) and len(value) > MAX_DIGITS:
            raise SecurityError(f"it reads a number of more than {MAX_DIGITS:,} digits")
        return value

    def _of_a_text(self, test: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda value: test(self._told(value))

    def _test(self, name: str) -> Callable[[Any, Any], bool]:
        return lambda value, other: self._compare(value, name, other)

    def _compare(self, value: Any, *rest: Any) -> bool:
        """A chain of comparisons: names of operators and values by turns."""
        for name, other in zip(rest[::2], rest[1::2], strict=True):
            if name in ("in", "notin"):
                other = self._searched(value, other)
            else:
                self._weigh(min(value, other, key=_length))  # as far as a comparison can go
            if not COMPARE[name](value, other):
                return False
            value = other
        return True

    def _searched(self, value: Any, many: Any) -> Any:
        """`many`, after a search of `value` in it is paid for."""
        if isinstance(many, str):
            self._search(many, (value,))
            return many
        self._weigh(value)
        if isinstance(many, range | Iterator):
            many = self._items(many)
        if not isinstance(many, dict):
            self._weigh(many)
        return many

    def _list(self, values: Iterable[Any]) -> list[Any]:
        return self._items(values)

    def _slice(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        return self._made(value[start:stop:step])

    def _range(self, *bounds: int) -> range:
        found = range(*bounds)
        self._spend(len(found))
        return found

    def _replace(self, text: Any, old: str, new: str, count: int = -1) -> str:
        whole = str(self._told(text))
        self._search(whole, (old,))
        _fits(len(whole) + whole.count(old) * len(new))
        return cast(str, self._made(whole.replace(old, new, count)))

    def _indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        whole = str(self._told(text))
        if isinstance(width, int) and width > MAX_DEPTH:
            raise SecurityError(f"it indents by {width}")
        before = width if isinstance(width, str) else " " * width
        _fits(len(whole) + (1 + _parts(whole, None)) * len(before))
        return cast(str, self._made(JINJAS_FILTERS["indent"](whole, before, first, blank)))

    def _join(self, values: Iterable[Any], between: str = "", attribute: str | int | None = None) -> str:
        parts = [str(self._told(one)) for one in self._members(values, attribute)]
        between = str(self._told(between))
        _fits(sum(map(len, parts)) + len(parts) * len(between))
        return cast(str, self._made(between.join(parts)))

    def _sum(self, values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
        found = self._members(values, attribute)
        if not all(isinstance(one, int | float) for one in (start, *found)):
            raise SecurityError("it sums what is no number")
        return sum(found, start)

    def _members(self, values: Iterable[Any], attribute: str | int | None) -> list[Any]:
        self._weigh(attribute, SORTED)
        return list(map(make_attrgetter(self, attribute), self._items(values)))

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """As transformers has it: plain JSON, not the HTML-safe one of Jinja."""
        if indent is not None and not 0 <= indent <= 8:
            raise SecurityError(f"it indents JSON by {indent}")
        between = (indent or 0) * MAX_DEPTH + sum(map(len, separators or ()))
        self._spelt(value, SPELT + between // BYTES_PER_WORK)
        found = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return cast(str, self._made(found))


@lru_cache(maxsize=16)
def _compiled(source: str, strict: bool) -> CodeType:
    """A chat's template is rendered at every turn, and compiling takes 10 to 40 ms; what is counted is not in it."""
    sandbox = _Sandbox(strict=strict)
    return sandbox.compile(cast(nodes.Template, Weighed(sandbox).visit(sandbox.parse(source))))


class _Names(Namespace):
    """A namespace that does not spell all it holds."""

    def __repr__(self) -> str:
        return "<Namespace>"


def _fits(characters: int) -> None:
    if characters > MAX_TEXT:
        raise SecurityError(TOO_LONG)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, SIZED) else 0


def _parts(text: str, separator: Any) -> int:
    """How many parts a text is split into, at most."""
    return text.count(separator) if isinstance(separator, str) and separator else sum(map(text.count, SPACES))


def _check_numbers(operator: str, left: Any, right: Any) -> None:
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return  # it says so itself
    for side in (left, right):
        if not isinstance(side, int | float):
            raise SecurityError(f"it computes with a {type(side).__name__}")
        check_number(side)
    if operator == "**" and (abs(right) > 64 or abs(left) > 1000):
        raise SecurityError(f"it raises {left} to the power {right}")


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*given: Any) -> Any:
        _check_numbers("%", given[0], given[-1])
        return function(*given)

    return run


def _round(value: Any, precision: int = 0, method: str = "common") -> float:
    _check_numbers("*", value, precision)
    _check_numbers("**", 10, precision)
    return cast(float, JINJAS_FILTERS["round"](value, precision, method))


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form[:100])
