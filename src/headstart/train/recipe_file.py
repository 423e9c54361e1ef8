"""A recipe as the text of a TOML file that `read_recipe` reads back to an equal recipe."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headstart.train.patch_recipe import PatchRecipe
from headstart.train.recipe import Recipe


def recipe_text(recipe: Recipe | PatchRecipe) -> str:
    """TOML: the name, then a table a part."""
    content = msgspec.to_builtins(recipe)
    return "\n".join([*_entries(content), *_tables(content, ())]) + "\n"


def _entries(table: dict[str, Any]) -> list[str]:
    return [
        f"{_key(key)} = {_value(value)}"
        for key, value in table.items()
        if value is not None and not isinstance(value, dict)
    ]


def _tables(table: dict[str, Any], above: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict) and value:
            path = (*above, _key(key))
            lines += ["", f"[{'.'.join(path)}]", *_entries(value), *_tables(value, path)]
    return lines


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key, ensure_ascii=True)


def _value(value: Any) -> str:
    """A JSON value is a TOML value, but for null (left out) and objects (tables)."""
    return json.dumps(value, ensure_ascii=True)
