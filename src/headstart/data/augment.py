"""Augmentation as data: what is done to an input, drawn anew for every (seed, epoch, row), before it is cut.

Crop: moved by up to such a share along every axis, edges repeated (He et al. 2016 for pictures). Flip: mirrored
left to right, with even chances; for pictures whose left and right do not matter. Mask: one band of up to a share of
every axis set to the mean (SpecAugment, Park et al. 2019). Shift: the whole turned round in time by up to a share of
its length; for what repeats itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.patches import Planes
from headstart.data.raw import Modality
from headstart.ground.errors import ConfigError
from headstart.ground.seeds import stream


@dataclass(frozen=True, slots=True)
class Augmentation:
    """crop, mask and shift are shares (0 to 1) of each axis; the default changes nothing."""

    crop: float = 0.0
    flip: bool = False
    mask: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop", "mask", "shift"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"{name} is {value}; expected a share from 0 to below 1. Give for instance 0.1.")

    def __call__(self, planes: Planes, *, seed: int, epoch: int, row: int) -> Planes:
        """`planes` changed; the same for the same numbers, whatever was drawn before."""
        if self == UNCHANGED:
            return planes
        random = stream(seed, "augment", epoch, row)
        values = planes.values
        if self.crop:
            values = _moved(values, self.crop, random)
        if self.flip and random.random() < 0.5:
            values = values[:, :, ::-1]
        if self.shift:
            most = self.shift * values.shape[2]
            values = np.roll(values, round(random.uniform(-most, most)), axis=2)
        if self.mask:
            values = _masked(values, self.mask, random)
        return replace(planes, values=values)


UNCHANGED = Augmentation()
USUAL: dict[Modality, Augmentation] = {
    "image": Augmentation(crop=0.125),
    "audio": Augmentation(crop=0.1, mask=0.1),
    "series": Augmentation(crop=0.05),
}


def _moved(values: NDArray[Any], share: float, random: np.random.Generator) -> NDArray[Any]:
    """Cut out of itself at another place, the edges repeated where it ends."""
    for axis in (1, 2):
        length = values.shape[axis]
        most = int(share * length)
        if most:
            places = np.clip(np.arange(length) + int(random.integers(-most, most + 1)), 0, length - 1)
            values = values.take(places, axis=axis)
    return values


def _masked(values: NDArray[Any], share: float, random: np.random.Generator) -> NDArray[Any]:
    """A band across each axis of more than one place takes every channel's mean."""
    found = values.copy()
    mean = values.mean(axis=(1, 2)).astype(values.dtype)
    for axis in (1, 2):
        length = values.shape[axis]
        width = int(random.integers(0, int(share * length) + 1))
        start = int(random.integers(0, length - width + 1))
        band = (slice(None), slice(start, start + width)) if axis == 1 else (..., slice(start, start + width))
        if length > 1 and width:
            found[band] = mean[:, None, None]
    return found
