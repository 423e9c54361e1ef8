"""The patch codec against Hugging Face's processors (pictures, sound) and by its own properties (series)."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.data.patches import PatchCodec, Patches
from headstart.data.sound import Clip
from headstart.ground.errors import BaseError, DataError

RGB = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PICTURE = PatchCodec("image", (32, 48), 3, (8, 16), (8, 16), *RGB)
CROPPED = PatchCodec("image", (28, 28), 3, (14, 14), (14, 14), *RGB, "crop", 32, "bicubic")
GREY = PatchCodec("image", (16, 16), 1, (4, 4), (4, 4), (0.5,), (0.5,))
AST = PatchCodec("audio", (64, 100), 1, (16, 16), (10, 10), (-4.2677393,), (4.5689974,), "pad")
SPEECH = replace(AST, size=(64, 200), patch=(16, 8), stride=(16, 8), fit="free", sample_rate=8_000, window=200, hop=80)
SERIES = PatchCodec("series", (64,), 1, (8,), (8,), fit="free", levels=True)
SENSORS = PatchCodec("series", (64,), 3, (8,), (4,), fit="stretch")
ALL = [PICTURE, CROPPED, GREY, AST, SPEECH, SERIES, SENSORS]


def picture(height: int = 41, width: int = 67, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height)))


def tone(seconds: float, rate: int, seed: int = 0) -> Clip:
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return Clip((0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time) + noise).astype(np.float32), rate)


@pytest.mark.parametrize("codec", ALL, ids=lambda c: f"{c.modality}-{c.fit}")
def test_a_codec_survives_its_file(codec: PatchCodec) -> None:
    assert PatchCodec.from_dict(json.loads(json.dumps(codec.as_dict()))) == codec


def test_the_file_loads_in_transformers_and_cuts_the_same_pictures(tmp_path: Path) -> None:
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    for codec, theirs in ((PICTURE, ViTImageProcessorPil), (CROPPED, BitImageProcessorPil)):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(codec.as_dict()))
        processor = theirs.from_pretrained(tmp_path)
        for shape in ((41, 67), (67, 41), (200, 150), (9, 9)):
            pixels = picture(*shape)
            wanted = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
            kernel = torch.randn(5, 3, *codec.patch)
            theirs_embedded = torch.nn.functional.conv2d(wanted, kernel, stride=codec.stride).flatten(2)[0].T
            patches = codec.encode(pixels)
            ours_embedded = torch.from_numpy(patches.values) @ kernel.flatten(1).T
            assert torch.allclose(ours_embedded, theirs_embedded, atol=2e-4)
            assert patches.grid == codec.whole_grid


def test_what_transformers_writes_is_read(tmp_path: Path) -> None:
    from transformers import ASTFeatureExtractor
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    ViTImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    codec = PatchCodec.from_dict(values, patch=(16, 16))
    assert (codec.size, codec.channels, codec.resample, codec.mean) == ((64, 64), 3, "bilinear", (0.5, 0.5, 0.5))
    ASTFeatureExtractor(num_mel_bins=64, max_length=100).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert PatchCodec.from_dict(values, patch=(16, 16), stride=(10, 10)) == AST


def test_log_mel_is_what_ast_reads() -> None:
    from transformers import ASTFeatureExtractor

    extractor = ASTFeatureExtractor(num_mel_bins=64, max_length=100)
    for seconds in (0.4, 1.015, 2.0):
        clip = tone(seconds, 16_000)
        wanted = extractor(clip.samples, sampling_rate=16_000, return_tensors="pt")["input_values"]
        kernel = torch.randn(5, 1, 16, 16)
        embedded = torch.nn.functional.conv2d(wanted[:, None].transpose(2, 3), kernel, stride=(10, 10)).flatten(2)[0].T
        patches = AST.encode(clip)
        assert torch.allclose(torch.from_numpy(patches.values) @ kernel.flatten(1).T, embedded, atol=2e-3)
        assert patches.grid == AST.whole_grid == (5, 9)


def test_a_free_clip_makes_as_many_patches_as_it_fills() -> None:
    grids = [SPEECH.encode(tone(seconds, 8_000)).grid for seconds in (0.01, 0.1, 0.5, 1.0, 9.0)]
    assert grids == [(4, 1), (4, 1), (4, 6), (4, 13), (4, 25)]


def test_resampling_keeps_a_low_tone_and_removes_a_high_one() -> None:
    from headstart.data.sound import resample

    time = np.arange(48_000) / 48_000
    low, high = (Clip(np.sin(2 * np.pi * hertz * time).astype(np.float32), 48_000) for hertz in (440, 7_000))
    kept, gone = resample(low, 8_000).samples, resample(high, 8_000).samples
    inside = slice(200, -200)
    assert np.allclose(kept[inside], np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)[inside], atol=5e-3)
    assert np.abs(gone[inside]).max() < 5e-3


def test_series_lose_level_and_scale_but_keep_them_beside_the_shape() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 40))
    plain, moved = SERIES.encode(rows), SERIES.encode(rows * 7 + 3)
    assert plain.grid == moved.grid == (2, 5)
    assert plain.values.shape == (10, 10) == (10, SERIES.patch_dim)
    assert np.allclose(plain.values[:, :8], moved.values[:, :8], atol=1e-5)
    assert np.allclose(np.sinh(moved.values[0, 8]), rows[0].mean() * 7 + 3, atol=1e-4)
    assert np.allclose(np.sinh(moved.values[9, 9]), rows[1].std() * 7, atol=1e-4)


def test_channels_that_stand_together_share_their_patches() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 64))
    patches = SENSORS.encode(rows)
    assert patches.grid == SENSORS.whole_grid == (15,)
    normal = (rows - rows.mean(1, keepdims=True)) / rows.std(1, keepdims=True)
    assert np.allclose(patches.values[1], normal[:, 4:12].reshape(-1), atol=1e-5)
    with pytest.raises(DataError, match="a series of 2 channels; expected 3"):
        SENSORS.encode(rows[:2])


def test_missing_values_are_filled_along_a_line_and_counted() -> None:
    from headstart.data.series import read_series

    found = read_series([None, 1.0, None, float("nan"), 4.0, None], where="row 1")
    assert found.values.tolist() == [[1.0, 1.0, 2.0, 3.0, 4.0, 4.0]]
    assert found.missing == 4


def test_shrinking_a_series_keeps_its_mean_and_stretching_its_ends() -> None:
    from headstart.data.series import stretch

    rows = np.random.default_rng(0).normal(size=(2, 37))
    assert np.allclose(stretch(rows, 10).mean(1), rows.mean(1))
    assert np.allclose(stretch(rows, 100)[:, [0, -1]], rows[:, [0, -1]])


def test_a_flat_channel_becomes_zeros() -> None:
    assert not SERIES.encode([[1e9 + 0.0] * 16]).values[:, :8].any()
    for value in (0.1, -1 / 3, 1e9 + 0.1):  # whose sums over a million steps are rounded
        assert not SERIES.encode(np.full(1_000_003, value)).values[:, :8].any()


@pytest.mark.parametrize("length", [40, 64, 100_000])
def test_a_small_movement_far_from_zero_is_kept(length: int) -> None:
    wave = np.sin(np.linspace(0, 9, length))
    near, far = (SERIES.encode(wave + offset).values[:, :8] for offset in (0.0, 1e9))
    assert np.allclose(near, far, atol=1e-5)


def test_kinds_of_pictures_become_the_channels_of_the_codec() -> None:
    grey = picture()[:, :, 0]
    one = GREY.encode(grey)
    assert isinstance(one, Patches)
    assert one.values.shape == (16, 16)
    three = PICTURE.encode(grey).values.reshape(-1, 3, 8, 16)
    plain = three * np.array(RGB[1]).reshape(3, 1, 1) + np.array(RGB[0]).reshape(3, 1, 1)
    assert np.allclose(plain[:, 0], plain[:, 2], atol=1e-6)
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG")
    assert np.array_equal(PICTURE.encode(buffer.getvalue()).values, PICTURE.encode(picture()).values)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 8)},
        {"patch": (64, 8)},
        {"mean": (0.5,)},
        {"std": (0.1, 0.1, 0.0)},
        {"channels": 2},
        {"fit": "pad"},
        {"shortest_edge": 30},
        {"patch": (1, 1), "stride": (1, 1), "size": (100, 100)},
    ],
)
def test_a_codec_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BaseError, match="expected"):
        replace(PICTURE, **wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rescale_factor": 1 / 127.5}, r"rescale_factor is 0\.0078.*; expected 1/255"),
        ({"rescale_factor": None}, "cannot be read"),
        ({"do_rescale": False}, "do_rescale is False; expected true"),
    ],
)
def test_pictures_of_another_scale_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(BaseError, match=said):
        PatchCodec.from_dict(PICTURE.as_dict() | change)


def test_a_scale_that_is_rounded_or_not_said_is_one_in_255() -> None:
    values = PICTURE.as_dict()
    assert PatchCodec.from_dict(values | {"rescale_factor": 0.00392157}) == PICTURE
    del values["rescale_factor"], values["do_rescale"]
    assert PatchCodec.from_dict(values) == PICTURE


@pytest.mark.parametrize("values", [{}, {"size": 3}, {"headstart": 1}, {"headstart": {"modality": "series"}}])
def test_a_file_that_is_no_codec_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(BaseError, match=r"preprocessor_config\.json"):
        PatchCodec.from_dict(values, patch=(4, 4))
