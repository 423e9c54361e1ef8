"""A folder of benchmark sets: INDEX.json with a card a set, a folder a set, a file a split.

Enter: DIR. Leave: one `SetOnDisk` a card, in the order of the index, with its `TaskSpec`, files and a digest of them.
Splits are files named train, validation and test (Parquet, JSONL, CSV, ...); other files are left alone. Nothing is
read here but the index, for the digest the bytes, and where a card lists no columns those of the scored file, so that a
column of groups counts whether it is listed or not.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from headstart.data.source import TABLE_SUFFIXES, inner_suffix
from headstart.data.table import read_table
from headstart.evaluate.suite.specs import KINDS, NOT_STATED, OVERALL, SuiteName, TaskSpec, belongs, first_of, spec_of
from headstart.ground.errors import ConfigError, DataError, did_you_mean, safe_repr
from headstart.ground.files import sha256_file

INDEX = "INDEX.json"
SPLITS = ("train", "validation", "test")


class Card(msgspec.Struct, frozen=True):
    """What an index says about a set. source may be anything: a text, or a list of repositories and paths."""

    name: str
    kind: str
    metric: str = ""
    columns: list[str] = []
    licence: str = NOT_STATED
    source: Any = NOT_STATED
    splits: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class SetOnDisk:
    """One set. files: by split. digest: SHA-256 over files and the spec's version, for reports. notes: what a reader
    must know.

    rows: limit -> the rows in the shape of the protocol, where they are not read from the columns of a kind. shots: the
    solved rows before each, where the set says so itself.
    """

    spec: TaskSpec
    files: dict[str, Path]
    digest: str
    notes: tuple[str, ...] = ()
    rows: Callable[[int | None], Any] | None = None
    shots: int = 0

    @property
    def test(self) -> str:
        """The split that is scored: test, or validation where a set has no public test labels."""
        return "test" if "test" in self.files else "validation"

    @property
    def identity(self) -> str:
        """SHA-256 over the digest and all of the spec that a score rests on: what its cells are kept by."""
        spec = self.spec
        asked = msgspec.json.encode([spec.kind.name, spec.metric, spec.average, spec.cluster, spec.wording])
        return hashlib.sha256(self.digest.encode() + asked).hexdigest()


@dataclass(frozen=True, slots=True)
class Unread:
    """A set that cannot be evaluated, and why."""

    name: str
    reason: str


def read_index(folder: Path) -> list[Card]:
    """The cards of DIR.

    Raises:
        DataError: no index, an unreadable one, two sets of one name, or a name that no set can have.
    """
    path = folder / INDEX
    if not path.is_file():
        here = "" if folder.is_dir() else "; there is no such folder"
        raise DataError(
            f"{folder} has no {INDEX}{here}; expected one card a set: name, kind, columns, metric. "
            "Give --data with a folder of sets, such as shared/tasks."
        )
    try:
        cards = msgspec.json.decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), type=list[Card])
    except msgspec.DecodeError as problem:
        raise DataError(
            f"{path} is not readable ({safe_repr(str(problem), 160)}); expected a list of cards with name and kind. "
            "Mend it."
        ) from problem
    names = [card.name for card in cards]
    for place, name in enumerate(names):
        check_name(name, path)
        if name in names[:place]:
            raise DataError(f"{path} names the set {name!r} twice; expected different names. Drop one card.")
    return cards


def check_name(name: str, path: Path) -> None:
    """DataError unless a set can be called so: like a folder, in letters that a terminal shows, unlike the mean."""
    if not name or name != Path(name).name or name in (".", "..") or not name.isprintable():
        raise DataError(
            f"{path} names a set {safe_repr(name, 60)!r}; expected the name of a folder, without control characters. "
            "Rename it."
        )
    if name == OVERALL:
        raise DataError(f"{path} names a set {name!r}; expected another name: that is the mean over sets. Rename it.")


def find_sets(folder: Path, *, suite: SuiteName, tasks: tuple[str, ...] = ()) -> tuple[list[SetOnDisk], list[Unread]]:
    """(the sets of a suite that can be evaluated, those that cannot with the reason); `tasks` picks by name.

    Raises:
        ConfigError: a name that the index does not have, or a suite without any set.
        DataError: the index cannot be read.
    """
    cards = read_index(folder)
    known = [card.name for card in cards]
    for name in tasks:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"--tasks names {safe_repr(name, 60)!r}; expected some of {', '.join(known)}.{hint}")
    found: list[SetOnDisk] = []
    unread: list[Unread] = []
    for card in cards:
        if tasks and card.name not in tasks:
            continue
        kind = KINDS.get(card.kind)
        if kind is None:
            reason = f"kind {safe_repr(card.kind, 40)} is unknown; known are {', '.join(KINDS)}"
            unread.append(Unread(card.name, reason))
            continue
        spec = spec_of(
            card.name,
            kind,
            metric=card.metric,
            columns=card.columns,
            source=source_text(card.source),
            licence=card.licence,
        )
        if tasks or belongs(spec, suite):
            one = on_disk(folder / card.name, card, spec)
            (found if isinstance(one, SetOnDisk) else unread).append(one)  # type: ignore[arg-type]
    if not found and not unread:
        raise ConfigError(
            f"the suite {suite} has no set in {folder}; expected at least one of {len(known)}. "
            "Give --suite all, or --tasks with names."
        )
    return found, unread


def on_disk(folder: Path, card: Card, spec: TaskSpec) -> SetOnDisk | Unread:
    """The set's files, or why it cannot be evaluated."""
    if spec.protocol is None:
        return Unread(card.name, f"kind {card.kind} is not evaluated yet")
    files = {split: path for split in SPLITS if (path := split_file(folder, split)) is not None}
    missing = [split for split in card.splits if split in SPLITS and split not in files]
    if missing:
        return Unread(card.name, f"{folder.name} has no file for its split {missing[0]}")
    if not {"test", "validation"} & set(files):
        return Unread(card.name, f"{folder.name} has neither a test nor a validation file")
    if spec.protocol == "adapt" and "train" not in files:
        return Unread(card.name, f"{folder.name} has no train file")
    digests = {split: sha256_file(path) for split, path in files.items()}
    content = "\n".join([spec.name, str(spec.version), *(f"{split}={digests[split]}" for split in digests)])
    found = SetOnDisk(spec, files, hashlib.sha256(content.encode()).hexdigest(), changed_files(card, digests))
    return found if card.columns else with_own_groups(found)


def with_own_groups(found: SetOnDisk) -> SetOnDisk:
    """A set whose card lists no columns, with the columns of groups that its scored file has."""
    kind = found.spec.kind
    if not (kind.average or kind.cluster):
        return found
    try:
        columns = list(read_table(found.files[found.test]).columns)
    except DataError:
        return found  # who reads the rows meets it again and says so
    average, cluster = first_of(kind.average, columns), first_of(kind.cluster, columns)
    return replace(found, spec=replace(found.spec, average=average, cluster=cluster))


def changed_files(card: Card, digests: dict[str, str]) -> tuple[str, ...]:
    """A note for every file that is not the one whose digest the card holds."""
    notes = []
    for split, digest in digests.items():
        facts = card.splits.get(split)
        told = str(facts.get("sha256", "")) if isinstance(facts, dict) else ""
        if not digest.startswith(told):
            notes.append(
                f"{split} is not the file that the index describes (SHA-256 {digest[:8]}..., not {told[:8]}...)"
            )
    return tuple(notes)


def split_file(folder: Path, split: str) -> Path | None:
    """The table named like a split, Parquet first; None where there is none."""
    if not folder.is_dir():
        return None
    named = [p for p in sorted(folder.iterdir()) if p.name.split(".")[0] == split and p.is_file()]
    tables = [path for path in named if inner_suffix(path.name) in TABLE_SUFFIXES]
    return min(tables, key=lambda path: (path.suffix != ".parquet", path.name), default=None)


def source_text(source: Any) -> str:
    """A card's source in one line."""
    if isinstance(source, str):
        return source
    parts = source if isinstance(source, list) else [source]
    names = [str(p.get("repo", p.get("url", ""))) if isinstance(p, dict) else str(p) for p in parts]
    return ", ".join(dict.fromkeys(name for name in names if name)) or NOT_STATED
