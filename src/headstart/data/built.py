"""A built corpus as the rest of the house sees it: memory-mapped units, a tokenizer, and what they were made from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from headstart.data.build_report import REPORT, read_report
from headstart.data.corpus import PackedCorpus, PackedMeta
from headstart.data.shards import read_licences
from headstart.ground.errors import DataError


def is_built(folder: Path) -> bool:
    """Whether a folder holds a built corpus rather than raw shards."""
    return (folder / REPORT).is_file() and (folder / "train" / "meta.json").is_file()


def open_build(folder: Path, *, vocab_size: int) -> tuple[PackedCorpus, PackedCorpus]:
    """(train, validation) of a built corpus, memory-mapped.

    Raises:
        DataError: the folder holds no build, a file of it is not whole, or it has another vocabulary.
    """
    report = read_report(folder)
    if report is None:
        raise DataError(f"{folder} holds no {REPORT}; expected a built corpus. Run `headstart data build` first.")
    train, validation = _open_part(folder / "train"), _open_part(folder / "validation")
    if train.meta.vocab_size != vocab_size:
        raise DataError(
            f"{folder} was built with {train.meta.vocab_size:,} units; expected {vocab_size:,} as the recipe says. "
            "Build the corpus with the same recipe."
        )
    return train, validation


def licences_of(data: Path) -> str:
    """The licences of a built corpus or of raw shards with a manifest, in one line; "not stated" where nobody said."""
    report = read_report(data)
    found = report.licences if report is not None else sorted(set(read_licences(data).values()))
    return "; ".join(found) or "not stated"


def _open_part(folder: Path) -> PackedCorpus:
    meta_file, units_file = folder / "meta.json", folder / "units.bin"
    try:
        meta = msgspec.json.decode(meta_file.read_bytes(), type=PackedMeta)
        size = units_file.stat().st_size
    except (OSError, msgspec.DecodeError) as problem:
        raise DataError(
            f"{folder} is no packed corpus ({problem}); expected units.bin and meta.json. "
            "Build again into a new folder."
        ) from problem
    if size != meta.num_units * 2:
        raise DataError(
            f"{units_file} has {size:,} bytes; expected {meta.num_units * 2:,}, two a unit. "
            "Build again into a new folder."
        )
    return PackedCorpus(np.memmap(units_file, dtype=np.uint16, mode="r"), meta)
