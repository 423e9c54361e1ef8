"""What the small files of a base tell: its licence, never a guess, and its held-out bits a byte.

Small files are read and nothing heavy is imported, so that bases can be listed at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

NOT_STATED = "not stated"
Step = Mapping[str, Any]  # of a lineage, as headstart.json has it
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


def told(steps: Iterable[Step]) -> str:
    """The licence that the steps of a lineage name, as in headstart.json; the last one counts."""
    parts = [step.get(part) or {} for step in steps for part in ("config", "results")]
    named = [str(part["licence"]).lower() for part in parts if part.get("licence")]
    return next((licence for licence in reversed(named) if licence != NOT_STATED), NOT_STATED)


def licence_in(folder: Path, steps: Iterable[Step]) -> str:
    """What a folder's own words say, or else its lineage."""
    own = stated(folder)
    return told(steps) if own == NOT_STATED else own


def bits_in(steps: Sequence[Step]) -> float | None:
    """The last held-out bits a byte that a pre-training of a lineage measured; None where none did."""
    for step in reversed(steps):
        for point in reversed((step.get("results") or {}).get("curve") or []):
            if step.get("verb") == "pretrain" and isinstance(point.get("bits_per_byte"), float):
                return float(point["bits_per_byte"])
    return None


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
    """Whether every licence of an expression such as "mit and apache-2.0" is in PERMISSIVE, or one of an "or".

    Where an "and" (or a comma) meets brackets every name must be: which "or" is whose is not worked out.
    """
    if "(" in licence and re.search(r"\band\b|[,/]", licence.lower()):
        names = re.split(r"\b(?:or|and)\b|[(),/]", licence.lower())
        return all(name.strip() in PERMISSIVE for name in names if name.strip())
    choices = re.split(r"\s+or\s+", licence.lower().replace("(", " ").replace(")", " ").strip())
    return any(all(part.strip() in PERMISSIVE for part in re.split(r"\s+and\s+|\s*[,/]\s*", one)) for one in choices)
