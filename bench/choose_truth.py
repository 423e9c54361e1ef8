"""The truth that `bench choose` replays: every candidate of a set trained once, in one small JSON file a set.

Enter: cells as they are computed, in any number of runs and on any machines. Leave: a `Truth`, written after every
cell, a line a cell, so that it can be kept in the repository and grows. A cell that is there is never computed again,
and each one names the machine it ran on. Costs are CPU seconds, which a busy machine stretches little, and FLOPs from
the shape: shares of costs are of seconds where all of a set's cells ran on one class of machine, else of FLOPs.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from headstart.base.base import Base
from headstart.base.facts import BaseFacts
from headstart.base.lineage import code_version
from headstart.choose.reading import CurvePoint, Estimates, Reading
from headstart.data.examples import Examples
from headstart.data.text_codec import TextCodec
from headstart.ground.files import write_atomic
from headstart.model.flops import forward_flops

FOLDER = Path(__file__).resolve().parent / "truth"
NOMINAL = 2e10  # FLOPs that count as a second where shares are of FLOPs; shares do not depend on it
MAX_LENGTH = 256  # units of a row, as trained and read


class Prefix(msgspec.Struct, frozen=True):
    """What a pass of stage 1 had told after `rows` train rows, and what it had cost, held-out rows included."""

    rows: int
    units: int
    seconds: float
    flops: float
    ms_per_row: float
    estimates: Estimates


class Read(msgspec.Struct, frozen=True):
    """A base and the pass over the rows with it. digest: of its weights. flops_per_row: of reading a train row.

    held_out: the validation rows that it read before, which cost and which its curve is of. leaves: whether, read to
    its end, it leaves the features of all train rows to a probe.
    """

    base: str
    held_out: int
    leaves: bool
    digest: str
    facts: BaseFacts
    flops_per_row: float
    prefixes: list[Prefix]
    curve: list[CurvePoint]
    machine: str
    code: str

    def reading(self, place: int) -> Reading:
        """As it was at prefix `place`, with nothing that was read later."""
        at = self.prefixes[place]
        curve = [point for point in self.curve if point.labels <= at.rows]
        left = self.leaves and at.rows == self.prefixes[-1].rows
        return Reading(at.rows, at.units, at.seconds, at.ms_per_row, at.estimates, curve, self.held_out, left)


class Piece(msgspec.Struct, frozen=True):
    """A training after `share` of its steps; seconds and flops are of all pieces so far, validation answered each."""

    share: float
    value: float
    epochs: float
    seconds: float
    flops: float


class Cell(msgspec.Struct, frozen=True):
    """One candidate with one seed, trained to its end. test: its score on the test rows. stopped: why it ended.

    shared: what a probe costs to which a reading of all rows left their features; None of other trainings.
    """

    base: str
    method: str
    seed: int
    test: float
    stopped: str
    pieces: list[Piece]
    machine: str
    code: str
    shared: Piece | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        return self.base, self.method, self.seed


class Truth(msgspec.Struct):
    """All that was recorded of one set. rows: of train, validation and test. epochs: of every training."""

    name: str
    rows: tuple[int, int, int]
    digest: str
    metric: str
    epochs: int
    reads: list[Read] = []
    cells: list[Cell] = []

    def read(self, base: str, held_out: int) -> Read | None:
        """The pass that held so many rows out, or the most below it; the fewest where all held out more."""
        known = sorted((one for one in self.reads if one.base == base), key=lambda one: one.held_out)
        return next((one for one in reversed(known) if one.held_out <= held_out), known[0] if known else None)

    def cell(self, key: tuple[str, str, int]) -> Cell | None:
        return next((one for one in self.cells if one.key == key), None)


def machine_class() -> str:
    """What decides how long a cell takes: the accelerator, or the processor with its generation, and the threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    facts = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    told = {name.strip(): value.strip() for name, value in facts.items()}
    generation = ".".join(told[name] for name in ("cpu family", "model") if name in told)
    return f"{told.get('model name', platform.machine())} {generation}, threads: {torch.get_num_threads()}"


def here() -> tuple[str, str]:
    """(machine class, code) of what runs now."""
    return machine_class(), code_version()


def load(path: Path, fresh: Truth) -> Truth:
    """The truth at `path`, or `fresh` where there is none; ValueError where they are not of the same rows."""
    if not path.is_file():
        return fresh
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Truth)
    except msgspec.ValidationError as problem:
        told = f"{path}: {problem}; expected a truth as this version writes it. Take that file away."
        raise ValueError(told) from None
    for what in ("name", "rows", "digest", "metric", "epochs"):
        kept, asked = getattr(found, what), getattr(fresh, what)
        if kept != asked:
            raise ValueError(
                f"{what} in {path} is {kept!r}; expected {asked!r}, as this run has it. "
                "Give --truth with another folder, or take that file away."
            )
    return found


def save(truth: Truth, path: Path) -> None:
    """One JSON object, a line for every base and every cell, so that a diff shows what was added."""
    head = msgspec.to_builtins(msgspec.structs.replace(truth, reads=[], cells=[]))
    parts = [f'"{key}":{encoded(head[key])}' for key in ("name", "rows", "digest", "metric", "epochs")]
    for key, rows in (("reads", truth.reads), ("cells", truth.cells)):
        parts.append(f'"{key}":[\n' + ",\n".join(encoded(rounded(row)) for row in rows) + "\n]")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, ("{" + ",\n".join(parts) + "}\n").encode())


def encoded(value: object) -> str:
    return msgspec.json.encode(value).decode()


def rounded(value: object) -> object:
    """Plain values with floats of six digits: more is noise, and doubles the file."""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, float):
        return float(f"{plain:.6g}")
    if isinstance(plain, dict):
        return {key: rounded(one) for key, one in plain.items()}
    return [rounded(one) for one in plain] if isinstance(plain, list) else plain


def check_base(truth: Truth, name: str, base: Base) -> None:
    """ValueError where the base of that name is another one today."""
    for read in truth.reads:
        if read.base == name and read.digest != base.digest:
            raise ValueError(
                f"{name} has weights {base.digest[:12]}; expected {read.digest[:12]}, with which its cells were "
                "computed. Give it another name, or take its cells away."
            )


# --- costs ------------------------------------------------------------------------------------------------------------


def row_flops(base: Base, rows: Examples) -> float:
    """The mean of a forward pass over a row, its units read once."""
    assert isinstance(base.codec, TextCodec), "the bases of this bench read text"
    lengths = base.codec.encode(rows.written, rows.pairs, max_length=MAX_LENGTH).lengths.tolist()
    return sum(forward_flops(base.trunk.config, units=n, context=n) for n in lengths) / max(1, len(lengths))


def currency(truth: Truth, bases: Sequence[str], methods: Sequence[str]) -> str:
    """The machine class in whose CPU seconds all of these cost, or "FLOPs" where they ran on more than one."""
    found = {read.machine for read in truth.reads if read.base in bases}
    found |= {cell.machine for cell in truth.cells if cell.base in bases and cell.method in methods}
    return found.pop() if len(found) == 1 else "FLOPs"


def in_flops(truth: Truth) -> Truth:
    """The same truth with FLOPs over `NOMINAL` in the place of seconds."""
    change = msgspec.structs.replace
    reads = []
    for read in truth.reads:
        ms = 1000 * read.flops_per_row / NOMINAL
        prefixes = [change(one, seconds=one.flops / NOMINAL, ms_per_row=ms) for one in read.prefixes]
        reads.append(change(read, prefixes=prefixes))
    cells = []
    for cell in truth.cells:
        pieces = [change(one, seconds=one.flops / NOMINAL) for one in cell.pieces]
        shared = None if cell.shared is None else change(cell.shared, seconds=cell.shared.flops / NOMINAL)
        cells.append(change(cell, pieces=pieces, shared=shared))
    return change(truth, reads=reads, cells=cells)
