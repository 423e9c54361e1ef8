"""Checkpoints: everything the next step depends on, written so that it is there whole or not at all, and read back.

A checkpoint is a folder `step-00001234` with state.safetensors (fp32 weights and optimiser state by name) and
manifest.json (SHA-256 of the tensors, what the run was made of, where it stood). Folders are written beside their
place, synced and renamed (ground/files.py), the manifest last; a folder whose digest differs is passed by for the one
before it. The order of the data is a pure function of the step, so no generator state is kept.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headstart.ground.errors import ConfigError, RunError
from headstart.ground.files import publish_folder, sha256_file
from headstart.train.held_out import CurvePoint

STATE, MANIFEST = "state.safetensors", "manifest.json"
KEPT = 2  # checkpoints: the last one, and one to fall back to
SPARE = 3.0  # checkpoints' worth of free disk below which a run does not start
Tell = Callable[[str], None]


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is made of: digests that must be equal for it to go on where it stopped."""

    recipe: str
    corpus: str
    tokenizer: str


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides the last bit of a sum. Another machine may go on, but not bit for bit."""

    threads: int
    torch: str
    isa: str
    device: str


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a run stands. skipped: steps of data passed by after roll-backs; each roll-back halves the rates."""

    step: int = 0
    seconds: float = 0.0
    rollbacks: int = 0
    skipped: int = 0
    curve: tuple[CurvePoint, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """manifest.json of one checkpoint."""

    schema_version: Literal[1]
    sha256: str
    identity: Identity
    machine: Machine
    progress: Progress


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint read back: tensors by name and where the run stood."""

    tensors: dict[str, Tensor]
    progress: Progress


def this_machine() -> Machine:
    """Threads, torch, instruction set and device of this process."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    isa = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return Machine(torch.get_num_threads(), str(torch.__version__), isa, device)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run below `folder`. fork: go on although the run is now made of something else."""

    folder: Path
    identity: Identity
    every: float = 300.0  # seconds between two
    fork: bool = False
    tell: Tell = lambda words: None

    def save(self, tensors: Mapping[str, Tensor], progress: Progress) -> Path:
        """Write one and drop all but the last two. A state that is not finite is never written.

        Raises:
            RunError: the disk is full or refuses; what was there before still is. Or a tensor is not finite.
        """
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise RunError(
                    f"{name} at step {progress.step} holds values that are not finite; expected numbers. Nothing was "
                    "saved: go on from the last checkpoint with a lower learning rate."
                )
        target = self.folder / f"step-{progress.step:08d}"
        if target.exists():
            shutil.rmtree(target)  # the same step, saved before a roll-back or found broken
        with publish_folder(target) as folder:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / STATE)
            manifest = Manifest(1, sha256_file(folder / STATE), self.identity, this_machine(), progress)
            (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        for old in self.found()[:-KEPT]:
            shutil.rmtree(old)
        return target

    def found(self) -> list[Path]:
        """Finished checkpoints, oldest first; leftovers of killed writers are no checkpoints."""
        return sorted(p for p in self.folder.glob("step-*") if (p / MANIFEST).is_file())

    def newest(self) -> Saved | None:
        """The last checkpoint that is whole; None where there is none.

        Raises:
            ConfigError: the run was made of another recipe, corpus or tokenizer, and `fork` was not asked for.
        """
        self._sweep()
        for path in reversed(self.found()):
            manifest = self._whole(path)
            if manifest is None:
                continue
            self._refuse_drift(path, manifest)
            return Saved(load_file(path / STATE), manifest.progress)
        return None

    def require_space(self, size: int) -> None:
        """RunError where the disk has less than three times `size` bytes left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < SPARE * size:
            raise RunError(
                f"{self.folder} has {free / 1e6:,.0f} MB free; expected {SPARE * size / 1e6:,.0f} MB for checkpoints. "
                "Free some disk space or give another --out."
            )

    def _sweep(self) -> None:
        for leftover in self.folder.glob(".step-*.tmp-*"):
            shutil.rmtree(leftover)

    def _whole(self, path: Path) -> Manifest | None:
        """The manifest of a checkpoint whose tensors have the digest it names; says what is wrong with another."""
        try:
            manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
            if sha256_file(path / STATE) == manifest.sha256:
                return manifest
            problem = f"{STATE} does not have the digest that {MANIFEST} names"
        except (OSError, msgspec.DecodeError, SafetensorError) as error:
            problem = str(error)
        self.tell(f"{path} is damaged ({problem}); going on from the checkpoint before it")
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
        here = this_machine()
        different = [
            f"{name} {getattr(manifest.machine, name)} then, {getattr(here, name)} now"
            for name in Machine.__struct_fields__
            if getattr(manifest.machine, name) != getattr(here, name)
        ]
        if different:
            self.tell(f"going on, but not bit for bit: {'; '.join(different)}")
