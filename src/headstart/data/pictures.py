"""Pictures: PNG, JPEG and WebP bytes, arrays, or Pillow's -> (H, W, C) uint8, C = 1 (grey) or 3 (RGB).

Nothing is decoded before the header was read: the kind of file is on the list below (whatever its name says), it has
one frame, and no more than 64 million pixels. A file that ends too early is refused and not filled up with grey.
"""

from __future__ import annotations

import io
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from headstart.ground.errors import DataError, safe_repr

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP")
ALLOWED = (*FORMATS, "MPO")  # a JPEG with further pictures behind the first, as some cameras write; the first is read
MAX_PIXELS = 64_000_000  # 192 MB as RGB; the sensors of most phones have 12 to 50 million
LEAST_BYTES = {"1": 1 / 8, "P": 1 / 8, "L": 1 / 4}  # of a pixel by Pillow's mode; grey of 2 bits is read as "L" too
BIT_DEPTH = 24  # where a PNG says it; its first chunk is always the header
DEFLATE_RATIO = 1_032  # no deflate stream, so no PNG, becomes more than so many times as long (zlib's own bound)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def read_picture(raw: Any, *, where: str) -> Pixels:
    """(H, W, C) uint8 of file bytes, of Pillow's pictures or of an array (H, W), (H, W, 1), (H, W, 3), values 0 to 255.

    Turned upright by its EXIF mark; on white where it is transparent.

    Raises:
        DataError: it is no picture of a known kind, too large, animated, damaged or cut off.
    """
    if isinstance(raw, bytes | bytearray | memoryview):
        return _decode(bytes(raw), where)
    if isinstance(raw, Image.Image) and raw.mode not in ("I", "F"):  # those two hold numbers of any scale
        return _from_pillow(raw, where)
    return _from_array(raw, where)


def as_channels(pixels: Pixels, channels: int) -> Pixels:
    """(H, W, channels): grey repeated, or colours weighted as ITU-R 601-2 does."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def resize(pixels: Pixels, size: tuple[int, ...], resample: Literal["bilinear", "bicubic"]) -> Pixels:
    """(height, width, C), stretched; Pillow's filters, which smooth where they shrink, as transformers uses them."""
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    picture = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    return _as_pixels(picture.resize((width, height), FILTERS[resample]))


def crop_middle(pixels: Pixels, edge: int, size: tuple[int, ...], resample: Literal["bilinear", "bicubic"]) -> Pixels:
    """The middle (height, width) of the picture after its shorter side became `edge` pixels; black where it ends."""
    rows, columns = pixels.shape[:2]
    if rows <= columns:
        scaled = (edge, max(1, int(edge * columns / rows)))
    else:
        scaled = (max(1, int(edge * rows / columns)), edge)
    if scaled[0] * scaled[1] > MAX_PIXELS:
        raise DataError(
            f"the picture has {columns} x {rows} pixels, too long and narrow to be cropped; expected sides no more "
            "unequal than 1 to 100. Cut it first."
        )
    pixels = resize(pixels, scaled, resample)
    height, width = size
    missing = [(max(0, want - have), want) for have, want in zip(scaled, size, strict=True)]
    if any(lack for lack, _ in missing):
        (down, _), (across, _) = missing
        pixels = np.pad(pixels, ((-(-down // 2), down // 2), (-(-across // 2), across // 2), (0, 0)))
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _decode(content: bytes, where: str) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow only warns of is either refused below or harmless
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                _check_header(picture, len(content), where)
                picture.load()
                if picture.format == "PNG" and picture.mode == "L" and "transparency" in picture.info:
                    picture.info["transparency"] *= 255 // (2 ** content[BIT_DEPTH] - 1)  # as Pillow scaled the pixels
                return _as_pixels(ImageOps.exif_transpose(picture))
    except DataError:
        raise
    except UnidentifiedImageError as problem:
        raise DataError(
            f"{where} is no PNG, JPEG or WebP ({_beginning(content)}); expected one of these. Convert it, or leave it "
            "out."
        ) from problem
    except Image.DecompressionBombError as problem:
        raise DataError(
            f"{where} declares far more than {MAX_PIXELS:,} pixels; expected at most that. Make it smaller."
        ) from problem
    except MemoryError:
        raise
    except Exception as problem:  # Pillow's readers raise OSError, SyntaxError, struct.error and others for bad files
        raise DataError(
            f"{where} is damaged or cut off ({safe_repr(str(problem), 100)}); expected a whole picture. Copy it again."
        ) from problem


def _check_header(picture: Image.Image, num_bytes: int, where: str) -> None:
    """Before any pixel is decoded."""
    width, height = picture.size
    least = LEAST_BYTES.get(picture.mode, len(picture.getbands()))
    if picture.format == "PNG" and width * height * least > DEFLATE_RATIO * num_bytes:
        raise DataError(
            f"{where} has {num_bytes:,} bytes and declares {width:,} x {height:,} pixels, which cannot be in it; "
            "expected a whole picture. Copy it again."
        )
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{where} has {width:,} x {height:,} pixels; expected at most {MAX_PIXELS:,} in all. Make it smaller."
        )
    frames = getattr(picture, "n_frames", 1)
    if frames != 1 and picture.format != "MPO":
        raise DataError(f"{where} has {frames} frames; expected one picture. Save the frame you mean as a PNG.")
    if picture.format not in ALLOWED:
        raise DataError(f"{where} is {picture.format}; expected PNG, JPEG or WebP. Convert it.")


def _as_pixels(picture: Image.Image) -> Pixels:
    """(H, W, 1 or 3) of any mode Pillow decodes into."""
    if picture.mode.startswith("I"):  # 16 bits of grey: the upper eight, which `convert` would cut at 255 instead
        samples = np.asarray(picture).clip(0, 65_535).astype(np.uint16)
        return _on_white((samples >> 8).astype(np.uint8), samples, picture)[:, :, None]
    if picture.mode in ("1", "L"):
        grey = np.asarray(picture.convert("L"))
        return _on_white(grey, grey, picture)[:, :, None]
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        shown = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return np.asarray(picture.convert("RGB"))


def _on_white(grey: Pixels, samples: NDArray[Any], picture: Image.Image) -> Pixels:
    """`grey` with white where `samples` are the one value that the file calls transparent."""
    clear = picture.info.get("transparency")
    return grey if clear is None else np.where(samples == clear, np.uint8(255), grey)


def _from_pillow(picture: Image.Image, where: str) -> Pixels:
    width, height = picture.size
    if not 1 <= width * height <= MAX_PIXELS:
        raise DataError(f"{where} has {width:,} x {height:,} pixels; expected 1 to {MAX_PIXELS:,}. Change its size.")
    try:
        return _as_pixels(ImageOps.exif_transpose(picture))
    except MemoryError:
        raise
    except Exception as problem:  # of a file that Pillow has opened and not yet read, as in `_decode`
        raise DataError(
            f"{where} is damaged or cut off ({safe_repr(str(problem), 100)}); expected a whole picture. Open it again."
        ) from problem


def _from_array(raw: Any, where: str) -> Pixels:
    try:
        pixels = np.asarray(raw)
    except ValueError as problem:
        raise DataError(f"{where} has rows of unequal lengths; expected (height, width). Mend it.") from problem
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise DataError(
            f"{where} is an array of shape {np.shape(raw)}; expected (height, width), or that with 1 or 3 channels "
            "last. Turn its axes."
        )
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise DataError(f"{where} has shape {pixels.shape}; expected at most {MAX_PIXELS:,} pixels. Make it smaller.")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "iuf" or not bool(np.isfinite(pixels).all()):
        raise DataError(f"{where} holds {pixels.dtype}, or values that are no number; expected 0 to 255. Mend it.")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 255:
        raise DataError(f"{where} holds values from {low:g} to {high:g}; expected 0 to 255. Scale them.")
    if high <= 1 and bool((pixels % 1).any()):
        raise DataError(f"{where} holds values from {low:g} to {high:g}; expected 0 to 255. Multiply by 255.")
    return pixels.round().astype(np.uint8)


def _beginning(content: bytes) -> str:
    """What a file that is no picture seems to be."""
    for magic, what in ((b"GIF8", "it is a GIF"), (b"%PDF", "it is a PDF"), (b"<", "it is SVG, HTML or XML text"),
                        (b"BM", "it is a BMP"), (b"II*\0", "it is a TIFF"), (b"MM\0*", "it is a TIFF")):  # fmt: skip
        if content.lstrip()[:8].startswith(magic):
            return what
    return f"it begins with {safe_repr(repr(content[:8]), 60)}" if content else "it is empty"
