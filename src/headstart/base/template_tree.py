"""The syntax tree of a template from outside, made ready to be weighed: every body says what a run of it costs.

Enter: Jinja's tree. Leave: the same tree, of known nodes alone, in which filters of the sandbox stand for what may cost
more than its nodes do: calls, filters, comparisons, joined texts, slices, keys and what a loop runs over. Their names
begin with `weighed_`, and the sandbox answers for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from jinja2 import Environment, nodes
from jinja2.exceptions import SecurityError
from jinja2.visitor import NodeTransformer

MAX_NODES = 16_000  # of a syntax tree; the longest chat templates have about 3,000. Python compiles it in 0.4 s
BYTES_PER_WORK = 64  # that are read or made
ITEM = 2  # work for an item of a list, which may be an object of its own
STATEMENTS = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Macro, nodes.Assign, nodes.AssignBlock,
    nodes.FilterBlock, nodes.With, nodes.Continue, nodes.Break,
)  # fmt: skip
EXPRESSIONS = (
    nodes.Name, nodes.NSRef, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword,
    nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr, nodes.Slice, nodes.Concat,
    nodes.Compare, nodes.Operand, nodes.BinExpr, nodes.UnaryExpr,
)  # fmt: skip
KNOWN = STATEMENTS + EXPRESSIONS
BODIES = ("body", "else_")  # what a statement runs, or does not


class Weighed(NodeTransformer):
    """A template's syntax tree, of known nodes alone, with filters of ours where one costs more.

    A filter that is not known is refused when it is run: templates have branches for what nobody gives them here.

    Raises:
        SecurityError: it has another node, or more nodes than may be.
    """

    def __init__(self, sandbox: Environment) -> None:
        self._sandbox = sandbox
        self._nodes = 0

    def visit(self, node: nodes.Node) -> nodes.Node:
        if not isinstance(node, KNOWN):
            raise SecurityError(f"it uses {type(node).__name__.lower()} in line {node.lineno}")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SecurityError(f"it has more than {MAX_NODES:,} parts")
        return cast(nodes.Node, super().visit(node))

    def generic_visit(self, node: nodes.Node) -> nodes.Node:
        super().generic_visit(node)
        late = node.defaults if isinstance(node, nodes.Macro) else []  # worked out when it is called
        for name in BODIES:
            body = getattr(node, name, None)
            if body or (body is not None and late):
                cost = nodes.Const(sum(map(_cost, [*body, *late])))
                turn = nodes.ExprStmt(self._filtered(cost, "weighed_turn"), lineno=node.lineno)
                setattr(node, name, [turn, *body])
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, int):
            check_number(node.value)
        if isinstance(node.value, float) and not math.isfinite(node.value):
            raise SecurityError(f"it has a number that is not finite in line {node.lineno}")
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = self._filtered(node.key, "weighed_key")
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        return self._filtered(node.node, "weighed_filter", [nodes.Const(node.name), *_arguments(node)])

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        _arguments(node)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        spread = node.dyn_args and self._filtered(self.visit(node.dyn_args), "weighed_items")
        named = node.dyn_kwargs and self.visit(node.dyn_kwargs)
        node.dyn_args = node.dyn_kwargs = None
        self.generic_visit(node)
        given: list[Any] = [*_arguments(node), spread or nodes.List([]), named or nodes.Dict([])]
        return self._filtered(node.node, "weighed_call", given)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise SecurityError(f"it has a recursive loop in line {node.lineno}")
        self.generic_visit(node)
        each = ITEM + (0 if node.test is None else _cost(node.test))
        node.iter = self._filtered(node.iter, "weighed_items", [nodes.Const(each)])
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [self._filtered(one, "weighed_told") for one in node.nodes]
        return self._filtered(node, "weighed_text")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        rest = [one for operand in node.ops for one in (nodes.Const(operand.op), operand.expr)]
        return self._filtered(node.expr, "weighed_compare", rest)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        ends = [one or nodes.Const(None) for one in (node.arg.start, node.arg.stop, node.arg.step)]
        return self._filtered(node.node, "weighed_slice", ends)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        node.filter = self._filtered(node.filter, "weighed_text")
        return node

    def _filtered(self, node: nodes.Node | None, name: str, given: Sequence[nodes.Expr] = ()) -> nodes.Filter:
        found = nodes.Filter(cast(nodes.Expr | None, node), name, list(given), [], None, None)
        if node is not None:
            found.set_lineno(node.lineno)
        return found.set_environment(self._sandbox)  # type: ignore[return-value]


def _arguments(node: nodes.Call | nodes.Filter | nodes.Test) -> list[nodes.Expr]:
    """What is given by place, and what by name, as a list and a dictionary."""
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        raise SecurityError(f"it spreads what it gives in line {node.lineno}")
    pairs = [nodes.Pair(nodes.Const(one.key), one.value) for one in node.kwargs]
    return [nodes.List(list(node.args)), nodes.Dict(pairs)]


def _cost(node: nodes.Node) -> int:
    """Work of a node and of all that is run with it; bodies are paid for when they are run."""
    text = node.data if isinstance(node, nodes.TemplateData) else node.value if isinstance(node, nodes.Const) else ""
    own = 1 + (len(text) // BYTES_PER_WORK if isinstance(text, str) else 0)
    return own + sum(map(_cost, node.iter_child_nodes(exclude=BODIES)))


def check_number(number: Any) -> None:
    """SecurityError where arithmetic with a number could take long."""
    if isinstance(number, int) and number.bit_length() > 64:
        raise SecurityError("it makes a number of more than 64 bits")
