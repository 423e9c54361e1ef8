"""Raw text shards to packed units: JSON-lines documents -> byte-level BPE -> one flat uint16 file.

Every document is written as `<s> units </s>`, so packed rows carry their own document borders. Order of rows is a pure
function of (seed, epoch): a run's data state is one integer. Shards may be .jsonl, .jsonl.gz or .jsonl.zst.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from headstart.data.shards import read_shard
from headstart.ground.errors import DataError
from headstart.ground.files import disk_errors, sha256_file, sync, write_atomic
from headstart.ground.seeds import stream
from headstart.ground.stopping import in_a_thread

PAD, BOS, EOS, MASK = "<pad>", "<s>", "</s>", "<mask>"
SPECIALS = (PAD, BOS, EOS, MASK)
MAX_VOCABULARY = 1 << 16  # units are stored as uint16
PAD_ID, BOS_ID, EOS_ID, MASK_ID = range(4)

# Qwen2's pre-tokenizer: engines that load Qwen tokenizers know it (Qwen2Tokenizer, PRETOKENIZE_REGEX).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LINE_END = re.compile(r"\n(?=\S)")
CALL_CHARACTERS = 1 << 19  # of text in one call of the tokenizer, where a unit costs about 100 bytes of memory
_BEGIN, _END = np.array([BOS_ID], dtype=np.uint16), np.array([EOS_ID], dtype=np.uint16)


class PackedMeta(msgspec.Struct, frozen=True):
    """What a packed file holds and where it came from."""

    num_units: int
    num_documents: int
    num_bytes: int
    vocab_size: int
    shards: dict[str, str]  # file name -> SHA-256
    tokenizer_sha256: str


@dataclass(frozen=True)
class PackedCorpus:
    """A flat stream of units (uint16, memory-mapped) with its meta data."""

    units: npt.NDArray[np.uint16]
    meta: PackedMeta

    def num_rows(self, width: int) -> int:
        """Whole rows of `width` units plus the one that the last target needs."""
        return (len(self.units) - 1) // width

    def rows(self, indices: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
        """(len(indices), width + 1) units; the last column is only ever a target."""
        starts = indices * width
        rows: npt.NDArray[np.int64] = self.units[starts[:, None] + np.arange(width + 1)].astype(np.int64)
        return rows


@functools.lru_cache(maxsize=2)
def row_order(num_rows: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The order in which one epoch visits the rows; depends on the arguments alone."""
    order = stream(seed, "rows", num_rows, epoch).permutation(num_rows)
    order.flags.writeable = False  # shared by every step of the epoch
    return order


def read_documents(shards: Sequence[Path]) -> Iterator[str]:
    """The `text` of every JSON line of every shard, in order. A broken line is an error that names it."""
    return (document.text for shard in shards for document in read_shard(shard))


def train_tokenizer(texts: Iterator[str], *, vocab_size: int) -> Tokenizer:
    """Byte-level BPE without unknown units; four special tokens stand first (pad, bos, eos, mask)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    in_a_thread(lambda: tokenizer.train_from_iterator(texts, trainer))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {EOS} $B:1", special_tokens=[(BOS, BOS_ID), (EOS, EOS_ID)]
    )
    return tokenizer


def pack(shards: Sequence[Path], tokenizer_file: Path, target: Path) -> PackedCorpus:
    """Tokenise shards into `target` (units.bin and meta.json, in this order); an up-to-date target is reused.

    Raises:
        DataError: two shards have one name, or one cannot be read. RunError: the disk is full or refuses.
    """
    digests, tokenizer_digest = {s.name: sha256_file(s) for s in shards}, sha256_file(tokenizer_file)
    if len(digests) < len(shards):
        raise DataError(
            f"two of the shards {', '.join(map(str, shards))} have one file name; expected names that differ: the "
            "lineage tells them by it. Rename one."
        )
    meta_file, units_file = target / "meta.json", target / "units.bin"
    if meta_file.is_file():
        meta = msgspec.json.decode(meta_file.read_bytes(), type=PackedMeta)
        same = [*meta.shards.items()] == [*digests.items()] and meta.tokenizer_sha256 == tokenizer_digest
        if same and units_file.stat().st_size == 2 * meta.num_units:
            return PackedCorpus(np.memmap(units_file, dtype=np.uint16, mode="r"), meta)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    num_documents = num_bytes = num_units = 0
    with disk_errors(units_file):
        meta_file.unlink(missing_ok=True)  # it must not stand beside units that are half written
        target.mkdir(parents=True, exist_ok=True)
        with units_file.open("wb") as out:
            for text, units in write_units(read_documents(shards), tokenizer, out):
                num_documents, num_bytes = num_documents + 1, num_bytes + len(text.encode())
                num_units += units
        sync(units_file)
    meta = PackedMeta(
        num_units=num_units,
        num_documents=num_documents,
        num_bytes=num_bytes,
        vocab_size=tokenizer.get_vocab_size(),
        shards=digests,
        tokenizer_sha256=tokenizer_digest,
    )
    write_atomic(meta_file, json.dumps(msgspec.to_builtins(meta), indent=1).encode())
    return PackedCorpus(np.memmap(units_file, dtype=np.uint16, mode="r"), meta)


def write_units(texts: Iterable[str], tokenizer: Tokenizer, out: BinaryIO) -> Iterator[tuple[str, int]]:
    """Append `<s> units </s>` for every text to `out` as uint16; yields each text with its number of units.

    A text that writes about `<s>` (HTML does) gets the units of these three characters: borders stand between
    documents only.
    """
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True
    for group in _groups(texts):
        pieces = [cut(text) for text in group]
        encodings = iter(tokenizer.encode_batch_fast([p for some in pieces for p in some], add_special_tokens=False))
        for text, some in zip(group, pieces, strict=True):
            ids = [np.array(next(encodings).ids, dtype=np.uint16) for _ in some]
            units: npt.NDArray[np.uint16] = np.concatenate([_BEGIN, *ids, _END])
            out.write(units.tobytes())
            yield text, len(units)


def cut(text: str) -> list[str]:
    """A text in pieces of about CALL_CHARACTERS that are tokenised to the same units as the whole.

    Our tokenizers split words first, and no word crosses from a line's end to what begins the next line (WORDS).
    """
    if len(text) <= CALL_CHARACTERS:
        return [text]
    pieces, begin = [], 0
    for found in LINE_END.finditer(text):
        if found.end() - begin >= CALL_CHARACTERS:
            pieces.append(text[begin : found.end()])
            begin = found.end()
    return [*pieces, text[begin:]]


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= CALL_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group
