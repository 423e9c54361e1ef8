"""Hostile pictures, sounds and series: refused in words that say what is wrong, before memory is spent on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data import media

from headstart.data.pictures import read_picture
from headstart.data.raw import Modality, keep_raw
from headstart.data.sound import from_pcm16, read_clip
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
    from PIL import Image

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
    import io

    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(media.noise(24, 32)).save(buffer, "JPEG", exif=exif)
    assert read_picture(buffer.getvalue(), where="x").shape == (32, 24, 3)
    buffer = io.BytesIO()
    Image.new("RGBA", (4, 4), (9, 9, 9, 0)).save(buffer, "PNG")
    assert (read_picture(buffer.getvalue(), where="x") == 255).all()


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_whole_sounds_are_read(kind: str) -> None:
    clip = read_clip(media.sound_bytes(kind), where="x")
    assert (len(clip.samples), clip.rate) == (800, 8_000)
    stereo = read_clip(media.wav(channels=2, declared=8, body=np.array([100, 300, -2, 2], "<i2").tobytes()), where="x")
    assert np.allclose(stereo.samples * 32_768, [200, 0])
