"""Golden scores: what fixed answers score on every public set. A change of one needs a new version of its spec.

Likelihood sets are answered by a scorer that knows nothing but the letters, which goes through the readers, the rule of
ties and bytes, and the averages; written answers are right or a neighbour's; labelled sets get the majority of their
train rows, which goes through splits and leakage. The version stands in the table: raise both together, and say in the
notebook what changed.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from headstart.evaluate.suite import cloze, stereotypes, writing
from headstart.evaluate.suite.adapting import AdaptProtocol, read_task
from headstart.evaluate.suite.cells import Cell, Judged, Sample, Side
from headstart.evaluate.suite.index import SetOnDisk, find_sets
from headstart.evaluate.suite.items import Item
from headstart.evaluate.suite.protocols import protocol_of
from headstart.evaluate.suite.scoring import cell_of, sample_of
from headstart.evaluate.suite.specs import KNOWN
from headstart.evaluate.suite.standings import scored

BY_LETTERS = {  # set: (version, score)
    "copa": (1, 0.6),
    "winograd_wsc273": (1, 0.501832),
    "bigbench_a": (1, 0.285156),
    "truthfulqa": (2, 0.19951),
    "piqa": (1, 0.515778),
    "arc_easy": (1, 0.250842),
    "boolq": (1, 0.418349),
    "crows_pairs": (1, 0.571618),
    "hellaswag": (1, 0.242183),
    "blimp": (1, 0.497657),
}
BY_FIXED_ANSWERS = {  # set: (version, score, further numbers)
    "lambada": (1, 0.333204, {"perplexity": 4.222399}),
    "stereoset_intra": (1, 0.328249, {"ss": 0.480071, "lms": 0.341875}),
    "winobias": (1, 0.485934, {"difference": -2.8e-05, "ties": 0.0}),
    "gsm8k": (1, 0.506, {"answered": 1.0}),  # written sets: at most 500 items
    "e2e_nlg": (1, 0.689019, {"bleu": 0.689019, "rouge1": 0.810504, "rouge2": 0.675559, "rouge_l": 0.73488}),
    "dialogsum": (1, 0.583226, {"bleu": 0.567844, "rouge1": 0.601981, "rouge2": 0.51082, "rouge_l": 0.583226}),
    "instructions": (1, 0.522845, {"bleu": 0.495931, "rouge1": 0.527522, "rouge2": 0.428819, "rouge_l": 0.522845}),
}
BY_MAJORITY = {  # set: (version, score, test rows)
    "trec6": (1, 0.188, 500),
    "rte": (1, 0.527076, 277),
    "nlupp_banking": (2, 0.12766, 204),
    "mrpc": (1, 0.664928, 1725),
    "banking77": (1, 0.012987, 3080),
    "cola": (1, 0.0, 1043),
    "stsb": (1, 0.0, 1379),
    "ag_news": (1, 0.25, 7600),
    "subj": (1, 0.483, 1000),
    "conll2000_chunk": (1, 0.715981, 2012),
    "ud_ewt_pos": (1, 0.859528, 2077),
    "sst2": (1, 0.499176, 1821),
    "fashion_mnist": (1, 0.1, 10000),
    "mnist": (1, 0.098, 10000),
    "cifar10": (1, 0.1, 10000),
    "sign_digits": (1, 0.100478, 418),
    "fsdd": (1, 0.1, 300),
    "ts_italy_power": (1, 0.498542, 1029),
    "ts_gunpoint": (1, 0.493333, 150),
    "ts_arrowhead": (1, 0.394286, 175),
    "ts_ecg200": (1, 0.64, 100),
    "ts_synthetic_control": (1, 0.166667, 300),
    "ts_basic_motions": (1, 0.25, 40),
    "ts_japanese_vowels": (1, 0.083784, 370),
}


def find(shared: Path, name: str) -> SetOnDisk:
    return find_sets(shared / "tasks", suite="all", tasks=(name,))[0][0]


def value(found: SetOnDisk, cell: Cell, samples: list[Sample]) -> float:
    return scored(found, Side("majority", "fixed"), [([cell], judged(samples))]).evidence.value()


def judged(samples: list[Sample]) -> list[Judged]:
    return [Judged(s.target, s.prediction, s.rules, s.numbers, s.average, s.cluster) for s in samples]


def letters(text: str) -> float:
    """Any number that depends on every letter."""
    return -float(sum(place % 7 * ord(letter) for place, letter in enumerate(text, 1)))


def by_letters(found: SetOnDisk) -> float:
    rows = protocol_of(found.spec).read(found, limit=None)
    items = [row if isinstance(row, Item) else row[0] for row in rows]
    samples = [sample_of(item, [letters("".join(option)) for option in item.options], found.spec, []) for item in items]
    return value(found, cell_of("letters", found.spec, items, 0.0), samples)


def fixed_answers(found: SetOnDisk) -> tuple[float, dict[str, float]]:
    """(the score, further numbers) of answers that depend on nothing but the letters of an item."""
    protocol, spec = protocol_of(found.spec), found.spec
    rows = protocol.read(found, limit=None)
    if spec.protocol in ("generation", "instruction"):  # every second answer is right, the others belong to a neighbour
        told = [one.references[0] for one in rows.items]
        samples = [writing.sample_of(one, told[place - place % 2], spec) for place, one in enumerate(rows.items)]
        cell = writing.cell_of("fixed", spec, rows, 0.0)
    else:
        scores = [[letters("".join(option)) for option in item.options] for item in rows]
        if spec.protocol == "cloze":
            samples = [
                msgspec.structs.replace(cloze.written(item, one[0] % 3 == 0), numbers={"nats": one[0] / 1e5})
                for item, one in zip(rows, scores, strict=True)
            ]
            cell = cloze.gap_cell("fixed", rows, 0.0)
        elif spec.protocol == "triples":
            samples = [stereotypes.judged(item, one, []) for item, one in zip(rows, scores, strict=True)]
            cell = Cell("icat", "fixed", [], 0.5, {})
        else:
            samples = [
                msgspec.structs.replace(sample_of(item, one, spec, []), numbers={"nats": (one[0] - one[1]) / 1e5})
                for item, one in zip(rows, scores, strict=True)
            ]
            cell = cell_of("fixed", spec, rows, 0.0)
    return value(found, cell, samples), protocol.details([cell], [judged(samples)], spec)


def by_majority(found: SetOnDisk) -> tuple[float, int]:
    cell, samples = AdaptProtocol().control("majority", read_task(found, limit=None), found.spec)
    return value(found, cell, samples), len(samples)


def test_every_known_set_has_a_golden_score() -> None:
    assert {*BY_LETTERS, *BY_FIXED_ANSWERS, *BY_MAJORITY} == {*KNOWN}
    assert {name: known.version for name, known in KNOWN.items()} == {
        **{name: version for name, (version, _) in BY_LETTERS.items()},
        **{name: version for name, (version, _, _) in BY_FIXED_ANSWERS.items()},
        **{name: version for name, (version, _, _) in BY_MAJORITY.items()},
    }


@pytest.mark.parametrize("name", BY_LETTERS)
def test_likelihood_sets_score_as_ever(name: str, shared: Path) -> None:
    found = find(shared, name)
    version, golden = BY_LETTERS[name]
    assert (found.spec.version, by_letters(found)) == (version, pytest.approx(golden, abs=5e-7))


@pytest.mark.parametrize("name", BY_FIXED_ANSWERS)
def test_written_and_weighed_sets_score_as_ever(name: str, shared: Path) -> None:
    found = find(shared, name)
    version, golden, further = BY_FIXED_ANSWERS[name]
    score, details = fixed_answers(found)
    details.pop("filled", None)
    assert (found.spec.version, score) == (version, pytest.approx(golden, abs=5e-7))
    assert details == pytest.approx(further, abs=5e-7)


@pytest.mark.parametrize("name", BY_MAJORITY)
def test_labelled_sets_score_as_ever(name: str, shared: Path) -> None:
    found = find(shared, name)
    score, rows = by_majority(found)
    version, golden, golden_rows = BY_MAJORITY[name]
    assert (found.spec.version, score, rows) == (version, pytest.approx(golden, abs=5e-7), golden_rows)
