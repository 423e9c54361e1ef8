"""What a base is, for those who must pick one: size, licence, modality, capabilities. No weight is computed with.

Enter: a loaded Base and where it came from. Leave: `BaseFacts`, plain values. A licence is what the folder's own words
say (README front matter, config.json, the lineage), never a guess.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from headstart.base.base import Base
from headstart.base.folder import find_folder
from headstart.base.shipped import EMBEDDED
from headstart.base.tensors import read_json
from headstart.data.text_codec import TextCodec

NOT_STATED = "not stated"
PACKAGE_LICENCE = "apache-2.0"  # of the bases inside the package, as of the package
BYTES_PER_WEIGHT = 4
# SPDX names (lower case) of licences that ask for a notice at most.
PERMISSIVE = (
    *("0bsd", "afl-3.0", "apache-2.0", "artistic-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-3.0"),
    *("cc-by-4.0", "cc0-1.0", "cdla-permissive-2.0", "isc", "mit", "mit-0", "postgresql", "psf-2.0", "unlicense"),
    *("wtfpl", "zlib"),
)


class BaseFacts(msgspec.Struct, frozen=True):
    """One base. source: the name or path it loads by. megabytes: of its weights in fp32, as an adapted base is saved.

    bits_per_byte: on held-out text, from its own pre-training record; None where there is none.
    """

    name: str
    source: str
    family: str
    modality: str
    params: int
    megabytes: float
    licence: str
    permissive: bool
    scores: list[str]
    bits_per_byte: float | None = None


def facts_of(base: Base, source: str) -> BaseFacts:
    """The facts of a base that `source` names."""
    licence = licence_of(base, source)
    params = sum(p.numel() for p in base.trunk.parameters())
    return BaseFacts(
        name=base.name,
        source=source,
        family=base.family,
        modality="text" if isinstance(base.codec, TextCodec) else base.codec.modality,
        params=params,
        megabytes=params * BYTES_PER_WEIGHT / 1e6,
        licence=licence,
        permissive=is_permissive(licence),
        scores=list(base.score_patterns),
        bits_per_byte=bits_per_byte(base),
    )


def licence_of(base: Base, source: str) -> str:
    """What the folder or the lineage says of the weights' licence, in lower case; "not stated" where nothing does."""
    if not source.endswith(".gguf"):
        folder, _ = find_folder(source)
        if EMBEDDED in folder.resolve().parents:
            return PACKAGE_LICENCE
        found = front_matter_licence(folder / "README.md") or config_licence(folder / "config.json")
        if found:
            return found
    told = [str(record.config["licence"]) for record in base.lineage if "licence" in record.config]
    return next((t.lower() for t in reversed(told) if t != NOT_STATED), NOT_STATED)


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
    config = read_json(path)
    return str(config.get("license") or config.get("licence") or "").strip().lower()


def is_permissive(licence: str) -> bool:
    """Whether every licence of an expression such as "mit and apache-2.0" is in PERMISSIVE, or one of an "or"."""
    choices = re.split(r"\s+or\s+", licence.lower().replace("(", " ").replace(")", " ").strip())
    return any(all(part.strip() in PERMISSIVE for part in re.split(r"\s+and\s+|\s*[,/]\s*", one)) for one in choices)


def bits_per_byte(base: Base) -> float | None:
    """The last held-out bits a byte of the last pre-training that measured them."""
    for record in reversed(base.lineage):
        for point in reversed(record.results.get("curve", [])):
            if record.verb == "pretrain" and isinstance(point.get("bits_per_byte"), float):
                return float(point["bits_per_byte"])
    return None
