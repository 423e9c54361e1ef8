"""Tasks over pictures, clips and series: class folders, paths in tables, bytes, arrays; splits and duplicates."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data import media

from headstart.data.patches import PatchCodec
from headstart.data.raw import Raw
from headstart.data.sound import Clip
from headstart.data.task import Task
from headstart.ground.errors import ConfigError, DataError

CLASSES = ("cats", "dogs")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 pictures of two classes, a copy of one of them, and files that are none."""
    root = tmp_path / "photos"
    for place, label in enumerate(CLASSES):
        (root / label / "deep").mkdir(parents=True)
        for number in range(10):
            folder = root / label / ("deep" if number % 2 else "")
            (folder / f"{number}.png").write_bytes(image(10 * place + number))
    (root / "cats" / ".hidden.png").write_bytes(b"")
    (root / "cats" / "notes.txt").write_text("no picture")
    return root


def image(seed: int) -> bytes:
    return media.image_bytes(pixels=media.noise(8 + seed % 3, 9, seed))


def sound(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3_000, 400).astype("<i2")


def read_all(task: Task) -> list[Raw]:
    return [raw for part in (task.train, task.validation, task.test) for raw in part.raws]


def test_a_folder_of_class_folders(photos: Path) -> None:
    task = Task.read(photos, label_from="folder")
    assert (task.name, task.kind, task.labels, task.columns.modality) == ("photos", "choice", CLASSES, "image")
    assert (len(task.train), len(task.validation), len(task.test)) == (16, 2, 2)
    assert {raw.content.suffix for raw in read_all(task)} == {".png"}
    for raw, target in zip(task.train.raws, task.train.targets, strict=True):
        assert raw.content.relative_to(photos).parts[0] == task.labels[int(target)]
        assert raw.read().shape == raw.shape
    assert "image=file" in task.describe()[0]
    assert any("from a picture 9 x 8 to a picture 9 x 10" in note for note in task.notes)


def test_the_digest_follows_the_contents_and_not_the_place(photos: Path, tmp_path: Path) -> None:
    first = Task.read(photos, label_from="folder").digest
    moved = photos.rename(tmp_path / "elsewhere")
    assert Task.read(moved, label_from="folder").digest == first
    (moved / "cats" / "0.png").write_bytes(image(77))
    assert Task.read(moved, label_from="folder").digest != first


def test_pictures_that_stand_in_train_and_test_are_dropped_from_train(photos: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    for place, label in enumerate(CLASSES):
        (test / label).mkdir(parents=True)
        (test / label / "same.webp").write_bytes(
            media.image_bytes("PNG", media.noise(8 + 10 * place % 3, 9, 10 * place))
        )
        (test / label / "new.png").write_bytes(image(50 + place))
    task = Task.read(photos, test=test, label_from="folder")
    assert task.checks[0].id == "split.leak"
    assert task.checks[0].value == 2
    assert len(task.test) == 4
    assert not set(task.test.raws) & set(task.train.raws) & set(task.validation.raws)


def test_what_is_passed_over_in_a_folder_stands_in_the_notes(photos: Path, tmp_path: Path) -> None:
    before = Task.read(photos, label_from="folder")
    assert "files passed over in photos, since they are none of flac, jpeg, jpg, png, wav, webp: 1 .txt" in before.notes
    for name in ("a.gif", "b.GIF", "Makefile"):
        (photos / "dogs" / "deep" / name).write_bytes(b"")
    (photos / "loose.png").write_bytes(image(0))
    (photos / "birds").mkdir()
    (tmp_path / "wolves").mkdir()
    (photos / "wolves").symlink_to(tmp_path / "wolves")
    (photos / ".cache").mkdir()
    notes = "\n".join(Task.read(photos, label_from="folder").notes)
    assert "webp: 2 .gif, 1 .txt, 1 without a suffix\n" in notes
    assert "files passed over in photos, since they stand in no class folder: 1 .png\n" in notes
    assert "folders passed over in photos, since they hold no file or are links: birds, wolves" in notes


def test_a_class_whose_files_cannot_be_read_does_not_vanish(photos: Path) -> None:
    (photos / "birds" / "deep").mkdir(parents=True)
    for number in range(3):
        (photos / "birds" / "deep" / f"{number}.bmp").write_bytes(media.image_bytes("BMP"))
    with pytest.raises(DataError, match=r"photos/birds holds 3 \.bmp and no picture or sound .* Convert them, or move"):
        Task.read(photos, label_from="folder")


def test_folders_called_train_and_test_are_no_classes(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    train = photos.rename(tmp_path / "set" / "Train")
    for part in ("val", "test"):
        (tmp_path / "set" / part / "cats").mkdir(parents=True)
        (tmp_path / "set" / part / "cats" / "0.png").write_bytes(image(90))
    message = f"Give {train} --test {tmp_path}/set/test --validation {tmp_path}/set/val --label-from folder."
    with pytest.raises(DataError, match=re.escape(message)):
        Task.read(tmp_path / "set", label_from="folder")
    for part in ("train", "test"):
        (tmp_path / "vehicles" / part).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "vehicles" / part / f"{number}.png").write_bytes(image(number + 20 * (part == "test")))
    assert Task.read(tmp_path / "vehicles", label_from="folder").labels == ("test", "train")


def test_a_folder_of_one_class_is_told_to_add_another(photos: Path, tmp_path: Path) -> None:
    (photos / "dogs").rename(tmp_path / "dogs")
    with pytest.raises(DataError, match=r"photos has one class folder, cats; expected at least two\. Add a folder"):
        Task.read(photos, label_from="folder")


def test_names_that_are_not_utf8_are_refused_before_any_work(photos: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(photos / "dogs") + b"/caf\xe9.png"))
    odd.write_bytes(image(70))
    with pytest.raises(DataError, match=r"caf\\udce9\.png has a name that is not UTF-8; .* Rename it") as caught:
        Task.read(photos, label_from="folder")
    str(caught.value).encode()
    odd.unlink()
    named = photos.rename(os.fsdecode(os.fsencode(photos.parent) + b"/caf\xe9"))
    Task.read(named, label_from="folder").name.encode()


def test_one_picture_under_two_labels_is_told(photos: Path) -> None:
    (photos / "dogs" / "copy.png").write_bytes(image(0))
    task = Task.read(photos, label_from="folder")
    assert any(check.id == "labels.conflict" and check.value == 2 for check in task.checks)


def test_paths_in_a_table_are_read_from_where_it_lies(tmp_path: Path) -> None:
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for seed in range(20):
            name = f"{seed}.{'wav' if seed % 2 else 'flac'}"
            media_bytes = media.sound_bytes("WAV" if seed % 2 else "FLAC", seconds=0.05 + seed / 1000)
            (tmp_path / name).write_bytes(media_bytes)
            writer.writerow([name, "even" if seed % 2 else "odd"])
    task = Task.read(tmp_path / "clips.csv", audio="path")
    assert task.columns.modality == "audio"
    assert {raw.rate for raw in read_all(task)} == {8_000}
    with pytest.raises(DataError, match=r"holds file names; expected text\. Give --audio path"):
        Task.read(tmp_path / "clips.csv")


def test_bytes_and_raw_samples_of_a_parquet_file(tmp_path: Path) -> None:
    labels = [seed % 2 for seed in range(20)]
    metadata = {b"card": json.dumps({"label_names": list(CLASSES)}).encode()}
    pictures = pa.table({"image": [image(seed) for seed in range(20)], "label": labels}).replace_schema_metadata(
        metadata
    )
    pq.write_table(pictures, tmp_path / "pictures.parquet")
    task = Task.read(tmp_path / "pictures.parquet", image="image")
    assert task.labels == CLASSES
    assert read_all(task)[0].modality == "image"

    clips = pa.table(
        {"pcm_s16le": [sound(s).tobytes() for s in range(20)], "sample_rate": [8_000] * 20, "label": labels}
    )
    pq.write_table(clips, tmp_path / "clips.parquet")
    task = Task.read(tmp_path / "clips.parquet", audio="pcm_s16le")
    clip = task.train.raws[0].read()
    assert isinstance(clip, Clip)
    assert np.array_equal((clip.samples * 32_768).astype("<i2"), sound(task.train.ids[0] - 1))

    pq.write_table(clips.drop_columns(["sample_rate"]), tmp_path / "rateless.parquet")
    with pytest.raises(DataError, match="samples without their rate"):
        Task.read(tmp_path / "rateless.parquet", audio="pcm_s16le")


def test_the_column_of_bytes_may_be_spelt_in_another_case(tmp_path: Path) -> None:
    table = pa.table({"Image": [image(seed) for seed in range(20)], "label": [seed % 2 for seed in range(20)]})
    pq.write_table(table, tmp_path / "pictures.parquet")
    assert Task.read(tmp_path / "pictures.parquet", image="image").columns.text == "Image"


def test_samples_are_the_same_sound_however_they_are_written(tmp_path: Path) -> None:
    clips = [sound(seed) for seed in range(20)]
    beside = {"sample_rate": [8_000] * 20, "label": [seed % 2 for seed in range(20)]}
    pq.write_table(pa.table({"x": [clip.tobytes() for clip in clips], **beside}), tmp_path / "bytes.parquet")
    pq.write_table(pa.table({"x": pa.array(clips, pa.list_(pa.int16())), **beside}), tmp_path / "lists.parquet")
    floats = [(clip / 32_768).tolist() for clip in clips]
    tables = [tmp_path / "bytes.parquet", tmp_path / "lists.parquet", {"x": clips, **beside}, {"x": floats, **beside}]
    found = [read_all(Task.read(table, audio="x")) for table in tables]
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize(
    ("flag", "good", "bad", "reason"),
    [
        ("image", [[1, 2], [3, 4]], [[1, 2], [3]], "rows of unequal lengths"),
        ("image", {"bytes": image(0)}, {"bytes": "iVBORw0"}, "a str under bytes"),
        ("image", {"bytes": list(image(0))}, {"bytes": 10**12}, "a int under bytes"),
        ("image", {"bytes": bytearray(image(0))}, {"bytes": [300]}, "a list under bytes"),
        ("audio", [0.1, 0.2], [[0.1], [0.1, 0.2]], "lists of unequal lengths"),
        ("audio", [0.1, 0.2], ["a", "b"], "no numbers"),
        ("series", [1, 2], [1, 10**400], "over 308 digits"),
        ("series", [1.0, 2.0], [1.0, -1.7e308], "numbers up to 1e"),
    ],
)
def test_a_cell_that_is_wrong_in_any_way_costs_its_row_alone(flag: str, good: Any, bad: Any, reason: str) -> None:
    rows = [{"x": good, "sample_rate": 8_000, "y": row % 2} for row in range(20)]
    rows[4]["x"] = bad
    task = Task.read(rows, max_reject=0.05, label="y", keep_duplicates=True, **{flag: "x"})  # type: ignore[arg-type]
    (reject,) = task.rejects["table"]
    assert reject.line == 5
    assert reason in reject.reason


@pytest.mark.parametrize("rate", [float("inf"), 8_000.5, True, "fast", 10**400])
def test_a_rate_that_is_none_costs_its_row_alone(rate: Any) -> None:
    rows = [{"x": sound(row).tolist(), "sample_rate": 8_000, "y": row % 2} for row in range(20)]
    rows[4]["sample_rate"] = rate
    task = Task.read(rows, max_reject=0.05, label="y", audio="x")
    assert [reject.line for reject in task.rejects["table"]] == [5]


def test_what_hugging_face_writes_into_cells() -> None:
    rows: list[dict[str, Any]] = [
        {"picture": {"bytes": image(seed), "path": None}, "label": CLASSES[seed % 2]} for seed in range(12)
    ]
    assert len(read_all(Task.read(rows, image="picture"))) == 12
    rows = [{"audio": {"array": sound(s) / 32_768, "sampling_rate": 8_000}, "label": CLASSES[s % 2]} for s in range(12)]
    assert len(read_all(Task.read(rows, audio="audio"))) == 12


def test_series_of_all_shapes_in_one_column(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    series = [random.normal(size=(2, 10 + seed)).tolist() for seed in range(20)]
    series[3][1][2] = None
    pq.write_table(pa.table({"sensors": series, "label": [s % 2 for s in range(20)]}), tmp_path / "s.parquet")
    task = Task.read(tmp_path / "s.parquet", series="sensors")
    assert {raw.shape[0] for raw in read_all(task)} == {2}
    assert "1 missing values in 1 series were filled along straight lines" in task.notes
    codec = PatchCodec("series", (16,), 1, (4,), (4,), fit="free")
    assert {codec.encode(raw).grid for raw in read_all(task)} == {(2, 3), (2, 4)}


def test_a_series_of_other_channels_is_set_aside_with_its_line(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    series = [random.normal(size=(3 if row == 4 else 2, 10)).tolist() for row in range(20)]
    table = {"sensors": series, "label": [row % 2 for row in range(20)]}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    with pytest.raises(DataError, match=r"^s\.parquet:5: .* is a series of 3 channels; expected 2, as most rows have"):
        Task.read(tmp_path / "s.parquet", series="sensors")
    task = Task.read(tmp_path / "s.parquet", series="sensors", max_reject=0.05)
    assert [reject.line for reject in task.rejects["s.parquet"]] == [5]
    assert {raw.shape[0] for raw in read_all(task)} == {2}
    assert len(read_all(task)) == 19
    assert not any("left out" in note for note in task.notes)
    other = [{"sensors": random.normal(size=(3, 10)).tolist(), "label": row % 2} for row in range(9)]
    with pytest.raises(DataError, match=r"^table:1: .* is a series of 3 channels; expected 2"):
        Task.read(tmp_path / "s.parquet", validation=other, series="sensors", max_reject=0.05)


def test_a_series_written_into_a_cell(tmp_path: Path) -> None:
    lines = [f'"{seed} 2.5 {seed + 1}",{"ab"[seed % 2]}' for seed in range(10)]
    lines += [f'"[{seed}, {["NaN", "nan", "None"][seed % 3]}, 4]",{"ab"[seed % 2]}' for seed in range(10)]
    (tmp_path / "s.csv").write_text("beat,label\n" + "\n".join(lines) + "\n")
    task = Task.read(tmp_path / "s.csv", series="beat")
    assert {raw.shape for raw in read_all(task)} == {(1, 3)}


def test_arrays_from_python() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    task = Task.read({"image": digits.images * 15.9, "label": digits.target}, image="image")
    assert len(read_all(task)) == 1797
    assert task.labels == tuple("0123456789")
    assert task.train.raws[0].read().shape == (8, 8, 1)


def test_bad_rows_are_set_aside_with_their_line_and_too_many_refuse_the_table(photos: Path) -> None:
    (photos / "cats" / "bad.png").write_bytes(media.broken_png())
    with pytest.raises(DataError, match=r"cats/bad\.png is damaged.*1 of 21 rows cannot be used"):
        Task.read(photos, label_from="folder")
    task = Task.read(photos, label_from="folder", max_reject=0.1)
    (reject,) = task.rejects["photos"]
    assert "bad.png" in reject.reason


def test_cells_that_point_elsewhere(tmp_path: Path) -> None:
    for cell, message in (
        ("https://example.org/a.png", "is an address; expected a file here"),
        ("gone.png", "does not exist"),
        ("", "is empty; expected a value"),
    ):
        rows = "".join(f"{cell},{label}\n" for label in "abababababab")
        (tmp_path / "t.csv").write_text("path,label\n" + rows)
        with pytest.raises(DataError, match=message):
            Task.read(tmp_path / "t.csv", image="path")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "add --label-from folder"),
        ({"label_from": "name"}, "--label-from is 'name'; expected folder"),
        ({"label_from": "folder", "image": "file"}, "A folder has no columns"),
        ({"image": "a", "text": "b"}, "--text and --image were given together"),
        ({"image": "a", "audio": "b"}, "--image and --audio were given together"),
        ({"label_from": "folder", "kind": "tags"}, "kind is 'tags' for image inputs"),
    ],
)
def test_flags_that_do_not_go_together(photos: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        Task.read(photos, **flags)


def test_folders_that_are_none_of_classes(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no class folders .*\(10 files stand in no class folder\)|5 files stand in no"
    ):
        Task.read(photos / "cats" / "deep", label_from="folder")
    with pytest.raises(DataError, match="does not exist"):
        Task.read(tmp_path / "gone", label_from="folder")
    (photos / "dogs" / "bark.wav").write_bytes(media.sound_bytes())
    with pytest.raises(DataError, match="pictures and sounds"):
        Task.read(photos, label_from="folder")


def test_equal_inputs_are_equal_whatever_they_came_as(tmp_path: Path) -> None:
    from headstart.data.raw import keep_raw

    pixels = media.noise()
    (tmp_path / "a.png").write_bytes(media.image_bytes(pixels=pixels))
    found = [
        keep_raw("image", content, where="x")
        for content in (
            pixels,
            media.image_bytes(pixels=pixels),
            tmp_path / "a.png",
        )
    ]
    assert len(set(found)) == 1
    assert str(found[0]) == f"picture 32 x 24 ({found[0].digest[:8]})"
    assert str(found[2]) == "picture 32 x 24 (a.png)"
