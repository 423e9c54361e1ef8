"""Every family that reads patches against transformers: same hidden states and features, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.parity.tiny_models import build
from tests.parity.tiny_patch_models import TINY_PATCHES, cut, random_planes, reference, save

from headstart.base.base import Base
from headstart.ground.errors import BaseError

TOLERANCE = 1e-4  # fp32, largest absolute difference
KEPT_HEAD = {"ViTForImageClassification", "Dinov2ForImageClassification", "ASTForAudioClassification"}


@torch.no_grad()
def compare(base: Base, model: Any) -> dict[str, float]:
    """Largest differences of hidden states, the pooler and what a kept classifier would say."""
    assert base.trunk.patches is not None
    planes = random_planes(base.trunk.patches)
    theirs = reference(model, planes)
    states = base.trunk.hidden_states(cut(planes, base.trunk.patches))
    expected = list(theirs.hidden_states)
    inner = getattr(model, model.base_model_prefix, model)
    expected[-1] = inner.layernorm(expected[-1])
    found = {"hidden": max(float((a - b).abs().max()) for a, b in zip(states, expected, strict=True))}
    if base.pooler is not None:
        found["pooler"] = float((base.pooler(states[-1]) - theirs.pooler_output).abs().max())
    if "logits" in theirs and base.extras.keys() & {"classifier.weight", "classifier.dense.weight"}:
        found["logits"] = float((logits(base, states[-1]) - theirs.logits).abs().max())
    return found


def logits(base: Base, states: torch.Tensor) -> torch.Tensor:
    """The kept classifier over the trunk's last states, as each family pools them."""
    extras, functional = base.extras, torch.nn.functional
    if base.family == "audio-spectrogram-transformer":
        names = ("classifier.layernorm.weight", "classifier.layernorm.bias")
        pooled = functional.layer_norm(states[:, :2].mean(1), (states.shape[2],), *(extras[n] for n in names), 1e-12)
        return functional.linear(pooled, extras["classifier.dense.weight"], extras["classifier.dense.bias"])
    pooled = states[:, 0] if base.family == "vit" else torch.cat((states[:, 0], states[:, 1:].mean(1)), dim=1)
    return functional.linear(pooled, extras["classifier.weight"], extras["classifier.bias"])


@pytest.mark.parametrize("name", TINY_PATCHES)
def test_same_outputs_and_back(name: str, tmp_path: Path) -> None:
    tiny = TINY_PATCHES[name]
    model = build(tiny)
    base = Base.load(save(model, tmp_path / "theirs"))
    differences = compare(base, model)
    assert max(differences.values()) <= TOLERANCE, differences
    assert ("logits" in differences) == (tiny.architecture in KEPT_HEAD)
    assert ("pooler" in differences) == (tiny.architecture == "ViTModel")

    base.save(tmp_path / "ours")
    written = json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"]
    assert written == [{"ViTMAEForPreTraining": "ViTMAEModel"}.get(tiny.architecture, tiny.architecture)]
    if written == [tiny.architecture]:
        again, loading = tiny.model.from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), loading
        if base.family == "vit_mae":
            again.config.mask_ratio = 0.0  # a setting of its training, which our trunk does not keep
        assert base.trunk.patches is not None
        planes = random_planes(base.trunk.patches)
        ours, theirs = reference(again, planes), reference(model, planes)
        exact = {} if base.family == "dinov2" else {"atol": 0.0, "rtol": 0.0}  # the scale is folded: other roundings
        for mine, other in zip(ours.values(), theirs.values(), strict=True):
            if isinstance(mine, torch.Tensor):
                torch.testing.assert_close(mine, other, **exact)
    assert max(compare(Base.load(tmp_path / "ours"), model).values()) <= TOLERANCE


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_a_larger_grid_by_interpolated_positions(name: str, tmp_path: Path) -> None:
    model = build(TINY_PATCHES[name])
    base = Base.load(save(model, tmp_path / name))
    planes = torch.randn((2, 3, 20, 20), generator=torch.Generator().manual_seed(1))
    patches = base.trunk.patches
    assert patches is not None
    batch = cut(planes, patches)
    options = {"interpolate_pos_encoding": True} if name == "vit" else {}
    with torch.no_grad():
        theirs = model(pixel_values=planes, **options).last_hidden_state
        ours = base.trunk(type(batch)(batch.units, batch.lengths, "full", grid=(5, 5)))
    assert float((ours - theirs).abs().max()) <= TOLERANCE


def test_reading_only_what_is_visible_is_what_mae_does(tmp_path: Path) -> None:
    tiny = TINY_PATCHES["vit-mae"]
    model = build(tiny)
    model.config.mask_ratio = 0.55  # 4 of 9 patches stay
    base = Base.load(save(model, tmp_path / "mae"))
    patches = base.trunk.patches
    assert patches is not None
    planes = random_planes(patches)
    noise = torch.rand((len(planes), patches.num_patches), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs = model(pixel_values=planes, noise=noise).last_hidden_state
        whole = cut(planes, patches)
        kept = 1 + noise.argsort(dim=1)[:, : theirs.shape[1] - 1]
        places = torch.cat((torch.zeros(len(planes), 1, dtype=torch.long), kept), dim=1)
        units = torch.gather(whole.units, 1, places[:, :, None].expand(-1, -1, whole.units.shape[2]))
        ours = base.trunk(type(whole)(units, torch.full((len(units),), units.shape[1]), "full", positions=places))
    assert float((ours - theirs).abs().max()) <= TOLERANCE


def test_pictures_are_read_as_the_processor_reads_them(tmp_path: Path) -> None:
    model = build(TINY_PATCHES["vit"])
    base = Base.load(save(model, tmp_path / "vit"))
    pictures = list(np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), dtype=np.uint8))
    planes = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255.0
    with torch.no_grad():
        theirs = model(pixel_values=(planes - 0.5) / 0.5).last_hidden_state[:, 0].numpy()
    assert np.abs(base.encode(pictures) - theirs).max() <= TOLERANCE


def test_a_folder_without_a_codec_is_refused(tmp_path: Path) -> None:
    model = build(TINY_PATCHES["vit"])
    folder = save(model, tmp_path / "vit")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BaseError, match=r"no preprocessor_config\.json"):
        Base.load(folder)
