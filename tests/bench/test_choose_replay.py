"""Replaying policies: a budget is charged by what was recorded, and nothing unpaid is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from bench.choose_replay import (
    Clock,
    Table,
    _answer,
    choose,
    curves,
    equal_sizes,
    in_order,
    larger,
    policies,
    taus,
    weighted_tau,
)
from bench.choose_truth import Cell, Piece, Prefix, Read, Truth
from bench.foretold import summary
from tests.train.tiny_base import toy_task

from headstart.base.facts import BaseFacts
from headstart.choose.reading import CurvePoint, Estimates
from headstart.choose.work import Read as ReadJob
from headstart.choose.work import Train, read_task
from headstart.choose.work import train as train_job
from headstart.ground.fanout import Done
from headstart.train.methods import FitSettings

LEVELS = {"small": 0.80, "big": 0.60, "other": 0.55}
PARAMS = {"small": 10_000_000, "big": 100_000_000, "other": 30_000_000}
GAIN = {"probe": 0.0, "lora": 0.04, "full": 0.06}
COST = {"probe": 2.0, "lora": 40.0, "full": 60.0}
ROWS = (100, 200, 400, 800)


def read_of(name: str, level: float, *, later: float = 0.0) -> Read:
    """later: added to what every prefix but the first tells."""
    params = PARAMS.get(name, 20_000_000)
    facts = BaseFacts(name, name, "bert", "text", params, params * 4e-6, "mit", True, [])
    values = [level - 10 / rows + (later if rows > ROWS[0] else 0.0) for rows in ROWS]
    prefixes = [
        Prefix(rows, rows, rows / 800, rows * 1e7, 1.0, Estimates(*[value] * 6, 0))
        for rows, value in zip(ROWS, values, strict=True)
    ]
    curve = [CurvePoint(rows, value) for rows, value in zip(ROWS, values, strict=True)]
    return Read(name, 32, False, name, facts, 1e7, prefixes, curve, "one", "code")


def cell_of(name: str, method: str, level: float, *, machine: str = "one") -> Cell:
    shares = (1.0,) if method == "probe" else (1 / 9, 1 / 3, 1.0)
    pieces = [
        Piece(s, level + GAIN[method] - 0.05 * (1 - s), 3 * s, s * COST[method], s * COST[method] * 1e9) for s in shares
    ]
    return Cell(name, method, 0, level + GAIN[method], "done", pieces, machine, "code")


def truth_of(levels: dict[str, float], **changes: Any) -> Truth:
    reads = [read_of(name, level, **changes) for name, level in levels.items()]
    cells = [cell_of(name, method, level) for name, level in levels.items() for method in GAIN]
    return Truth("toy", (1000, 32, 32), "0" * 64, "accuracy", 3, reads, cells)


def table_of(truth: Truth) -> Table:
    task = toy_task()
    train = task.train.subset([row % len(task.train) for row in range(1000)])
    return Table.of(replace(task, train=train), truth, bases=[r.base for r in truth.reads], methods=list(GAIN))


@pytest.fixture
def table() -> Table:
    return table_of(truth_of(LEVELS))


def test_the_search_takes_the_best_and_pays_less_than_all(table: Table) -> None:
    whole = sum(table.cost(b, m) for b in LEVELS for m in GAIN)
    found = choose(table, list(LEVELS), list(GAIN), 0.5 * whole, 0)
    assert found.pair == ("small", "full")
    assert found.spent <= 0.5 * whole


@pytest.mark.parametrize(("seconds", "place"), [(0.01, 0), (0.3, 1), (0.6, 2), (5.0, 3)])
def test_a_reading_that_is_cut_is_charged_and_used_up_to_where_it_was_cut(
    seconds: float, place: int, table: Table
) -> None:
    clock = Clock(100.0)
    found = _answer(
        table, read_task, msgspec.to_builtins(ReadJob("small", "", "accuracy", FitSettings(), seconds, "")), clock
    )
    assert isinstance(found, Done)
    at = table.read("small").prefixes[place]
    assert clock.spent == at.seconds
    assert found.value["rows"] == at.rows == ROWS[place]
    assert found.value["estimates"] == msgspec.to_builtins(at.estimates)
    assert [point["labels"] for point in found.value["curve"]] == list(ROWS[: place + 1])


def test_a_reading_is_that_of_as_many_held_out_rows_as_were_asked_for() -> None:
    truth = truth_of(LEVELS)
    quick = msgspec.structs.replace(
        truth.reads[0],
        held_out=16,
        prefixes=[msgspec.structs.replace(one, seconds=one.seconds / 2) for one in truth.reads[0].prefixes],
    )
    truth.reads.append(quick)
    table = table_of(truth)
    assert table.bases == list(LEVELS)
    told = {}
    for asked in (8, 16, 31, 32, 500):
        job = ReadJob("small", "", "accuracy", FitSettings(), 5.0, "", held_out=asked)
        clock = Clock(100.0)
        answered = _answer(table, read_task, msgspec.to_builtins(job), clock)
        assert isinstance(answered, Done)
        told[asked] = answered.value["held_out"], clock.spent
    assert told == {8: (16, 0.5), 16: (16, 0.5), 31: (16, 0.5), 32: (32, 1.0), 500: (32, 1.0)}
    assert table.reading(list(LEVELS), 99.0) == (3, 2.5), "orders by a score hold out the fewest"


def test_a_probe_costs_what_is_left_of_it_where_a_reading_left_it_features() -> None:
    truth = truth_of(LEVELS)
    shared = msgspec.structs.replace(truth.cells[0].pieces[0], seconds=0.5)
    truth.cells[0] = msgspec.structs.replace(truth.cells[0], shared=shared)
    spent = []
    for features, held_out in ((None, 32), ("left.features", 32), ("left.features", 16)):
        job = Train("small", "", "probe", 0, FitSettings(), "accuracy", "", features=features)
        clock = Clock(100.0)
        clock.read["small"] = msgspec.structs.replace(truth.reads[0], held_out=held_out)
        assert isinstance(_answer(table_of(truth), train_job, msgspec.to_builtins(job), clock), Done)
        spent.append(clock.spent)
    assert spent == [COST["probe"], 0.5, 0.5 + 32 * 1.0 / 1000], "and what validation rows the reading left unread"


def test_a_search_is_charged_for_shared_features_where_a_reading_left_them() -> None:
    spent = {}
    for leaves in (False, True):
        truth = truth_of(LEVELS)
        truth.reads = [msgspec.structs.replace(one, leaves=leaves) for one in truth.reads]
        for place, one in enumerate(truth.cells):
            if one.method == "probe":
                shared = msgspec.structs.replace(one.pieces[0], seconds=0.1)
                truth.cells[place] = msgspec.structs.replace(one, shared=shared)
        spent[leaves] = choose(table_of(truth), list(LEVELS), ["probe"], 1e4, 0).spent
    number = (spent[False] - spent[True]) / (COST["probe"] - 0.1)
    assert number == pytest.approx(round(number))
    assert 1 <= number <= 3


def test_what_a_larger_base_would_add_stands_beside_what_it_adds() -> None:
    truth = truth_of(LEVELS)
    reads = [msgspec.structs.replace(one, held_out=500) for one in truth.reads]
    table = table_of(msgspec.structs.replace(truth, rows=(1000, 500, 32), reads=reads))
    many = [row % 32 for row in range(500)]
    table = replace(table, task=replace(table.task, validation=table.task.validation.subset(many)))
    found = larger([table], methods=list(GAIN), resamples=6)[0.5]
    assert found, "draws of two bases hold a larger one"
    pairs = {name: [LEVELS[name] + more for more in GAIN.values()] for name in LEVELS}
    possible = {
        round(value - mine, 6)
        for small, large in (("small", "other"), ("small", "big"), ("other", "big"))
        for value in pairs[large]
        for mine in pairs[small]
    }
    assert {round(one.happened, 6) for one in found} <= possible
    assert summary(found).off < summary(found).nothing


def test_what_was_not_paid_for_changes_nothing() -> None:
    """Another truth after the first 100 rows, and a budget of which no share holds a second stretch."""
    told, other = (
        choose(table_of(truth_of(LEVELS, later=later)), list(LEVELS), list(GAIN), 1.7, 0) for later in (0.0, -0.4)
    )
    assert told.found is not None
    assert [reading.rows for reading in told.found.readings] == [100, 100, 100]
    assert told == other


def test_an_order_is_cut_where_the_time_ends(table: Table) -> None:
    order = [("big", "full"), ("small", "full"), ("small", "probe")]
    cut = [in_order(table, order, seconds) for seconds in (61.0, 62.0)]
    assert [(one.pair, one.spent) for one in cut] == [(("big", "full"), 60.0), (("small", "probe"), 62.0)]
    assert in_order(table, order, 1000.0).pair == ("small", "full")
    none = in_order(table, order, 1.0)
    assert (none.pair, none.spent) == (("small", "probe"), 2.0), "none fits: the cheapest"


def test_scores_are_of_the_rows_that_their_part_of_the_budget_holds() -> None:
    table = table_of(truth_of(LEVELS))
    assert table.reading(list(LEVELS), 0.1) == (0, 3 * 0.125), "the first rows whatever it is"
    assert table.reading(list(LEVELS), 1.6) == (2, 1.5)
    assert table.reading(list(LEVELS), 100.0) == (3, 3.0)
    reads = [msgspec.structs.replace(read_of("small", 0.8), prefixes=read_of("small", 0.2).prefixes[:1])]
    lured = truth_of(LEVELS)
    late = reads[0].prefixes + lured.reads[0].prefixes[1:]
    lured.reads[0] = msgspec.structs.replace(lured.reads[0], prefixes=late)
    short, long = (policies(table_of(lured), list(LEVELS), list(GAIN), s, 0)["H-score top-1"].pair for s in (2.0, 70.0))
    assert (short[0], long[0]) == ("big", "small"), "a score that misleads on the first rows does so at a small budget"


def test_scores_pay_for_their_reading_and_top_1_trains_one_base(table: Table) -> None:
    told = policies(table, list(LEVELS), list(GAIN), 70.0, 0)
    for name in ("H-score", "LogME", "kNN"):
        assert (told[f"{name} top-1"].pair, told[f"{name} top-1"].spent) == (("small", "full"), 3.0 + 60.0 + 2.0)
        assert told[f"{name} order"].spent <= 70.0
    ranker = policies(table, list(LEVELS), list(GAIN), 5.0, 0)["transformer-ranker's rule"]
    assert (ranker.pair, ranker.spent) == (("small", "full"), 3.0 + 60.0), "a point: it knows no budget"


def test_rows_are_given_for_every_policy_and_budget(table: Table) -> None:
    rows = curves([table], methods=list(GAIN), resamples=2)
    assert len(rows) == 11 * 3
    by = {(row["policy"], row["budget"]): row for row in rows}
    assert by["choose", 0.5]["regret"] <= by["size order", 0.5]["regret"]
    assert all(row["regret"] >= -1e-9 and row["cases"] == 2 for row in rows)


def test_only_bases_of_equal_size_are_ordered_against_each_other() -> None:
    levels = {"a": 0.5, "b": 0.6, "c": 0.7, "small": 0.8, "big": 0.9}
    table = table_of(truth_of(levels))
    assert equal_sizes(table) == [["a", "b", "c"]]
    found = {row["score"]: row for row in taus([table], methods=list(GAIN))}
    assert found["H-score"]["groups"] == 3, "one a method"
    assert [found[name]["tau"] for name in ("H-score", "LogME", "kNN", "choose at 50%")] == pytest.approx([1.0] * 4)


def test_weighted_tau_is_worse_for_a_mistake_at_the_top() -> None:
    true = [4.0, 3.0, 2.0, 1.0]
    assert weighted_tau(true, true) == pytest.approx(1.0)
    assert weighted_tau(true[::-1], true) == pytest.approx(-1.0)
    assert weighted_tau([3.0, 4.0, 2.0, 1.0], true) < weighted_tau([4.0, 3.0, 1.0, 2.0], true)
    assert weighted_tau([1.0] * 4, true) == 0.0
