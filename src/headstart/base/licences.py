"""The licence of a base: what its folder says, never a guess, and whether it asks for a notice at most.

Small files are read and nothing heavy is imported, so that bases can be listed at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

NOT_STATED = "not stated"
LIMIT = 1 << 20  # bytes of a card or config that are looked at
# SPDX names (lower case) of licences that ask for a notice at most.
PERMISSIVE = (
    *("0bsd", "afl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-3.0"),
    *("cc-by-4.0", "cc0-1.0", "cdla-permissive-2.0", "isc", "mit", "mit-0", "postgresql", "psf-2.0", "unlicense"),
    *("wtfpl", "zlib"),
)


class _Licensed(msgspec.Struct):
    license: str | None = None
    licence: str | None = None


def stated(folder: Path) -> str:
    """The licence that a folder's own card or config.json names, in lower case; NOT_STATED where neither does."""
    return front_matter_licence(folder / "README.md") or config_licence(folder / "config.json") or NOT_STATED


def told(steps: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """The licence that the steps of a lineage name, (config, results) each; the last one counts."""
    named = [str(results.get("licence") or config.get("licence") or NOT_STATED).lower() for config, results in steps]
    return next((licence for licence in reversed(named) if licence != NOT_STATED), NOT_STATED)


def front_matter_licence(path: Path) -> str:
    """`license:` of a model card's front matter, "" where there is none."""
    if not path.is_file():
        return ""
    head = path.read_text(encoding="utf-8", errors="replace")[:20_000]
    matter = re.match(r"---\s*\n(.*?)\n---", head, flags=re.DOTALL)
    line = re.search(r"^licen[sc]e:[ \t]*[\"']?([^\"'\n#]+)", matter[1], flags=re.MULTILINE) if matter else None
    return line[1].strip().lower() if line else ""


def config_licence(path: Path) -> str:
    """`license` of a config.json, "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as handle:
        head = handle.read(LIMIT)
    try:
        config = msgspec.json.decode(head, type=_Licensed)
    except msgspec.DecodeError:  # who loads the base is told what is wrong with it
        return ""
    return (config.license or config.licence or "").strip().lower()


def is_permissive(licence: str) -> bool:
    """Whether every licence of an expression such as "mit and apache-2.0" is in PERMISSIVE, or one of an "or"."""
    choices = re.split(r"\s+or\s+", licence.lower().replace("(", " ").replace(")", " ").strip())
    return any(all(part.strip() in PERMISSIVE for part in re.split(r"\s+and\s+|\s*[,/]\s*", one)) for one in choices)
