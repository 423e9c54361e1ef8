"""Patches back to the plane they were cut from, moved about there, and cut again: augmentation for pre-training.

A plane is (C, H, W) float: a picture, a spectrogram (1, mel bands, frames) or a channel of a series (1, 1, steps). Only
patches that do not overlap have one. B planes at once; every change is drawn from the generator that is handed in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pair = tuple[int, int]


def to_plane(values: Floats, *, grid: Pair, channels: int, patch: Pair) -> Floats:
    """(T, P) patches of a grid -> (C, rows * patch rows, columns * patch columns)."""
    (rows, columns), (high, wide) = grid, patch
    parts = values.reshape(rows, columns, channels, high, wide).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(parts.reshape(channels, rows * high, columns * wide))


def to_patches(planes: Floats, patch: Pair) -> Floats:
    """(B, C, H, W) -> (B, T, P), row by row, a patch flattened as (channel, row, column)."""
    (batch, channels, height, width), (high, wide) = planes.shape, patch
    parts = planes.reshape(batch, channels, height // high, high, width // wide, wide).transpose(0, 2, 4, 1, 3, 5)
    return np.ascontiguousarray(parts.reshape(batch, (height // high) * (width // wide), channels * high * wide))


def shifted(planes: Floats, most: int, rng: np.random.Generator) -> Floats:
    """Every plane moved by up to `most` values along both axes, what was its edge repeated."""
    batch, _, height, width = planes.shape
    padded = np.pad(planes, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    down, right = rng.integers(0, 2 * most + 1, (2, batch))
    rows = (down[:, None] + np.arange(height))[:, None, :, None]
    columns = (right[:, None] + np.arange(width))[:, None, None, :]
    channels = np.arange(planes.shape[1])[None, :, None, None]
    return np.asarray(padded[np.arange(batch)[:, None, None, None], channels, rows, columns])


def mirrored(planes: Floats, share: float, rng: np.random.Generator) -> Floats:
    """A share of the planes from right to left."""
    turned = rng.random(len(planes)) < share
    return np.where(turned[:, None, None, None], planes[..., ::-1], planes)


def looped(planes: Floats, widths: NDArray[np.int64], width: int, rng: np.random.Generator) -> Floats:
    """(B, C, H, width): every plane's first `widths` columns, begun anywhere and repeated to the width asked for."""
    starts = rng.integers(0, np.maximum(widths, 1))
    columns = (starts[:, None] + np.arange(width)) % widths[:, None]
    return np.asarray(np.take_along_axis(planes, columns[:, None, None, :], axis=3))


def windowed(planes: Floats, least: float, rng: np.random.Generator) -> Floats:
    """A window of every plane along its columns, at least `least` of them, stretched to the whole width, then with mean
    0 and variance 1 again (0 where it does not move)."""
    batch, width = planes.shape[0], planes.shape[3]
    share = rng.uniform(least, 1.0, batch)
    start = rng.uniform(0.0, 1.0 - share) * (width - 1)
    places = start[:, None] + np.linspace(0.0, 1.0, width) * (share * (width - 1))[:, None]
    low = np.minimum(places.astype(np.int64), width - 2)
    weight = (places - low)[:, None, None, :].astype(np.float32)
    left = np.take_along_axis(planes, low[:, None, None, :], axis=3)
    right = np.take_along_axis(planes, low[:, None, None, :] + 1, axis=3)
    cut = left + (right - left) * weight
    mean, std = cut.mean(axis=3, keepdims=True), cut.std(axis=3, keepdims=True)
    return np.where(std > 1e-4, (cut - mean) / np.maximum(std, 1e-4), 0.0).astype(np.float32)
