"""What a base is, for those who must pick one: size, licence, modality, capabilities. No weight is computed with.

Enter: a loaded Base and where it came from. Leave: `BaseFacts`, plain values. A licence is what the folder's own words
say (README front matter, config.json, the lineage), never a guess.
"""

from __future__ import annotations

import msgspec

from headstart.base.base import Base
from headstart.base.folder import find_folder
from headstart.base.licences import NOT_STATED, is_permissive, stated, told
from headstart.data.text_codec import TextCodec

BYTES_PER_WEIGHT = 4


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
        found = stated(folder)
        if found != NOT_STATED:
            return found
    return told((record.config, record.results) for record in base.lineage)


def bits_per_byte(base: Base) -> float | None:
    """The last held-out bits a byte of the last pre-training that measured them."""
    for record in reversed(base.lineage):
        for point in reversed(record.results.get("curve", [])):
            if record.verb == "pretrain" and isinstance(point.get("bits_per_byte"), float):
                return float(point["bits_per_byte"])
    return None
