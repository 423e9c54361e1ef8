"""What the probes of one set share: features of its rows by a frozen base, read once and kept in memory or in a file.

Enter: a `Frozen`, which says whose probe it is and which of the set's training rows it may see. Leave: the same
features, bit for bit, as if every probe had read them itself; those of a file (`write_features`) were read by others in
other batches, and are the same to the rounding of the training dtype. A row's features depend in their last bits on the
rows it was batched with, so that all training rows are always read together, in one order that no seed changes, and a
probe takes its own of them. What a store holds is bounded (MOST_BYTES); what no longer fits is read again, with the
same result. Tags are read without a store: every seed draws its own words (train/probe.py).

N rows, D numbers of a row's features, O outputs of a head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from headstart.base.base import BATCH_TOKENS, Base
from headstart.base.forward import Reader
from headstart.data.batching import bucket_batches
from headstart.data.patch_rows import PatchRows
from headstart.data.task import Task
from headstart.ground.errors import RunError
from headstart.ground.files import write_atomic
from headstart.ground.seeds import stream
from headstart.model.heads import Pooling
from headstart.model.trunk import Trunk
from headstart.train.probe import Features, encode_features
from headstart.train.supervised import Rows, Supervised

MOST_BYTES = 512 << 20  # 10,000 + 10,000 rows of width 512 are 40 MB, pairs that are read apart 160 MB
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Key:
    """What features of a set's rows depend on.

    base: what tells it from others: its identity, or where it was loaded from. asking: read as rows to answer, not as
    rows to fit a head on (another number format).
    """

    base: str
    part: Part
    asking: bool
    pooling: Pooling
    max_length: int
    channels: int


@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """x: (N, D) float32 in the order of the rows. batches: rows that a head answers together. seconds: of reading."""

    x: Tensor
    batches: list[Rows]
    seconds: float


class FeatureStore:
    """Features of the rows of one set, by `Key`; at most `most_bytes` of them, 0 for none. Whoever made it drops it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes, self.num_bytes = most_bytes, 0
        self._kept: dict[Key, Read] = {}

    def of(self, key: Key, read: Callable[[], tuple[Tensor, list[Rows]]]) -> Read:
        """What was kept under `key`, or else what `read` gives, kept where there is room."""
        if key in self._kept:
            return self._kept[key]
        begin = time.monotonic()
        x, batches = read()
        found = Read(x, batches, time.monotonic() - begin)
        if self.num_bytes + x.nbytes <= self.most_bytes:
            self._keep(key, found)
        return found

    def _keep(self, key: Key, found: Read) -> None:
        self._kept[key] = found
        self.num_bytes += found.x.nbytes

    @classmethod
    def from_file(cls, path: Path, *, base: str) -> FeatureStore:
        """One that holds what `write_features` left of rows as `base` reads them to fit a head on."""
        store = cls()
        with safe_open(path, framework="pt") as kept:
            how = msgspec.convert(kept.metadata(), How, strict=False)
            parts = kept.keys()
            for part in parts:
                key = Key(base, part, False, how.pooling, how.max_length, how.channels)
                x = kept.get_tensor(part)
                store._keep(key, Read(x, [], how.seconds * len(x)))
        return store


class How(msgspec.Struct, frozen=True):
    """How a file's rows were read: the fields of `Key` that are the same for all of them, and the seconds of a row."""

    pooling: Pooling
    max_length: int
    channels: int
    seconds: float


def write_features(path: Path, parts: Mapping[Part, Tensor], how: How) -> None:
    """Leave features (N, D) float32 of whole parts, in the order of their rows, to another process.

    Raises:
        RunError: the disk refuses.
    """
    told = {name: str(value) for name, value in msgspec.structs.asdict(how).items()}
    write_atomic(path, save({part: x.contiguous() for part, x in parts.items()}, told))


@dataclass(frozen=True, eq=False, slots=True)
class Frozen:
    """Whose probe it is. store: of the set. base: as in `Key`. whole: the set with all its training rows.

    rows: those of them that the probe sees, None for all.
    """

    store: FeatureStore
    base: str
    whole: Task
    rows: Rows | None = None


def shared_features(
    frozen: Frozen,
    train: Supervised,
    validation: Supervised,
    *,
    trunk: Trunk,
    whole: Callable[[], tuple[Trunk, Supervised]],
    pooling: Pooling,
    channels: int,
    max_length: int,
    seed: int,
) -> tuple[Features, Features, float]:
    """(of the training rows that the probe sees, of the validation rows, seconds that other probes spent on them).

    trunk: reads `train` and `validation`, the probe's own rows. whole: gives all training rows and the trunk for them.
    """
    told = spent = 0.0
    found = []
    rows = np.arange(len(train)) if frozen.rows is None else frozen.rows
    parts: list[tuple[Part, Supervised, Rows]] = [
        ("train", train, rows),
        ("validation", validation, np.arange(len(validation))),
    ]
    for part, mine, places in parts:

        def read(part: Part = part) -> tuple[Tensor, list[Rows]]:
            reader, every = whole() if part == "train" else (trunk, validation)
            return in_order(reader, every, pooling=pooling, channels=channels), []

        begin = time.monotonic()
        one = frozen.store.of(Key(frozen.base, part, False, pooling, max_length, channels), read)
        spent += time.monotonic() - begin
        expected = len(frozen.whole.train) if part == "train" else len(mine)
        if len(one.x) != expected:
            raise RunError(
                f"the kept features are of {len(one.x):,} {part} rows; expected {expected:,}, as {frozen.whole.name} "
                "has them. Take features of this task, or none."
            )
        told += one.seconds * len(mine) / max(1, len(one.x))
        order = stream(seed, "features").permutation(len(mine))  # the order in which a probe without a store reads
        found.append(Features(one.x[torch.from_numpy(places[order])], mine.target_tensor(order, 0)))
    return found[0], found[1], told - spent


def in_order(trunk: Trunk, data: Supervised, *, pooling: Pooling, channels: int) -> Tensor:
    """(N, D): every row's features in the order of the rows, batched as a probe with seed 0 does."""
    read = encode_features(trunk, data, pooling=pooling, channels=channels, seed=0)
    x = torch.empty_like(read.x)
    x[torch.from_numpy(stream(0, "features").permutation(len(data)))] = read.x
    return x


@torch.inference_mode()
def shared_outputs(base: Base, data: Supervised, frozen: Frozen, part: Part) -> tuple[NDArray[np.float64], float]:
    """((N, O) what the base's head says to the rows of a part, the seconds that it takes to read and to answer them).

    As `Base.predict` answers, batch by batch.
    """
    contract, head = base.contract, base.head
    assert contract is not None, "a probe has a contract"
    assert head is not None, "a probe has a head"
    if isinstance(data.encoded, PatchRows):
        data.encoded.expect_channels(contract.channels)
    key = Key(frozen.base, part, True, contract.pooling, contract.max_length, contract.channels)
    read = frozen.store.of(key, lambda: to_answer(base, data, pooling=contract.pooling, channels=contract.channels))
    begin = time.monotonic()
    found = np.empty((len(data), contract.num_outputs))
    for rows in read.batches:
        found[rows] = head.out(read.x[torch.from_numpy(rows)].to(head.out.weight)).double().cpu().numpy()
    return found, read.seconds + time.monotonic() - begin


def to_answer(base: Base, data: Supervised, *, pooling: Pooling, channels: int) -> tuple[Tensor, list[Rows]]:
    """The rows' features by the base as it is, and the batches to answer them in; one where pairs are compared."""
    reader = Reader(base.trunk, data.pattern, data.pad, BATCH_TOKENS)
    if data.second is None or isinstance(data.encoded, PatchRows):
        batches = bucket_batches(data.encoded.lengths, batch_tokens=BATCH_TOKENS)
        return reader.features(data.encoded, pooling=pooling, channels=channels), batches
    return reader.pair_features(data.encoded, data.second, pooling=pooling), [np.arange(len(data))]
