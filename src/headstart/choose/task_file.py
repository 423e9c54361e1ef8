"""A task as one JSON file, for workers that may be other processes or machines: pictures, clips and series too.

What an input came as (`Raw.content`) is kept: a path stays a path, made absolute; the bytes of a file and the numbers
of an array stand in base64.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headstart.data.examples import Examples, Input
from headstart.data.raw import Raw
from headstart.data.sound import Clip
from headstart.data.task import Task
from headstart.ground.files import write_atomic


def write_task(task: Task, path: Path) -> str:
    """The task as one JSON file; returns the path."""
    write_atomic(path, msgspec.json.encode(task, enc_hook=_as_json))
    return str(path)


@lru_cache(maxsize=1)
def task_of(path: str) -> Task:
    """The task that `write_task` wrote, read once a worker."""
    task = msgspec.json.decode(Path(path).read_bytes(), type=Task)
    if task.columns.modality is None:
        return task
    return replace(task, train=_whole(task.train), validation=_whole(task.validation), test=_whole(task.test))


def _as_json(content: Any) -> dict[str, Any]:
    """What JSON has no form for; bytes it has, and a Clip is a dataclass."""
    if isinstance(content, Path):
        return {"path": str(content.absolute())}
    if isinstance(content, np.ndarray):
        values = np.ascontiguousarray(content)
        return {"values": values.tobytes(), "dtype": values.dtype.str, "shape": list(values.shape)}
    raise NotImplementedError(f"{type(content).__name__} is no content of an input")


def _whole(rows: Examples) -> Examples:
    return replace(rows, texts=tuple(_input(one) for one in rows.texts))


def _input(one: Input) -> Input:
    return replace(one, content=_content(one.content)) if isinstance(one, Raw) else one


def _content(told: Any) -> Any:
    if isinstance(told, str):
        return base64.b64decode(told)
    if "path" in told:
        return Path(told["path"])
    if "rate" in told:
        return Clip(_array(told["samples"]), told["rate"])
    return _array(told)


def _array(told: dict[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(told["values"]), dtype=told["dtype"]).reshape(told["shape"])
