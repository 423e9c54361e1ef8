"""Sets whose answers are written: generation with references, and instructions.

Greedy continuations of "source, line, cue", ended by a stop text; a prompt that is too long loses its beginning.
Metrics: BLEU over the set and ROUGE against the best reference, or the answer itself (`answer_match`): the number
after "####" where the reference has one (GSM8K's "strict match"), else the whole text. An instruction is also scored:
what the base thinks of the output that a person wrote, in bits a byte. Control: the answer to the most similar source
of another split of the set, by TF-IDF. At most MOST_ITEMS rows are asked.
"""

from __future__ import annotations

import math
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from headstart.base.base import Base
from headstart.base.sampling import Sampling
from headstart.evaluate.metrics import METRICS
from headstart.evaluate.suite.cells import Cell, Judged, Role, Sample
from headstart.evaluate.suite.index import SPLITS, SetOnDisk
from headstart.evaluate.suite.items import Item, Line, Row, parsed, read_lines, some_of, text, text_or_none, texts
from headstart.evaluate.suite.protocol import Ask, Protocol
from headstart.evaluate.suite.scoring import mean_of, weigh
from headstart.evaluate.suite.specs import TaskSpec
from headstart.ground.errors import DataError
from headstart.prompt.engine import Engine, Request

NUMBER = re.compile(r"#### (-?[0-9.,]+)")  # as lm-evaluation-harness' strict match reads it
LAYOUTS = (("question", "answer"), ("source", "targets"), ("query", "target"))
MOST_ITEMS = 500  # writing an item takes a hundred times as long as scoring one
SCORED_CHARACTERS = 800  # of a long output, so that bases with 512 positions can be asked
OVERLAPS = ("bleu", "rouge1", "rouge2", "rouge_l")


@dataclass(frozen=True, slots=True)
class Demand:
    """A text to write. id: line of the file. rule: how reference and answer are compared, where not by the metric."""

    id: int
    prompt: str
    references: tuple[str, ...]
    rule: Callable[[str, str], tuple[str, str, dict[str, float]]] | None = None


@dataclass(frozen=True, slots=True)
class Demands:
    """A set: what to write, and solved examples of another split that a control may copy from."""

    items: tuple[Demand, ...]
    solved: tuple[Demand, ...]


class WritingProtocol(Protocol[Demands]):
    """Texts that are written from left to right."""

    methods = ("zero-shot",)
    twin_items = 100

    @abstractmethod
    def demands(self, found: SetOnDisk, split: str, *, limit: int | None) -> tuple[Demand, ...]:
        """The rows of a split."""

    def read(self, found: SetOnDisk, *, limit: int | None) -> Demands:
        other = next((split for split in SPLITS if split in found.files and split != found.test), None)
        solved = () if other is None else self.demands(found, other, limit=None)
        most = MOST_ITEMS if limit is None else min(limit, MOST_ITEMS)
        return Demands(self.demands(found, found.test, limit=most), solved)

    def size(self, rows: Demands) -> int:
        return len(rows.items)

    def can(self, base: Base) -> bool:
        return "causal" in base.score_patterns

    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        return ("tfidf",) if len(found.files) > 1 else ()

    def control(self, role: Role, rows: Demands, spec: TaskSpec) -> tuple[Cell, list[Sample]]:
        begin = time.perf_counter()
        samples = [sample_of(one, copied, spec) for one, copied in zip(rows.items, nearest(rows), strict=True)]
        return cell_of("tfidf", spec, rows, 1000 * (time.perf_counter() - begin) / len(rows.items)), samples

    def run(self, base: Base, rows: Demands, spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        mine, wording = ask.mine(rows.items), spec.wording
        most = min(wording.max_tokens, base.text_codec.max_positions // 2)
        requests = [Request(one.prompt, Sampling(max_tokens=most), stop=wording.stop, truncate=True) for one in mine]
        begin = time.perf_counter()
        answers = Engine(base).answers(requests)
        ms_per_row = 1000 * (time.perf_counter() - begin) / len(mine)
        samples = [
            msgspec.structs.replace(sample_of(one, answer.text, spec), units=[list(answer.prompt)])
            for one, answer in zip(mine, answers, strict=True)
        ]
        return cell_of("zero-shot", spec, rows, ms_per_row), samples

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        if spec.metric == "answer_match":
            further = {name: mean_of(name, runs) for name in runs[0][0].numbers}
            return {"answered": float(np.mean([[bool(s.prediction) for s in run] for run in runs])), **further}
        ones = np.ones((1, len(runs[0])))
        return {name: float(np.mean([overlap_of(name, run, ones) for run in runs])) for name in OVERLAPS}


class GenerationProtocol(WritingProtocol):
    """Sources with one or several right answers."""

    name = "generation"

    def demands(self, found: SetOnDisk, split: str, *, limit: int | None) -> tuple[Demand, ...]:
        lines = read_lines(found, (), limit=limit, split=split)
        columns = next((pair for pair in LAYOUTS if set(pair) <= set(lines[0].cells)), None)
        if columns is None:
            known = "; ".join(" and ".join(pair) for pair in LAYOUTS)
            raise DataError(
                f"{found.spec.name} has the columns {', '.join(lines[0].cells)}; expected {known}. Rename them."
            )
        return tuple(demand(line, columns, found.spec) for line in lines)


class InstructionProtocol(WritingProtocol):
    """Instructions, with or without an input. bits_per_byte: of what a person wrote, given the instruction."""

    name = "instruction"

    def demands(self, found: SetOnDisk, split: str, *, limit: int | None) -> tuple[Demand, ...]:
        lines = read_lines(found, ("instruction", "output"), limit=None, split=split)
        every = [Demand(line.number, *parsed(line, lambda row: instruction(row, found.spec))) for line in lines]
        usable = [one for one in every if one.references[0].strip()]
        if not usable:
            raise DataError(
                f"{found.spec.name} has no output in the {len(every):,} rows of its {split} part; expected texts in "
                "the column output. Write what a person would answer, or leave the set out."
            )
        return tuple(some_of(usable, limit, found.spec.name))

    def run(self, base: Base, rows: Demands, spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        cell, samples = super().run(base, rows, spec, ask)
        mine = ask.mine(rows.items)
        items = [Item(one.id, ((one.prompt, f" {one.references[0][:SCORED_CHARACTERS]}"),), 0) for one in mine]
        weighed, _, ms_per_row = weigh(base, items)
        told = [
            {"nats": one.nats[0], "units": float(one.counts[0]), "bytes": float(len(item.options[0][1].encode()))}
            for item, one in zip(items, weighed, strict=True)
        ]
        cell = msgspec.structs.replace(cell, ms_per_row=cell.ms_per_row + ms_per_row)
        return cell, [msgspec.structs.replace(s, numbers=numbers) for s, numbers in zip(samples, told, strict=True)]

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        found = super().details(cells, runs, spec)
        if not runs[0][0].numbers:
            return found
        nats, units, size = (mean_of(name, runs) for name in ("nats", "units", "bytes"))
        return {**found, "loss": -nats / units, "bits_per_byte": -nats / size / math.log(2)}


def demand(line: Line, columns: tuple[str, str], spec: TaskSpec) -> Demand:
    source, target = columns

    def both(row: Row) -> tuple[str, tuple[str, ...]]:
        lead = "Question: " if source == "question" else ""
        given = row[target]
        return asked(f"{lead}{text(row[source])}", spec), tuple(texts([given] if isinstance(given, str) else given))

    return Demand(line.number, *parsed(line, both))


def instruction(row: Row, spec: TaskSpec) -> tuple[str, tuple[str, ...]]:
    further = text_or_none(row.get("input"))
    given = f"\nInput: {further}" if further else ""
    return asked(f"Instruction: {text(row['instruction'])}{given}", spec), (text_or_none(row["output"]),)


def asked(source: str, spec: TaskSpec) -> str:
    return f"{source.rstrip()}\n{spec.wording.cue}"


def answer_in(written: str) -> str:
    """The number after "####" without thousands' commas; "" where there is none."""
    found = NUMBER.search(written)
    return found.group(1).replace(",", "").rstrip(".") if found else ""


def sample_of(one: Demand, written: str, spec: TaskSpec) -> Sample:
    """A written text, and what of it is compared."""
    if one.rule is not None:
        target, prediction, numbers = one.rule(one.references[0], written)
        return Sample(one.id, one.prompt, target, prediction, numbers=numbers, text=written)
    if spec.metric != "answer_match":
        return Sample(one.id, one.prompt, list(one.references), written.strip())
    numbered = NUMBER.search(one.references[0]) is not None
    target = answer_in(one.references[0]) if numbered else one.references[0].strip()
    return Sample(one.id, one.prompt, target, answer_in(written) if numbered else written.strip(), text=written)


def cell_of(method: str, spec: TaskSpec, whole: Demands, ms_per_row: float) -> Cell:
    metric = "accuracy" if spec.metric == "answer_match" else spec.metric
    notes = [f"{MOST_ITEMS} rows are asked, drawn with a fixed seed"] if len(whole.items) == MOST_ITEMS else []
    return Cell(metric, method, [], 0.0, {"test": len(whole.items)}, notes, ms_per_row=ms_per_row)


def nearest(rows: Demands) -> list[str]:
    """For every item the first reference of the most similar solved one."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    known = model.fit_transform([one.prompt for one in rows.solved])
    found: list[str] = []
    for start in range(0, len(rows.items), 500):  # rows of a dense (500, solved) matrix at once
        chunk: Any = model.transform([one.prompt for one in rows.items[start : start + 500]])
        best = np.asarray((chunk @ known.T).toarray()).argmax(axis=1)
        found += [rows.solved[place].references[0] for place in best.tolist()]
    return found


def overlap_of(name: str, run: Sequence[Judged], ones: Any) -> float:
    """BLEU or ROUGE of one run."""
    metric = METRICS[name]
    statistics = metric.statistics([s.target for s in run], [s.prediction for s in run], [])
    return float(metric.resample(statistics, ones)[0])
