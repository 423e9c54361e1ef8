"""Generated sounds and series for `headstart demo`: a pure function of the seed.

Sounds: a second's fraction of a sine, a square wave, a rising and a falling chirp, a plucked string (Karplus & Strong
1983) and clicks, at any pitch and under noise. Series: the six kinds of control charts of Alcock & Manolopoulos (1999):
normal, cyclic, increasing, decreasing, upward and downward shift, with their formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.sound import Clip
from headstart.ground.seeds import stream

Numbers = NDArray[np.float64]

ROWS = 80  # of every kind
RATE = 8_000
STEPS = 60


def sounds(*, seed: int = 0) -> dict[str, list[Any]]:
    """A table of clips, 0.3 to 0.8 s at 8 kHz, and their kinds."""
    random = stream(seed, "demo sounds")
    rows = [(name, make) for name, make in SOUNDS.items() for _ in range(ROWS)]
    return {"clip": [_clip(make, random) for _, make in rows], "kind": [name for name, _ in rows]}


def series(*, seed: int = 0) -> dict[str, list[Any]]:
    """A table of series of 60 values, and their kinds."""
    random = stream(seed, "demo series")
    rows = [(name, make) for name, make in SERIES.items() for _ in range(ROWS)]
    time = np.arange(1.0, STEPS + 1)
    return {"values": [_chart(make, time, random) for _, make in rows], "kind": [name for name, _ in rows]}


def _clip(make: Callable[[Numbers, float, np.random.Generator], Numbers], random: np.random.Generator) -> Clip:
    time = np.arange(int(RATE * random.uniform(0.3, 0.8))) / RATE
    pitch = float(np.exp(random.uniform(np.log(150), np.log(900))))
    wave = make(time, pitch, random) * np.minimum(1.0, (time[-1] - time) / 0.05)
    noise = random.normal(0.0, random.uniform(0.02, 0.3), len(time))
    return Clip((random.uniform(0.05, 0.5) * (wave + noise)).astype(np.float32), RATE)


def _pluck(time: Numbers, pitch: float, random: np.random.Generator) -> Numbers:
    """A delay line of noise that is averaged with itself at every turn."""
    period = int(RATE / pitch)
    line, found = random.uniform(-1.0, 1.0, period), np.empty(len(time))
    for start in range(0, len(time), period):
        part = found[start : start + period]
        part[:] = line[: len(part)]
        line = 0.498 * (line + np.roll(line, 1))
    return found


def _clicks(time: Numbers, pitch: float, random: np.random.Generator) -> Numbers:
    """Short bursts, 8 to 20 a second."""
    gap = int(RATE / random.uniform(8, 20))
    return np.where(np.arange(len(time)) % gap < 24, random.normal(0.0, 1.0, len(time)), 0.0)


SOUNDS: dict[str, Callable[[Numbers, float, np.random.Generator], Numbers]] = {
    "sine": lambda time, pitch, _: np.sin(2 * np.pi * pitch * time),
    "square": lambda time, pitch, _: np.sign(np.sin(2 * np.pi * pitch * time)),
    "rising": lambda time, pitch, _: np.sin(2 * np.pi * pitch * (time + 1.5 * time**2)),
    "falling": lambda time, pitch, _: np.sin(2 * np.pi * 2.5 * pitch * (time - 0.6 * time**2)),
    "pluck": _pluck,
    "clicks": _clicks,
}


def _chart(
    make: Callable[[Numbers, np.random.Generator], Numbers], time: Numbers, random: np.random.Generator
) -> Numbers:
    return 30.0 + 2.0 * random.uniform(-3.0, 3.0, len(time)) + make(time, random)


def _cyclic(time: Numbers, random: np.random.Generator) -> Numbers:
    size, period = random.uniform(10, 15, 2)
    return np.asarray(size * np.sin(2 * np.pi * time / period))


def _shift(time: Numbers, random: np.random.Generator) -> Numbers:
    return np.asarray(random.uniform(7.5, 20) * (time >= random.uniform(STEPS / 3, 2 * STEPS / 3)))


SERIES: dict[str, Callable[[Numbers, np.random.Generator], Numbers]] = {
    "normal": lambda time, _: np.zeros(len(time)),
    "cyclic": _cyclic,
    "increasing": lambda time, random: random.uniform(0.2, 0.5) * time,
    "decreasing": lambda time, random: -random.uniform(0.2, 0.5) * time,
    "upward shift": _shift,
    "downward shift": lambda time, random: -_shift(time, random),
}
