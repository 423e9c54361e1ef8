"""Pictures, sounds and series as patches: how they are read, as a value that travels with its base.

Enters one picture, clip or series (file bytes or arrays). Leaves Patches: T patches of P numbers and the grid they
stand in. On disk the codec is Hugging Face's preprocessor_config.json, in the spelling of ViTImageProcessor (fit
"stretch"), BitImageProcessor (fit "crop", DINOv2) or ASTFeatureExtractor (audio), with what those leave open below
"headstart".

C channels, T patches, P = C * patch area (+ 2 with `levels`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from headstart.data import pictures, series, sound
from headstart.data.raw import Modality, Raw
from headstart.ground.errors import BaseError, DataError, safe_repr

__all__ = ["Fit", "Modality", "PatchCodec", "Patches", "Planes", "Resample"]

Fit = Literal["stretch", "crop", "pad", "free"]
Resample = Literal["bilinear", "bicubic"]
Floats = NDArray[np.float32]

MAX_PATCHES = 8_192  # one row; a spectrogram of AST has 1,212
FITS: dict[Modality, tuple[Fit, ...]] = {
    "image": ("stretch", "crop"),
    "audio": ("pad", "free"),
    "series": ("stretch", "free"),
}
PIL_RESAMPLE: dict[int, Resample] = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, eq=False, slots=True)
class Planes:
    """One input at the codec's size, not yet cut: what augmentation changes and what is cheap to keep.

    values: (channels, rows, columns): pictures uint8, spectrograms float32 (1, mel bands, frames), series float32
    (channels, 1, steps). levels: (channels, 2) float32 of series, else None. where: what messages call a series.
    """

    values: NDArray[Any]
    levels: Floats | None = None
    where: str = "the input"


@dataclass(frozen=True, eq=False, slots=True)
class Patches:
    """One input, cut up.

    values: (T, P) float32, a patch flattened as (channel, row, column), so that the kernel of a convolution with this
    patch and stride, reshaped to (D, P), is its linear embedder. grid: (rows, columns) of patches in row-major order
    (spectrograms: rows are frequency, columns time; series: (channels, steps), or (steps,) where a patch holds all
    channels). T is the product of the grid.
    """

    values: Floats
    grid: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class PatchCodec:
    """How one modality is read.

    size: image (height, width); audio (mel bands, frames); series (steps,).
    channels: image 1 (grey) or 3 (RGB); audio 1; series 1 where every channel is cut by itself (any number of them,
        grid (channels, steps)), else the number of channels that stand together in a patch (grid (steps,)).
    patch, stride: (rows, columns), series (steps,). Equal where patches do not overlap.
    mean, std: image: by channel, of values in 0..1; audio: of the log-mel values, scaled by twice the std (AST);
        series: none, every channel of every row is brought to mean 0 and variance 1 by itself.
    fit: image "stretch" to the size, or "crop" its middle after the shorter side became `shortest_edge`. audio: "pad"
        with zeros to the size (AST), or "free", as many patches as the clip fills. Both cut what is longer. series:
        "stretch" to exactly the size, or "free", which shrinks what is longer and leaves the rest.
    window, hop: samples per frame and from frame to frame at `sample_rate` (AST: 25 ms and 10 ms).
    levels: series: asinh of the mean and of the std that were taken out, as two more numbers of every patch.
    """

    modality: Modality
    size: tuple[int, ...]
    channels: int
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    fit: Fit = "stretch"
    shortest_edge: int | None = None
    resample: Resample = "bilinear"
    sample_rate: int = 16_000
    window: int = 400
    hop: int = 160
    levels: bool = False

    def __post_init__(self) -> None:
        axes = 1 if self.modality == "series" else 2
        if self.modality not in get_args(Modality) or self.fit not in FITS[self.modality]:
            known = ", ".join(f"{m} ({' or '.join(fits)})" for m, fits in FITS.items())
            raise BaseError(f"the codec is {self.modality!r} with fit {self.fit!r}; expected one of {known}.")
        for name, given in (("size", self.size), ("patch", self.patch), ("stride", self.stride)):
            if len(given) != axes or min(given) < 1:
                raise BaseError(f"{name} of the {self.modality} codec is {given}; expected {axes} numbers from 1.")
        if any(p > s for p, s in zip(self.patch, self.size, strict=True)):
            raise BaseError(f"patch is {self.patch} and size {self.size}; expected a patch that fits into the size.")
        expected = {"image": self.channels, "audio": 1, "series": 0}[self.modality]
        if len(self.mean) != expected or len(self.std) != expected or not all(s > 0 for s in self.std):
            raise BaseError(f"mean is {self.mean} and std {self.std}; expected {expected} numbers each, std above 0.")
        if self.channels < 1 or (self.modality == "image" and self.channels not in (1, 3)):
            raise BaseError(f"channels is {self.channels}; expected 1 or 3 for pictures, from 1 for series.")
        if (self.fit == "crop") != (self.shortest_edge is not None):
            raise BaseError(f"fit is {self.fit!r} and shortest_edge {self.shortest_edge}; expected both for a crop.")
        if min(self.sample_rate, self.window, self.hop) < 1:
            raise BaseError(
                f"sample_rate is {self.sample_rate}, window {self.window}, hop {self.hop}; expected at least 1 each."
            )
        if math.prod(self.whole_grid) > MAX_PATCHES:
            raise BaseError(
                f"the codec makes {math.prod(self.whole_grid):,} patches; expected at most {MAX_PATCHES:,}."
            )

    @property
    def patch_dim(self) -> int:
        """P, the numbers of one patch."""
        return self.channels * math.prod(self.patch) + (2 if self.levels else 0)

    @property
    def axes(self) -> int:
        """Axes of every grid: 1 for series whose patches hold all channels, else 2."""
        return 1 if self.modality == "series" and self.channels > 1 else 2

    @property
    def whole_grid(self) -> tuple[int, ...]:
        """The grid of an input that fills the size (of one channel, for series that are cut channel by channel)."""
        sizes = zip(self.size, self.patch, self.stride, strict=True)
        counts = tuple((size - patch) // stride + 1 for size, patch, stride in sizes)
        return (1, *counts) if len(counts) < self.axes else counts

    @property
    def digest(self) -> str:
        """Hex SHA-256 of all fields, for lineage."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    @property
    def too_long(self) -> str:
        """What is true of an input that `exceeds` the size, as messages say it."""
        if self.modality == "audio":
            return f"are longer than {self._seconds:.1f} s and lose their end"
        return f"are longer than {self.size[0]} steps and are shrunk to them"

    def exceeds(self, raw: Raw) -> bool:
        """Whether a clip loses its end, or a series is shrunk; pictures are brought to the size, whatever they are."""
        if self.modality == "audio":
            return raw.shape[0] / (raw.rate or 1) > self._seconds
        return self.modality == "series" and raw.shape[1] > self.size[0]

    @property
    def _seconds(self) -> float:
        """Of a clip that fills the size."""
        return (self.window + (self.size[1] - 1) * self.hop) / self.sample_rate

    def encode(self, raw: Any, *, where: str = "the input") -> Patches:
        """Patches of one input: `prepare`, then `cut`."""
        return self.cut(self.prepare(raw, where=where))

    def prepare(self, raw: Any, *, where: str = "the input") -> Planes:
        """One input at the codec's size.

        image: file bytes (PNG, JPEG, WebP) or an array (H, W[, 1 or 3]) of uint8. audio: file bytes (WAV, FLAC) or a
        `sound.Clip`. series: numbers (steps,) or (channels, steps), lists or arrays; None and NaN are missing values.
        All three: a `Raw` of the modality.

        Raises:
            DataError: what is wrong with the input; the message begins with `where`.
        """
        if isinstance(raw, Raw):
            raw, where = raw.read(), raw.where
        if self.modality == "image":
            return Planes(self._pixels(raw, where))
        if self.modality == "audio":
            return Planes(self._spectrogram(raw, where))
        return self._steps(raw, where)

    def cut(self, planes: Planes) -> Patches:
        """Patches of what `prepare` made, normalised where that is left: row-major, series channel after channel."""
        values = planes.values
        if self.modality == "image":
            mean, std = (np.asarray(numbers, np.float32).reshape(-1, 1, 1) for numbers in (self.mean, self.std))
            values = (values.astype(np.float32) / np.float32(255) - mean) / std
        if self.modality != "series":
            return self._cut(values)
        return self._cut_steps(values[:, 0], planes.levels)

    def grid_of(self, planes: Planes) -> tuple[int, ...]:
        """The grid that `cut` will make."""
        channels, *sizes = planes.values.shape
        sides = zip(sizes[2 - len(self.patch) :], self.patch, self.stride, strict=True)
        counts = tuple((size - patch) // stride + 1 for size, patch, stride in sides)
        if self.modality != "series":
            return counts
        return counts if self.axes == 1 else (channels, *counts)

    def _pixels(self, raw: Any, where: str) -> NDArray[np.uint8]:
        """(C, H, W) uint8."""
        pixels = pictures.as_channels(pictures.read_picture(raw, where=where), self.channels)
        if self.shortest_edge is None:
            pixels = pictures.resize(pixels, self.size, self.resample)
        else:
            pixels = pictures.crop_middle(pixels, self.shortest_edge, self.size, self.resample)
        return pixels.transpose(2, 0, 1)

    def _spectrogram(self, raw: Any, where: str) -> Floats:
        """(1, mel bands, frames): log-mel values, normalised; as many frames as the clip has, or as fit "pad" asks."""
        clip = sound.read_clip(raw, where=where)
        bands, most = self.size
        room = self.window + (most - 1) * self.hop  # samples that the frames see
        heard = sound.Clip(clip.samples[: math.ceil(room * clip.rate / self.sample_rate) + clip.rate], clip.rate)
        samples = sound.resample(heard, self.sample_rate).samples[:room]
        frames = sound.log_mel(samples, self.sample_rate, window=self.window, hop=self.hop, bands=bands)
        if self.fit == "pad":
            frames = np.pad(frames, ((0, most - len(frames)), (0, 0)))
        else:
            frames = _fill(frames, 0, self.patch[1], self.stride[1], constant=sound.LOG_FLOOR)
        return ((frames - np.float32(self.mean[0])) / np.float32(2 * self.std[0])).T[None]

    def _steps(self, raw: Any, where: str) -> Planes:
        """(channels, 1, steps): every channel normalised by itself, at its number of steps."""
        given = series.read_series(raw, where=where).values
        if self.channels > 1 and len(given) != self.channels:
            raise DataError(
                f"{where} is a series of {len(given)} channels; expected {self.channels}, as this base reads them. "
                "Give series of the same sensors."
            )
        steps = self.size[0] if self.fit == "stretch" else min(given.shape[1], self.size[0])
        shape, levels = series.normalise(series.stretch(given, steps))
        filled = _fill(shape.astype(np.float32), 1, self.patch[0], self.stride[0], constant=None)
        if self.channels == 1 and len(given) * self.whole_grid[1] > MAX_PATCHES:
            most = MAX_PATCHES // self.whole_grid[1]
            raise DataError(f"{where} has {len(given):,} channels; expected at most {most:,}. Leave some out.")
        return Planes(filled[:, None], levels.astype(np.float32), where)

    def _cut(self, values: Floats) -> Patches:
        windows = sliding_window_view(values, self.patch, axis=(1, 2))
        windows = windows[:, :: self.stride[0], :: self.stride[1]]  # (C, rows, columns, patch rows, patch columns)
        rows, columns = windows.shape[1:3]
        patches = windows.transpose(1, 2, 0, 3, 4).reshape(rows * columns, -1)
        return Patches(np.ascontiguousarray(patches), (rows, columns))

    def _cut_steps(self, values: Floats, levels: Floats | None) -> Patches:
        windows = sliding_window_view(values, self.patch[0], axis=1)[:, :: self.stride[0]]  # (C, steps, patch)
        channels, count, _ = windows.shape
        together = self.channels > 1
        cut = windows.transpose(1, 0, 2).reshape(count, -1) if together else windows.reshape(channels * count, -1)
        if self.levels:
            assert levels is not None, "prepared series carry their levels"
            extra = np.tile(levels.mean(axis=0), (count, 1)) if together else np.repeat(levels, count, axis=0)
            cut = np.concatenate([cut, extra], axis=1)
        return Patches(np.ascontiguousarray(cut, dtype=np.float32), (count,) if together else (channels, count))

    def as_dict(self) -> dict[str, Any]:
        """preprocessor_config.json as transformers reads it, and below "headstart" what it has no key for."""
        ours: dict[str, Any] = {
            "modality": self.modality,
            "channels": self.channels,
            "patch": list(self.patch),
            "stride": list(self.stride),
            "fit": self.fit,
        }
        if self.modality == "image":
            return {**_image_keys(self), "headstart": ours}
        if self.modality == "audio":
            ours |= {"window": self.window, "hop": self.hop}
            return {**_audio_keys(self), "headstart": ours}
        return {"headstart": {**ours, "size": list(self.size), "levels": self.levels}}

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        *,
        patch: tuple[int, int] | None = None,
        stride: tuple[int, int] | None = None,
        channels: int = 3,
        where: str = "preprocessor_config.json",
    ) -> PatchCodec:
        """The codec of a folder. `patch`, `stride` and `channels` come from config.json where the file is Hugging
        Face's own and does not say them.

        Raises:
            BaseError: a key is missing, or a value is none that this codec computes.
        """
        ours = values.get("headstart", {})
        if not isinstance(ours, Mapping):
            raise BaseError(f"{where}: headstart is {safe_repr(repr(ours), 60)}; expected an object. Copy it again.")
        try:
            if ours.get("modality") == "series":
                return cls("series", tuple(ours["size"]), ours["channels"], tuple(ours["patch"]), tuple(ours["stride"]),
                           fit=ours["fit"], levels=ours["levels"])  # fmt: skip
            patch = tuple(ours["patch"]) if "patch" in ours else patch
            if patch is None:
                raise BaseError(f"{where} says no patch size; expected the base's config.json to. Copy it again.")
            stride = tuple(ours["stride"]) if "stride" in ours else stride or patch
            kind = str(values.get("feature_extractor_type", values.get("image_processor_type", "")))
            if ours.get("modality") == "audio" or kind.startswith("AST"):
                return _audio_codec(values, ours, patch, stride)
            return _image_codec(values, int(ours.get("channels", channels)), patch, stride)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            if isinstance(problem, BaseError):
                raise
            raise BaseError(
                f"{where} cannot be read ({safe_repr(repr(problem), 100)}); expected what ViTImageProcessor or "
                "ASTFeatureExtractor writes. Copy it again from the base it came from."
            ) from problem


def _fill(values: Floats, axis: int, patch: int, stride: int, *, constant: float | None) -> Floats:
    """`values` lengthened along `axis` until whole patches cover it, with a constant or with its last value."""
    length = values.shape[axis]
    count = max(0, -(-(length - patch) // stride)) + 1
    missing = max(0, patch + (count - 1) * stride - length)
    if not missing:
        return values
    width = [(0, missing if a == axis else 0) for a in range(values.ndim)]
    if constant is None:
        return np.pad(values, width, mode="edge")
    return np.pad(values, width, constant_values=constant)


def _image_keys(codec: PatchCodec) -> dict[str, Any]:
    height, width = codec.size
    keys: dict[str, Any] = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": next(number for number, name in PIL_RESAMPLE.items() if name == codec.resample),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(codec.mean),
        "image_std": list(codec.std),
        "do_convert_rgb": codec.channels == 3,
    }
    if codec.fit == "crop":
        keys |= {
            "image_processor_type": "BitImageProcessor",
            "size": {"shortest_edge": codec.shortest_edge},
            "do_center_crop": True,
            "crop_size": {"height": height, "width": width},
        }
    return keys


def _audio_keys(codec: PatchCodec) -> dict[str, Any]:
    bands, frames = codec.size
    return {
        "feature_extractor_type": "ASTFeatureExtractor",
        "feature_size": 1,
        "sampling_rate": codec.sample_rate,
        "num_mel_bins": bands,
        "max_length": frames,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": True,
        "mean": codec.mean[0],
        "std": codec.std[0],
        "return_attention_mask": False,
    }


def _image_codec(
    values: Mapping[str, Any], channels: int, patch: tuple[int, int], stride: tuple[int, int]
) -> PatchCodec:
    """What ViTImageProcessor, BitImageProcessor and their Fast and Pil twins write; size may be one number."""
    for switch in ("do_resize", "do_rescale"):
        if values.get(switch, True) is not True:
            raise BaseError(f"{switch} is {values[switch]!r}; expected true, since sizes and scales differ.")
    if not math.isclose(float(values.get("rescale_factor", 1 / 255)), 1 / 255, rel_tol=1e-6):
        raise BaseError(
            f"rescale_factor is {values['rescale_factor']!r}; expected 1/255, so that pixels are read as 0 to 1. Use a "
            "copy whose image_mean and image_std are of such values."
        )
    mean, std = ((0.0,) * channels, (1.0,) * channels)
    if values.get("do_normalize", True):
        mean, std = tuple(map(float, values["image_mean"])), tuple(map(float, values["image_std"]))
    resample = PIL_RESAMPLE[int(values.get("resample", 2))]
    size = values["size"]
    crop = values.get("crop_size") if values.get("do_center_crop") else None
    if crop is None:
        return PatchCodec("image", _square(size), channels, patch, stride, mean, std, "stretch", resample=resample)
    edge = int(size["shortest_edge"] if isinstance(size, Mapping) else size)
    return PatchCodec("image", _square(crop), channels, patch, stride, mean, std, "crop", edge, resample)


def _square(size: Any) -> tuple[int, int]:
    return (int(size["height"]), int(size["width"])) if isinstance(size, Mapping) else (int(size), int(size))


def _audio_codec(
    values: Mapping[str, Any], ours: Mapping[str, Any], patch: tuple[int, int], stride: tuple[int, int]
) -> PatchCodec:
    rate = int(values["sampling_rate"])
    mean, std = (float(values["mean"]), float(values["std"])) if values.get("do_normalize", True) else (0.0, 0.5)
    return PatchCodec(
        modality="audio",
        size=(int(values["num_mel_bins"]), int(values["max_length"])),
        channels=1,
        patch=patch,
        stride=stride,
        mean=(mean,),
        std=(std,),
        fit=ours.get("fit", "pad"),
        sample_rate=rate,
        window=int(ours.get("window", 400)),
        hop=int(ours.get("hop", 160)),
    )
