"""Dividing a budget of compute or time between the size of a base and the text that it reads.

With a law of both size and text, the division whose predicted loss is lowest, among ratios near those that were run;
where their middle ratio is foretold as good within the law's noise, that one, because a law is weakest at its edges.
Without one, 20 tokens a parameter (Hoffmann et al. 2022), or the ratio of the runs where they all have one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.ground.errors import ConfigError
from headstart.train.estimate import Estimate, estimate
from headstart.train.finished import Run
from headstart.train.recipe import Recipe
from headstart.train.scaling import Law, Prediction
from headstart.train.sizing import LARGEST, SMALLEST, TOKENS_PER_PARAMETER, Sized, recipe_for

GRID = 1.1  # ratio of neighbouring sizes that are tried
REACH = 2.0  # how far outside the measured ratios of tokens to parameters a plan may go
NEAR_ENOUGH = 0.05  # of the budget
Cost = Callable[[Recipe], float]


@dataclass(frozen=True, slots=True)
class Plan:
    """A base that uses up the budget, and what is known of it beforehand."""

    sized: Sized
    cost: Estimate
    prediction: Prediction | None


def allocate(
    budget: float, cost: Cost, *, speed: float | None, law: Law | None = None, runs: Sequence[Run] = ()
) -> Plan:
    """The plan that spends `budget`, counted by `cost` (FLOPs or seconds of a recipe).

    Raises:
        ConfigError: the budget buys no base that the dial knows.
    """
    ratios = [run.recipe.optimisation.tokens / run.point.parameters for run in runs]
    plans = [
        Plan(sized, estimate(sized.recipe, speed=speed), predicted(law, sized, runs) if law else None)
        for sized in spending(budget, cost)
    ]
    if law is not None and law.form == "both":
        near = [p for p in plans if min(ratios) / REACH <= ratio_of(p) <= max(ratios) * REACH]
        if near:
            middle = float(np.median(ratios))
            best, usual = min(near, key=loss_of), min(near, key=lambda p: abs(math.log(ratio_of(p) / middle)))
            return usual if loss_of(usual) <= loss_of(best) * (1.0 + law.noise) else best
    wanted = float(np.median(ratios)) if law is not None else TOKENS_PER_PARAMETER
    if not plans:
        raise ConfigError(
            f"the budget is {budget:.3g}; expected enough for {SMALLEST:,} parameters and at most what {LARGEST:,} can "
            "use. Give another --flops or --hours."
        )
    return min(plans, key=lambda p: abs(math.log(ratio_of(p) / wanted)))


def loss_of(plan: Plan) -> float:
    """Bits per byte foretold; infinite where nothing is."""
    return math.inf if plan.prediction is None else plan.prediction.bits_per_byte


def ratio_of(plan: Plan) -> float:
    """Tokens a parameter."""
    return plan.sized.recipe.optimisation.tokens / plan.sized.parameters


def spending(budget: float, cost: Cost) -> Iterator[Sized]:
    """Every size of the dial with as many tokens as the budget pays for."""
    seen = set()
    for step in range(math.ceil(math.log(LARGEST / SMALLEST) / math.log(GRID))):
        exact = recipe_for(round(SMALLEST * GRID**step)).parameters
        size, ratio = min(LARGEST, max(SMALLEST, exact)), TOKENS_PER_PARAMETER
        sized = recipe_for(size, tokens_per_parameter=ratio)
        if sized.recipe.shape in seen:
            continue
        seen.add(sized.recipe.shape)
        for _ in range(
            4
        ):  # the cost is nearly proportional to the tokens; the batch, a power of two, moves it a little
            ratio = min(1e5, ratio * budget / cost(sized.recipe))
            sized = recipe_for(size, tokens_per_parameter=ratio)
        if abs(cost(sized.recipe) / budget - 1) <= NEAR_ENOUGH:
            yield sized


def predicted(law: Law, sized: Sized, runs: Sequence[Run]) -> Prediction:
    """What the law says of a recipe; its text in bytes by the vocabularies of the runs."""
    tokens = sized.recipe.optimisation.tokens
    return law.predict(
        parameters=sized.parameters,
        text_bytes=tokens * bytes_per_unit(sized.recipe.shape.vocab_size, runs),
        flops=estimate(sized.recipe).flops,
    )


def bytes_per_unit(vocabulary: int, runs: Sequence[Run]) -> float:
    """Bytes of text a unit stands for, between the runs' vocabularies by their logarithm, outside by the nearest."""
    known = {run.recipe.shape.vocab_size: run.bytes_per_unit for run in runs}
    sizes = sorted(known)
    return float(np.interp(math.log(vocabulary), np.log(sizes), [known[size] for size in sizes]))
