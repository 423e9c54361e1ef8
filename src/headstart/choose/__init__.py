"""Which base, by which method, for my task, within my budget.

The verb and its room have one name. `headstart.choose` is the function; where a module of this room was imported
first, Python puts the room in its place, so that the room can be called like the verb.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """A module that is called like the function of its name."""

    @property
    def __call__(self) -> Callable[..., Any]:
        from headstart.choose.choose import choose

        return choose


sys.modules[__name__].__class__ = _Room
