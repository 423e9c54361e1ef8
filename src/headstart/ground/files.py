"""Writing without half-written files: everything goes to a temporary sibling, is synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from headstart.ground.errors import ConfigError, RunError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` in one step; a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        sync(temporary)
        temporary.replace(path)
    except OSError as problem:
        with contextlib.suppress(OSError):  # a file system that became read-only refuses this too
            temporary.unlink(missing_ok=True)
        raise disk_error(path, problem) from problem


def refuse_taken(target: Path) -> None:
    """ConfigError where `target` already holds something: for before any work, and again before publishing."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} already holds something; expected a new or empty folder. Give another --out.")


def refuse_unwritable(target: Path) -> None:
    """ConfigError where no folder can be made at `target`; tried out, since permission bits do not tell all."""
    try:
        home = next(folder for folder in target.absolute().parents if folder.exists())
        tried = home / f".headstart.tmp-{secrets.token_hex(4)}"
        tried.mkdir()
        tried.rmdir()
    except OSError as problem:
        raise ConfigError(
            f"{target} cannot be made: {problem.strerror or problem}; expected a place where a new folder can be made. "
            "Give another --out."
        ) from problem


@contextlib.contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that becomes `target` on success and vanishes on failure.

    A `target` that already holds anything is refused: nothing of the user's is overwritten.

    Raises:
        ConfigError: `target` is taken. RunError: it cannot be written, or what the body reads cannot be read.
    """
    refuse_taken(target)
    temporary = sibling(target, secrets.token_hex(4))
    try:
        temporary.mkdir(parents=True)
        try:
            yield temporary
        except OSError as problem:
            unread = _reading_error(temporary, problem)
            if unread is None:
                raise
            raise unread from problem
        publish(temporary, target)
    except OSError as problem:
        raise disk_error(target, problem) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sibling(target: Path, mark: str) -> Path:
    """Where what will be `target` is written; killed writers' leftovers, siblings of siblings too, are known by it."""
    return target.with_name(f".{target.name.removeprefix('.')}.tmp-{mark}")


def remove_folder(folder: Path) -> None:
    """Take a folder away. A kill on the way leaves it whole, or a leftover that `sweep` knows, never a part of it."""
    leaving = sibling(folder, secrets.token_hex(4))
    folder.replace(leaving)
    shutil.rmtree(leaving)


def sweep(place: Path, names: str, tell: Callable[[str], None]) -> None:
    """Remove what killed writers left in `place` of targets whose names match a glob pattern. tell: of what cannot be
    removed, which hurts nobody but takes room."""
    for leftover in place.glob(f".{names.removeprefix('.')}.tmp-*"):
        try:
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        except FileNotFoundError:  # another process swept it
            continue
        except OSError as problem:
            tell(f"{leftover}, left by a run that was killed, cannot be removed: {problem.strerror or problem}")


def settle(folder: Path) -> None:
    """All files of a folder, and the folder, synced to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync(path)
    sync(folder)


def publish(temporary: Path, target: Path) -> None:
    """A finished folder, synced to the disk, becomes `target`."""
    settle(temporary)
    temporary.replace(target)
    sync(target.parent)


def _reading_error(temporary: Path, problem: OSError) -> RunError | None:
    """What to say of an OSError about files outside the folder that is written; None where it is about a write.

    A copy that fails for want of space names both its files, and its source first.
    """
    names = [Path(os.fsdecode(n)) for n in (problem.filename, problem.filename2) if isinstance(n, str | bytes)]
    inside = any(name.absolute().is_relative_to(temporary.absolute()) for name in names)
    if not names or inside or problem.errno in FULL:
        return None
    return RunError(
        f"{names[0]} cannot be read: {problem.strerror or problem}; expected a readable file, and nothing half-written "
        "was kept. Check that file, then give the command again."
    )


def disk_error(path: Path, problem: OSError) -> RunError:
    """An OSError of a write as a message that says what to do."""
    if problem.errno in FULL:
        return RunError(
            f"There is no space left to write {path}; nothing half-written was kept. "
            f"Free some disk space or give another --out."
        )
    return RunError(
        f"{path} cannot be written: {problem.strerror or problem}; nothing half-written was kept. Give another --out."
    )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """An OSError in the block, which writes `path`, as a RunError that says what to do."""
    try:
        yield
    except OSError as problem:
        raise disk_error(path, problem) from problem
