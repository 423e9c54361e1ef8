"""Small pictures of inputs for tables of errors: a picture shrunk, a clip's log-mel spectrogram, a series as lines.

Enters a Raw. Leaves a PNG of a few KB as base64, for one-file pages that load nothing.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from headstart.data import series, sound
from headstart.data.raw import Raw
from headstart.evaluate.neighbours import CLIP_RATE

SIDE = 72  # pixels of the longer side
WIDE, HIGH = 144, 56  # of spectrograms and lines
COLOURS = 64  # of the palette; ten photographs with all their colours would be 150 KB
INKS = ("#1f5fa8", "#c2571a", "#2e7d4f", "#8a3ea0", "#b03050", "#5c6670")  # channels; more than six repeat them
MOST_LINES = 6


def thumbnail(raw: Raw) -> str:
    """Base64 of a PNG that shows the input."""
    draw = {"image": _picture, "audio": _spectrogram, "series": _lines}[raw.modality]
    buffer = io.BytesIO()
    draw(raw).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _picture(raw: Raw) -> Image.Image:
    pixels = raw.read()
    shown = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    scale = SIDE / max(shown.size)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    shown = shown.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)
    return shown if shown.mode == "L" else shown.quantize(COLOURS)


def _spectrogram(raw: Raw) -> Image.Image:
    clip = sound.resample(raw.read(), CLIP_RATE)
    frames = sound.log_mel(clip.samples, CLIP_RATE, window=CLIP_RATE // 40, hop=CLIP_RATE // 100, bands=40)
    values = frames.T[::-1]  # low tones at the bottom
    low, high = float(np.quantile(values, 0.02)), float(values.max())
    grey = 255 * (1 - np.clip((values - low) / max(high - low, 1e-6), 0, 1))  # loud is dark
    return Image.fromarray(grey.astype(np.uint8)).resize((WIDE, HIGH), Image.Resampling.BILINEAR)


def _lines(raw: Raw) -> Image.Image:
    values = series.stretch(raw.read()[:MOST_LINES], min(raw.shape[1], WIDE))
    canvas = Image.new("RGB", (WIDE, HIGH), "white")
    pen = ImageDraw.Draw(canvas)
    low, high = float(values.min()), float(values.max())
    for place, channel in enumerate(values):
        pen.line(_points(channel, low, max(high - low, 1e-9)), fill=INKS[place % len(INKS)])
    return canvas.quantize(16)


def _points(channel: npt.NDArray[Any], low: float, spread: float) -> list[tuple[float, float]]:
    across = np.linspace(1, WIDE - 2, len(channel))
    down = (HIGH - 3) * (1 - (channel - low) / spread) + 1
    return list(zip(across.tolist(), down.tolist(), strict=True))
