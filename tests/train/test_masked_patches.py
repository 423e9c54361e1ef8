"""Objective `patches`: what is hidden and guessed, and a run that learns, resumes and leaves its decoder behind."""

from __future__ import annotations

import copy
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from headstart.base.base import Base
from headstart.data.patch_corpus import PatchCorpus, Taken, pack_patches
from headstart.data.planes import looped, mirrored, shifted, to_patches, to_plane, windowed
from headstart.data.sound import Clip
from headstart.ground.errors import ConfigError, DataError
from headstart.model.trunk import Trunk, initialise
from headstart.train.course import Watch, follow
from headstart.train.masked_patches import Hiding, hidden_batch, normalised
from headstart.train.patch_base import identity_of, pretrain_patches
from headstart.train.patch_course import PatchCourse, PatchPlan, held_out_rows, training_rows
from headstart.train.patch_recipe import PatchRecipe, read_patch_recipe
from headstart.train.recipe import convert_recipe, read_recipe
from headstart.train.verify import verify_course

READINGS = {
    "image": {
        "modality": "image",
        "size": [16, 16],
        "patch": [4, 4],
        "channels": 3,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    },
    "audio": {
        "modality": "audio",
        "size": [16, 32],
        "patch": [4, 4],
        "channels": 1,
        "fit": "free",
        "mean": [-7.0],
        "std": [2.5],
        "sample_rate": 8000,
        "window": 200,
        "hop": 80,
    },
    "series": {"modality": "series", "size": [32], "patch": [4], "channels": 1, "levels": True},
}
Packed = tuple[str, PatchCorpus]
HIDDEN = {
    "image": {"share": 0.5, "shift": 1, "mirror": 0.5},
    "audio": {"share": 0.5, "columns": [8, 4]},
    "series": {"share": 0.5, "least": 0.5},
}


def recipe(modality: str, *, steps: int = 60) -> PatchRecipe:
    return msgspec.convert(
        {
            "name": f"toy-{modality}",
            "objective": "patches",
            "shape": {
                "dim": 32,
                "num_layers": 2,
                "num_heads": 2,
                "mlp_dim": 64,
                "decoder_dim": 16,
                "decoder_layers": 1,
                "decoder_heads": 2,
            },
            "reading": READINGS[modality],
            "hidden": HIDDEN[modality],
            "held_out": 10,
            "optimisation": {
                "tokens": 512 * steps,
                "tokens_per_step": 512,
                "micro_tokens": 256,
                "muon_lr": 0.01,
                "adamw_lr": 0.01,
                "weight_decay": 0.05,
                "warmup": 0.1,
                "cooldown": 0.5,
                "floor": 0.05,
                "dtype": "float32",
                "seed": 1,
            },
        },
        PatchRecipe,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a modality: stripes, tones and sines, a hundred each."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    time = np.arange(4000) / 8000
    rows: dict[str, list[dict[str, object]]] = {"image": [], "audio": [], "series": []}
    for _ in range(100):
        wave = np.sin(random.uniform(0.3, 0.9) * np.arange(16)[None] + random.uniform(0, 6)) * 120 + 128
        target = io.BytesIO()
        Image.fromarray(np.repeat(wave, 16, axis=0).astype(np.uint8)).save(target, format="PNG")
        rows["image"].append({"image": target.getvalue(), "label": 3})
        length = int(random.integers(1200, 4000))
        tone = np.sin(2 * np.pi * random.uniform(200, 3000) * time[:length]) * 9000
        rows["audio"].append({"pcm_s16le": tone.astype("<i2").tobytes(), "sample_rate": 8000})
        steps = np.arange(int(random.integers(20, 60)))
        rows["series"].append({"series": [(5 + np.sin(0.4 * steps)).tolist(), np.cos(0.3 * steps).tolist()]})
    for modality, listed in rows.items():
        (folder / modality).mkdir()
        pq.write_table(pa.Table.from_pylist(listed), folder / modality / "made.parquet")
        (folder / modality / "licences.json").write_text(json.dumps({"made.parquet": "CC0-1.0"}))
    return folder


@pytest.fixture(scope="module", params=sorted(READINGS))
def packed(
    request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, PatchCorpus]:
    modality = str(request.param)
    return modality, pack_patches(data / modality, recipe(modality).codec(), tmp_path_factory.mktemp("planes"))


def test_planes_and_patches_are_each_others_inverse() -> None:
    planes = np.random.default_rng(0).standard_normal((2, 3, 8, 12)).astype(np.float32)
    units = to_patches(planes, (4, 2))
    assert np.array_equal(to_plane(units[1], grid=(2, 6), channels=3, patch=(4, 2)), planes[1])
    theirs = nn.functional.unfold(torch.from_numpy(planes), (4, 2), stride=(4, 2)).transpose(1, 2)
    assert np.array_equal(units, theirs.numpy())


def test_augmentation_moves_what_is_there_and_invents_nothing() -> None:
    rng = np.random.default_rng(0)
    planes = np.arange(2 * 1 * 4 * 6, dtype=np.float32).reshape(2, 1, 4, 6)
    assert set(np.unique(shifted(planes, 2, rng)[0])) <= set(np.unique(planes[0]))
    assert np.array_equal(mirrored(planes, 1.0, rng), planes[..., ::-1])
    widths = np.array([3, 6])
    around = looped(planes, widths, 9, rng)
    assert around.shape == (2, 1, 4, 9)
    assert set(np.unique(around[0])) == set(np.unique(planes[0, :, :, :3]))
    assert np.array_equal(around[0, ..., :3], around[0, ..., 3:6])
    window = windowed(planes, 0.5, rng)
    assert np.allclose(window.mean(axis=3), 0, atol=1e-5)
    assert np.allclose(window.std(axis=3), 1, atol=1e-4)
    assert np.array_equal(windowed(np.ones_like(planes), 0.5, rng), np.zeros_like(planes))


def test_what_is_visible_and_what_is_guessed_make_up_the_whole() -> None:
    units = np.random.default_rng(0).standard_normal((3, 12, 6)).astype(np.float32)
    hiding = Hiding(share=0.75, front=1, columns=4, area=6)
    batch = hidden_batch(units, (3, 4), hiding, np.random.default_rng(1))
    assert batch.units.shape == (3, 4, 6)
    assert batch.positions is not None
    assert batch.targets is not None
    assert batch.grid is None
    assert batch.num_units == 12
    for row in range(3):
        seen = batch.positions[row, 1:].numpy() - 1
        hidden = np.setdiff1d(np.arange(12), seen)
        assert np.array_equal(batch.units[row, 1:].numpy(), units[row, seen])
        assert np.array_equal(batch.targets[row].numpy(), normalised(units[row : row + 1])[0, hidden])
    narrow = hidden_batch(units[:, :6], (3, 2), hiding, np.random.default_rng(1))
    assert narrow.grid == (3, 2)
    assert narrow.positions is not None
    assert set((narrow.positions - 1).flatten().tolist()) <= {-1, 0, 1, 4, 5, 8, 9}


def test_the_decoder_guesses_each_place_and_no_other(packed: Packed) -> None:
    """A guess is made from what its own row shows and from where it stands; a target that changes moves the loss by its
    own share only."""
    modality, corpus = packed
    chosen = recipe(modality)
    course = PatchCourse(chosen, corpus)
    model = course.new_model()
    initialise(model.trunk, seed=0)
    decoder, table = model.decoder, chosen.patches().grid
    for batch in course.plan(0).micro_batches(0):
        assert batch.targets is not None
        assert batch.positions is not None
        rows, columns = batch.grid or table
        states = model.trunk(replace(batch, grid=None)).detach().requires_grad_()
        guessed = decoder(states, batch.positions, batch.grid)
        assert guessed.shape == batch.targets.shape
        (reached,) = torch.autograd.grad(guessed[0, -1].sum(), states)
        assert bool(reached[0].any(dim=1).all())
        assert not bool(reached[1:].any())
        other = batch.targets.clone()
        other[0, -1] += 1
        share = ((guessed - other) ** 2 - (guessed - batch.targets) ** 2)[0, -1].sum() / other.numel()
        assert torch.isclose(model(replace(batch, targets=other)) - model(batch), share, atol=1e-6)
        whole = {1 + row * table[1] + column for row in range(rows) for column in range(columns)}
        hidden = torch.tensor([sorted(whole - set(seen.tolist())) for seen in batch.positions])
        alone = copy.deepcopy(decoder)
        alone.blocks = nn.ModuleList()  # a place is then told by its row of the table alone
        wanted = alone.leave(alone.norm(alone.hidden + alone.table[hidden]))
        assert torch.allclose(alone(states, batch.positions, batch.grid), wanted, atol=1e-6)


def test_a_run_learns_resumes_bit_for_bit_and_its_base_has_no_decoder(packed: Packed, tmp_path: Path) -> None:
    modality, corpus = packed
    chosen = recipe(modality)
    course = PatchCourse(chosen, corpus)
    verified = verify_course(course, steps=4, identity=identity_of(chosen, corpus), compile_blocks=False)
    assert verified.steps == 4
    found = follow(course, probe_every=60, compile_blocks=False)
    errors = [point.patch_error for point in found.curve]
    assert errors[-1] is not None
    assert errors[-1] < 0.95  # a guess of every mean gets 1
    again = follow(course, probe_every=60, compile_blocks=False)
    assert again.curve[-1].patch_error == errors[-1]


def test_a_base_reads_what_it_was_trained_on_and_says_from_what(data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    base = pretrain_patches(
        recipe("image", steps=4), data=data / "image", work=tmp_path / "work", watch=Watch(tell=told.append)
    )
    base.save(tmp_path / "base")
    again = Base.load(tmp_path / "base")
    assert again.digest == base.digest
    assert again.trunk.patches == base.trunk.patches
    assert not any("decoder" in name for name in again.trunk.state_dict())
    record = again.lineage[0]
    assert [(d.name, d.licence) for d in record.data] == [("made.parquet", "CC0-1.0")]
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert again.encode([picture]).shape == (1, 32)
    repeat = pretrain_patches(recipe("image", steps=4), data=data / "image", work=tmp_path / "work")
    assert repeat.digest == base.digest


def test_transformers_reads_our_image_base(data: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    base = pretrain_patches(recipe("image", steps=2), data=data / "image", work=tmp_path / "work")
    base.save(tmp_path / "base")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "base", add_pooling_layer=False)
    assert type(theirs).__name__ == "ViTModel"
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path / "base")
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        states = theirs(**processor(picture, return_tensors="pt")).last_hidden_state
    assert np.abs(base.encode([picture]) - states.mean(1).numpy()).max() < 1e-4


def planes_of(plan: PatchPlan, step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The planes that a step reads, in order."""
    read: list[int] = []
    take = PatchCorpus.take

    def noted(corpus: PatchCorpus, rows: npt.NDArray[np.int64]) -> Taken:
        read.extend(rows.tolist())
        return take(corpus, rows)

    with monkeypatch.context() as patch:
        patch.setattr(PatchCorpus, "take", noted)
        plan.micro_batches(step)
    return read


def test_every_epoch_takes_every_training_plane_once(packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the columns of its micro-batches, which of audio take turns."""
    modality, corpus = packed
    chosen = recipe(modality)
    kept, aside = training_rows(chosen, corpus), held_out_rows(chosen, corpus)
    assert not set(kept) & set(aside)
    assert len(kept) + len(aside) == len(corpus)
    plan = PatchPlan(chosen, corpus)
    steps = [planes_of(plan, step, monkeypatch) for step in range(9)]
    read = [plane for step in steps for plane in step]
    orders = [read[: len(kept)], read[len(kept) : 2 * len(kept)]]
    assert [sorted(order) for order in orders] == [kept.tolist()] * 2
    assert orders[0] != orders[1]
    assert planes_of(PatchPlan(chosen, corpus, skipped=3), 2, monkeypatch) == steps[5]
    ours, theirs = plan.micro_batches(3), plan.micro_batches(3)
    assert all(torch.equal(a.units, b.units) for a, b in zip(ours, theirs, strict=True))
    assert plan.flops(4) == sum(chosen.step_flops(step) for step in range(4))


def test_packing_is_reused_and_names_what_is_wrong(data: Path, tmp_path: Path) -> None:
    codec = recipe("series").codec()
    corpus = pack_patches(data / "series", codec, tmp_path / "planes")
    assert len(corpus) == 200  # two channels each
    assert len(corpus.meta.levels) == 200
    stamp = (tmp_path / "planes" / "planes.bin").stat().st_mtime_ns
    pack_patches(data / "series", codec, tmp_path / "planes")
    assert (tmp_path / "planes" / "planes.bin").stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match="has the columns series"):
        pack_patches(data / "series", recipe("image").codec(), tmp_path / "other")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no audio data"):
        pack_patches(tmp_path / "none", recipe("audio").codec(), tmp_path / "other")


def png_of(grey: int) -> bytes:
    target = io.BytesIO()
    Image.fromarray(np.full((9, 9), grey, dtype=np.uint8)).save(target, format="PNG")
    return target.getvalue()


def test_pictures_are_read_as_adapt_reads_them(tmp_path: Path) -> None:
    """Hugging Face's structs are, and what macOS leaves beside a file is not."""
    codec, folder = recipe("image").codec(), tmp_path / "data"
    (folder / ".cache").mkdir(parents=True)
    for place in (folder / "._0.png", folder / ".cache" / "1.png"):
        place.write_bytes(b"no picture")
    (folder / "0.png").write_bytes(png_of(0))
    cells = [{"bytes": png_of(grey), "path": "elsewhere.png"} for grey in (255, 0)]
    pq.write_table(pa.table({"image": cells}), folder / "huggingface.parquet")
    corpus = pack_patches(folder, codec, tmp_path / "planes")
    assert [float(plane.mean()) for plane in corpus.planes] == [-1.0, 1.0, -1.0]
    assert sorted(corpus.meta.files) == ["0.png", "huggingface.parquet"]


SILENCE = bytes(4000)


@pytest.mark.parametrize(
    ("modality", "columns", "said"),
    [
        ("image", {"image": [None]}, "row 0 is empty; expected a picture"),
        ("image", {"image": ["a.png"]}, r"row 0 is the path 'a\.png'; expected the content of a file"),
        ("image", {"image": [{"bytes": None, "path": "a.png"}]}, r"row 0 is the path 'a\.png'"),
        ("image", {"image": pa.array([], pa.binary())}, "holds tables without rows"),
        ("audio", {"pcm_s16le": [SILENCE, None], "sample_rate": [8000, 8000]}, "row 1 is empty; expected a clip"),
        ("audio", {"pcm_s16le": [SILENCE], "sample_rate": pa.array([None], pa.int64())}, "row 0 .* without their rate"),
        ("audio", {"pcm_s16le": [SILENCE]}, "row 0 holds samples without their rate"),
        ("series", {"series": pa.array([None], pa.list_(pa.float64()))}, "row 0 is empty; expected a series"),
    ],
)
def test_tables_that_cannot_be_trained_on_are_refused_in_words(
    modality: str, columns: dict[str, object], said: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "data" / "made.parquet")
    with pytest.raises(DataError, match=said):
        pack_patches(tmp_path / "data", recipe(modality).codec(), tmp_path / "planes")


@pytest.mark.parametrize("damage", ["text", "half", "pages"])
def test_a_damaged_table_is_named(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "data" / "made.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table({"image": [png_of(grey) for grey in range(50)]}), file)
    whole = file.read_bytes()
    broken = {"text": b"no table", "half": whole[: len(whole) // 2], "pages": b"PAR1" + b"\xff" * 400 + whole[404:]}
    file.write_bytes(broken[damage])
    with pytest.raises(DataError, match=r"made\.parquet is not a readable Parquet file"):
        pack_patches(file.parent, recipe("image").codec(), tmp_path / "planes")


def test_what_an_interrupted_packing_left_is_never_taken_for_planes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed, then interrupted over other data, then asked for the first data again."""
    codec, target = recipe("series").codec(), tmp_path / "planes"
    planes = pack_patches(data / "series", codec, target).planes.copy()
    shutil.copytree(data / "series", tmp_path / "more")
    (file,) = (tmp_path / "more").glob("*.parquet")
    shutil.copy(file, file.with_name("again.parquet"))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("headstart.data.patch_corpus.to_plane", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack_patches(tmp_path / "more", codec, target)
    assert not (target / "meta.json").exists()
    assert np.array_equal(pack_patches(data / "series", codec, target).planes, planes)


@pytest.mark.parametrize("name", ["image-tiny", "audio-tiny", "series-tiny"])
def test_shipped_recipes_are_small_enough_to_embed_together(name: str) -> None:
    chosen = read_patch_recipe(name)
    trunk = Trunk(chosen.trunk_config(), chosen.patches())
    counted = sum(p.numel() for p in trunk.parameters())
    assert counted == trunk.num_parameters
    assert 1_500_000 <= counted <= 2_000_000  # of bf16: three times at most 4 MB
    with pytest.raises(ConfigError, match="is for 'patches'"):
        read_recipe(name)


@pytest.mark.parametrize(
    ("modality", "part", "change", "said"),
    [
        ("series", "hidden", {"share": 0.05}, "share is 0.05, which hides none of 8 patches"),
        ("audio", "hidden", {"share": 0.1, "columns": [8, 1]}, "share is 0.1, which hides none of 4 patches"),
        ("series", "reading", {"patch": [1]}, r"patch is \(1,\), one value; expected at least two"),
        ("audio", "hidden", {"columns": [8, 9]}, r"columns is \(8, 9\); expected numbers from 1 to 8"),
        ("audio", "hidden", {"columns": [0]}, r"columns is \(0,\); expected numbers from 1 to 8"),
    ],
)
def test_a_recipe_that_hides_nothing_or_nothing_that_can_be_guessed_is_refused(
    modality: str, part: str, change: dict[str, object], said: str
) -> None:
    values = msgspec.to_builtins(recipe(modality))
    values[part] |= change
    with pytest.raises(ConfigError, match=said):
        convert_recipe(values, "toy", PatchRecipe)


def test_a_clip_is_read_up_to_what_fills_it() -> None:
    codec = recipe("audio").codec()
    short = codec.encode(Clip(np.ones(800, dtype=np.float32), 8000))
    assert short.grid[0] == 4
    assert short.grid[1] < codec.whole_grid[1]
