"""The control for inputs that are no text: the nearest training rows by pixels, log-mel values or Euclidean distance.

Enter: a Task over pictures, clips or series. Leave: a function from Examples to Answers. No weight is learned; how many
neighbours answer (1, 3, 5 or 9, near ones counting more) is chosen on the validation rows.

Pictures are shrunk to at most 1,024 values, clips to 32 frames of 40 mel bands; both lose their mean and their length
as vectors (cosine of contrasts). Series are brought to the median length, every channel without its mean and divided by
its deviation in train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from headstart.data import pictures, series, sound
from headstart.data.raw import Modality, Raw
from headstart.data.task import Examples, Task
from headstart.evaluate.metrics import Floats, indicators, score_task

Vectors = npt.NDArray[np.float32]
Answer = tuple[tuple[Any, ...], Floats | None]

COUNTS = (1, 3, 5, 9)
MOST_VALUES = 1_024  # of a picture: 32 x 32 in grey, 18 x 18 in colour
MOST_ROWS = 20_000  # of train that are compared with; the distance to every one of them is computed
CLIP_FRAMES, CLIP_BANDS, CLIP_RATE = 32, 40, 8_000
MOST_STEPS = 512
MOST_DEVIATIONS = 1e12  # whose square float32 holds, summed over all steps


def fit_nearest(task: Task) -> tuple[Callable[[Examples], Answer], int]:
    """(answer, weights learned: none) of the control."""
    train = task.train if len(task.train) <= MOST_ROWS else task.train.subset(range(MOST_ROWS))
    read = vectors_of(train.raws)
    index = NearestNeighbors(n_neighbors=min(max(COUNTS), len(train)), algorithm="brute").fit(read(train.raws))

    def near(rows: Examples) -> tuple[Vectors, npt.NDArray[np.int64]]:
        if not len(rows):
            return np.empty((0, 1), dtype=np.float32), np.empty((0, 1), dtype=np.int64)
        distances, places = index.kneighbors(read(rows.raws))
        return distances, places

    held_out = near(task.validation)
    best, most = COUNTS[0], -np.inf
    for count in COUNTS:
        found, _ = vote(task, train, *held_out, count)
        value = score_task(task.kind, None, task.validation.targets, found, labels=task.labels) if found else 0.0
        if value > most:
            best, most = count, value
    return lambda rows: vote(task, train, *near(rows), best), 0


def vote(task: Task, train: Examples, distances: Vectors, places: npt.NDArray[np.int64], count: int) -> Answer:
    """(answers, probabilities or None) of the first `count` neighbours, each weighing 1 / distance."""
    weights = 1.0 / (distances[:, :count] + 1e-6)
    weights /= weights.sum(axis=1, keepdims=True)
    if task.kind == "score":
        values = np.asarray(train.targets, dtype=np.float64)[places[:, :count]]
        return tuple((values * weights).sum(axis=1).tolist()), None
    one = task.kind == "choice"
    sets = [t if isinstance(t, tuple) else (int(t),) for t in train.targets]
    held = indicators(sets, len(task.labels))  # (N, K)
    chances = (held[places[:, :count]] * weights[:, :, None]).sum(axis=1)
    if one:
        return tuple(chances.argmax(axis=1).tolist()) if len(chances) else (), chances
    return tuple(tuple(np.flatnonzero(row >= 0.5).tolist()) for row in chances), chances


def vectors_of(train: Sequence[Raw]) -> Callable[[Sequence[Raw]], Vectors]:
    """The function from inputs to vectors of one length; what it needs to know comes from the train rows alone."""
    modality: Modality = train[0].modality
    if modality == "image":
        side = _side(train)
        channels = max(raw.shape[2] for raw in train)
        return lambda rows: contrasts([_pixels(raw, side, channels) for raw in rows])
    if modality == "audio":
        return lambda rows: contrasts([_mel(raw) for raw in rows])
    steps = min(MOST_STEPS, int(np.median([raw.shape[1] for raw in train])))
    channels = max(raw.shape[0] for raw in train)
    known = np.stack([_steps(raw, channels, steps) for raw in train])  # (N, C, steps)
    mean, scale = known.mean(axis=(0, 2))[:, None], np.maximum(known.std(axis=(0, 2)), 1e-9)[:, None]

    def read(rows: Sequence[Raw]) -> Vectors:
        moved = np.stack([((_steps(raw, channels, steps) - mean) / scale).ravel() for raw in rows])
        return moved.clip(-MOST_DEVIATIONS, MOST_DEVIATIONS).astype(np.float32)

    return read


def contrasts(rows: Sequence[npt.NDArray[Any]]) -> Vectors:
    """(N, values): without their means, of length 1."""
    table = np.stack([row.ravel() for row in rows]).astype(np.float32)
    table -= table.mean(axis=1, keepdims=True)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-6)
    return table


def _side(train: Sequence[Raw]) -> tuple[int, int]:
    """The most frequent size, shrunk until it has no more than MOST_VALUES values."""
    sizes, counts = np.unique([raw.shape[:2] for raw in train], axis=0, return_counts=True)
    height, width = (int(n) for n in sizes[counts.argmax()])
    channels = max(raw.shape[2] for raw in train)
    shrink = min(1.0, (MOST_VALUES / (height * width * channels)) ** 0.5)
    return max(1, int(height * shrink)), max(1, int(width * shrink))


def _pixels(raw: Raw, size: tuple[int, int], channels: int) -> npt.NDArray[np.uint8]:
    return pictures.resize(pictures.as_channels(raw.read(), channels), size, "bilinear")


def _mel(raw: Raw) -> npt.NDArray[np.float64]:
    clip = sound.resample(raw.read(), CLIP_RATE)
    frames = sound.log_mel(clip.samples, CLIP_RATE, window=CLIP_RATE // 40, hop=CLIP_RATE // 100, bands=CLIP_BANDS)
    return series.stretch(frames.T.astype(np.float64), CLIP_FRAMES)


def _steps(raw: Raw, channels: int, steps: int) -> npt.NDArray[np.float64]:
    """(channels, steps); a channel that a row lacks is zero, one that train does not know is left out."""
    found = series.stretch(raw.read(), steps)[:channels]
    return np.pad(found, ((0, channels - len(found)), (0, 0)))
