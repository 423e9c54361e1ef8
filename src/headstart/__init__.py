"""Headstart: base models as values, and the evidence that starting from one was worth it.

    import headstart as hs

    task = hs.Task.read("reviews.csv")
    specialist = hs.adapt(hs.Base.load(), task, method="auto")
    specialist.predict(["arrived broken, and nobody answers"])
    specialist.save("runs/reviews")

The names below are loaded when they are first asked for (PEP 562), so `import headstart` costs milliseconds and
brings no torch and no numpy with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headstart.base.base import Base
    from headstart.choose.choose import choose
    from headstart.data.task import Task
    from headstart.evaluate.study import adapt
    from headstart.ground.errors import (
        BaseError,
        CapabilityError,
        ConfigError,
        DataError,
        GateError,
        HeadstartError,
        RunError,
    )
    from headstart.prompt.asking import Prompting
    from headstart.train.text_base import pretrain

__version__ = "0.1.0"

__all__ = [
    "Base",
    "BaseError",
    "CapabilityError",
    "ConfigError",
    "DataError",
    "GateError",
    "HeadstartError",
    "Prompting",
    "RunError",
    "Task",
    "__version__",
    "adapt",
    "choose",
    "pretrain",
]

_ERRORS = "headstart.ground.errors"
_HOME = {
    "Base": "headstart.base.base",
    "Task": "headstart.data.task",
    "adapt": "headstart.evaluate.study",
    "Prompting": "headstart.prompt.asking",
    "choose": "headstart.choose.choose",
    "pretrain": "headstart.train.text_base",
    "HeadstartError": _ERRORS,
    "BaseError": _ERRORS,
    "CapabilityError": _ERRORS,
    "ConfigError": _ERRORS,
    "DataError": _ERRORS,
    "GateError": _ERRORS,
    "RunError": _ERRORS,
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'headstart' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
