"""Every declared core dependency is imported by a room, every import is declared, and no oracle is imported."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORT_NAME = {"scikit-learn": "sklearn", "pyyaml": "yaml", "Pillow": "PIL", "model-signing": "model_signing"}
ORACLES = {"transformers", "peft", "accelerate", "pandas", "datasets", "setfit", "sentence_transformers"}


def declared(lines: list[str]) -> set[str]:
    names = (re.split(r"[<>=!~\[ ;]", line, maxsplit=1)[0] for line in lines)
    return {IMPORT_NAME.get(name, name) for name in names}


def imported() -> dict[str, str]:
    """Foreign top-level module -> one file that imports it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "src" / "headstart").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top not in ("headstart", "__future__"):
                    found.setdefault(top, str(path.relative_to(ROOT)))
    return found


def test_declared_and_imported_are_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = declared(project["dependencies"])
    extras = declared([line for name in ("gguf", "cluster", "json") for line in project["optional-dependencies"][name]])
    found = imported()
    assert set(found) - core - extras == set(), "imported but not declared"
    assert core - set(found) == set(), "declared but imported nowhere"


def test_no_oracle_is_imported() -> None:
    assert ORACLES & set(imported()) == set()
