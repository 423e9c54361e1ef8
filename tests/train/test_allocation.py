"""Plans: they spend the budget, follow the law where there is one, and say so where there is none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from headstart.ground.errors import ConfigError, DataError
from headstart.planning import plan_run
from headstart.train.allocation import allocate, bytes_per_unit, ratio_of
from headstart.train.estimate import estimate
from headstart.train.finished import Run, measured_runs, read_runs
from headstart.train.recipe import Recipe
from headstart.train.scaling import fit
from headstart.train.sizing import recipe_for

BYTES = 3.6


def flops_of(recipe: Recipe) -> float:
    return estimate(recipe).flops


def card(folder: Path, size: str, ratio: float, loss: float, **changes: object) -> None:
    """A headstart.json as `pretrain` leaves it."""
    recipe = recipe_for(size, tokens_per_parameter=ratio).recipe
    tokens = recipe.optimisation.tokens
    results = {
        "curve": [{"units": tokens, "seconds": 1.0, "bits_per_byte": loss, "masked_nats": 5.0}],
        "units": tokens,
        "steps": recipe.num_steps,
        "stopped": "done",
        "corpus": {"units": 1000, "documents": 10, "bytes": round(1000 * BYTES)},
    }
    record = {
        "verb": "pretrain",
        "config": msgspec.to_builtins(recipe),
        "seconds": 10.0,
        "flops": flops_of(recipe),
        "results": results,
        **changes,
    }
    target = folder / f"{size}-{ratio:g}"
    target.mkdir(parents=True)
    (target / "headstart.json").write_text(json.dumps({"schema_version": 1, "name": size, "lineage": [record]}))


def loss(size: str, ratio: float) -> float:
    sized = recipe_for(size, tokens_per_parameter=ratio)
    return 0.57 + 100 / sized.parameters**0.34 + 120 / (BYTES * sized.recipe.optimisation.tokens) ** 0.28


@pytest.fixture
def ladder(tmp_path: Path) -> Path:
    for size in ("300k", "1m", "3m"):
        for ratio in (2.0, 10.0, 50.0):
            card(tmp_path, size, ratio, loss(size, ratio))
    return tmp_path


@pytest.mark.parametrize("budget", [1e14, 1e16, 1e18])
def test_without_a_law_the_budget_is_spent_at_20_tokens_a_parameter(budget: float) -> None:
    plan = allocate(budget, flops_of, speed=2e11)
    assert plan.cost.flops == pytest.approx(budget, rel=0.05)
    assert ratio_of(plan) == pytest.approx(20, rel=0.25)
    assert plan.prediction is None


def test_hours_are_spent_too() -> None:
    speed = 2e11
    plan = allocate(3 * 3600.0, lambda r: estimate(r, speed=speed).seconds or math.inf, speed=speed)
    assert plan.cost.seconds == pytest.approx(3 * 3600, rel=0.05)


def test_a_law_of_size_and_text_is_minimised(ladder: Path) -> None:
    found = read_runs(ladder)
    assert len(found.runs) == 9
    law = fit(found.points)
    assert law.form == "both"
    plan = allocate(1e15, flops_of, speed=None, law=law, runs=found.runs)
    assert plan.prediction is not None
    best = plan.prediction.bits_per_byte
    for size in ("1m", "3m", "11m"):
        ratio = 1.0
        for _ in range(6):
            ratio *= 1e15 / flops_of(recipe_for(size, tokens_per_parameter=ratio).recipe)
        sized = recipe_for(size, tokens_per_parameter=ratio)
        other = law.predict(
            parameters=sized.parameters,
            text_bytes=BYTES * sized.recipe.optimisation.tokens,
            flops=flops_of(sized.recipe),
        )
        assert best <= other.bits_per_byte + 0.005


@pytest.mark.parametrize("budget", [1.0, 1e27])
def test_a_budget_out_of_reach_is_refused(budget: float) -> None:
    with pytest.raises(ConfigError, match="the budget is"):
        allocate(budget, flops_of, speed=None)


def test_runs_are_read_from_their_lineage(ladder: Path) -> None:
    run = next(r for r in read_runs(ladder).runs if r.point.name == "1m-10")
    assert isinstance(run, Run)
    assert run.point.bits_per_byte == pytest.approx(loss("1m", 10.0))
    assert run.point.parameters == recipe_for("1m").parameters
    assert run.bytes_per_unit == pytest.approx(BYTES)
    assert bytes_per_unit(3000, [run]) == pytest.approx(BYTES)


def test_what_is_no_point_is_left_out_and_named(ladder: Path) -> None:
    card(ladder, "1m", 3.0, 2.0, results={"stopped": "asked"})
    card(ladder, "1m", 4.0, 2.0, verb="import")
    card(ladder, "1m", 5.0, 2.0, config={"name": "older"})
    other = msgspec.to_builtins(recipe_for("1m", tokens_per_parameter=6.0).recipe)
    other["mixture"]["causal_share"] = 1.0
    card(ladder, "1m", 6.0, 2.0, config=other)
    found = read_runs(ladder)
    assert len(found.runs) == 9
    assert len(found.left_out) == 4
    assert all(name in " ".join(found.left_out) for name in ("1m-3", "1m-4", "1m-5", "1m-6"))


def test_a_broken_card_and_no_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        read_runs(tmp_path / "none")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "headstart.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_runs(tmp_path)


def test_the_embedded_bases_are_runs() -> None:
    from headstart.base.shipped import EMBEDDED

    found = {run.recipe.name: run for run in read_runs(EMBEDDED).runs}
    if not found:
        pytest.skip("the embedded bases are not in this checkout")
    for name, bits in {"text-small": 1.3135, "text-tiny": 1.5026}.items():
        assert found[name].point.bits_per_byte == pytest.approx(bits, abs=1e-3)
        assert estimate(found[name].recipe).flops == pytest.approx(found[name].point.flops, rel=0.01)


def test_our_own_runs_foretell_the_largest_of_them() -> None:
    runs = {run.point.name: run.point for run in measured_runs().runs}
    assert {"200k", "300k", "500k", "1m", "text-tiny", "text-small"} == set(runs)
    largest = runs.pop("text-small")
    foretold = fit(list(runs.values())).predict(
        parameters=largest.parameters, text_bytes=largest.text_bytes, flops=largest.flops
    )
    assert foretold.low <= largest.bits_per_byte <= foretold.high
    assert foretold.high - foretold.low <= 0.3  # 12 times the compute of the next one


def test_the_verb_says_what_it_knows(ladder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_run(flops=1e16, hours=None, runs=None, json=False) == 0
    printed = capsys.readouterr().out
    assert "the law is of Headstart's own runs" in printed
    assert "not predicted" not in printed
    assert plan_run(flops=None, hours=0.05, runs=ladder, json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["predicted"]["low"] <= facts["predicted"]["bits_per_byte"] <= facts["predicted"]["high"]
    assert facts["law"]["runs"] == 9
    assert facts["seconds"] == pytest.approx(180, rel=0.05)
    assert msgspec.convert(facts["recipe"], Recipe).optimisation.tokens == facts["tokens"]


def test_too_few_runs_give_a_plan_without_a_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card(tmp_path, "1m", 10.0, 2.0)
    assert plan_run(flops=1e14, hours=None, runs=tmp_path, json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["predicted"] is None
    assert "expected at least 3" in facts["note"]


@pytest.mark.parametrize(
    ("flops", "hours"), [(None, None), (1e15, 2.0), (0.0, None), (-1.0, None), (float("nan"), None), (None, 1e9)]
)
def test_a_budget_that_is_none_is_refused(flops: float | None, hours: float | None) -> None:
    with pytest.raises(ConfigError):
        plan_run(flops=flops, hours=hours, runs=None, json=False)
