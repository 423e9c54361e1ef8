"""A variant changes one thing; its difference from the recipe is paired by seed."""

from __future__ import annotations

import msgspec
import pytest
from bench.ablate import SHIPPED, VARIANTS, Record, against
from scipy import stats

from headstart.train.sizing import recipe_for


def test_every_variant_changes_one_thing_and_the_first_none() -> None:
    recipe = recipe_for("200k").recipe
    assert VARIANTS[0].name == SHIPPED
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)
    for variant in VARIANTS:
        changed = variant.of(recipe, seed=recipe.optimisation.seed)
        keys = [
            name
            for part in ("mixture", "optimisation", "shape", "corpus")
            for name, value in msgspec.to_builtins(getattr(changed, part)).items()
            if value != msgspec.to_builtins(getattr(recipe, part))[name]
        ]
        allowed = {"rule", "adamw_lr"} if variant.optimisation else set(keys[:1])
        assert set(keys) <= allowed
        assert bool(keys) == (variant.name != SHIPPED)
        assert variant.of(recipe, seed=7).optimisation.seed == 7


def test_a_difference_is_paired_by_seed() -> None:
    shipped: list[Record] = [{"seed": s, "bits": v} for s, v in ((0, 2.0), (1, 2.4), (2, 2.2))]
    other: list[Record] = [{"seed": s, "bits": v} for s, v in ((2, 2.25), (0, 2.01), (1, 2.46))]
    low, high = stats.ttest_rel([2.01, 2.46, 2.25], [2.0, 2.4, 2.2]).confidence_interval(0.95)
    mean, gap = against(other, shipped, "bits").split(" | ")
    assert float(mean) == pytest.approx(2.24)
    middle, reach = map(float, gap.split(" +- "))
    assert (middle - reach, middle + reach) == pytest.approx((low, high), abs=2e-4)
    assert against([{"seed": 0, "bits": None}], shipped, "bits") == "- | -"
