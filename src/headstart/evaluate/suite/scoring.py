"""The protocols by likelihood: which option of an item does a base find likeliest, without any training?

Enter: items, and a base, its random twin or a control. Leave: a `Cell` and its samples. accuracy takes the sums of
log-probabilities, accuracy_norm divides them by the continuation's UTF-8 bytes,
accuracy_characters by its characters; pairs are compared by sums. Two options
with the same highest score are a wrong answer: nothing was told apart. A context that does not fit loses its beginning,
as in lm-evaluation-harness, and the items this happened to are counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import msgspec
import numpy as np

from headstart.base.base import Base
from headstart.base.scoring import read_asked
from headstart.evaluate.metrics import Floats
from headstart.evaluate.suite.cells import Cell, Judged, Role, Sample
from headstart.evaluate.suite.index import SetOnDisk
from headstart.evaluate.suite.items import (
    COLUMNS,
    READERS,
    Item,
    as_item,
    group_drawn,
    guess_of,
    read_items,
    weights_of,
)
from headstart.evaluate.suite.protocol import Ask, Protocol
from headstart.evaluate.suite.shots import read_shown
from headstart.evaluate.suite.specs import Method, TaskSpec
from headstart.ground.batch import Pattern
from headstart.ground.errors import CapabilityError, DataError

READING: dict[Pattern, str] = {"causal": "", "full": " masked"}  # what follows the method's name
RULES = ("accuracy", "accuracy_norm", "accuracy_characters")  # in the order of a sample's rules
NO_PLACE = -1  # the prediction of a tie


class ItemsProtocol(Protocol[list[Item]]):
    """Items whose continuations a base finds more or less likely."""

    methods: ClassVar[tuple[Method, ...]] = ("zero-shot",)

    def size(self, rows: list[Item]) -> int:
        return len(rows)

    def groups(self, rows: list[Item]) -> Sequence[str]:
        return [group_drawn(item) for item in rows]

    def can(self, base: Base) -> bool:
        return bool(base.score_patterns)


class OptionsProtocol(ItemsProtocol):
    """Items with options, of which a base finds one the likeliest."""

    def read(self, found: SetOnDisk, *, limit: int | None) -> list[Item]:
        return read_items(found, limit=limit)

    def control(self, role: Role, rows: list[Item], spec: TaskSpec) -> tuple[Cell, list[Sample]]:
        return constant(rows, spec) if role == "majority" else overlap(rows, spec)

    def run(self, base: Base, rows: list[Item], spec: TaskSpec, ask: Ask) -> tuple[Cell, list[Sample]]:
        return score(base, ask.mine(rows), spec, rows, ask.method)

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        """The shares of ties and of items that filled all positions."""
        ties = np.mean([[s.prediction == NO_PLACE for s in run] for run in runs])
        return {"ties": float(ties), **share_filled(cells, runs)}


class ChoicesProtocol(OptionsProtocol):
    """Options that follow a context: also told by both rules, by sums and by scores a byte."""

    name = "choices"
    methods = ("zero-shot", "few-shot")
    by_chance = frozenset(("few-shot",))
    demonstrates = True

    def shown(self, found: SetOnDisk, *, limit: int | None, shots: int, seed: int) -> list[Item]:
        kind, spec = found.spec.kind.name, found.spec
        solve = partial(as_item, reader=READERS[kind], spec=spec)
        return read_shown(found, COLUMNS[kind], solve, limit=limit, shots=shots, seed=seed)

    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        return ("majority", "tfidf") if found.spec.kind.constant else ("tfidf",)

    def details(self, cells: Sequence[Cell], runs: Sequence[Sequence[Judged]], spec: TaskSpec) -> dict[str, float]:
        return {**by_rules(runs, averaged=spec.average is not None), **super().details(cells, runs, spec)}


class PairsProtocol(OptionsProtocol):
    """Two sentences, of which one is preferred."""

    name = "pairs"

    def controls(self, found: SetOnDisk) -> tuple[Role, ...]:
        return ()


def by_rules(runs: Sequence[Sequence[Judged]], *, averaged: bool) -> dict[str, float]:
    """Accuracy by sums and by scores a byte, whichever of them the leaderboard shows; groups weigh the same."""
    if not runs[0][0].rules:
        return {}
    weights = weights_of([s.average for s in runs[0]], averaged=averaged)
    right = np.asarray([[[s.target == place for place in s.rules] for s in run] for run in runs])
    shares = (right * weights[None, :, None]).sum(axis=(0, 1)) / (len(runs) * weights.sum())
    return dict(zip(RULES, shares.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a base thinks of one item's options.

    nats: of every continuation. likeliest: whether the base would have written it. units: ids as read. counts: how many
    of them are the continuation's.
    """

    nats: list[float]
    likeliest: list[bool]
    units: list[list[int]]
    counts: list[int]


def weigh(base: Base, items: Sequence[Item], method: Method = "zero-shot") -> tuple[list[Weighed], str, float]:
    """(every item weighed, the method as it is told, milliseconds an item): from left to right where the base can, else
    with every unit hidden once. What items and options share at their beginning is read once.

    Raises:
        CapabilityError: the base has no language-model head.
    """
    pattern = pattern_of(base)
    flat = [option for item in items for option in item.options]
    contexts, continuations = ([option[side] for option in flat] for side in (0, 1))
    begin = time.perf_counter()
    told = base.likelihoods(contexts, continuations, pattern=pattern, truncate=True)
    seconds = time.perf_counter() - begin
    asked = read_asked(base.text_codec, contexts, continuations, closed=pattern == "full", truncate=True)
    found, place = [], 0
    for item in items:
        mine = slice(place, place + len(item.options))
        found.append(
            Weighed(
                told.nats[mine].tolist(),
                told.likeliest[mine].tolist(),
                [one.ids.tolist() for one in asked[mine]],
                [one.stop - one.start for one in asked[mine]],
            )
        )
        place += len(item.options)
    return found, f"{method}{READING[pattern]}", 1000 * seconds / max(1, len(items))


def score(
    base: Base, items: Sequence[Item], spec: TaskSpec, whole: Sequence[Item], method: Method = "zero-shot"
) -> tuple[Cell, list[Sample]]:
    """A base on some of the `whole` items.

    Raises:
        CapabilityError: the base has no language-model head.
    """
    weighed, told, ms_per_row = weigh(base, items, method)
    samples = [sample_of(item, one.nats, spec, one.units) for item, one in zip(items, weighed, strict=True)]
    cell = cell_of(told, spec, whole, ms_per_row)
    return msgspec.structs.replace(cell, filled=filled(samples, base.text_codec.max_positions)), samples


def filled(samples: Sequence[Sample], most: int) -> int:
    """Items with an option that takes all the positions of the base, and so may have lost its beginning."""
    return sum(any(len(units) >= most for units in sample.units) for sample in samples)


def share_filled(cells: Sequence[Cell], runs: Sequence[Sequence[Judged]]) -> dict[str, float]:
    """The share of items that filled all positions."""
    return {"filled": sum(cell.filled for cell in cells) / (len(runs) * len(runs[0]))}


def mean_of(name: str, runs: Sequence[Sequence[Judged]]) -> float:
    """The mean of a number of the samples."""
    return float(np.mean([[s.numbers[name] for s in run] for run in runs]))


def pattern_of(base: Base) -> Pattern:
    if not base.score_patterns:
        raise CapabilityError(
            f"{base.name} has no language-model head; expected one to score options with. Evaluate it on --suite adapt."
        )
    return base.score_patterns[0]


def constant(items: Sequence[Item], spec: TaskSpec) -> tuple[Cell, list[Sample]]:
    """Always the place that is right most often among these very items: the best that a constant answer can do."""
    best = Counter(item.answer for item in items).most_common()
    place = min(answer for answer, count in best if count == best[0][1])
    samples = [bare(item, place if place < len(item.options) else NO_PLACE) for item in items]
    return cell_of("majority", spec, items, 0.0), samples


def overlap(items: Sequence[Item], spec: TaskSpec) -> tuple[Cell, list[Sample]]:
    """The option whose continuation shares most with its context, by TF-IDF over the set's own texts; no labels."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    begin = time.perf_counter()
    flat = [option for item in items for option in item.options]
    model = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    told = [text for option in flat for text in option]
    if not any(text.strip() for text in told):
        raise DataError(
            f"the questions and options of {spec.name} are white space alone; expected words to compare. Mend its rows."
        )
    model.fit(told)
    contexts, continuations = (model.transform([option[side] for option in flat]) for side in (0, 1))
    shared = np.asarray(contexts.multiply(continuations).sum(axis=1)).ravel()
    samples, place = [], 0
    for item in items:
        mine = shared[place : place + len(item.options)]
        samples.append(bare(item, int(mine.argmax()), mine.tolist()))  # equal overlaps: the first, as any would do
        place += len(item.options)
    return cell_of("tfidf", spec, items, 1000 * (time.perf_counter() - begin) / len(items)), samples


def cell_of(method: str, spec: TaskSpec, whole: Sequence[Item], ms_per_row: float) -> Cell:
    guess = guess_of(whole, average=spec.average is not None)
    return Cell(
        metric="accuracy", method=method, labels=[], guess=guess, rows={"test": len(whole)}, ms_per_row=ms_per_row
    )


def sample_of(item: Item, nats: Sequence[float], spec: TaskSpec, units: list[list[int]]) -> Sample:
    rules = [likeliest(nats), likeliest(by_bytes(item, nats)), likeliest(by_characters(item, nats))]
    options = [list(option) for option in item.options]
    return Sample(
        item.id,
        options,
        item.answer,
        rules[RULES.index(spec.metric)] if spec.metric in RULES else rules[0],
        scores=list(nats),
        rules=rules if spec.protocol == "choices" else [],
        units=units,
        average=item.average,
        cluster=item.cluster,
    )


def bare(item: Item, prediction: int, scores: Sequence[float] = ()) -> Sample:
    """A control's sample, without units."""
    options = [list(option) for option in item.options]
    return Sample(
        item.id,
        options,
        item.answer,
        prediction,
        scores=list(scores),
        average=item.average,
        cluster=item.cluster,
    )


def by_bytes(item: Item, nats: Sequence[float]) -> Floats:
    """Nats a byte of every continuation, without its leading space as lm-evaluation-harness counts."""
    sizes = [max(1, len(continuation.lstrip().encode())) for _, continuation in item.options]
    per_byte: Floats = np.asarray(nats, dtype=np.float64) / np.asarray(sizes, dtype=np.float64)
    return per_byte


def by_characters(item: Item, nats: Sequence[float]) -> Floats:
    """Nats a character, which lm-evaluation-harness calls acc_norm."""
    sizes = [max(1, len(continuation.lstrip())) for _, continuation in item.options]
    per_character: Floats = np.asarray(nats, dtype=np.float64) / np.asarray(sizes, dtype=np.float64)
    return per_character


def likeliest(scores: Sequence[float] | Floats) -> int:
    """The place of the highest score; NO_PLACE where two share it or a score is no number."""
    values = np.asarray(scores, dtype=np.float64)
    best = np.flatnonzero(values == values.max())
    return int(best[0]) if len(best) == 1 and not np.isnan(values).any() else NO_PLACE
