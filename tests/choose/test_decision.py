"""The decision from findings alone: the candidate it names is the one it is about, and ties go to the cheaper one."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
from tests.choose.test_belief import reading

from headstart.base.facts import BaseFacts
from headstart.base.told import is_permissive
from headstart.choose.belief import hand_set
from headstart.choose.constraints import Constraints, divide, refuse, told_apart
from headstart.choose.decision import CURVE_SD, Decision, decide, labels_gain
from headstart.choose.findings import Findings, Run
from headstart.choose.reading import CurvePoint
from headstart.choose.work import Looked, Trained
from headstart.train.methods import FitSettings


def looked(name: str, source: str, *, ms: float = 5.0, params: int = 10_000_000) -> Looked:
    return Looked(BaseFacts(name, source, "bert", "text", params, 40.0, "mit", True, []), ms)


def ended(base: int, method: str, value: float, *, seed: int = 0, status: str = "done", share: float = 1.0) -> Run:
    piece = Trained(value, share, 1.0, 10, 0, 3.0, status, FitSettings())
    return Run(base, method, seed, [piece])


def decided(bases: list[Looked], runs: list[Run], methods: tuple[str, ...] = ("lora", "full")) -> Decision:
    found = Findings(list(methods), (400, 2_000, 100), 0, hand_set(), metric="accuracy", floor=0.3)
    found.looked = told_apart(bases, {})
    found.readings = [reading(0.6) for _ in bases]
    found.runs = runs
    return decide(found)


def test_two_bases_of_one_name_are_two_candidates() -> None:
    bases = [looked("final", "runs/a/final"), looked("final", "runs/b/final", ms=9.0), looked("other", "other")]
    told = decided(bases, [ended(0, "full", 0.62), ended(1, "full", 0.93)])
    assert told.source == "runs/b/final"
    assert told.best.value == 0.93
    assert told.best.base == told.base == "final (runs/b/final)"
    assert told.sentence.startswith("Take final (runs/b/final) + full: 0.930")
    assert Counter(row.base for row in told.rows)["other"] == 2, "a name of its own stays as it is"


def test_what_was_given_as_a_value_is_told_by_what_it_was_given_as() -> None:
    given = {"/scratch/given-1": "base 2"}
    found = told_apart([looked("final", "final"), looked("final", "/scratch/given-1")], given)
    assert [one.facts.name for one in found] == ["final (final)", "final (base 2)"]


def test_a_base_left_out_is_told_apart_from_its_namesake() -> None:
    named = told_apart([looked("final", "a"), looked("final", "b", ms=9.0), "it is broken"], {})
    kept, out = divide(["a", "b", "c"], named, Constraints(max_ms_per_row=7.0), ["probe"])
    assert [one.facts.name for one in kept] == ["final (a)"]
    assert [one.base for one in out] == ["final (b)", "c"]


def test_of_equals_the_cheaper_is_taken_and_the_others_are_told_by_their_cost() -> None:
    bases = [looked("dear", "dear", ms=9.0), looked("cheap", "cheap", ms=1.0), looked("near", "near", ms=1.2)]
    told = decided(bases, [ended(place, "full", 0.9) for place in range(3)], methods=("full",))
    assert told.base == "cheap"
    assert set(told.tied) == {"dear + full", "near + full"}
    assert "; as good: near + full; as good and dearer: dear + full." in told.sentence


def test_the_better_is_taken_where_the_cheaper_is_clearly_worse() -> None:
    told = decided(
        [looked("dear", "dear", ms=9.0), looked("cheap", "cheap", ms=1.0)],
        [ended(0, "full", 0.95), ended(1, "full", 0.80)],
    )
    assert told.base == "dear"
    assert told.tied == []
    assert "as good" not in told.sentence


def test_what_more_labels_bring_is_no_surer_than_curves_are() -> None:
    """Of a law without noise, judged on very many rows: what is left is which labels are drawn."""
    curve = [CurvePoint(n, 1 - 0.5 * (n / 100) ** -0.3) for n in (100, 200, 400, 800)]
    found = Findings([], (800, 100_000, 0), 0, hand_set(), metric="accuracy", floor=0.3)
    found.readings = [msgspec.structs.replace(reading(0.7), rows=800, curve=curve, held_out=100_000)]
    gain = labels_gain(found, 0)
    assert gain is not None
    errors = [0.5 * (n / 100) ** -0.3 for n in (800, 1600)]
    assert gain.value == pytest.approx(errors[0] - errors[1], abs=0.01)
    least = 2 * 1.645 * CURVE_SD * float(np.hypot(*errors))
    assert 0.9 * least < gain.ci90[1] - gain.ci90[0] < 2 * least


def test_a_mean_over_seeds_is_called_one() -> None:
    told = decided([looked("a", "a")], [ended(0, "full", 0.90), ended(0, "full", 0.94, seed=1)])
    assert "0.920 on validation (the mean of 2 seeds, the best of which is kept)" in told.sentence
    assert told.seed == 1


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("mit", True),
        ("mit and apache-2.0", True),
        ("gpl-3.0 or mit", True),
        ("gpl-3.0 and mit", False),
        ("(mit or apache-2.0)", True),
        ("mit and (isc or apache-2.0)", True),
        ("gpl-3.0 and (mit or apache-2.0)", False),
        ("cc-by-nc-4.0 and (mit or apache-2.0)", False),
        ("gpl-3.0 and(mit or apache-2.0)", False),
        ("(mit or gpl-3.0), gpl-2.0", False),
        ("(mit), isc", True),
        ("mit and (gpl-2.0-or-later or isc)", False),
    ],
)
def test_brackets_make_no_licence_permissive(licence: str, permissive: bool) -> None:
    assert is_permissive(licence) is permissive


def test_memory_is_asked_of_the_methods_that_are_wanted() -> None:
    large, limits = looked("large", "large", params=1_000_000_000), Constraints(memory=16_000_000_000)
    assert refuse(large, limits, ["probe", "full"]) == "full takes about 20.0 GB, and there are 16.0"
    for methods in (["probe"], ["lora", "zero-shot"], ["few-shot"]):
        assert refuse(large, limits, methods) is None
    assert "lora takes about 20.0 GB" in str(refuse(looked("l", "l", params=2_000_000_000), limits, ["probe", "lora"]))
