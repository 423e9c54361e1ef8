"""Every file operation of a pre-training run, one after the other, meets SIGKILL or a disk that refuses it.

    python -m tests.train.fault_run course|command kill|ENOSPC|EIO CORPUS FOLDER [FIRST_STEP]

This process imports everything once; every run is a fork of it, so that a fault costs no new interpreter. In the fork
an audit hook and stand-ins for open, fsync and sendfile number the operations below the run's folder; at one of them
the fork dies or gets an OSError. A write counts twice: before it, and when half of it is on the disk. Then the same run
is made again without a fault. On stdout is one line of JSON a fault, see `met`; the first line is of none.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import save as tensor_bytes

import headstart.base.tensors
import headstart.pretraining
from headstart.cli import run
from headstart.data.corpus import PackedCorpus
from headstart.evaluate.training_run import read_losses
from headstart.ground.errors import HeadstartError
from headstart.ground.files import sha256_file
from headstart.train.checkpoint import MANIFEST, Checkpoints, Identity, read_manifest, step_of
from headstart.train.course import Watch, follow
from headstart.train.held_out import CurvePoint
from headstart.train.loop import StepRecord
from headstart.train.objective import LanguageModel
from headstart.train.pretrain import TextCourse, pack_corpus
from headstart.train.recipe import Recipe

STEPS = 3
TREE = {"os.mkdir": "make", "os.rename": "rename", "os.remove": "remove", "os.rmdir": "remove", "os.chmod": "chmod"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
GROWING = ("create", "write", "tear", "sync", "make")  # what a full disk goes on refusing; it lets go what is there
TRIED = ".headstart.tmp-"  # an empty folder of ground.files.refuse_unwritable, which other writers may be trying too
Act = Callable[[str], None]


class Disk:
    """Numbers the operations below `root` from 1; acts at number `at` and, where it lasts, at growing ones after it."""

    def __init__(self, root: Path, log: Path, at: int, act: Act, *, lasting: bool, reads: bool) -> None:
        self.root, self.at, self.act, self.lasting, self.reads = str(root), at, act, lasting, reads
        self.count = 0
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def step(self, kind: str, path: Any) -> None:
        """One operation begins."""
        self.count += 1
        os.write(self.log, f"{kind} {Path(os.fsdecode(path)).name}\n".encode())
        if self.count == self.at or (self.lasting and 0 < self.at < self.count and kind in GROWING):
            self.act(kind)

    def holds(self, path: Any) -> bool:
        """Whether a path lies below the root."""
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(self.root)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """The audit hook."""
        if event == "open" and self.holds(args[0]):
            if args[2] & WRITING:
                self.step("create", args[0])
            elif self.reads:
                self.step("read", args[0])
        elif event in TREE and (self.holds(args[0]) or args[-1] not in (-1, None)):  # rmtree names files by descriptor
            self.step(TREE[event], args[1] if event == "os.rename" else args[0])

    def watch(self) -> None:
        """From now on, in this process for good."""
        disk, real_open, real_sync, real_send = self, io.open, os.fsync, os.sendfile

        class Watched(io.FileIO):
            def write(self, data: Any) -> int:
                disk.step("write", self.name)
                torn = disk.count + 1 == disk.at
                written = super().write(memoryview(data).cast("B")[: len(data) // 2]) if torn else 0
                if torn and disk.act is not kill:  # as the kernel does it: less is written, and the next call refused
                    disk.at += 1
                disk.step("tear", self.name)
                return written if torn else super().write(data)

        def opened(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
            if not set(mode) & set("wax+") or not disk.holds(file):
                return real_open(file, mode, buffering, *more, **named)
            raw = Watched(file, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *more, **named)

        def synced(descriptor: int) -> None:
            disk.step("sync", os.readlink(f"/proc/self/fd/{descriptor}"))
            real_sync(descriptor)

        def sent(out: int, *more: Any) -> int:
            disk.step("write", os.readlink(f"/proc/self/fd/{out}"))
            return real_send(out, *more)

        def saved(tensors: Any, path: Path, metadata: dict[str, str]) -> None:
            with opened(path, "wb") as out:  # safetensors itself writes where Python does not see it
                out.write(tensor_bytes(tensors, metadata))

        io.open = builtins.open = opened  # type: ignore[assignment]
        os.fsync, os.sendfile = synced, sent  # type: ignore[assignment]
        headstart.base.tensors.save_file = saved
        sys.addaudithook(self.hear)


class CourseRun:
    """Checkpoints after every step of a course on packed text; all that it writes are checkpoints."""

    def __init__(self, corpus: Path, folder: Path) -> None:
        self.recipe = msgspec.convert(tomllib.loads((corpus / "toy.toml").read_text()), Recipe)
        self.packed = pack_corpus(self.recipe, data=corpus, work=folder / "packed")

    def run(self, home: Path, until: int = STEPS) -> int:
        made = 0

        def see(record: StepRecord) -> None:
            nonlocal made
            made = record.step + 1
            append(home / "losses", [record.step, record.loss])

        try:
            found = follow(
                Quick(self.recipe, *self.packed),
                probe_every=STEPS,
                compile_blocks=False,
                checkpoints=Checkpoints(home / "disk" / "checkpoints", Identity("r", "c", "t"), every=0.0, tell=say),
                watch=Watch(on_step=see, tell=say, stop=lambda: made >= until),
            )
        except HeadstartError as problem:
            say(str(problem))
            return problem.exit_code
        (home / "weights").write_text(sha256(tensor_bytes(dict(found.model.state_dict()))).hexdigest())
        return 0

    def outcome(self, home: Path) -> dict[str, Any]:
        """Losses, final weights and the state of the last checkpoint: what must not depend on faults."""
        saved = Checkpoints(home / "disk" / "checkpoints", Identity("r", "c", "t")).newest()
        state = "" if saved is None else sha256(tensor_bytes(saved.tensors())).hexdigest()
        losses = dict(map(json.loads, (home / "losses").read_text().splitlines()))
        return {"losses": losses, "weights": (home / "weights").read_text(), "state": state}


class Quick(TextCourse):
    """With a probe that costs nothing."""

    def __init__(self, recipe: Recipe, train: PackedCorpus, validation: PackedCorpus) -> None:
        super().__init__(recipe, train, validation)

    def look(self, model: LanguageModel, *, units: int, seconds: float) -> CurvePoint:
        return CurvePoint(units, seconds, 1.0, None)


class CommandRun:
    """`headstart pretrain` from the first file of OUT.work to the last of OUT; from a first step on, of OUT alone."""

    def __init__(self, corpus: Path, folder: Path) -> None:
        self.corpus = corpus
        headstart.pretraining.arithmetic_speed = lambda dtype: 1.0  # else a second of every run

    def run(self, home: Path, until: int = STEPS) -> int:
        if (home / "disk" / "out").exists():
            return 0  # it ended, and says that the place is taken
        flags = ["--data", str(self.corpus), "--out", str(home / "disk" / "out"), "--save-every", "0.0001s"]
        return run(["pretrain", str(self.corpus / "toy.toml"), *flags])

    def outcome(self, home: Path) -> dict[str, Any]:
        """Losses and the files of the base, but for times: lineage and page tell how long it took."""
        disk = home / "disk"
        losses = read_losses(disk / "out.work" / "metrics.jsonl")
        files = {path.name: sha256_file(path) for path in sorted((disk / "out").iterdir())}
        timed = {name: "there" for name in ("headstart.json", "README.md", "report.html") if name in files}
        return {
            "losses": losses.values.tolist(),
            "files": files | timed,
            "folder": sorted(path.name for path in disk.iterdir() if not path.name.startswith(TRIED)),
        }


def say(words: str) -> None:
    sys.stderr.write(words + "\n")


def append(file: Path, value: Any) -> None:
    """A line of JSON, past every stand-in."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, json.dumps(value).encode() + b"\n")
    os.close(handle)


def forked(job: CourseRun | CommandRun, home: Path, disk: Disk | None, until: int = STEPS) -> tuple[int, str]:
    """The job in a process of its own: (exit code, or minus the signal; what it said)."""
    child = os.fork()
    if not child:
        words = os.open(home / "words", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(words, 1)
        os.dup2(words, 2)
        try:
            if disk is not None:
                disk.watch()
            code = job.run(home, until)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 99
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (home / "words").read_text()


def kill(kind: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refusal(number: int) -> Act:
    def refuse(kind: str) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def standing(home: Path) -> dict[str, list[Any]]:
    """What lies in the folder of checkpoints: steps whose digests hold, and everything else by its visible name."""
    found: dict[str, list[Any]] = {"whole": [], "broken": []}
    folders = sorted(home.glob("disk/**/checkpoints/[!.]*"))
    for path in folders:
        whole = (path / MANIFEST).is_file() and all(
            (path / name).is_file() and sha256_file(path / name) == digest
            for name, digest in read_manifest(path).sha256.items()
        )
        found["whole" if whole else "broken"].append(step_of(path) if whole else path.name)
    return found


def met(job: CourseRun | CommandRun, home: Path, at: int, fault: str) -> dict[str, Any]:
    """A run with a fault at operation `at`, and the same again without: how either ended and what was there."""
    ops = home / "ops"
    act = kill if fault == "kill" else refusal(getattr(errno, fault))
    disk = Disk(home / "disk", ops, at, act, lasting=fault == "ENOSPC", reads=fault == "EIO")
    code, words = forked(job, home, disk)
    done = ops.read_text().splitlines()
    record: dict[str, Any] = {"at": at, "operations": done, "code": code, "words": words, **standing(home)}
    record["published"] = any(home.glob("disk/out/headstart.json"))
    again, more = forked(job, home, None)
    hidden = [str(path) for path in home.glob("disk/**/.*") if not path.name.startswith(TRIED)]
    record |= {"again": again, "words_again": more, "hidden": hidden}
    return record | {"outcome": job.outcome(home) if again == 0 else {}}


def main(what: str, fault: str, corpus: Path, folder: Path, first: int = 0) -> None:
    """Faults until a run has no operation left to meet one."""
    job = (CourseRun if what == "course" else CommandRun)(corpus, folder)
    warm, template = folder / "warm", folder / "template"
    (warm / "disk").mkdir(parents=True)
    with redirect_stdout(io.StringIO()):
        job.run(warm)  # what is imported and built at first use, a fork has ready
    (template / "disk").mkdir(parents=True)
    if first:
        code, words = forked(job, template, None, first)
        assert code == 0, words
        shutil.rmtree(template / "disk" / "out", ignore_errors=True)
    at, total = 0, 1
    while at <= total:
        home = folder / "home"
        shutil.copytree(template, home)
        record = met(job, home, at, fault)
        sys.stdout.write(json.dumps(record) + "\n")
        total = len(record["operations"]) if at == 0 else total
        shutil.rmtree(home)
        at += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), *map(int, sys.argv[5:]))
