"""Pictures, sounds and series for tests, whole ones and hostile ones, made here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
from PIL import Image

Pixels = Any


def noise(height: int = 24, width: int = 32, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def image_bytes(kind: str = "PNG", pixels: Pixels | None = None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise() if pixels is None else pixels).save(buffer, kind)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *, more: bytes = b"") -> bytes:
    """A PNG whose header says so; its pixels are those of one row of zeros."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(3 * min(width, 1000) + 1)))
    return b"\x89PNG\r\n\x1a\n" + header + more + rows + chunk(b"IEND", b"")


def broken_png() -> bytes:
    content = bytearray(image_bytes())
    content[content.index(b"IDAT") + 40] ^= 0xFF
    return bytes(content)


def wide_jpeg() -> bytes:
    content = bytearray(image_bytes("JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(content)


def sound_bytes(kind: str = "WAV", *, seconds: float = 0.1, rate: int = 8_000, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)).astype(np.float32)
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav(*, declared: int = 1_600, rate: int = 8_000, channels: int = 1, bits: int = 16, body: bytes | None = None,
        code: int = 1) -> bytes:  # fmt: skip
    """A WAV whose data chunk declares so many bytes."""
    body = bytes(1_600) if body is None else body
    width = channels * bits // 8
    head = struct.pack("<HHIIHH", code, channels, rate, min(rate * width, 2**32 - 1), width % 65_536, bits)
    chunks = b"fmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", declared) + body
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def long_flac() -> bytes:
    """A FLAC whose header declares 2^35 samples."""
    content = bytearray(sound_bytes("FLAC"))
    packed = int.from_bytes(content[18:26], "big")
    content[18:26] = (packed & ~((1 << 36) - 1) | 1 << 35).to_bytes(8, "big")
    return bytes(content)


def streamed_flac() -> bytes:
    """A FLAC whose header does not say how many samples follow."""
    content = bytearray(sound_bytes("FLAC"))
    content[18:26] = (int.from_bytes(content[18:26], "big") & ~((1 << 36) - 1)).to_bytes(8, "big")
    return bytes(content)


def nan_wav() -> bytes:
    body = np.array([0.1, float("nan"), 0.2, 0.3], dtype="<f4").tobytes()
    return wav(declared=len(body), bits=32, body=body, code=3)


HOSTILE_PICTURES: dict[str, Callable[[], Any]] = {
    "20,000 x 20,000 PNG": lambda: png(20_000, 20_000),
    "a little over 64 MP": lambda: png(8_001, 8_000),
    "2^31 x 2^31 PNG": lambda: png(2**31 - 1, 2**31 - 1),
    "65,000 x 65,000 JPEG": wide_jpeg,
    "half a PNG": lambda: image_bytes()[:900],
    "half a JPEG": lambda: image_bytes("JPEG")[:700],
    "half a WebP": lambda: image_bytes("WEBP")[:300],
    "PNG header alone": lambda: image_bytes()[:33],
    "nothing": lambda: b"",
    "PNG with a flipped byte": broken_png,
    "PNG that holds too few rows": lambda: png(500, 500),
    "text bomb in a PNG": lambda: png(10, 10, more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))),
    "animated GIF": lambda: animated("GIF"),
    "animated WebP": lambda: animated("WEBP"),
    "animated PNG": lambda: animated("PNG"),
    "SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "HTML": lambda: b"<!DOCTYPE html><html>404</html>",
    "PDF": lambda: b"%PDF-1.7\n" + bytes(100),
    "TIFF": lambda: image_bytes("TIFF"),
    "BMP": lambda: image_bytes("BMP"),
    "a sound": sound_bytes,
    "an array of NaN": lambda: np.full((4, 4), np.nan),
    "an array of 1e9": lambda: np.full((4, 4), 1e9),
    "an array with channels first": lambda: np.zeros((3, 40, 40), dtype=np.uint8),
    "a list of words": lambda: ["a", "b"],
    "rows of unequal lengths": lambda: [[1, 2, 3], [4, 5]],
    "an array of 0 to 1": lambda: noise() / 255,
}
HOSTILE_SOUNDS: dict[str, Callable[[], Any]] = {
    "WAV of 2^31 samples": lambda: wav(declared=2**32 - 2),
    "streamed WAV": lambda: wav(declared=2**32 - 1),
    "half a WAV": lambda: sound_bytes()[:900],
    "WAV without data": lambda: sound_bytes()[:36],
    "WAV with an endless chunk": lambda: b"RIFF\x10\0\0\0WAVELIST\xff\xff\xff\xff" + bytes(100),
    "empty WAV": lambda: wav(declared=0, body=b""),
    "WAV of 40,000 channels": lambda: wav(channels=40_000, bits=8),
    "WAV of 2^31 samples a second": lambda: wav(rate=2**31 - 1),
    "WAV of 0 samples a second": lambda: wav(rate=0),
    "WAV with NaN": nan_wav,
    "ADPCM": lambda: sound_bytes(subtype="MS_ADPCM"),
    "AVI": lambda: b"RIFF\x10\0\0\0AVI " + bytes(100),
    "FLAC of 2^35 samples": long_flac,
    "FLAC of unknown length": streamed_flac,
    "half a FLAC": lambda: sound_bytes("FLAC")[:500],
    "MP3": lambda: b"ID3\x04" + bytes(500),
    "Ogg": lambda: sound_bytes("OGG", subtype="VORBIS"),
    "a picture": image_bytes,
    "numbers without a rate": lambda: [0.1, 0.2],
}
HOSTILE_SERIES: dict[str, Callable[[], Any]] = {
    "all NaN": lambda: [float("nan")] * 10,
    "one channel of NaN": lambda: [[1.0, 2.0], [float("nan"), None]],
    "infinite": lambda: [1.0, float("inf"), 2.0],
    "channels of unequal lengths": lambda: [[1.0, 2.0, 3.0], [1.0, 2.0]],
    "words": lambda: [1.0, "two", 3.0],
    "nothing": lambda: [],
    "channels of nothing": lambda: [[], []],
    "lists beside numbers": lambda: [[1.0, 2.0], 3.0],
    "lists in lists in lists": lambda: [[[1.0], [2.0]]],
    "5,000 channels": lambda: np.zeros((5_000, 2)),
    "2^25 values": lambda: np.zeros(1 << 25, dtype=np.int8),
    "a number": lambda: 3.0,
    "a word": lambda: "abc",
    "the largest number": lambda: [1.0, 1.7e308, None],
    "a whole number of 400 digits": lambda: [1, 10**400],
}
