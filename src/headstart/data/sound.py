"""Sounds: WAV and FLAC bytes, or samples -> a mono clip, resampled, and its log-mel spectrogram.

What a header declares is held against the limit and against the bytes that are there before samples are decoded.
The spectrogram is Kaldi's filter bank as AST uses it (Gong et al. 2021): Hann window, pre-emphasis 0.97, power,
triangles on the mel scale, natural logarithm; `transformers` computes the same without torchaudio.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from headstart.ground.errors import DataError, safe_repr

Samples = NDArray[np.float32]

MAX_SAMPLES = 1 << 26  # all channels: 70 minutes at 16 kHz, 256 MB as float32
MAX_CHANNELS = 32
RATES = (1_000, 384_000)  # Hz
FULL_SCALE = {"int8": 1 << 7, "int16": 1 << 15, "int32": 1 << 31}  # of arrays that say how wide their samples are
LOUDEST = 50.0  # of samples that are no whole numbers; unit variance has peaks up to about 30, 16 bits are 32,768
UNKNOWN_LENGTH = (1 << 63) - 1  # what libsndfile says of a FLAC whose header has no number of samples
SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
LOWEST_HZ = 20.0
MEL_FLOOR = 1.192092955078125e-07  # float32's epsilon, Kaldi's floor under the logarithm
LOG_FLOOR = math.log(MEL_FLOOR)
PRE_EMPHASIS = 0.97
FRAMES_AT_ONCE = 4_096  # 17 MB of spectrum at a window of 400


@dataclass(frozen=True, eq=False, slots=True)
class Clip:
    """Mono sound. samples: (N,) float32, about -1 to 1; whole numbers are scaled by their type. rate: per second."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_clip(raw: Any, *, where: str) -> Clip:
    """A clip of file bytes (WAV, FLAC), or a Clip, checked. Several channels become their mean.

    Raises:
        DataError: it is no sound of a known kind, too long, damaged or cut off, or holds values that are no numbers.
    """
    if isinstance(raw, Clip):
        return _checked(raw, where)
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise DataError(
            f"{where} is a {type(raw).__name__}; expected the bytes of a WAV or FLAC, or a Clip with a rate."
        )
    return _checked(_decode(bytes(raw), where), where)


def from_pcm16(content: bytes, rate: int, *, where: str) -> Clip:
    """A clip of raw 16-bit little-endian mono samples."""
    if len(content) % 2:
        raise DataError(f"{where} has {len(content):,} bytes; expected two a sample (16-bit PCM). Check the column.")
    if len(content) // 2 > MAX_SAMPLES:
        raise DataError(f"{where} has {len(content) // 2:,} samples; expected at most {MAX_SAMPLES:,}. Cut it.")
    return _checked(Clip(np.frombuffer(content, dtype="<i2").astype(np.float32) / np.float32(32_768), rate), where)


def from_samples(samples: Any, rate: int, *, where: str) -> Clip:
    """A clip of mono samples as numbers: floats from -1 to 1, or PCM in whole numbers.

    Raises:
        DataError: they are no numbers, or on a scale that cannot be told.
    """
    return _checked(Clip(_scaled(samples, where), rate), where)


def resample(clip: Clip, rate: int) -> Clip:
    """The clip at `rate` samples per second: a polyphase filter, so that what is above half the new rate goes."""
    if clip.rate == rate:
        return clip
    from scipy.signal import resample_poly

    common = math.gcd(clip.rate, rate)
    found = resample_poly(clip.samples, rate // common, clip.rate // common)
    return Clip(np.asarray(found, dtype=np.float32), rate)


def log_mel(samples: Samples, rate: int, *, window: int, hop: int, bands: int) -> Samples:
    """(frames, bands) float32; a frame every `hop` samples, the last one whole. Shorter clips get one frame."""
    if len(samples) < window:
        samples = np.pad(samples, (0, window - len(samples)))
    size = 1 << (window - 1).bit_length()
    hann = np.hanning(window)
    filters = mel_filters(size // 2 + 1, bands, rate)
    windows = sliding_window_view(samples, window)[::hop]
    found = np.empty((len(windows), bands), dtype=np.float32)
    for start in range(0, len(windows), FRAMES_AT_ONCE):
        frames = windows[start : start + FRAMES_AT_ONCE].astype(np.float64)
        frames -= frames.mean(axis=1, keepdims=True)
        frames[:, 1:] -= PRE_EMPHASIS * frames[:, :-1]
        frames[:, 0] *= 1 - PRE_EMPHASIS
        power = np.abs(np.fft.rfft(frames * hann, n=size, axis=1)) ** 2
        found[start : start + len(frames)] = np.log(np.maximum(MEL_FLOOR, power @ filters))
    return found


@lru_cache(maxsize=8)
def mel_filters(bins: int, bands: int, rate: int) -> NDArray[np.float64]:
    """(bins, bands): triangles, even on Kaldi's mel scale 1127 ln(1 + f / 700), from 20 Hz to half the rate."""
    edges = np.linspace(_mel(LOWEST_HZ), _mel(float(rate // 2)), bands + 2)
    places = _mel(rate / ((bins - 1) * 2) * np.arange(bins))[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def _mel(hertz: Any) -> Any:
    return 1127.0 * np.log(1.0 + hertz / 700.0)


def _decode(content: bytes, where: str) -> Clip:
    import soundfile

    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        _check_wav(content, where)
    elif content[:4] != b"fLaC":
        start = f"it begins with {safe_repr(repr(content[:8]), 60)}" if content else "it is empty"
        raise DataError(f"{where} is no WAV or FLAC ({start}); expected one of these. Convert it, or leave it out.")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            _check_header(file.frames, file.channels, file.samplerate, file.subtype, where)
            declared, rate = file.frames, file.samplerate
            samples = file.read(frames=declared, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as problem:
        raise DataError(
            f"{where} is damaged ({safe_repr(problem.error_string, 100)}); expected a whole WAV or FLAC. Copy it again."
        ) from problem
    if len(samples) != declared:
        raise DataError(
            f"{where} is cut off: it declares {declared:,} samples and holds {len(samples):,}; expected all of them. "
            "Copy it again."
        )
    return Clip(samples.mean(axis=1, dtype=np.float32), rate)


def _check_wav(content: bytes, where: str) -> None:
    """The size of the data chunk against the bytes that follow; libsndfile would shorten the clip without a word."""
    place = 12
    while place + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, place)
        place += 8
        if name == b"data":
            if place + size > len(content):
                raise DataError(
                    f"{where} is cut off: it declares {size:,} bytes of samples and {len(content) - place:,} follow; "
                    "expected all of them. Copy it again, or save it anew where it was streamed."
                )
            return
        place += size + size % 2
    raise DataError(f"{where} has no samples (no data chunk); expected a whole WAV. Copy it again.")


def _check_header(frames: int, channels: int, rate: int, subtype: str, where: str) -> None:
    """What the header declares, before any sample is decoded."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise DataError(f"{where} has {channels} channels; expected 1 to {MAX_CHANNELS}. Mix it down.")
    if frames == 0:
        raise DataError(f"{where} has no samples; expected at least one. Leave it out, or record it again.")
    if frames == UNKNOWN_LENGTH:
        raise DataError(
            f"{where} does not say how many samples it has, as streamed files do; expected that in its header. Save it "
            "anew."
        )
    if not 1 <= frames * channels <= MAX_SAMPLES:
        raise DataError(
            f"{where} declares {frames:,} samples of {channels} channels; expected 1 to {MAX_SAMPLES:,} in all. "
            "Cut it into clips."
        )
    if subtype not in SUBTYPES:
        raise DataError(f"{where} is coded as {subtype}; expected PCM, float, u-law or A-law. Convert it.")
    _check_rate(rate, where)


def _check_rate(rate: int, where: str) -> None:
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{where} has {rate:,} samples a second; expected {RATES[0]:,} to {RATES[1]:,}. Resample it.")


def _checked(clip: Clip, where: str) -> Clip:
    given = clip.samples
    known = isinstance(given, np.ndarray) and given.dtype.kind == "f"
    samples = given.astype(np.float32, copy=False) if known else _scaled(given, where)
    _check_rate(clip.rate, where)
    if samples.ndim != 1 or not 1 <= len(samples) <= MAX_SAMPLES:
        raise DataError(f"{where} has samples of shape {samples.shape}; expected (N,), N from 1 to {MAX_SAMPLES:,}.")
    if not bool(np.isfinite(samples).all()):
        bad = int(np.argmin(np.isfinite(samples)))
        raise DataError(f"{where} holds {samples[bad]} at sample {bad:,}; expected finite numbers. Mend the file.")
    return Clip(samples, clip.rate)


def _scaled(samples: Any, where: str) -> Samples:
    """float32, about -1 to 1. Whole numbers are PCM of as many bits as their type; lists and tables lose the type, and
    are taken for the 16 bits of nearly all recordings where all of their numbers are.
    """
    try:
        values = np.asarray(samples)
    except ValueError as problem:
        raise DataError(f"{where} holds lists of unequal lengths; expected mono samples. Mix it down.") from problem
    if values.dtype.kind not in "if":
        raise DataError(
            f"{where} holds {_kind(values)}; expected samples as int16, or as floats from -1 to 1. Convert them."
        )
    if not values.size or not bool(np.isfinite(values).all()):
        return values.astype(np.float32)  # refused by whoever asked
    low, high = values.min(), values.max()
    if values.dtype.name in FULL_SCALE:
        full = FULL_SCALE[values.dtype.name]
    elif values.dtype.kind == "i" or (max(-low, high) > 1 and bool((values % 1 == 0).all())):
        full = FULL_SCALE["int16"] if low >= -32_768 and high <= 32_767 else 0
    else:
        full = 1 if max(-low, high) <= LOUDEST else 0
    if not full:
        raise DataError(
            f"{where} holds samples from {low:g} to {high:g}; expected floats from -1 to 1, or whole numbers of 16 "
            "bits. Divide them by their largest possible value."
        )
    return values.astype(np.float32) / np.float32(full)


def _kind(values: NDArray[Any]) -> str:
    return str(values.dtype) if values.dtype.kind in "ubc" else "values that are no numbers"
