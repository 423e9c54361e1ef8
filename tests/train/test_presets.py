"""BERT's and GPT-2's own recipes: the same command trains them, and transformers loads what comes out."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tests.train.test_pretrain import TOY
from tests.train.test_pretrain import corpus as corpus  # a fixture

from headstart.base.base import Base
from headstart.data.corpus import BOS_ID, MASK_ID
from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError
from headstart.train.cross_entropy import IGNORE
from headstart.train.objective import MaskSettings, masked_batch
from headstart.train.pretrain import fresh, parameter_groups
from headstart.train.recipe import Recipe, read_recipe
from headstart.train.schedule import cosine
from headstart.train.text_base import pretrain

transformers = pytest.importorskip("transformers")


def toy(family: str) -> Recipe:
    recipe = msgspec.convert(tomllib.loads(TOY), Recipe)
    preset = read_recipe(f"{family}-tiny")
    settings = msgspec.structs.replace(
        recipe.optimisation, rule=preset.optimisation.rule, schedule=preset.optimisation.schedule, adamw_lr=0.005
    )
    return msgspec.structs.replace(recipe, name="toy", family=family, mixture=preset.mixture, optimisation=settings)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_preset_learns_and_transformers_loads_it(family: str, corpus: Path, tmp_path: Path) -> None:
    base = pretrain(toy(family), data=corpus, work=tmp_path / "work")
    curve = base.lineage[0].results["curve"]
    reading, other = ("masked_nats", "bits_per_byte") if family == "bert" else ("bits_per_byte", "masked_nats")
    assert curve[-1][reading] < 0.6 * curve[0][reading]
    assert curve[-1][other] is None
    folder = base.save(tmp_path / "toy")
    factory = transformers.BertForMaskedLM if family == "bert" else transformers.GPT2LMHeadModel
    theirs, missing = factory.from_pretrained(folder, output_loading_info=True)
    assert not missing["missing_keys"]
    assert not missing["unexpected_keys"]
    ids = torch.tensor([[BOS_ID, 80, 90, MASK_ID, 100, 120]])
    ours = Base.load(folder)
    assert ours.lm is not None
    assert ours.pattern == ("full" if family == "bert" else "causal")
    with torch.no_grad():
        hidden = ours.trunk(Batch(ids, torch.tensor([6]), ours.pattern))
        difference = ours.lm(hidden, ours.trunk.embed.tokens.weight) - theirs.eval()(ids).logits
    assert float(difference.abs().max()) < 1e-4


def test_units_masked_in_place_are_predicted_where_they_stand() -> None:
    rows = np.random.default_rng(0).integers(4, 300, size=(8, 65))
    rows[:, 0] = BOS_ID
    settings = MaskSettings(MASK_ID, BOS_ID, 4, 300, 0.15, 0.15, longest_span=1, in_place=True)
    batch = masked_batch(rows, settings, progress=0.5, rng=np.random.default_rng(1))
    assert batch.targets is not None
    asked = batch.targets != IGNORE
    assert 0.10 < float(asked.float().mean()) < 0.20
    units = torch.from_numpy(rows[:, :-1])
    assert bool((batch.targets[asked] == units[asked]).all())
    assert bool((batch.units[~asked] == units[~asked]).all())
    replaced = (batch.units[asked] == MASK_ID).float().mean()
    assert 0.7 < float(replaced) < 0.9


def test_adamw_alone_takes_everything_and_spares_tables_and_norms_from_decay() -> None:
    recipe = toy("gpt2")
    model = fresh(recipe, compile_blocks=False)
    groups = parameter_groups(model, recipe.optimisation)
    assert {g.kind for g in groups} == {"adamw"}
    assert sum(len(g.params) for g in groups) == len(list(model.parameters()))
    assert groups[1].weight_decay == 0.0
    assert any(p is model.trunk.embed.tokens.weight for p in groups[1].params)


def test_the_cosine_rises_and_falls_to_its_floor() -> None:
    factor = cosine(warmup=0.1, floor=0.1)
    assert factor(0.05) == pytest.approx(0.5)
    assert factor(0.1) == pytest.approx(1.0)
    assert factor(0.55) == pytest.approx(0.55)
    assert factor(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["bert-tiny", "gpt2-tiny"])
def test_presets_are_about_the_size_of_text_11m(name: str) -> None:
    assert read_recipe(name).trunk_config().num_parameters == pytest.approx(11.8e6, rel=0.05)


def test_a_family_that_cannot_be_made_is_named() -> None:
    with pytest.raises(ConfigError, match="expected one of bert, gpt2"):
        msgspec.structs.replace(toy("bert"), family="brt").trunk_config()
    with pytest.raises(msgspec.ValidationError, match="share one head"):
        msgspec.convert(
            {"causal_share": 0.5, "mask_start": 0.1, "mask_end": 0.1, "z_loss": 0, "targets": "same"},
            type(toy("bert").mixture),
        )
