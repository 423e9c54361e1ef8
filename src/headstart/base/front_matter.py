"""The YAML on top of a README.md: plain values to YAML, and one block of a card's front matter taken out or replaced.

What is written is only lists, objects, texts and numbers: texts are quoted as JSON, which is YAML too, so that no title
("no", "1e5", "a: b") can be read as something else.
"""

from __future__ import annotations

import json
import math
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
    head, body = _parts(readme)
    block = as_yaml({key: value}).rstrip("\n").split("\n")
    return "\n".join([FENCE, *_lines(head, key, inside=False), *block, *body])


def block_of(readme: str, key: str) -> str:
    """The lines of `key` in a card's front matter, as they are; "" where it has none."""
    return "\n".join(_lines(_parts(readme)[0], key, inside=True))


def _parts(readme: str) -> tuple[list[str], list[str]]:
    """(the lines of the front matter, the lines from the fence that ends it); both are made up where it has none."""
    lines = readme.split("\n")
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.rstrip() == FENCE), 0)
    return (lines[1:end], lines[end:]) if lines[0].rstrip() == FENCE and end else ([], [FENCE, "", *lines])


def _lines(head: Sequence[str], key: str, *, inside: bool) -> list[str]:
    """The lines that belong to a key, or all others."""
    found: list[str] = []
    mine = False
    for line in head:
        starts = bool(line.strip()) and line[0] not in " -\t#"
        mine = line.startswith(f"{key}:") if starts else mine
        if mine == inside:
            found.append(line)
    return found


def _behind(value: Any, indent: int) -> str:
    """What follows a key: a scalar, an empty list or object, or a block on the next lines."""
    if not _nested(value):
        return f" {_scalar(value)}\n"
    return f"\n{as_yaml(value, indent=indent + (2 if isinstance(value, Mapping) else 0))}"


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 0


def _scalar(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return f'"{value}"' if value == value else '"not a number"'
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")  # YAML 1.1 reads 1e-05 as a text
    return json.dumps(value)


def _key(key: str) -> str:
    return key if PLAIN_KEY.fullmatch(key) and key.lower() not in NO_TEXTS else json.dumps(key)
