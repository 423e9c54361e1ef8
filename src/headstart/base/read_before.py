"""What a base has read before, as far as its folder can tell: the sketch that its lineage names, or its parent's.

Enter: a base. Leave: its checked sketches, or the reason why there are none. A base without is unknown, never clean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.base.base import Base
from headstart.base.folder import read_manifest, sketches_in
from headstart.base.lineage import Record
from headstart.base.shipped import EMBEDDED, embedded_names
from headstart.data.sketch import Sketch, open_sketch
from headstart.ground.errors import BaseError
from headstart.ground.files import sha256_file


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """sketches: one a pre-training, none where nobody knows what was read. words: whose they are, or why none."""

    sketches: tuple[Sketch, ...]
    words: str


def read_before(base: Base) -> ReadBefore:
    """The sketches of all of a base's pre-training: its own files, or those of the embedded base it was made from.

    One pre-training without a sketch makes the whole unknown.

    Raises:
        BaseError: a file is damaged, or is not one that the lineage names.
    """
    lineage = base.lineage
    if not lineage or lineage[0].verb != "pretrain":
        made = f"its lineage begins with {lineage[0].verb}" if lineage else "it has no lineage"
        return ReadBefore((), f"nobody wrote down what it read ({made})")
    own = {sha256_file(path): path for path in base.sketches}
    parents = {name: manifest for name in embedded_names() if (manifest := read_manifest(EMBEDDED / name)) is not None}
    found: list[Sketch] = []
    words = "its own sketch"
    for place, record in enumerate(lineage):
        if record.verb != "pretrain":
            continue
        digest, path = digest_of(lineage, place), None
        if digest is not None and base.sketches:
            if digest not in own:
                raise BaseError(
                    f"{base.sketches[0].parent} has no sketch with the SHA-256 {digest[:16]}…; expected the one that "
                    "its lineage names. Copy the base again from where it came."
                )
            path = own[digest]
        for name, manifest in parents.items():
            if path is None and record in manifest.lineage:
                digest = digest_of(manifest.lineage, manifest.lineage.index(record))
                path = next((p for p in sketches_in(EMBEDDED / name) if sha256_file(p) == digest), None)
                words = f"the sketch of {name}, which it was made from"
        if path is None:
            return ReadBefore((), f"no sketch travels with it (pre-training {record.config.get('name', '')})")
        found.append(open_sketch(path))
    return ReadBefore(tuple(found), words)


def digest_of(lineage: tuple[Record, ...], place: int) -> str | None:
    """The digest of the sketch of the pre-training at `place`: in its record, or in one added right after it."""
    for record in lineage[place : place + 2]:
        facts = record.results.get("sketch")
        if isinstance(facts, dict) and (record is lineage[place] or record.verb == "sketch"):
            return str(facts.get("sha256"))
    return None


def sketch_facts(path: Path) -> dict[str, Any]:
    """What the lineage keeps of a sketch: digest and size of the file, and what it covers."""
    facts = open_sketch(path).facts
    return {
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
        "words": facts.words,
        "grams": facts.grams,
        "share": facts.share,
        "false_rate": facts.false_rate,
        "covers": facts.covers,
    }
