"""Series: numbers in time, of one channel or several -> (channels, steps), without gaps, at a given length.

Missing values (None, NaN) are filled along a straight line between their neighbours and counted; a channel without any
value, an infinite one, and channels of unequal lengths within one row are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.ground.errors import DataError, safe_repr

Numbers = NDArray[np.float64]

MAX_VALUES = 1 << 24  # of one row, all channels; 128 MB
MAX_CHANNELS = 4_096
MAX_VALUE = 1e100  # what is larger stands for a missing value, and its square or sum is no number any more
FLAT = 1e-13  # a channel whose std is below this share of its largest value does not move; float64 ends at 2e-16
FAR = 1e-8  # a channel whose std is below this share of its mean loses it in sums over long spans


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """values: (channels, steps) float64, all finite. missing: how many of them were filled in."""

    values: Numbers
    missing: int


def read_series(raw: Any, *, where: str) -> Series:
    """A series of numbers (steps,) or (channels, steps); lists or arrays.

    Raises:
        DataError: unequal channels, no numbers, infinite ones, a channel without any value, too many values.
    """
    if isinstance(raw, Series):
        return raw
    values = _as_array(raw, where)
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2 or not values.size or len(values) > MAX_CHANNELS:
        raise DataError(
            f"{where} has shape {values.shape}; expected (steps,) or (channels, steps), at least one step and at most "
            f"{MAX_CHANNELS:,} channels. Mend it."
        )
    if bool(np.isinf(values).any()):
        raise DataError(f"{where} holds an infinite value; expected finite numbers, or NaN where one is missing.")
    if bool((np.abs(values) > MAX_VALUE).any()):
        raise DataError(
            f"{where} holds {np.nanmax(np.abs(values)):g}; expected numbers up to {MAX_VALUE:g}, or NaN where one is "
            "missing. Write NaN in its place."
        )
    gaps = np.isnan(values)
    if not bool(gaps.any()):
        return Series(values, 0)
    empty = np.flatnonzero(gaps.all(axis=1))
    if len(empty):
        raise DataError(
            f"{where} has no value at all in channel {int(empty[0]) + 1} of {len(values)}; expected some. Leave that "
            "channel out."
        )
    filled = values.copy()
    steps = np.arange(values.shape[1])
    for channel in np.flatnonzero(gaps.any(axis=1)):
        known = ~gaps[channel]
        filled[channel] = np.interp(steps, steps[known], values[channel, known])
    return Series(filled, int(gaps.sum()))


def stretch(values: Numbers, steps: int) -> Numbers:
    """(channels, steps): along straight lines where it becomes longer, by means over equal spans where shorter."""
    length = values.shape[1]
    if length == steps:
        return values
    if length < steps:
        places = np.linspace(0.0, length - 1.0, steps)
        return np.stack([np.interp(places, np.arange(length), channel) for channel in values])
    mean = values.mean(axis=1, keepdims=True)
    offset = np.where(values.std(axis=1, keepdims=True) < FAR * np.abs(mean), mean, 0.0)
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values - offset, axis=1)], axis=1)
    edges = np.linspace(0.0, length, steps + 1)
    reached = np.stack([np.interp(edges, np.arange(length + 1), channel) for channel in sums])
    found: Numbers = np.diff(reached, axis=1) * (steps / length)
    return found + offset


def normalise(values: Numbers) -> tuple[Numbers, Numbers]:
    """(shape, levels): every channel with mean 0 and variance 1 (0 where it does not move), and (channels, 2), asinh of
    the mean and of the std that were taken out.
    """
    mean = values.mean(axis=1, keepdims=True)
    std = values.std(axis=1, keepdims=True)
    moving = std > FLAT * np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float64).tiny / FLAT)
    shape = np.where(moving, (values - mean) / np.where(moving, std, 1.0), 0.0)
    return shape, np.arcsinh(np.concatenate([mean, np.where(moving, std, 0.0)], axis=1))


def _as_array(raw: Any, where: str) -> Numbers:
    """float64 of numbers and None; the sizes are checked before anything is copied."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "iufb":
        if raw.size > MAX_VALUES:
            raise DataError(f"{where} has {raw.size:,} values; expected at most {MAX_VALUES:,}. Cut it.")
        return raw.astype(np.float64)
    channels = raw.tolist() if isinstance(raw, np.ndarray) else raw
    if not isinstance(channels, Sequence) or isinstance(channels, str | bytes):
        raise DataError(f"{where} is {safe_repr(repr(raw), 60)}; expected a list of numbers. Convert it.")
    nested = any(isinstance(channel, list | tuple | np.ndarray) for channel in channels)
    if not nested:
        return _channel(channels, where)
    rows = [_channel(channel, where) for channel in channels]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise DataError(
            f"{where} has channels of {lengths[0]:,} to {lengths[-1]:,} values; expected the same number in every "
            "channel of a row. Fill the shorter ones with NaN."
        )
    return np.stack(rows)


def _channel(values: Any, where: str) -> Numbers:
    if not isinstance(values, list | tuple | np.ndarray):
        raise DataError(
            f"{where} holds {safe_repr(repr(values), 60)} beside lists; expected a list a channel. Mend it."
        )
    if len(values) > MAX_VALUES:
        raise DataError(f"{where} has {len(values):,} values; expected at most {MAX_VALUES:,}. Cut it.")
    bad = next((v for v in values if v is not None and not isinstance(v, int | float | np.integer | np.floating)), None)
    if bad is not None:
        raise DataError(f"{where} holds {safe_repr(repr(bad), 60)}; expected numbers, or NaN. Mend that cell.")
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError as problem:
        raise DataError(
            f"{where} holds a whole number of over 308 digits; expected numbers up to {MAX_VALUE:g}. Mend that cell."
        ) from problem
