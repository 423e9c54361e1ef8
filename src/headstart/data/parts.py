"""Train, validation and test, without duplicates across them.

Whatever the user gave as test stays as it is; train rows that repeat it are dropped. Where the split is ours, whole
groups of duplicates that it would cut go to train. Both are counted in the check `split.leak`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.data.examples import Check, Examples, Kind, as_text
from headstart.data.leakage import Duplicates, find_duplicates
from headstart.data.splits import take_share
from headstart.ground.errors import DataError, safe_repr

SHARE = 0.1
SMALL_TEST = 50  # below this the 95 % interval of an accuracy is wider than 20 points


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts and what was found on the way."""

    train: Examples
    validation: Examples
    test: Examples
    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def divide(
    given: Mapping[str, Examples], *, labels: Sequence[str], kind: Kind, seed: int, keep_duplicates: bool
) -> Parts:
    """Parts from the given ones ("train" and perhaps "validation", "test"); the missing are split off train.

    Raises:
        DataError: dropping the repeated rows would leave train empty or without one of its classes.
    """
    pool = _concatenate(list(given.values()))
    origin = np.concatenate([np.full(len(e), i) for i, e in enumerate(given.values())])
    names = list(given)
    part = np.array(names, dtype=object)[origin]
    twins = find_duplicates(pool, any_answer=kind in ("score", "tags"))
    crossing = _drop_repeats(part, twins, names, keep_duplicates)
    _require_classes(pool, part, kind, labels, len(crossing))
    moved = 0
    ours = [name for name in ("test", "validation") if name not in given]
    for name in ours:
        moved += _draw(part, pool, twins, kind, name, seed, frozenset(given), keep_duplicates)
    chosen = {name: np.flatnonzero(part == name) for name in ("train", "validation", "test")}
    for name in ours:
        if not len(chosen[name]):
            raise DataError(
                f"no row is left for {name}, because duplicates join all of them; expected different texts. "
                f"Give --{name} FILE, or in Python keep_duplicates=True."
            )
    if keep_duplicates:  # what our own split cut counts as well as what was given
        crossing = _drop_repeats(part, twins, ("train", "validation", "test"), keep_duplicates)
    leak = _leak_check(crossing, twins, part, moved, keep_duplicates, frozenset(given) - {"train"})
    checks = (leak, *_conflicts(pool, twins, kind), *_small_test(len(chosen["test"])))
    split = "".join(f"{name} is a tenth of the rows, drawn with seed {seed}; " for name in ours)
    notes = (split.removesuffix("; "),) if ours else ()
    train, validation, test = (pool.subset(chosen[name]) for name in ("train", "validation", "test"))
    return Parts(train, validation, test, checks, notes)


def _concatenate(parts: Sequence[Examples]) -> Examples:
    pairs = None if parts[0].pairs is None else tuple(p for e in parts for p in e.pairs or ())
    return Examples(
        texts=tuple(t for e in parts for t in e.texts),
        pairs=pairs,
        targets=tuple(t for e in parts for t in e.targets),
        ids=tuple(i for e in parts for i in e.ids),
    )


def _drop_repeats(part: NDArray[np.object_], twins: Duplicates, names: Sequence[str], keep: bool) -> list[int]:
    """Rows of train (and validation) that repeat a given test (or validation) row; marked "" unless kept."""
    repeats: set[int] = set()
    for protected, droppable in (("test", ("train", "validation")), ("validation", ("train",))):
        if protected in names:
            held = set(twins.groups[part == protected].tolist())
            candidates = np.flatnonzero(np.isin(part, droppable))
            repeats.update(int(row) for row in candidates if int(twins.groups[row]) in held)
    if not keep:
        part[list(repeats)] = ""
    return sorted(repeats)


def _require_classes(
    pool: Examples, part: NDArray[np.object_], kind: Kind, labels: Sequence[str], dropped: int
) -> None:
    rows = np.flatnonzero(part == "train")
    if not len(rows):
        raise DataError(
            f"all {dropped:,} rows of train stand in test or validation too; expected different rows. "
            "Check that the files are not the same."
        )
    if kind == "choice" and dropped:
        gone = set(range(len(labels))) - {pool.targets[row] for row in rows}
        if gone:
            raise DataError(
                f"label {safe_repr(labels[min(gone)], 40)!r} has no row left in train after {dropped:,} copies of test "
                "rows were dropped; expected some. Add other rows of it to train."
            )


def _draw(
    part: NDArray[np.object_],
    pool: Examples,
    twins: Duplicates,
    kind: Kind,
    name: str,
    seed: int,
    given: frozenset[str],
    keep_duplicates: bool,
) -> int:
    """Marks a tenth of train as `name`; rows that go back to train are made up for by rows without any duplicate."""
    rows = np.flatnonzero(part == "train")
    _, taken = take_share(pool.subset(rows), kind=kind, share=SHARE, seed=seed, name=name)
    part[rows[taken]] = name
    moved = 0 if keep_duplicates else _move_cut_groups(part, twins, given)
    missing = len(taken) - int((part == name).sum())
    single = np.bincount(twins.groups, minlength=len(part))[twins.groups] == 1
    rows = np.flatnonzero((part == "train") & single)
    if missing > 0 and len(rows) >= 3 * missing:
        _, extra = take_share(pool.subset(rows), kind=kind, share=missing / len(rows), seed=seed, name=f"{name} again")
        part[rows[extra]] = name
    return moved


def _move_cut_groups(part: NDArray[np.object_], twins: Duplicates, given: frozenset[str]) -> int:
    """Groups that stand in more than one part go to train, but for given parts, which stay. Returns the rows moved."""
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(twins.groups.tolist()):
        if part[row]:
            members[group].append(row)
    moved = 0
    for rows in members.values():
        if len(rows) > 1 and len({part[row] for row in rows}) > 1:
            for row in rows:
                if part[row] != "train" and part[row] not in given:
                    part[row] = "train"
                    moved += 1
    return moved


def _leak_check(
    crossing: Sequence[int],
    twins: Duplicates,
    part: NDArray[np.object_],
    moved: int,
    kept: bool,
    held_out: frozenset[str],
) -> Check:
    """held_out: the given parts besides train, which stay as they are."""
    if kept and crossing:
        return Check(
            "split.leak",
            "warn",
            float(len(crossing)),
            f"{len(crossing):,} rows of train or validation repeat rows of test or validation and were kept, as asked",
        )
    if crossing:
        held = set(twins.exact[np.isin(part, list(held_out))].tolist())
        exact = sum(1 for row in crossing if int(twins.exact[row]) in held)
        where = " and ".join(sorted(held_out))
        return Check(
            "split.leak",
            "ok",
            float(len(crossing)),
            f"{len(crossing):,} rows repeat rows of {where} ({exact:,} word for word, {len(crossing) - exact:,} nearly)"
            f" -> dropped, {where} unchanged",
        )
    if moved:
        return Check(
            "split.leak",
            "ok",
            float(moved),
            f"{moved:,} duplicates and near-duplicates crossed the split -> moved to train",
        )
    return Check("split.leak", "ok", 0.0, "no row of one part repeats in another")


def _conflicts(pool: Examples, twins: Duplicates, kind: Kind) -> tuple[Check, ...]:
    """Texts that stand twice with different answers: a ceiling on what any model can reach."""
    if kind in ("score", "tags"):
        return ()
    answers: dict[int, set[object]] = defaultdict(set)
    for row, owner in enumerate(twins.exact.tolist()):
        answers[owner].add(pool.targets[row])
    torn = {owner for owner, found in answers.items() if len(found) > 1}
    if not torn:
        return ()
    first = min(torn)
    count = sum(1 for owner in twins.exact.tolist() if owner in torn)
    shown = safe_repr(as_text(pool.texts[first]), 50)
    return (
        Check(
            "labels.conflict",
            "warn",
            float(count),
            f"{count:,} rows have the input of another row and a different label, such as {shown!r}",
        ),
    )


def _small_test(rows: int) -> tuple[Check, ...]:
    if rows >= SMALL_TEST:
        return ()
    return (Check("test.small", "warn", float(rows), f"test has {rows} rows only; the intervals will be wide"),)
