"""One dial, `size`: from a number of parameters follow width, depth, vocabulary, tokens, batch, rates and weight decay.

A size such as "11m" goes in; a Recipe and one (name, value, reason) a setting come out. The idea is nanochat's --depth
(scripts/base_train.py): tune one model, say once how every setting moves with size, and let nobody turn two knobs at a
time. What the dial does not move is the shipped recipe text-11m, which is also its anchor.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from headstart.ground.errors import ConfigError
from headstart.train.recipe import Optimisation, Recipe, Shape, in_fast_numbers, read_recipe

ANCHOR = "text-11m"
SMALLEST, LARGEST = 150_000, 1_000_000_000
SUFFIX = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}

HEAD_DIM = 64
ASPECT = 40  # width a layer
ASPECT_WEIGHT = 0.5  # how much a log unit of aspect counts against a log unit of size
WIDTHS = (64, 96, 128, 160, *range(192, 2049, 64))
MLP_STEP = 128
TOKENS_PER_PARAMETER = 20.0
BATCH_POWER = 0.383
SMALLEST_BATCH = 4096
TIMESCALE, TIMESCALE_POWER = 1.084, -0.527
VOCABULARY_POWER = 1.5
VOCABULARIES = (1024, 32_768)


@dataclass(frozen=True, slots=True)
class Reason:
    """One setting: its name, its value in words, and why it has it."""

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Sized:
    """What the dial gives."""

    recipe: Recipe
    reasons: tuple[Reason, ...]

    @property
    def parameters(self) -> int:
        """Of the trunk, the tied output included."""
        return self.recipe.trunk_config().num_parameters


def recipe_for(size: str | int, *, tokens_per_parameter: float = TOKENS_PER_PARAMETER) -> Sized:
    """The recipe of a base of about `size` parameters that reads `tokens_per_parameter` times as many tokens.

    Raises:
        ConfigError: no size, or one outside what the dial knows.
    """
    wanted = parameters_of(size)
    if not 0.0 < tokens_per_parameter <= 1e5:
        raise ConfigError(
            f"the tokens per parameter are {tokens_per_parameter}; expected more than 0 and at most 100,000. "
            f"Without the setting they are {TOKENS_PER_PARAMETER:g}."
        )
    anchor, shape = anchor_recipe(), nearest_shape(wanted)
    recipe = msgspec.structs.replace(anchor, name=f"text-{short(wanted)}", shape=shape)
    parameters = recipe.trunk_config().num_parameters
    known = anchor.optimisation
    asked = tokens_per_parameter * parameters
    batch = batch_for(asked)
    tokens = max(1, round(asked / batch)) * batch
    narrow = math.sqrt(anchor.shape.dim / shape.dim)
    muon_lr = rounded(known.muon_lr * narrow)
    optimisation = msgspec.structs.replace(
        known,
        tokens=tokens,
        tokens_per_step=batch,
        micro_tokens=min(known.micro_tokens, batch // 2),
        muon_lr=muon_lr,
        adamw_lr=rounded(known.adamw_lr * narrow),
        weight_decay=weight_decay_for(tokens, batch=batch, lr=muon_lr, ratio=tokens / parameters),
    )
    recipe = msgspec.structs.replace(recipe, optimisation=optimisation)
    return Sized(recipe, (*shape_reasons(recipe, parameters), *training_reasons(recipe, parameters)))


def parameters_of(size: str | int) -> int:
    """11_000_000 of "11m", "11M", "11,000,000" or 11000000; ConfigError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmb]?)", str(size).strip().lower().replace("_", "").replace(",", ""))
    value = round(float(found.group(1)) * SUFFIX[found.group(2)]) if found else 0
    if not SMALLEST <= value <= LARGEST:
        raise ConfigError(
            f"the size is {size!r}; expected a number of parameters from {short(SMALLEST)} to {short(LARGEST)}. "
            "Write it like 1m, 11m or 30m."
        )
    return value


def short(parameters: float) -> str:
    """11m of 11,000,000; three figures at most."""
    for suffix, unit in (("b", 1e9), ("m", 1e6), ("k", 1e3)):
        if parameters >= 0.9995 * unit:
            return f"{parameters / unit:.3g}{suffix}"
    return f"{parameters:.3g}"


@functools.cache
def anchor_recipe() -> Recipe:
    """The shipped recipe that the dial scales."""
    return read_recipe(ANCHOR)


@functools.cache
def nearest_shape(parameters: int) -> Shape:
    """The shape whose size is nearest, among those not much wider or deeper than ASPECT says."""

    def distance(known: tuple[Shape, int]) -> float:
        shape, size = known
        aspect = shape.dim / shape.num_layers
        return abs(math.log(size / parameters)) + ASPECT_WEIGHT * abs(math.log(aspect / ASPECT))

    return min(shapes(), key=distance)[0]


@functools.cache
def shapes() -> tuple[tuple[Shape, int], ...]:
    """Every shape the dial can give, with its parameters."""
    anchor = anchor_recipe()
    return tuple(
        (shape, msgspec.structs.replace(anchor, shape=shape).trunk_config().num_parameters) for shape in _shapes()
    )


def _shapes() -> Iterator[Shape]:
    for dim in WIDTHS:
        heads = math.ceil(dim / HEAD_DIM)
        for layers in range(max(2, math.ceil(dim / (2 * ASPECT))), math.ceil(2 * dim / ASPECT) + 1):
            yield msgspec.structs.replace(
                anchor_recipe().shape,
                vocab_size=vocabulary_for(dim),
                dim=dim,
                num_layers=layers,
                num_heads=heads,
                num_kv_heads=heads,
                head_dim=HEAD_DIM,
                mlp_dim=max(MLP_STEP, 8 * dim // 3 // MLP_STEP * MLP_STEP),
            )


def vocabulary_for(dim: int) -> int:
    """A power of two near the anchor's vocabulary times (width / the anchor's width)^1.5."""
    anchor = anchor_recipe().shape
    return clamped_power(anchor.vocab_size * (dim / anchor.dim) ** VOCABULARY_POWER, *VOCABULARIES)


def batch_for(tokens: float) -> int:
    """Tokens a step: a power of two near the anchor's batch times (tokens / the anchor's tokens)^0.383."""
    known = anchor_recipe().optimisation
    return clamped_power(known.tokens_per_step * (tokens / known.tokens) ** BATCH_POWER, SMALLEST_BATCH, 1 << 20)


def weight_decay_for(tokens: int, *, batch: int, lr: float, ratio: float) -> float:
    """The decay whose memory, B / (lr decay D) of the run, is 1.084 (D / N)^-0.527 (Bergsma et al. 2025)."""
    memory = TIMESCALE * ratio**TIMESCALE_POWER
    return rounded(min(1.0, max(0.01, batch / (lr * tokens * memory))))


def clamped_power(value: float, low: int, high: int) -> int:
    """The power of two nearest to `value` in ratio, within [low, high]."""
    return 1 << round(math.log2(min(high, max(low, value))))


def rounded(value: float) -> float:
    """Two figures: more would claim a precision that no rule here has."""
    return float(f"{value:.2g}")


def shape_reasons(recipe: Recipe, parameters: int) -> tuple[Reason, ...]:
    """Why the shape is what it is."""
    shape = recipe.shape
    share = shape.vocab_size * shape.dim / parameters
    return (
        Reason(
            "parameters", f"{parameters:,}", "the nearest shape to the size asked for; output and embedding are one"
        ),
        Reason(
            "layers",
            f"{shape.num_layers}",
            f"about one for every {ASPECT} of width, as {ANCHOR}: between nanochat (64) and GPT-BERT small (32); "
            "fewer and wider layers keep the matrix products large, which is what a CPU is fast at",
        ),
        Reason("width", f"{shape.dim}", f"{shape.num_heads} heads of {HEAD_DIM}; Qwen3's layout, so engines load it"),
        Reason("mlp", f"{shape.mlp_dim}", f"8/3 of the width (SwiGLU, Shazeer 2020), down to a multiple of {MLP_STEP}"),
        Reason(
            "vocabulary",
            f"{shape.vocab_size:,}",
            f"{share:.0%} of the parameters; grows slower than the rest, as (rest)^0.83 (Tao et al. 2024), which is "
            f"width^{VOCABULARY_POWER}; {ANCHOR} has 8,192 at 320",
        ),
    )


def training_reasons(recipe: Recipe, parameters: int) -> tuple[Reason, ...]:
    """Why the training settings are what they are."""
    got, known = recipe.optimisation, anchor_recipe().optimisation
    ratio = got.tokens / parameters
    spectral = 0.2 * got.muon_lr * math.sqrt(recipe.shape.dim)
    return (
        Reason(
            "tokens",
            f"{got.tokens:,}",
            f"{ratio:.3g} a parameter; at given compute 20 is best (Hoffmann et al. 2022), 12 with Muon (nanochat); "
            "between them the loss hardly moves, and the smaller base is cheaper to use",
        ),
        Reason(
            "batch",
            f"{got.tokens_per_step:,} tokens",
            f"grows as tokens^{BATCH_POWER} (Bergsma et al. 2025, as in nanochat) from {ANCHOR}'s "
            f"{known.tokens_per_step:,} at {known.tokens / 1e6:.3g} M; nanochat's are larger, for GPUs that small ones "
            "leave idle",
        ),
        Reason(
            "muon_lr",
            f"{got.muon_lr:g}",
            f"as 1/sqrt(width), which keeps the update's largest singular value at {spectral:.2g}; nanochat's is 0.02, "
            "modded-nanogpt's 0.025, at batches 60 times as large, so it does not move with the batch",
        ),
        Reason("adamw_lr", f"{got.adamw_lr:g}", "as 1/sqrt(width), as in nanochat (gpt.py)"),
        Reason(
            "weight_decay",
            f"{got.weight_decay:g}",
            f"a memory of {TIMESCALE} (tokens / parameters)^{TIMESCALE_POWER} of the run (Bergsma et al. 2025); for "
            "fresh text: a run of many epochs wants more",
        ),
        numbers_reason(got),
    )


def numbers_reason(settings: Optimisation) -> Reason:
    """Why a run computes in the numbers it does on this machine."""
    here = in_fast_numbers(settings).dtype
    if here != settings.dtype:
        return Reason("numbers", here, f"this machine only emulates {settings.dtype}, which takes many times as long")
    return Reason("numbers", here, "as the recipe says; weights and sums stay in float32")
