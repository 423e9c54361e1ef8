"""`headstart plan`: a budget of FLOPs or hours -> size, tokens, predicted loss, memory and minutes on this machine.

The loss is foretold by a law of finished runs: those given, else Headstart's own. Runs that carry no law leave a
published ratio of tokens to parameters, and no loss.
"""

from __future__ import annotations

import json as jsonlib
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from headstart.doctor import aligned, arithmetic_speed
from headstart.ground.errors import ConfigError, DataError
from headstart.train.allocation import Cost, Plan, allocate
from headstart.train.estimate import estimate
from headstart.train.finished import Found, measured_runs, read_runs
from headstart.train.recipe import in_fast_numbers
from headstart.train.scaling import Law, fit
from headstart.train.sizing import anchor_recipe

HIGHEST_FLOPS = 1e24
HIGHEST_HOURS = 24 * 366.0
OURS = (
    "the law is of Headstart's own runs, on English text (encyclopedic, books, talk, docs); other text has another: "
    "give --from a folder of finished runs, such as a ladder of sizes leaves"
)


def plan_run(*, flops: float | None, hours: float | None, runs: Path | None, json: bool) -> int:
    """Print the plan."""
    check_budget(flops, hours)
    speed = arithmetic_speed(in_fast_numbers(anchor_recipe().optimisation).dtype) * 1e9
    found = measured_runs() if runs is None else read_runs(runs)
    law, words = fitted(found, runs)
    budget, cost = budget_of(flops, hours, speed)
    plan = allocate(budget, cost, speed=speed, law=law, runs=found.runs)
    facts = facts_of(plan, speed=speed)
    facts["law"] = (
        None if law is None else {"form": law.form, "runs": law.runs, "words": law.words(), "noise": law.noise}
    )
    facts["note"] = words
    facts["left_out"] = list(found.left_out)
    if json:
        sys.stdout.write(jsonlib.dumps(facts) + "\n")
    else:
        show(plan, facts)
    return 0


def check_budget(flops: float | None, hours: float | None) -> None:
    """ConfigError unless exactly one budget is given, and a sensible one."""
    if (flops is None) == (hours is None):
        given = "both" if flops is not None else "neither"
        raise ConfigError(
            f"the budget is {given} of --flops and --hours; expected one. Write --flops 1e17 or --hours 3."
        )
    for name, value, top in (("--flops", flops, HIGHEST_FLOPS), ("--hours", hours, HIGHEST_HOURS)):
        if value is not None and not (math.isfinite(value) and 0 < value <= top):
            raise ConfigError(f"{name} is {value}; expected more than 0 and at most {top:g}. Give another {name}.")


def budget_of(flops: float | None, hours: float | None, speed: float) -> tuple[float, Cost]:
    """(the budget, how much of it a recipe takes)."""
    if flops is not None:
        return flops, lambda recipe: estimate(recipe).flops
    assert hours is not None
    return 3600 * hours, lambda recipe: estimate(recipe, speed=speed).seconds or math.inf


def fitted(found: Found, runs: Path | None) -> tuple[Law | None, str]:
    """The law of the runs, or None, and a sentence about it."""
    try:
        law = fit(found.points)
    except DataError as problem:
        return (
            None,
            f"no law has been measured here yet: {problem} No loss is predicted, and size and tokens follow the "
            "compute-optimal 20 tokens a parameter (Hoffmann et al. 2022)",
        )
    middle = "parameters N and bytes of text D" if law.form == "both" else "FLOPs C, because all runs have one ratio"
    words = f"law of {law.runs} runs in {middle}: {law.words()} bits per byte; noise {law.noise:.2%}"
    return law, f"{words}\n{OURS}" if runs is None else words


def facts_of(plan: Plan, *, speed: float) -> dict[str, Any]:
    """The plan as plain JSON."""
    recipe, cost = plan.sized.recipe, plan.cost
    return {
        "size": recipe.name.removeprefix("text-"),
        "parameters": plan.sized.parameters,
        "tokens": recipe.optimisation.tokens,
        "tokens_per_parameter": recipe.optimisation.tokens / plan.sized.parameters,
        "predicted": None if plan.prediction is None else asdict(plan.prediction),
        "memory_bytes": cost.memory_bytes,
        "memory_parts": cost.memory_parts,
        "flops": cost.flops,
        "seconds": cost.seconds,
        "gflops_here": speed / 1e9,
        "recipe": msgspec.to_builtins(recipe),
        "reasons": [asdict(reason) for reason in plan.sized.reasons],
    }


def show(plan: Plan, facts: Mapping[str, Any]) -> None:
    """The plan for people: figures first, then every setting with its reason."""
    predicted = plan.prediction
    minutes = (plan.cost.seconds or 0.0) / 60
    lines = [
        ("size", f"{facts['size']} ({facts['parameters']:,} parameters)"),
        ("tokens", f"{facts['tokens']:,} ({facts['tokens_per_parameter']:.3g} a parameter)"),
        (
            "loss",
            "not predicted"
            if predicted is None
            else f"{predicted.bits_per_byte:.3f} bits per byte [{predicted.low:.3f}, {predicted.high:.3f}]",
        ),
        ("memory", f"{plan.cost.memory_bytes / 1e9:.2f} GB at the peak"),
        ("time", f"{minutes:,.0f} minutes here, at {facts['gflops_here']:.0f} GFLOP/s of matrix products"),
        ("compute", f"{plan.cost.flops:.3g} FLOPs"),
    ]
    for line in aligned(lines):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"\n{facts['note']}\n")
    for run in facts["left_out"]:
        sys.stderr.write(f"left out {run}\n")
    sys.stdout.write("\n")
    for line in aligned((reason.name, f"{reason.value}: {reason.why}") for reason in plan.sized.reasons):
        sys.stdout.write(line + "\n")
