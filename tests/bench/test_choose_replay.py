"""Replaying policies: a budget is charged by what was recorded, and the search finds what single orders miss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bench.choose_replay import Table, choose, curves, in_order
from tests.train.tiny_base import toy_task

from headstart.base.facts import BaseFacts
from headstart.choose.work import Looked

LEVELS = {"small": 0.80, "big": 0.60, "other": 0.55}
PARAMS = {"small": 10_000_000, "big": 100_000_000, "other": 30_000_000}
GAIN = {"probe": 0.0, "lora": 0.04, "full": 0.06}
COST = {"probe": 2.0, "lora": 40.0, "full": 60.0}


def piece(value: float, share: float, seconds: float) -> dict[str, Any]:
    stopped = "done" if share == 1.0 else "paused"
    return {
        **{"value": value, "share": share, "seconds": seconds * share, "params_trained": 1, "truncated": 0},
        **{"epochs": 3 * share, "stopped": stopped, "settings": {"epochs": 3}, "predictions": [], "saved": None},
    }


@pytest.fixture
def table() -> Table:
    task = toy_task()
    train = task.train.subset([row % len(task.train) for row in range(1000)])
    found = Table(replace(task, train=train))
    for name, level in LEVELS.items():
        params = PARAMS[name]
        facts = BaseFacts(name, name, "bert", "text", params, params * 4e-6, "mit", True, [])
        estimates = dict.fromkeys(("h_score", "logme", "neighbours", "probe_last", "probe_mean", "probe_best"), level)
        points = [{"labels": n, "value": level - 10 / n} for n in (100, 200, 400, 800)]
        reading = {"rows": 800, "units": 800, "seconds": 1.0, "ms_per_row": 1.0, "curve": points}
        found.add_base(name, Looked(facts, 1.0), {**reading, "estimates": {**estimates, "best_layer": 0}})
        for method, gain in GAIN.items():
            shares = (1.0,) if method == "probe" else (1 / 9, 1 / 3, 1.0)
            pieces = [piece(level + gain - 0.05 * (1 - s), s, COST[method]) for s in shares]
            found.add(name, method, 0, {"pieces": pieces, "test": level + gain})
    return found


def test_the_search_takes_the_best_and_pays_less_than_all(table: Table) -> None:
    whole = sum(table.seconds(b, m) for b in LEVELS for m in GAIN)
    pair, spent = choose(table, list(LEVELS), list(GAIN), 0.5 * whole, 0)
    assert pair == ("small", "full")
    assert spent <= 0.5 * whole


def test_an_order_is_cut_where_the_time_ends(table: Table) -> None:
    order = [("big", "full"), ("small", "full"), ("small", "probe")]
    assert in_order(table, order, 61.0) == (("big", "full"), 60.0)
    assert in_order(table, order, 62.0) == (("small", "probe"), 62.0)
    assert in_order(table, order, 1000.0)[0] == ("small", "full")


def test_rows_are_given_for_every_policy_and_budget(table: Table) -> None:
    rows = curves([table], methods=list(GAIN), resamples=2)
    assert len(rows) == 15
    by = {(row["policy"], row["budget"]): row for row in rows}
    assert by["choose", 0.5]["regret"] <= by["size order", 0.5]["regret"]
    assert all(row["regret"] >= -1e-9 and row["cases"] == 2 for row in rows)
