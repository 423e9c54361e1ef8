"""The joint run shares blocks and nothing else, counts its members alike, and is compared by its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from bench.joint import MEMBERS, PATCHES, SETS, Joint, random_model, size_of, table, text_recipe, trained

from headstart.ground.batch import Batch
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk
from headstart.train.objective import LanguageModel, LossRecord
from headstart.train.patch_course import new_model
from headstart.train.patch_recipe import PatchRecipe, read_patch_recipe


def members() -> dict[str, Any]:
    found: dict[str, Any] = {name: new_model(read_patch_recipe(f"{name}-tiny")) for name in PATCHES}
    config = found["image"].trunk.config
    shape = {"vocab_size": 64, "max_positions": 16}
    text = type(config)(**{**{f: getattr(config, f) for f in config.__dataclass_fields__}, **shape})
    return {"text": LanguageModel(Trunk(text), LMHead(text, transform=False, bias=False)), **found}


def test_all_members_have_the_same_blocks_and_their_own_rest() -> None:
    models = members()
    apart = sum(p.numel() for model in models.values() for p in model.parameters())
    blocks = sum(
        p.numel() for p in [*models["text"].trunk.blocks.parameters(), *models["text"].trunk.norm.parameters()]
    )
    joint = Joint(models)
    assert sum(p.numel() for p in joint.parameters()) == apart - (len(models) - 1) * blocks
    assert all(model.trunk.blocks is joint.trunk.blocks for model in models.values())
    embedders = {id(model.trunk.embed) for model in models.values()}
    assert len(embedders) == len(models)


def test_units_tell_the_members_apart() -> None:
    sizes = [read_patch_recipe(f"{name}-tiny").patches().unit_size for name in PATCHES]
    assert len({0, *sizes}) == len(MEMBERS)
    assert size_of(Batch(torch.zeros(2, 3, dtype=torch.long), torch.full((2,), 3), "full")) == 0
    assert size_of(Batch(torch.zeros(2, 3, 48), torch.full((2,), 3), "full")) == 48


@dataclass
class Counted:
    """A member whose loss is a fixed pull on one weight of the shared blocks; it remembers what it was asked."""

    recipe: PatchRecipe
    pull: float
    weight: float
    asked: list[int] = field(default_factory=list)

    def plan(self) -> Counted:
        return self

    @property
    def steps(self) -> int:
        return 1

    def micro_batches(self, step: int) -> list[Batch]:
        size = self.recipe.patches().unit_size
        return [Batch(torch.zeros(1, 2, size), torch.tensor([2]), "full")]

    def loss(self, model: Any, batch: Batch) -> LossRecord:
        self.asked.append(size_of(batch))
        bias = model.trunk.blocks[0].attn.q.bias
        return LossRecord(self.pull * self.weight * bias.sum(), self.weight)


def test_a_step_reads_every_member_once_and_counts_them_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    image, series = (read_patch_recipe(f"{name}-tiny") for name in ("image", "series"))
    monkeypatch.setattr("bench.joint.random_model", lambda member, seed: new_model(member.recipe))
    seen: list[float] = []
    monkeypatch.setattr("bench.joint.Patches", Counted)
    pulls = {"image": Counted(image, 1.0, 1000.0), "series": Counted(series, 3.0, 1.0)}

    def watch(job: Any) -> None:
        losses = [job.loss(batch) for batch in job.micro_batches(0)]
        total = sum(record.total for record in losses) / sum(record.weight for record in losses)
        total.backward()
        seen.append(float(job.model.trunk.blocks[0].attn.q.bias.grad[0]))

    monkeypatch.setattr("bench.joint.run", watch)
    trained(pulls, seed=0)  # type: ignore[arg-type]
    assert seen == [pytest.approx((1.0 + 3.0) / 2)]
    assert [pulls[name].asked for name in pulls] == [[48], [10]]


def test_the_text_member_has_the_blocks_of_the_others() -> None:
    recipe = text_recipe(768, steps=4, seed=0)
    image = read_patch_recipe("image-tiny")
    assert (recipe.shape.dim, recipe.shape.num_layers) == (image.shape.dim, image.shape.num_layers)
    assert recipe.num_steps == 4
    text = random_model_of_text()
    theirs = new_model(image).trunk.blocks
    assert {n: p.shape for n, p in text.trunk.blocks.named_parameters()} == {
        n: p.shape for n, p in theirs.named_parameters()
    }


def random_model_of_text() -> Any:
    return random_model(object(), seed=0)  # type: ignore[arg-type]


def test_the_table_pairs_answers_by_item() -> None:
    gold = {task: [0, 1] * 20 for tasks in SETS.values() for task in tasks}
    right, wrong = [0, 1] * 20, [1, 0] * 20
    losses = dict.fromkeys(MEMBERS, 1.0)
    found = {
        "joint": [{"losses": losses, "answers": {key: [right] for key in gold}}],
        "separate": [{"losses": losses, "answers": {key: [wrong] for key in gold}}],
    }
    text = table(found, gold)
    assert text.count("+1.000 [+1.000, +1.000]") == len(gold)
    assert np.all([name in text for name in MEMBERS])
