"""The errors people see: what the value is, what was expected, what to type next.

Every message follows "<what> is <value>; expected <what>. <next step>." and carries the exit code
that the command line returns (docs: 0 ok, 1 run failed, 2 usage, 3 gate failed, 130 interrupted).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

INTERRUPTED = 130  # the exit code where Ctrl-C or SIGTERM ended a command


class HeadstartError(ValueError):
    """Anything a user can mend; the root of the tree."""

    exit_code: ClassVar[int] = 2


class ConfigError(HeadstartError):
    """A flag, a recipe key or a config value is wrong."""


class DataError(HeadstartError):
    """A table, a row or a label is wrong."""


class BaseError(HeadstartError):
    """A base folder, its config or one of its tensors is wrong."""


class CapabilityError(HeadstartError):
    """This base cannot do what was asked of it."""


class RunError(HeadstartError):
    """The run itself failed: no disk space, a loss that is not finite, a worker that died."""

    exit_code: ClassVar[int] = 1


class GateError(HeadstartError):
    """A release or parity gate said no."""

    exit_code: ClassVar[int] = 3


def safe_repr(value: object, limit: int = 200) -> str:
    """`value` for a terminal or a log: control characters escaped, at most `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""
