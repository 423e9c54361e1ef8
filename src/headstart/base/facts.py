"""What a base is, for those who must pick one: size, licence, modality, capabilities. No weight is computed with.

Enter: a loaded Base and where it came from. Leave: `BaseFacts`, plain values. A licence is what the folder's own words
say (README front matter, config.json, the lineage), never a guess.
"""

from __future__ import annotations

from dataclasses import asdict

import msgspec

from headstart.base.base import Base
from headstart.base.folder import find_folder
from headstart.base.told import bits_in, is_permissive, licence_in, told
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
        bits_per_byte=bits_in([asdict(record) for record in base.lineage]),
    )


def licence_of(base: Base, source: str) -> str:
    """What the folder or the lineage says of the weights' licence, in lower case; "not stated" where nothing does."""
    steps = [asdict(record) for record in base.lineage]
    return told(steps) if source.endswith(".gguf") else licence_in(find_folder(source)[0], steps)
