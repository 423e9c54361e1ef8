"""What counts as a number where a user gives one: Python's and NumPy's, but no truth value."""

from __future__ import annotations

from numbers import Integral, Real


def is_whole(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Whether it is a number."""
    return isinstance(value, Real) and not isinstance(value, bool)
