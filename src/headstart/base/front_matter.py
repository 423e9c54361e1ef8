"""The YAML on top of a README.md: plain values to YAML, and one block of a card's front matter replaced by another.

Only writing, and only lists, objects, texts and numbers: texts are quoted as JSON, which is YAML too, so that no title
("no", "1e5", "a: b") can be read as something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

FENCE = "---"
PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
NO_TEXTS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # what YAML 1.1 reads as something else


def as_yaml(value: Any, *, indent: int = 0) -> str:
    """A list or an object in block style, every line ended."""
    space = " " * indent
    if isinstance(value, Mapping):
        return "".join(f"{space}{_key(key)}:{_behind(inner, indent)}" for key, inner in value.items())
    lines = []
    for inner in value:
        block = as_yaml(inner, indent=indent + 2) if _nested(inner) else f"{' ' * (indent + 2)}{_scalar(inner)}\n"
        lines.append(f"{space}- {block[indent + 2 :]}")
    return "".join(lines)


def with_block(readme: str, key: str, value: Any) -> str:
    """A card with `key` in its front matter; an older block of that key goes, all other lines stay as they are."""
    lines = readme.split("\n")
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.rstrip() == FENCE), 0)
    if lines[0].rstrip() != FENCE or not end:
        lines, end = [FENCE, FENCE, "", *lines], 1
    kept: list[str] = []
    inside = False
    for line in lines[1:end]:
        starts = bool(line) and line[0] not in " -\t#"
        inside = line.startswith(f"{key}:") if starts else inside
        if not inside:
            kept.append(line)
    block = as_yaml({key: value}).rstrip("\n").split("\n")
    return "\n".join([FENCE, *kept, *block, *lines[end:]])


def _behind(value: Any, indent: int) -> str:
    """What follows a key: a scalar, an empty list or object, or a block on the next lines."""
    if not _nested(value):
        return f" {_scalar(value)}\n"
    return f"\n{as_yaml(value, indent=indent + (2 if isinstance(value, Mapping) else 0))}"


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 0


def _scalar(value: Any) -> str:
    if isinstance(value, float):  # YAML 1.1 reads 1e-05 as a text
        return f"{value:.6f}".rstrip("0").removesuffix(".") if value == value else '"not a number"'
    return json.dumps(value)


def _key(key: str) -> str:
    return key if PLAIN_KEY.fullmatch(key) and key.lower() not in NO_TEXTS else json.dumps(key)
