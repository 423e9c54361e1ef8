"""Fan-out: one function over many jobs, here, in local processes or on Ray; a job is plain JSON, and so is its answer.

Enter: a top-level function and jobs as JSON values. Leave: an `Outcome` a job, in the order of the jobs. A worker is
`python -m headstart.ground.fanout`: a line of JSON in with the function's name and a job, a line of JSON out with the
answer. Nothing else crosses (no pickle, no shared memory), so that the same function runs behind a pipe or on another
machine. What a job raises and a worker that dies are outcomes, never exceptions; a job whose worker died is given to
another one.
"""

from __future__ import annotations

import importlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Literal

import msgspec

from headstart.ground.errors import CapabilityError, ConfigError, HeadstartError, RunError, safe_repr

ATTEMPTS = 3  # a job that takes its worker with it: twice may be the machine, three times is the job
TAIL = 400  # bytes of a dead worker's stderr that are told
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
Work = Callable[[Any], Any]
Kind = Literal["here", "local", "ray"]


@dataclass(frozen=True, slots=True)
class Done:
    """A job's answer, and the seconds it took where it ran."""

    value: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A job without an answer. raised: the function said no; died: its workers did; late: the deadline came first."""

    why: Literal["raised", "died", "late"]
    reason: str
    attempts: int = 1


Outcome = Done | Failed
OnOutcome = Callable[[int, Outcome], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs run: `here` (this process), `local` (so many processes, a thread each) or `ray` (an address, whose
    cluster decides how many; `side_by_side`)."""

    kind: Kind
    workers: int = 1
    address: str = ""


def parse_place(text: str) -> Place:
    """A Place from here, local, local:4, ray://HOST:PORT or ray://auto (the cluster this machine belongs to).

    Raises:
        ConfigError: it is none of these.
    """
    kind, _, rest = text.partition(":")
    if text == "here":
        return Place("here")
    if text == "local":
        return Place("local", os.cpu_count() or 1)
    if kind == "local" and rest.isdecimal() and 1 <= int(rest) <= 1024:
        return Place("local", int(rest))
    if kind == "ray" and len(rest) > 2 and rest.startswith("//"):
        return Place("ray", address="auto" if rest == "//auto" else text)
    raise ConfigError(
        f"--on is {safe_repr(text, 80)!r}; expected here, local:N or ray://HOST:PORT. Write for instance --on local:2."
    )


def fan_out(
    function: Work,
    jobs: Sequence[Any],
    *,
    on: Place,
    attempts: int = ATTEMPTS,
    deadline: float | None = None,
    on_outcome: OnOutcome | None = None,
    crew: Crew | None = None,
) -> list[Outcome]:
    """`function(job)` for every job -> outcomes in the order of the jobs.

    function: top-level, in an importable module, from plain JSON values to plain JSON values. attempts: workers that a
    job may cost. deadline: time.monotonic() after which workers are ended and what has no answer is `late`; `here` a
    running job cannot be ended, so that it must keep to its own time. on_outcome(index, outcome) is called as jobs end,
    so that Ctrl-C, which is passed on, loses nothing that was done. crew: local workers that outlive this call.

    Raises:
        CapabilityError: Ray is asked for and not installed. RunError: no worker can be started, no cluster reached.
    """
    board = _Board([Failed("late", "the time was over before it was begun", 0)] * len(jobs), on_outcome)
    if on.kind == "here":
        _here(function, jobs, deadline, board)
    elif on.kind == "local":
        _Shift(name_of(function), jobs, on.workers, attempts, deadline, board, crew or Crew()).run(
            keep=crew is not None
        )
    else:
        _on_ray(name_of(function), jobs, on.address, attempts, deadline, board)
    return board.outcomes


def side_by_side(on: Place) -> int:
    """How many jobs run at once: of a Ray cluster as many as it has cores now, each job taking one.

    Raises:
        CapabilityError: Ray is asked for and not installed. RunError: no cluster is reached.
    """
    if on.kind != "ray":
        return on.workers
    return max(1, int(_ray(on.address).cluster_resources().get("CPU", 1)))


def name_of(function: Work) -> str:
    """MODULE:FUNCTION by which a worker finds it; ConfigError for a lambda, a closure or a method."""
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or not name.isidentifier():
        raise ConfigError(
            f"the work is {module}.{name}; expected a top-level function of an importable module, which a worker can "
            "find by its name. Move it there."
        )
    return f"{module}:{name}"


@dataclass
class _Board:
    """The outcomes so far, and who wants to hear of new ones."""

    outcomes: list[Outcome]
    tell: OnOutcome | None

    def put(self, index: int, outcome: Outcome) -> None:
        self.outcomes[index] = outcome
        if self.tell is not None:
            self.tell(index, outcome)


# --- here, and inside a worker --------------------------------------------------------------------------------------


def _here(function: Work, jobs: Sequence[Any], deadline: float | None, board: _Board) -> None:
    for index, job in enumerate(jobs):
        if deadline is not None and time.monotonic() >= deadline:
            return
        board.put(index, answer(function, job))


def answer(function: Work, job: Any) -> Outcome:
    """One job's outcome. Any exception is an outcome: one job must not end the others."""
    begun = time.monotonic()
    try:
        value = function(job)
    except HeadstartError as problem:
        return Failed("raised", str(problem))
    except Exception as problem:
        return Failed("raised", f"{type(problem).__name__}: {safe_repr(str(problem), 300)}")
    return Done(value, time.monotonic() - begun)


class _Line(msgspec.Struct, tag_field="is", tag="done"):
    """A `Done` on the wire."""

    value: Any
    seconds: float


class _BadLine(msgspec.Struct, tag_field="is", tag="raised"):
    """A `Failed` of the function on the wire."""

    reason: str


_READ = msgspec.json.Decoder(_Line | _BadLine)


class _Call(msgspec.Struct, frozen=True):
    """A job on the wire. function: MODULE:FUNCTION."""

    function: str
    job: Any


def serve() -> None:
    """A worker's life: answer the lines of stdin until it ends.

    What anything else writes to stdout goes to stderr, so that it cannot break a line.
    """
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        call = msgspec.json.decode(line, type=_Call)
        module, _, attribute = call.function.partition(":")
        found = answer(getattr(importlib.import_module(module), attribute), call.job)
        sent = _Line(found.value, found.seconds) if isinstance(found, Done) else _BadLine(found.reason)
        wire.write(msgspec.json.encode(sent) + b"\n")
        wire.flush()


def _outcome(line: bytes, attempts: int) -> Outcome:
    found = _READ.decode(line)
    return Done(found.value, found.seconds) if isinstance(found, _Line) else Failed("raised", found.reason, attempts)


# --- local processes ------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Worker:
    """A process with a pipe in and a pipe out; its words lie in a file, for the day it dies."""

    process: subprocess.Popen[bytes]
    words: IO[bytes]
    job: int | None = None
    heard: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls) -> _Worker:
        words = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`, with the process)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "headstart.ground.fanout"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C reaches the one who gave the jobs, and he decides
            )
        except OSError as problem:
            words.close()
            raise RunError(f"no worker can be started: {problem}; expected a process. Free some memory.") from problem
        return cls(process, words)

    @property
    def ears(self) -> IO[bytes]:
        assert self.process.stdout is not None, "opened as a pipe"
        return self.process.stdout

    def give(self, index: int, name: str, job: Any) -> None:
        """Send a job; a worker that is dead already shows it at its other pipe."""
        assert self.process.stdin is not None, "opened as a pipe"
        self.job = index
        try:
            self.process.stdin.write(msgspec.json.encode(_Call(name, job)) + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return

    def listen(self) -> bytes | None:
        """A whole answer, b"" while there is none, None once the worker is gone."""
        piece = os.read(self.ears.fileno(), 1 << 16)
        if not piece:
            return None
        self.heard += piece
        line, newline, rest = self.heard.partition(b"\n")
        if not newline:
            return b""
        self.heard = rest
        return bytes(line)

    def end(self) -> str:
        """Kill it where it lives; how it ended and its last words."""
        self.process.kill()
        code = self.process.wait()
        self.words.seek(max(0, self.words.seek(0, os.SEEK_END) - TAIL))
        last = self.words.read().decode(errors="replace").strip().splitlines()[-1:]
        for pipe in (self.process.stdin, self.process.stdout, self.words):
            if pipe is not None:
                with _broken_pipe_is_no_matter():
                    pipe.close()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return how + (f": {safe_repr(last[0], 200)}" if last else "")


@contextmanager
def _broken_pipe_is_no_matter() -> Iterator[None]:
    """Closing a pipe flushes it, and the worker behind it may be dead."""
    try:
        yield
    except BrokenPipeError:
        return


class Crew:
    """Local workers that stay from one `fan_out` to the next, with the modules they imported and what they hold.

    A context manager; leaving it ends them.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().end()

    def hire(self) -> _Worker:
        """A worker that is free and alive, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.end()
        return _Worker.start()

    def release(self, worker: _Worker) -> None:
        """Take back a worker that has no job."""
        self._idle.append(worker)


class _Shift:
    """The workers of one call, and the jobs they still have to do."""

    def __init__(
        self,
        name: str,
        jobs: Sequence[Any],
        size: int,
        attempts: int,
        deadline: float | None,
        board: _Board,
        crew: Crew,
    ) -> None:
        self._name, self._jobs, self._size, self._attempts = name, jobs, size, attempts
        self._deadline, self._board, self._crew, self._keep = deadline, board, crew, False
        self._queue = deque(range(len(jobs)))
        self._deaths = [0] * len(jobs)
        self._selector = selectors.DefaultSelector()
        self._workers: set[_Worker] = set()

    def run(self, *, keep: bool) -> None:
        """Until every job has an outcome or the time is over. keep: leave free workers with the crew."""
        self._keep = keep
        try:
            while len(self._workers) < min(self._size, len(self._queue) + len(self._workers)):
                self._hire()
            while self._workers:
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                for key, _ in self._selector.select(left):
                    self._hear(key.data)
        finally:
            for worker in list(self._workers):
                if worker.job is not None:
                    late = Failed("late", "the time was over before it was done", self._deaths[worker.job] + 1)
                    self._board.outcomes[worker.job] = late
                self._dismiss(worker)
            self._selector.close()

    def _hire(self) -> None:
        worker = self._crew.hire()
        self._workers.add(worker)
        self._selector.register(worker.ears, selectors.EVENT_READ, worker)
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        """The next job for a worker that is free, or its leave."""
        worker.job = None
        if not self._queue:
            if self._keep:
                self._leave(worker)
                self._crew.release(worker)
            else:
                self._dismiss(worker)
            return
        index = self._queue.popleft()
        worker.give(index, self._name, self._jobs[index])

    def _hear(self, worker: _Worker) -> None:
        index, line = worker.job, worker.listen()
        assert index is not None, "a worker without a job has been dismissed"
        if line:
            self._board.put(index, _outcome(line, self._deaths[index] + 1))
            self._next(worker)
        elif line is None:
            worker.job = None
            ended = self._dismiss(worker)
            self._deaths[index] += 1
            if self._deaths[index] >= self._attempts:
                reason = f"{self._deaths[index]} workers ended under it, the last with {ended}"
                self._board.put(index, Failed("died", reason, self._deaths[index]))
            else:
                self._queue.appendleft(index)
            if self._queue:
                self._hire()

    def _leave(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        self._selector.unregister(worker.ears)

    def _dismiss(self, worker: _Worker) -> str:
        self._leave(worker)
        return worker.end()


# --- Ray ------------------------------------------------------------------------------------------------------------

_kept = Crew()  # of a Ray process: its worker, kept from task to task with what it has loaded


def _task(name: str, job: bytes) -> tuple[bytes, str]:
    """Runs inside a Ray process: (the answer's line, "") or (b"", how the worker ended)."""
    worker = _kept.hire()
    worker.give(0, name, msgspec.Raw(job))
    while (line := worker.listen()) == b"":
        pass
    if line is None:
        return b"", worker.end()
    _kept.release(worker)
    return line, ""


def _on_ray(name: str, jobs: Sequence[Any], address: str, attempts: int, deadline: float | None, board: _Board) -> None:
    """A Ray task a job. Tasks of a node that is gone are given again, by Ray and, where it gives up, by us."""
    ray = _ray(address)
    run = ray.remote(num_cpus=1, max_retries=attempts)(_task)
    tries = [0] * len(jobs)

    def submit(index: int) -> Any:
        tries[index] += 1
        return run.remote(name, msgspec.json.encode(jobs[index]))

    waiting = {submit(index): index for index in range(len(jobs))}
    try:
        while waiting:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=left)
            for ref in ready:
                index = waiting.pop(ref)
                line, ended = _fetch(ray, ref)
                if line:
                    board.put(index, _outcome(line, tries[index]))
                elif tries[index] >= attempts:
                    reason = f"{tries[index]} workers ended under it, the last with {ended}"
                    board.put(index, Failed("died", reason, tries[index]))
                else:
                    waiting[submit(index)] = index
    finally:
        for ref, index in waiting.items():
            board.outcomes[index] = Failed("late", "the time was over before it was done", tries[index])
            ray.cancel(ref, force=True)


def _fetch(ray: Any, ref: Any) -> tuple[bytes, str]:
    """A task's answer; a node or process that Ray lost is told like a worker that ended."""
    try:
        line, ended = ray.get(ref)
    except ray.exceptions.RayError as problem:
        return b"", f"{type(problem).__name__}: {safe_repr(str(problem), 200)}"
    return bytes(line), str(ended)


def _ray(address: str) -> Any:
    """Ray, connected. Its usage statistics stay off."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as problem:
        raise CapabilityError(
            "Ray is not installed; expected the package ray for --on ray://... "
            "Install it (pip install 'headstart[cluster]'), or use --on local:N."
        ) from problem
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as problem:
            raise RunError(
                f"no Ray cluster answers at {address}: {safe_repr(str(problem), 200)}; expected one that runs. "
                "Start it with `ray start --head`, or use --on local:N."
            ) from problem
    return ray


if __name__ == "__main__":
    serve()
