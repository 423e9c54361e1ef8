"""A recipe for pre-training on patches: a TOML file with `objective = "patches"`, read into a closed schema."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from headstart.base.families import FAMILIES
from headstart.data.patches import Fit, Modality, PatchCodec
from headstart.ground.errors import BaseError, ConfigError
from headstart.model.config import TrunkConfig
from headstart.model.flops import train_flops
from headstart.model.patches import PatchConfig
from headstart.train.recipe import Optimisation, convert_recipe, recipe_values

FAMILY = "vit"


class PatchShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ViT's trunk, and the decoder that learns with it and is thrown away."""

    dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    decoder_dim: int
    decoder_layers: int
    decoder_heads: int


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The codec (data/patches.py): what every input is brought to, and cut into."""

    modality: Modality
    size: tuple[int, ...]
    patch: tuple[int, ...]
    channels: int
    fit: Fit = "stretch"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    sample_rate: int = 16_000
    window: int = 400
    hop: int = 160
    levels: bool = False


class Hidden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is hidden, and how planes are moved about before they are cut.

    share: of the patches that is hidden. shift: values a picture moves at most. mirror: share of planes that are turned
    from right to left. least: a series is seen through a window of at least this share. columns: of patches, a
    micro-batch; several numbers take turns.
    """

    share: float
    shift: int = 0
    mirror: float = 0.0
    least: float = 1.0
    columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (0.0 < self.share < 1.0 and 0.0 <= self.mirror <= 1.0 and 0.0 < self.least <= 1.0 and self.shift >= 0):
            raise ConfigError(
                f"share, mirror, least and shift are {self.share}, {self.mirror}, {self.least} and {self.shift}; "
                "expected shares from 0 to 1 and a whole number from 0."
            )

    def visible(self, total: int) -> int:
        """Of so many patches."""
        return max(1, round(total * (1.0 - self.share)))


class PatchRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything pre-training on patches needs besides the folder of files. held_out: one plane in so many."""

    name: str
    objective: Literal["patches"]
    shape: PatchShape
    reading: Reading
    hidden: Hidden
    optimisation: Optimisation
    held_out: int = 50

    def __post_init__(self) -> None:
        try:
            self.codec()
            self.trunk_config()
            self.decoder_config()
        except BaseError as problem:
            raise ConfigError(str(problem)) from problem
        self._check_hidden()

    def _check_hidden(self) -> None:
        """ConfigError where a micro-batch would not fit the trunk, hide nothing, or have nothing to guess."""
        hidden, (rows, most) = self.hidden, self.patches().grid
        if not all(1 <= columns <= most for columns in hidden.columns):
            raise ConfigError(
                f"columns is {hidden.columns}; expected numbers from 1 to {most}, the columns of a whole input. Change "
                "columns, or size."
            )
        fewest = rows * min(hidden.columns or (most,))
        if hidden.visible(fewest) == fewest:
            raise ConfigError(
                f"share is {hidden.share}, which hides none of {fewest} patches; expected at least one to guess. "
                "Give a larger share, or smaller patches."
            )
        if self.area < 2:
            raise ConfigError(
                f"patch is {self.reading.patch}, one value; expected at least two, since every patch is brought to "
                "mean 0 and variance 1. Give larger patches."
            )

    @property
    def area(self) -> int:
        """Numbers of a patch that are guessed."""
        return self.codec().patch_dim - 2 * self.reading.levels

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return math.ceil(self.optimisation.tokens / self.optimisation.tokens_per_step)

    def codec(self) -> PatchCodec:
        """How inputs are read."""
        r = self.reading
        return PatchCodec(
            r.modality,
            r.size,
            r.channels,
            r.patch,
            r.patch,
            r.mean,
            r.std,
            r.fit,
            sample_rate=r.sample_rate,
            window=r.window,
            hop=r.hop,
            levels=r.levels,
        )

    def patches(self) -> PatchConfig:
        """What the trunk takes. A series is a picture of one row, its levels two more values of every patch."""
        codec = self.codec()
        rows, columns = codec.whole_grid if len(codec.whole_grid) == 2 else (1, *codec.whole_grid)
        if self.reading.modality == "series":
            channels, (high, wide) = 1, (1, codec.patch_dim)
        else:
            channels, (high, wide) = codec.channels, (codec.patch[0], codec.patch[1])
        size = (rows * high, columns * wide)
        return PatchConfig(channels, size, (high, wide), (high, wide), prefix=1, pooling="mean")

    def trunk_config(self) -> TrunkConfig:
        """The trunk: the recipe's shape with ViT's traits."""
        s = self.shape
        return self._config(s.dim, s.num_layers, s.num_heads, s.mlp_dim)

    def decoder_config(self) -> TrunkConfig:
        """The decoder's blocks."""
        s = self.shape
        return self._config(s.decoder_dim, s.decoder_layers, s.decoder_heads, 4 * s.decoder_dim)

    def _config(self, dim: int, layers: int, heads: int, mlp_dim: int) -> TrunkConfig:
        traits, patches = FAMILIES[FAMILY].traits, self.patches()
        assert traits is not None, "ViTs can be made here"
        if dim % heads:
            raise ConfigError(f"the width is {dim} with {heads} heads; expected a multiple. Change one of them.")
        return TrunkConfig(
            0,
            dim,
            layers,
            heads,
            heads,
            dim // heads,
            mlp_dim,
            patches.prefix + patches.num_patches,
            norm=traits.norm,
            norm_place=traits.norm_place,
            norm_eps=traits.norm_eps,
            position=traits.position,
            rope_theta=10_000.0,
            mlp=traits.mlp,
            bias=traits.bias,
            qk_norm=traits.qk_norm,
            tied_output=True,
            num_segments=0,
        )

    def columns(self, turn: int) -> int:
        """Columns of patches of a micro-batch."""
        choices = self.hidden.columns or (self.patches().grid[1],)
        return choices[turn % len(choices)]

    def step_flops(self, step: int) -> int:
        """Training FLOPs of a step."""
        settings, rows = self.optimisation, self.patches().grid[0]
        turns = max(1, settings.tokens_per_step // settings.micro_tokens)
        used = [self.columns(turn) for turn in range(step * turns, (step + 1) * turns)]
        return sum(self.flops(max(1, settings.micro_tokens // (rows * columns)), columns) for columns in used)

    def flops(self, rows: int, columns: int) -> int:
        """Training FLOPs of a micro-batch: the trunk over what is visible, the decoder over everything."""
        patches = self.patches()
        total = patches.grid[0] * columns
        seen = patches.prefix + self.hidden.visible(total)
        everything = patches.prefix + total
        edges = seen * self.shape.dim * (patches.unit_size + self.shape.decoder_dim)
        edges += (total - seen) * self.shape.decoder_dim * self.area
        return (
            train_flops(self.trunk_config(), units=rows * seen, context=seen)
            + train_flops(self.decoder_config(), units=rows * everything, context=everything)
            + 6 * rows * edges
        )


def is_for_patches(values: dict[str, Any]) -> bool:
    """Whether a recipe's TOML is one of these."""
    return values.get("objective") == "patches"


def read_patch_recipe(name_or_path: str) -> PatchRecipe:
    """A recipe for patches that ships with Headstart, by name, or a TOML file."""
    return convert_recipe(recipe_values(name_or_path), name_or_path, PatchRecipe)
