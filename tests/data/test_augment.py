"""Augmentation: a function of (seed, epoch, row) that keeps shapes, types and, where it does nothing, everything."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data.augment import USUAL, Augmentation
from headstart.data.patches import Planes
from headstart.ground.errors import ConfigError

PICTURE = Planes(np.random.default_rng(0).integers(0, 255, (3, 20, 16), dtype=np.uint8))
SERIES = Planes(np.random.default_rng(0).normal(size=(2, 1, 64)).astype(np.float32), np.ones((2, 2), dtype=np.float32))


@pytest.mark.parametrize("planes", [PICTURE, SERIES], ids=["picture", "series"])
@pytest.mark.parametrize("change", [*USUAL.values(), Augmentation(0.2, True, 0.3, 0.5)], ids=str)
def test_it_depends_on_seed_epoch_and_row_alone(planes: Planes, change: Augmentation) -> None:
    first = change(planes, seed=1, epoch=2, row=3)
    again = change(planes, seed=1, epoch=2, row=3)
    others = [change(planes, seed=s, epoch=e, row=r).values for s, e, r in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (5, 5, 5))]
    assert np.array_equal(first.values, again.values)
    assert any(not np.array_equal(first.values, other) for other in others)
    assert first.values.shape == planes.values.shape
    assert first.values.dtype == planes.values.dtype
    assert first.levels is planes.levels


def test_each_change_does_what_it_says() -> None:
    plain = PICTURE.values
    draws = [Augmentation(flip=True)(PICTURE, seed=0, epoch=0, row=row).values for row in range(200)]
    flipped = [bool(np.array_equal(values, plain[:, :, ::-1])) for values in draws]
    assert all(f or np.array_equal(values, plain) for f, values in zip(flipped, draws, strict=True))
    assert 70 < sum(flipped) < 130
    mean = plain.mean(axis=(1, 2)).astype(np.uint8)
    all_changed = np.zeros(3, dtype=np.int64)
    for row in range(20):
        shifted = Augmentation(shift=0.5)(PICTURE, seed=0, epoch=0, row=row).values
        assert any(np.array_equal(np.roll(plain, by, axis=2), shifted) for by in range(-8, 9))
        masked = Augmentation(mask=0.25)(PICTURE, seed=0, epoch=0, row=row).values
        changed = (masked != plain).any(axis=0)
        assert changed.sum() <= 20 * 4 + 16 * 5
        assert (masked[:, changed] == mean[:, None]).all()
        moved = Augmentation(crop=0.1)(PICTURE, seed=0, epoch=0, row=row).values
        assert any(
            np.array_equal(moved[:, 2:-2, 1:-1], plain[:, 2 + down : 18 + down, 1 + right : 15 + right])
            for down in range(-2, 3)
            for right in range(-1, 2)
        )
        all_changed += [not np.array_equal(values, plain) for values in (shifted, masked, moved)]
    assert all_changed.min() >= 10


def test_nothing_is_changed_by_the_default() -> None:
    assert Augmentation()(PICTURE, seed=0, epoch=0, row=0) is PICTURE
    with pytest.raises(ConfigError, match="crop is 1"):
        Augmentation(crop=1.0)
