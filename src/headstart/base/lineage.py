"""Lineage: the append-only record of what made a base, kept inside its folder.

Every verb adds one Record; nothing is ever rewritten. Digests are hex SHA-256.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from headstart.data.patches import PatchCodec
from headstart.data.text_codec import TextCodec
from headstart.ground.batch import Pattern
from headstart.model.config import TrunkConfig


@dataclass(frozen=True, slots=True)
class DataRef:
    """One input of a run: what it is called, its digest, its licence ("not stated" where nobody said)."""

    name: str
    digest: str
    licence: str = "not stated"


@dataclass(frozen=True, slots=True)
class Record:
    """One step in a base's life.

    verb: pretrain, adapt or import. config: the resolved settings. parent: weights digest of the base it started
    from, None for a first step. seconds: wall clock. flops: of training, None where nobody counted. results: the
    evidence (an adapt record holds its report). All values are plain JSON.
    """

    verb: str
    config: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    data: tuple[DataRef, ...] = ()
    code: str = ""
    seed: int | None = None
    hardware: str = ""
    seconds: float | None = None
    flops: float | None = None
    results: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a base answers by beside its weights.

    codec: SHA-256 of its tokenizer and of the ids of its special tokens. config: its family, the pattern it reads under
    and every field of its TrunkConfig; as values, so that what changed can be named.
    """

    codec: str
    config: dict[str, int | float | str | bool]


def code_version() -> str:
    """The version of Headstart and of torch that ran, for `Record.code`."""
    return f"headstart {importlib.metadata.version('headstart')}, torch {torch.__version__}"


def hardware() -> str:
    """Machine, cores in use and accelerator, for `Record.hardware`."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    return f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, {device}, {platform.system()}"


def imported(source: str, *, family: str, files: Mapping[str, int], licence: str = "not stated") -> Record:
    """The one-step lineage of a foreign base: where it was read from, its weight files (bytes) and its licence."""
    config = {"source": source, "family": family, "files": dict(files), "licence": licence}
    return Record(verb="import", config=config, code=code_version())


def weights_digest(*modules: nn.Module | None) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of every parameter, in name order; modules in the order given."""
    digest = hashlib.sha256()
    for place, module in enumerate(modules):
        for name, tensor in sorted(module.state_dict().items()) if module is not None else ():
            digest.update(f"{place}/{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def fingerprint(config: TrunkConfig, codec: TextCodec | PatchCodec, *, family: str, pattern: Pattern) -> Fingerprint:
    """Of a base with this trunk and codec."""
    special = asdict(codec.special) if isinstance(codec, TextCodec) else {}
    there = sorted((role, unit) for role, unit in special.items() if unit is not None)
    digest = hashlib.sha256(f"{codec.digest} {there}".encode()).hexdigest()
    return Fingerprint(digest, {"family": family, "pattern": pattern, **config.as_dict()})


def identity(weights: str, beside: Fingerprint) -> str:
    """SHA-256 of the digest of a base's weights and of what it answers by beside them."""
    config = json.dumps(beside.config, sort_keys=True)
    return hashlib.sha256(f"{weights} {beside.codec} {config}".encode()).hexdigest()
