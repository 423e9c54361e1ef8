"""The bases inside the package are plain Hugging Face folders: transformers loads them as they are, and agrees."""

from __future__ import annotations

import json

import msgspec
import pytest
import torch
import transformers
from tests.parity.tiny_models import random_batch, real_difference, reference
from tests.parity.tiny_patch_models import cut, random_planes

from headstart.base.base import Base
from headstart.base.shipped import EMBEDDED, embedded_names
from headstart.train.recipe import Recipe, read_recipe

TEXT = [name for name in embedded_names() if (EMBEDDED / name / "tokenizer.json").is_file()]


@pytest.mark.parametrize("name", TEXT)
def test_transformers_loads_it_unchanged(name: str) -> None:
    base, folder = Base.load(name), EMBEDDED / name
    assert base.lm is not None
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model, loading = getattr(transformers, architecture).from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    batch = random_batch(vocab=base.trunk.config.vocab_size, pattern="causal", segments=False, lengths=(40, 7, 64))
    theirs = reference(model.float().eval(), batch)
    with torch.no_grad():
        hidden = base.trunk(batch)
        logits = base.lm(hidden, base.trunk.table)
    assert real_difference(hidden, theirs.hidden_states[-1], batch) <= 1e-4
    assert real_difference(logits, theirs.logits, batch) <= 1e-4
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = "Where is my parcel? It's 3 days late — naïve me."
    assert tokenizer(text)["input_ids"] == base.text_codec.encode([text]).ids[0].tolist()


@pytest.mark.parametrize("name", sorted({*embedded_names()} - {*TEXT}))
def test_transformers_loads_a_base_of_patches_as_a_vit(name: str) -> None:
    base = Base.load(name)
    patches = base.trunk.patches
    assert patches is not None
    model, loading = transformers.ViTModel.from_pretrained(
        EMBEDDED / name, add_pooling_layer=False, output_loading_info=True
    )
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
    planes = random_planes(patches)
    with torch.no_grad():
        theirs = model.float().eval()(pixel_values=planes).last_hidden_state
        assert float((base.trunk(cut(planes, patches)) - theirs).abs().max()) <= 1e-4


@pytest.mark.parametrize("name", TEXT)
def test_the_recipe_of_its_name_is_what_made_it(name: str) -> None:
    made, recipe = Base.load(name).lineage[0], read_recipe(name)
    assert msgspec.convert(made.config, Recipe) == recipe
    assert made.results["steps"] == recipe.num_steps
    assert made.results["stopped"] == "done"
