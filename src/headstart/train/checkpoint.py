"""Checkpoints: everything the next step depends on, written so that it is there whole or not at all, and read back.

A checkpoint is a folder `step-00001234` with one safetensors file a process (fp32 weights and optimiser state by name,
written and read by torch's distributed checkpoint) and manifest.json (SHA-256 of the files, what the run was made of,
where it stood). Folders are written beside their place, synced and renamed (ground/files.py), the manifest last; a
folder whose digests differ is passed by for the one before it. Any number of processes goes on from what any
other number wrote. The order of the data is a pure function of the step, so no generator state is kept.
"""

from __future__ import annotations

import platform
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from headstart.ground.device import pick_device, training_dtype
from headstart.ground.errors import ConfigError, RunError
from headstart.ground.files import disk_errors, publish, remove_folder, settle, sha256_file, sibling, sweep
from headstart.train.held_out import CurvePoint
from headstart.train.optim import State
from headstart.train.ranks import ALONE, Ranks, mine

MANIFEST = "manifest.json"
KEPT = 2  # checkpoints: the last one, and one to fall back to
SPARE = 3.0  # checkpoints' worth of free disk below which a run does not start
Tell = Callable[[str], None]


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is made of: digests that must be equal for it to go on where it stopped.

    start: of the weights it began with, None where they were random.
    """

    recipe: str
    corpus: str
    tokenizer: str
    start: str | None = None


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides the last bit of a sum. Another machine may go on, but not bit for bit."""

    threads: int
    processes: int
    torch: str
    isa: str
    device: str
    numbers: str = "bfloat16"  # in which products asked for in bfloat16 are computed


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run stands. skipped: steps of data passed by after roll-backs; each roll-back halves the rates. recent,
    above: what its guard knows."""

    step: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    skipped: int = 0
    curve: tuple[CurvePoint, ...] = ()
    recent: tuple[float, ...] = ()
    above: int = 0


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """manifest.json of one checkpoint."""

    schema_version: Literal[2]
    sha256: dict[str, str]
    identity: Identity
    machine: Machine
    progress: Progress


@dataclass(frozen=True, slots=True)
class Saved:
    """A whole checkpoint: where the run stood, and its tensors, to be read into ones of the same names."""

    path: Path
    progress: Progress

    def shapes(self) -> dict[str, torch.Size]:
        """Of every tensor there is, by name."""
        found = HuggingFaceStorageReader(str(self.path)).read_metadata().state_dict_metadata
        return {name: tensor.size for name, tensor in found.items()}  # type: ignore[union-attr]

    def read(self, into: State) -> None:
        """Fill tensors, or this process's parts of them. Every process of a run must read."""
        with one_process_is_fine():
            load(into, storage_reader=HuggingFaceStorageReader(str(self.path)))

    def tensors(self) -> State:
        """Everything, in this process."""
        into = {name: torch.zeros(shape) for name, shape in self.shapes().items()}
        self.read(into)
        return into


def this_machine(ranks: Ranks) -> Machine:
    """Threads, processes, torch, instruction set, device and fast numbers of this run."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    isa = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    numbers = str(training_dtype(pick_device())).removeprefix("torch.")
    return Machine(torch.get_num_threads(), ranks.size, str(torch.__version__), isa, device, numbers)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run below `folder`. fork: go on although the run is now made of something else."""

    folder: Path
    identity: Identity
    every: float = 300.0  # seconds between two
    fork: bool = False
    tell: Tell = lambda words: None
    ranks: Ranks = ALONE

    def save(self, state: State, progress: Progress) -> Path:
        """Write one and drop all but the last two; every process its part. A state that is not finite is never written.

        Raises:
            RunError: the disk is full or refuses; what was there before still is. Or a tensor is not finite.
        """
        with self.ranks.together():
            require_finite(state, progress.step)
        target = self.folder / f"step-{progress.step:08d}"
        temporary = sibling(target, f"{self.ranks.first_says(secrets.randbits(32)):08x}")
        try:
            with self.ranks.together(), disk_errors(target):
                write_state(state, temporary)
            with self.ranks.together(), disk_errors(target):
                if self.ranks.first:
                    self._publish(temporary, target, progress)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _publish(self, temporary: Path, target: Path, progress: Progress) -> None:
        digests = {path.name: sha256_file(path) for path in sorted(temporary.iterdir())}
        manifest = Manifest(2, digests, self.identity, this_machine(self.ranks), progress)
        (temporary / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        if target.exists():  # the same step, found broken
            settle(temporary)
            remove_folder(target)
        publish(temporary, target)
        for later in self.found():  # none of them could be read, or this step would not be made again
            if step_of(later) > progress.step:
                later.rename(later.with_name(f"damaged-{later.name}-{secrets.token_hex(2)}"))
        try:
            for old in self.found()[:-KEPT]:
                remove_folder(old)
        except OSError as problem:  # the new one stands all the same, and the next start sweeps
            self.tell(f"an old checkpoint in {self.folder} cannot be removed: {problem.strerror or problem}")

    def found(self) -> list[Path]:
        """Finished checkpoints, oldest first; leftovers of killed writers are no checkpoints."""
        return sorted(p for p in self.folder.glob("step-*") if (p / MANIFEST).is_file())

    def newest(self) -> Saved | None:
        """The last checkpoint that is whole; None where there is none. The first process looks, the others follow.

        Raises:
            ConfigError: the run was made of another recipe, corpus or tokenizer, and `fork` was not asked for.
            RunError: what a killed writer left cannot be removed, or the disk no longer reads what it just read.
        """
        last: Path | None = None
        with self.ranks.together(), disk_errors(self.folder):
            if self.ranks.first:
                sweep(self.folder, "step-*", self.tell)
                last = self._newest()
        step = self.ranks.first_says(-1 if last is None else step_of(last))
        if step < 0:
            return None
        path = self.folder / f"step-{step:08d}"
        with self.ranks.together():
            try:
                return Saved(path, read_manifest(path).progress)
            except OSError as problem:
                raise RunError(
                    f"{path / MANIFEST} cannot be read: {problem.strerror or problem}; expected what was read a moment "
                    "ago. Check the disk, then give the command again."
                ) from problem

    def forget(self, *, after: int) -> None:
        """Remove the checkpoints above a step: a run that goes back must not meet them again."""
        with self.ranks.together(), disk_errors(self.folder):
            if self.ranks.first:
                for path in self.found():
                    if step_of(path) > after:
                        remove_folder(path)

    def _newest(self) -> Path | None:
        for path in reversed(self.found()):
            manifest = self._whole(path)
            if manifest is not None:
                self._refuse_drift(path, manifest)
                return path
        return None

    def require_space(self, size: int) -> None:
        """RunError where the disk has less than three times `size` bytes left, or takes nothing."""
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        if free < SPARE * size:
            raise RunError(
                f"{self.folder} has {free / 1e6:,.0f} MB free; expected {SPARE * size / 1e6:,.0f} MB for checkpoints. "
                "Free some disk space or give another --out."
            )

    def _whole(self, path: Path) -> Manifest | None:
        """The manifest of a checkpoint whose files have the digests it names; says what is wrong with another."""
        try:
            manifest = read_manifest(path)
            wrong = [name for name, digest in manifest.sha256.items() if sha256_file(path / name) != digest]
            if not wrong:
                return manifest
            problem = f"{wrong[0]} does not have the digest that {MANIFEST} names"
        except (OSError, msgspec.DecodeError) as error:
            problem = str(error)
        self.tell(f"{path} is damaged ({problem}); the run goes on from what is before it")
        return None

    def _refuse_drift(self, path: Path, manifest: Manifest) -> None:
        changed = [
            name
            for name in Identity.__struct_fields__
            if getattr(manifest.identity, name) != getattr(self.identity, name)
        ]
        if changed and not self.fork:
            raise ConfigError(
                f"the {' and the '.join(changed)} changed since {path} was written; expected the same ones, so that "
                "the run goes on as it began. Restore them, give another --out, or go on all the same with --fork."
            )
        here = this_machine(self.ranks)
        different = [
            f"{name} {getattr(manifest.machine, name)} then, {getattr(here, name)} now"
            for name in Machine.__struct_fields__
            if getattr(manifest.machine, name) != getattr(here, name)
        ]
        if different:
            self.tell(f"going on, but not bit for bit: {'; '.join(different)}")


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint."""
    return int(path.name.removeprefix("step-"))


def read_manifest(path: Path) -> Manifest:
    """The manifest in the folder of a checkpoint."""
    return msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)


def require_finite(state: State, step: int) -> None:
    """RunError at the first tensor that holds a NaN or an infinity."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(mine(tensor)).all()):
            raise RunError(
                f"{name} at step {step} holds values that are not finite; expected numbers. Nothing was saved: go on "
                "from the last checkpoint with a lower learning rate."
            )


def write_state(state: State, folder: Path) -> None:
    """One safetensors file a process in a new `folder`; OSError where one of them cannot write."""
    try:
        with one_process_is_fine():
            save(state, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as problem:
        for error, _ in problem.failures.values():
            if isinstance(error, OSError):
                raise error from problem
        raise


@contextmanager
def one_process_is_fine() -> Iterator[None]:
    """Without torch's warning that a checkpoint is not shared by several processes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
