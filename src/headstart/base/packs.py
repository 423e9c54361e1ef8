"""Packed models of a base: made when the first unit is decoded, kept, and made anew when the weights are others."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from headstart.ground.errors import CapabilityError, ConfigError, did_you_mean
from headstart.model.heads import LMHead
from headstart.model.matrices import Precision
from headstart.model.packed import CausalModel, Packed, Whole, packable
from headstart.model.trunk import Trunk

PRECISIONS = get_args(Precision)

Made = tuple[tuple[int, int], ...]  # where every weight lies, and how often it was written to


class Packs:
    """One packed model a precision, of the weights that asked last."""

    def __init__(self) -> None:
        self._made: dict[Precision, tuple[Made, Packed]] = {}

    def model(self, trunk: Trunk, lm: LMHead, precision: Precision) -> CausalModel:
        """What decodes with weights of `precision`; trunk and head themselves where only fp32 is asked and nothing
        can be packed (an accelerator, bf16, an adapter that is not merged).

        Raises:
            ConfigError: there is no such precision.
            CapabilityError: this trunk or this machine cannot have it.
        """
        if precision not in PRECISIONS:
            raise ConfigError(
                f"weights is {precision!r}; expected one of {', '.join(PRECISIONS)}."
                f"{did_you_mean(str(precision), PRECISIONS)}"
            )
        if not packable(trunk):
            if precision == "fp32":
                return Whole(trunk, lm)
            raise CapabilityError(
                f"{precision} weights are for bases in fp32 on a CPU; expected one. Leave the weights as they are."
            )
        made = tuple(_state(weight) for module in (trunk, lm) for weight in module.parameters())
        kept = self._made.get(precision)
        if kept is None or kept[0] != made:
            kept = self._made[precision] = made, Packed(trunk, lm, precision)
        return kept[1]


def _state(weight: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version
