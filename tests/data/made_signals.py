"""Tasks over pictures, clips and series that a small model learns at once: bars, tones, waves of three kinds."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.data.sound import Clip
from headstart.data.task import Task


def bars(label: int, random: np.random.Generator) -> Any:
    """A bright bar in one of three places, in a picture whose brightness means nothing."""
    pixels = random.uniform(0, 40, (12, 10)) + random.uniform(0, 100)
    pixels[4 * label : 4 * label + 4] += 80
    return pixels


def tone(label: int, random: np.random.Generator) -> Any:
    time = np.arange(int(random.uniform(0.2, 0.4) * 8_000)) / 8_000
    samples = np.sin(2 * np.pi * (300, 900, 2_700)[label] * time) + random.normal(0, 0.3, len(time))
    return Clip((0.1 * samples).astype(np.float32), 8_000)


def wave(label: int, random: np.random.Generator) -> Any:
    """A wave of one of three lengths beside a channel of noise."""
    steps = np.linspace(0, 2 * np.pi * (1, 2, 4)[label], int(random.integers(30, 60)))
    return np.stack([np.sin(steps + random.uniform(-0.5, 0.5)), random.normal(size=len(steps))])


MAKERS = {"image": bars, "audio": tone, "series": wave}


def made(modality: str, rows: int = 60, answer: Any = lambda label: "abc"[label], **more: Any) -> Task:
    random = np.random.default_rng(0)
    labels = [row % 3 for row in range(rows)]
    table = {"x": [MAKERS[modality](label, random) for label in labels], "y": [answer(label) for label in labels]}
    return Task.read(table, label="y", **{modality: "x"}, **more)
