"""The unlabelled mixtures that image-tiny, audio-tiny and series-tiny are pre-trained on, a folder for each.

    python -m bench patch-corpora --tasks ../shared/tasks --out /tmp/patch-corpora

Enter: the train parts of sets whose licence lets us pass on what was learned from them, scikit-learn's two photographs
and its digits, and what is drawn here from a seed. Leave: OUT/image, OUT/audio, OUT/series with Parquet files and their
licences.json. Left out: cifar10 (no licence stated) and the seven ts_ sets (research use); test parts are never opened.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headstart.ground.seeds import stream

Wave = np.ndarray[tuple[int], np.dtype[np.float64]]

SETS = {
    "image": {"fashion_mnist": "MIT", "mnist": "CC-BY-SA-3.0", "sign_digits": "Apache-2.0"},
    "audio": {"fsdd": "CC-BY-SA-4.0"},
}
OURS = "CC0-1.0 (drawn by bench/patch_corpora.py)"
CROPS, CLIPS, SERIES = 8_000, 6_000, 40_000
SEED = 1
RATE = 8_000  # samples a second
STEPS = 256


def main() -> None:
    """Gathers all three."""
    parser = argparse.ArgumentParser(prog="bench patch-corpora", description=__doc__)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="share of what is drawn, for a quick look")
    given = parser.parse_args()
    gather(given.tasks, given.out, given.scale)


def gather(tasks: Path, out: Path, scale: float) -> None:
    """Write all three mixtures."""
    for modality in ("image", "audio", "series"):
        folder = out / modality
        folder.mkdir(parents=True, exist_ok=True)
        licences = {}
        for name, licence in SETS.get(modality, {}).items():
            shutil.copyfile(tasks / name / "train.parquet", folder / f"{name}.parquet")
            licences[f"{name}.parquet"] = licence
        for name, (rows, licence) in drawn(modality, scale).items():
            pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"{name}.parquet", compression="zstd")
            licences[f"{name}.parquet"] = licence
        (folder / "licences.json").write_text(json.dumps(licences, indent=1) + "\n")


def drawn(modality: str, scale: float) -> dict[str, tuple[Iterable[dict[str, Any]], str]]:
    """What scikit-learn ships and what is made here, by file name, with licences."""
    if modality == "image":
        return {
            "photo_crops": (photo_crops(int(CROPS * scale)), "CC-BY-2.0 (scikit-learn's china.jpg and flower.jpg)"),
            "digits": (digits(), "CC-BY-4.0 (Alpaydin and Kaynak 1998, in scikit-learn)"),
        }
    if modality == "audio":
        return {"sounds": (sounds(int(CLIPS * scale)), OURS)}
    return {"series": (series(int(SERIES * scale)), OURS)}


def photo_crops(count: int) -> Iterable[dict[str, Any]]:
    """Squares of 24 to 240 pixels out of two photographs, 32 x 32 each."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    rng = stream(SEED, "crops")
    for _ in range(count):
        photo = photos[int(rng.integers(len(photos)))]
        side = int(np.exp(rng.uniform(np.log(24), np.log(240))))
        left, top = int(rng.integers(photo.width - side)), int(rng.integers(photo.height - side))
        crop = photo.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BOX)
        yield {"image": as_png(np.asarray(crop))}


def digits() -> Iterable[dict[str, Any]]:
    """scikit-learn's 1,797 digits of 8 x 8."""
    from sklearn.datasets import load_digits

    for picture in load_digits().images:
        yield {"image": as_png((picture * 15.9).astype(np.uint8))}


def as_png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """File bytes."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format="PNG")
    return target.getvalue()


def sounds(count: int) -> Iterable[dict[str, Any]]:
    """Clips of 0.3 to 1.3 seconds: voices without words, tones, chirps, noises, clicks."""
    rng = stream(SEED, "sounds")
    makers = (voice, voice, tone, chirp, noise, clicks)
    for _ in range(count):
        length = int(rng.uniform(0.3, 1.3) * RATE)
        made = makers[int(rng.integers(len(makers)))](length, rng)
        made = made + rng.standard_normal(length) * 10 ** rng.uniform(-4, -1.5) * (np.abs(made).max() + 1e-9)
        loud = 10 ** rng.uniform(-1.5, -0.1) * made / np.abs(made).max()
        yield {"pcm_s16le": (loud * 32_000).astype("<i2").tobytes(), "sample_rate": RATE}


def voice(length: int, rng: np.random.Generator) -> Wave:
    """A gliding harmonic tone through three gliding formants: what vowels are made of."""
    time = np.arange(length) / RATE
    pitch = glide(length, rng, 80, 260)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = [glide(length, rng, *band) for band in ((250, 900), (800, 2400), (2000, 3500))]
    made = np.zeros(length)
    for k in range(1, int(RATE / 2 / pitch.max())):
        gain = sum(np.exp(-(((k * pitch - f) / (80 + 0.08 * f)) ** 2)) for f in formants)
        made += (gain + 0.02) / np.sqrt(k) * np.sin(k * phase)
    return made * envelope(time, rng)


def tone(length: int, rng: np.random.Generator) -> Wave:
    """One to three steady tones."""
    time = np.arange(length) / RATE
    parts = [np.sin(2 * np.pi * rng.uniform(100, 3500) * time + rng.uniform(0, 6)) for _ in range(rng.integers(1, 4))]
    return np.sum(parts, axis=0) * envelope(time, rng)


def chirp(length: int, rng: np.random.Generator) -> Wave:
    """A tone that glides."""
    return np.sin(2 * np.pi * np.cumsum(glide(length, rng, 100, 3500)) / RATE) * envelope(np.arange(length) / RATE, rng)


def noise(length: int, rng: np.random.Generator) -> Wave:
    """Noise in a band that moves little."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.fft.rfftfreq(length, 1 / RATE)
    centre, width = rng.uniform(200, 3800), rng.uniform(100, 2000)
    shaped = np.fft.irfft(spectrum * np.exp(-(((hertz - centre) / width) ** 2)), length)
    return shaped * envelope(np.arange(length) / RATE, rng)


def clicks(length: int, rng: np.random.Generator) -> Wave:
    """Damped strokes."""
    made = np.zeros(length)
    for start in rng.integers(0, length, rng.integers(2, 12)):
        time = np.arange(length - start) / RATE
        made[start:] += np.exp(-time * rng.uniform(20, 200)) * np.sin(2 * np.pi * rng.uniform(200, 3500) * time)
    return made


def glide(length: int, rng: np.random.Generator, low: float, high: float) -> Wave:
    """A smooth path between a few frequencies, in Hz."""
    knots = np.exp(rng.uniform(np.log(low), np.log(high), rng.integers(2, 5)))
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(knots)), knots)


def envelope(time: Wave, rng: np.random.Generator) -> Wave:
    """Loudness that rises and falls, sometimes more than once."""
    swells = sum(
        np.exp(-(((time - rng.uniform(0, time[-1])) / rng.uniform(0.05, 0.5)) ** 2)) for _ in range(rng.integers(1, 4))
    )
    return np.asarray(swells) + 0.01


def series(count: int) -> Iterable[dict[str, Any]]:
    """Series of 32 to 256 steps at levels from a thousandth to thousands: waves, bumps, walks, steps, sums."""
    rng = stream(SEED, "series")
    for _ in range(count):
        length = int(np.exp(rng.uniform(np.log(32), np.log(STEPS))))
        time = np.linspace(0, 1, length)
        first, second = (MADE[int(rng.integers(len(MADE)))] for _ in range(2))
        made = unit(first(time, rng)) + (rng.random() < 0.5) * rng.uniform(0.1, 1.0) * unit(second(time, rng))
        made = unit(made + rng.standard_normal(length) * 10 ** rng.uniform(-2.5, -0.5))
        scale = 10 ** rng.uniform(-3, 3) if rng.random() < 0.7 else 1.0
        offset = rng.standard_normal() * 3 * scale if rng.random() < 0.7 else 0.0
        yield {"series": [(made * scale + offset).astype(np.float32).tolist()]}


def unit(values: Wave) -> Wave:
    """Mean 0 and variance 1."""
    return (values - values.mean()) / (values.std() + 1e-9)


def waves(time: Wave, rng: np.random.Generator) -> Wave:
    """Sines of a few rates, one of them changing its rate."""
    made = np.zeros_like(time)
    for _ in range(rng.integers(1, 4)):
        rate = np.exp(rng.uniform(np.log(0.5), np.log(25)))
        bend = rng.uniform(-0.5, 0.5) if rng.random() < 0.3 else 0.0
        made += rng.uniform(0.2, 1) * np.sin(2 * np.pi * rate * (time + bend * time**2) + rng.uniform(0, 6))
    return made * (np.exp(-time * rng.uniform(0, 5)) if rng.random() < 0.3 else 1.0)


def square(time: Wave, rng: np.random.Generator) -> Wave:
    """Square or saw-tooth waves."""
    phase = np.exp(rng.uniform(0, np.log(15))) * time + rng.uniform()
    return np.sign(np.sin(2 * np.pi * phase)) if rng.random() < 0.5 else phase % 1.0


def bumps(time: Wave, rng: np.random.Generator) -> Wave:
    """A few hills and valleys."""
    made = np.zeros_like(time)
    for _ in range(rng.integers(1, 7)):
        width = np.exp(rng.uniform(np.log(0.01), np.log(0.25)))
        made += rng.standard_normal() * np.exp(-(((time - rng.uniform()) / width) ** 2))
    return made


def beats(time: Wave, rng: np.random.Generator) -> Wave:
    """One shape again and again, nearly on time: hearts, steps, machines."""
    shape = [(rng.standard_normal(), rng.uniform(0.1, 0.9), rng.uniform(0.02, 0.12)) for _ in range(rng.integers(2, 6))]
    period = 1 / np.exp(rng.uniform(0, np.log(10)))
    phase = ((time + rng.uniform() + 0.02 * np.cumsum(rng.standard_normal(len(time))) / len(time)) / period) % 1.0
    return np.sum([height * np.exp(-(((phase - at) / width) ** 2)) for height, at, width in shape], axis=0)


def walk(time: Wave, rng: np.random.Generator) -> Wave:
    """A random walk, pulled back more or less."""
    pull = rng.uniform(0.0, 0.3)
    made, at = np.zeros_like(time), 0.0
    for i, push in enumerate(rng.standard_normal(len(time))):
        at = (1 - pull) * at + push
        made[i] = at
    return made


def smooth(time: Wave, rng: np.random.Generator) -> Wave:
    """Filtered noise."""
    spectrum = np.fft.rfft(rng.standard_normal(len(time)))
    return np.fft.irfft(spectrum * np.exp(-np.arange(len(spectrum)) / rng.uniform(1, 12)), len(time))


def steps(time: Wave, rng: np.random.Generator) -> Wave:
    """Levels that jump, or straight lines that bend."""
    knots = np.sort(rng.random(rng.integers(1, 6)))
    levels = np.cumsum(rng.standard_normal(len(knots) + 1))
    if rng.random() < 0.5:
        return np.asarray(levels[np.searchsorted(knots, time)])
    return np.interp(time, [0, *knots], levels)


MADE: tuple[Callable[[Wave, np.random.Generator], Wave], ...] = (waves, square, bumps, beats, walk, smooth, steps)
