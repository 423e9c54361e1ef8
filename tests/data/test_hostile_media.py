"""Hostile pictures, sounds and series: refused in words that say what is wrong, before memory is spent on them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data import media

from headstart.data.pictures import Pixels, read_picture
from headstart.data.raw import Modality, keep_raw
from headstart.data.sound import Clip, from_pcm16, from_samples, read_clip
from headstart.ground.errors import DataError

HOSTILE: list[tuple[Modality, str, Any]] = [
    *(("image", name, make) for name, make in media.HOSTILE_PICTURES.items()),
    *(("audio", name, make) for name, make in media.HOSTILE_SOUNDS.items()),
    *(("series", name, make) for name, make in media.HOSTILE_SERIES.items()),
]


@pytest.mark.parametrize(("modality", "name", "make"), HOSTILE, ids=[f"{m}: {n}" for m, n, _ in HOSTILE])
def test_it_is_refused_and_the_message_says_where_and_what_was_expected(
    modality: Modality, name: str, make: Any
) -> None:
    with pytest.raises(DataError) as caught:
        keep_raw(modality, make(), where="photos.csv:7")
    message = str(caught.value)
    assert message.startswith("photos.csv:7 ")
    assert "expected" in message
    assert len(message) < 400
    assert message.isprintable()


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """All of them in one process that may not grow by more than 150 MB: a bomb would take gigabytes."""
    paths = []
    for place, (modality, _, make) in enumerate(HOSTILE):
        content = make()
        if isinstance(content, bytes):
            paths.append(f"{modality} {tmp_path / str(place)}")
            (tmp_path / str(place)).write_bytes(content)
    program = """
import resource, sys
from pathlib import Path
from headstart.data.raw import keep_raw
from headstart.ground.errors import DataError
import scipy.signal, soundfile
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, refused = peak(), 0
for line in sys.stdin.read().split("\\n"):
    modality, path = line.split(" ", 1)
    try:
        keep_raw(modality, Path(path), where="x")
    except DataError:
        refused += 1
sys.stdout.write(f"{refused} {peak() - before}")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input="\n".join(paths), capture_output=True, text=True, timeout=120, check=True
    )
    refused, grown = map(int, done.stdout.split())
    assert refused == len(paths) >= 30
    assert grown < 150_000  # KiB


def test_files_that_are_none(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for path, what in (
        (pipe, "is no regular file"),
        (tmp_path, "is a folder"),
        (tmp_path / "gone.png", "does not exist"),
        (Path("/dev/zero"), "is no regular file"),
    ):
        with pytest.raises(DataError, match=what):
            keep_raw("image", path, where=path.name)


def test_raw_samples_are_checked() -> None:
    with pytest.raises(DataError, match="expected two a sample"):
        from_pcm16(b"abc", 8_000, where="row 1")
    with pytest.raises(DataError, match="samples a second"):
        from_pcm16(b"abcd", 12, where="row 1")


def test_every_mode_of_picture_that_is_none_of_these_is_read(tmp_path: Path) -> None:
    grey = media.noise()[:, :, 0]
    pictures = {
        "L.png": Image.fromarray(grey),
        "1.png": Image.fromarray(grey > 99),
        "P.png": Image.fromarray(media.noise()).quantize(16),
        "RGBA.png": Image.fromarray(np.dstack([media.noise(), grey])),
        "LA.png": Image.fromarray(grey).convert("LA"),
        "I;16.png": Image.fromarray(grey.astype(np.uint16) * 256),
        "CMYK.jpg": Image.fromarray(media.noise()).convert("CMYK"),
        "L.webp": Image.fromarray(grey),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        pixels = read_picture((tmp_path / name).read_bytes(), where=name)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (24, 32, 1 if name in ("L.png", "1.png", "I;16.png") else 3)
    assert np.array_equal(read_picture((tmp_path / "I;16.png").read_bytes(), where="x")[:, :, 0], grey)


def test_a_photograph_is_turned_upright_and_transparent_is_white() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(media.noise(24, 32)).save(buffer, "JPEG", exif=exif)
    assert read_picture(buffer.getvalue(), where="x").shape == (32, 24, 3)
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(buffer, "PNG")
    assert (read_picture(buffer.getvalue(), where="x") == 255).all()


def test_sounds_without_samples_or_without_their_number_are_called_so() -> None:
    with pytest.raises(DataError, match=r"has no samples; expected at least one\. Leave it out"):
        read_clip(media.wav(declared=0, body=b""), where="x")
    with pytest.raises(DataError, match=r"does not say how many samples it has, as streamed files do.* Save it anew"):
        read_clip(media.streamed_flac(), where="x")


def test_whole_numbers_become_sound_by_their_type_and_floats_stay() -> None:
    loud = np.array([0, 16_384, -32_768])
    wanted = [0.0, 0.5, -1.0]
    for given in (loud.astype(np.int16), loud, loud.tolist(), loud.astype(np.float32), loud.astype(np.int32) << 16,
                  (loud >> 8).astype(np.int8), loud / 32_768):  # fmt: skip
        assert from_samples(given, 8_000, where="x").samples.tolist() == wanted
    assert read_clip(Clip(loud.astype(np.int16), 8_000), where="x").samples.tolist() == wanted  # type: ignore[arg-type]
    for floats in ([0.0, 1.0, -1.0], [0.5, -30.25]):
        assert from_samples(floats, 8_000, where="x").samples.tolist() == floats
        assert read_clip(Clip(np.float32(floats), 8_000), where="x").samples.tolist() == floats
    assert from_samples([0, 1, -1], 8_000, where="x").samples.max() == 1 / 32_768


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([0, 40_000], r"holds samples from 0 to 40000; expected floats from -1 to 1, or whole numbers of 16 bits"),
        ([0.5, -3_000.25], r"holds samples from -3000\.25 to 0\.5; expected floats"),
        (np.array([128, 255], dtype=np.uint8), "holds uint8; expected samples as int16"),
        ([[0.1, 0.2], [0.1]], "holds lists of unequal lengths"),
        (["a", "b"], "holds values that are no numbers"),
        ([0.1, None], "holds values that are no numbers"),
        ([1, 10**400], "holds values that are no numbers"),
        ([0.1, float("nan")], "holds nan at sample 1"),
        ([], r"has samples of shape \(0,\)"),
        (5, r"has samples of shape \(\)"),
    ],
)
def test_samples_of_no_known_scale_are_refused(samples: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^row 1 {message}"):
        from_samples(samples, 8_000, where="row 1")


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_whole_sounds_are_read(kind: str) -> None:
    clip = read_clip(media.sound_bytes(kind), where="x")
    assert (len(clip.samples), clip.rate) == (800, 8_000)
    stereo = read_clip(media.wav(channels=2, declared=8, body=np.array([100, 300, -2, 2], "<i2").tobytes()), where="x")
    assert np.allclose(stereo.samples * 32_768, [200, 0])


def png(picture: Image.Image, **more: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **more)
    return buffer.getvalue()


def grey_png(bits: int, rows: Pixels, *, clear: int | None = None) -> bytes:
    """A grey PNG of 1, 2 or 4 bits a pixel, which Pillow does not write. rows: (H, W), W a multiple of 8."""
    height, width = rows.shape
    packed = np.packbits((rows[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1, axis=None).reshape(height, -1)
    lines = b"".join(b"\0" + line.tobytes() for line in packed)
    header = media.chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    seen = b"" if clear is None else media.chunk(b"tRNS", struct.pack(">H", clear))
    body = media.chunk(b"IDAT", zlib.compress(lines, 9))
    return b"\x89PNG\r\n\x1a\n" + header + seen + body + media.chunk(b"IEND", b"")


def test_pictures_of_0_to_1_are_told_from_black_ones() -> None:
    bright = media.noise() / 255
    for given in (bright, bright.astype(np.float32), (bright[:, :, 0] / 2).tolist()):
        with pytest.raises(DataError, match=r"from 0 to [\d.]+; expected 0 to 255\. Multiply by 255"):
            read_picture(given, where="row 1")
    for dark in (np.zeros((3, 3)), np.eye(3), np.eye(3) * 2 / 3 + 0.5):
        assert read_picture(dark, where="x").max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_pictures_of_few_bits_that_are_nearly_empty_are_read(bits: int) -> None:
    rows = np.zeros((4_000, 4_000), dtype=np.uint8)
    rows[-1, -1] = 2**bits - 1
    content = grey_png(bits, rows)
    pixels = read_picture(content, where="x")
    assert pixels.shape == (4_000, 4_000, 1)
    assert (pixels[-1, -1, 0], int(pixels.sum())) == (255, 255)


def test_the_transparent_grey_of_a_picture_is_white() -> None:
    for bits in (1, 2, 4):
        rows = np.arange(32, dtype=np.uint8).reshape(2, 16) % 2**bits
        shown = read_picture(grey_png(bits, rows, clear=0), where="x")[:, :, 0]
        assert np.array_equal(shown, np.where(rows == 0, 255, rows * (255 // (2**bits - 1))))
    grey = np.array([[7, 9], [9, 7]], dtype=np.uint8)
    assert read_picture(png(Image.fromarray(grey), transparency=7), where="x")[:, :, 0].tolist() == [[255, 9], [9, 255]]
    deep = Image.fromarray(grey.astype(np.uint16) * 256)
    assert read_picture(png(deep, transparency=7 * 256), where="x")[:, :, 0].tolist() == [[255, 9], [9, 255]]


def test_pictures_of_pillow_are_read_as_their_files_are() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = Image.fromarray(media.noise(24, 32))
    given = [noise.quantize(16), noise.convert("L"), noise.convert("1"), Image.new("RGBA", (4, 3), (9, 9, 9, 0))]
    for picture in given:
        assert np.array_equal(read_picture(picture, where="x"), read_picture(png(picture), where="x"))
    turned = Image.open(io.BytesIO(png(noise, exif=exif)))
    assert read_picture(turned, where="x").shape == (32, 24, 3)
    with pytest.raises(DataError, match="row 2 is damaged or cut off"):
        read_picture(Image.open(io.BytesIO(png(noise)[:900])), where="row 2")
    with pytest.raises(DataError, match="has 0 x 3 pixels"):
        read_picture(Image.new("RGB", (0, 3)), where="x")
    assert read_picture(Image.fromarray(np.full((2, 2), 9, dtype=np.int32)), where="x").max() == 9
