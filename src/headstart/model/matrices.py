"""Products with weights as a CPU's kernels want them: of many rows with a plain matrix, of few with a packed one.

Many rows, fp32 and no gradient: oneDNN takes half the time of MKL, torch's own choice, on AMD's processors with AVX512
(docs/notebook/2026-11-27-scoring-in-bf16.md).

Decoding multiplies every matrix of a base by one to some tens of rows, so a step costs what reading the weights costs,
and a plain product reads them at half the speed of the memory. Three kinds, all with fp32 rows and fp32 sums:

`fp32`: oneDNN's blocked layout; or, where half precision holds every weight up to a common power of two, as it does
for bases that were stored in bfloat16, FBGEMM's half-precision layout: the same product from half the bytes.
`fp16`: FBGEMM's, weights rounded to half precision; `fp32` on machines without FBGEMM.
`int8`: FBGEMM's, weights rounded to 8 bits with a scale for each output, rows to 8 bits with a scale for each row, so
a row's result depends on no other row.

What was measured, per shape and number of rows, against what else torch has: docs/notebook/2026-11-26-decoding.md.
R rows, I inputs, O outputs.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from headstart.ground.errors import CapabilityError

Precision = Literal["fp32", "fp16", "int8"]

QUICK_ROWS = 32  # below, MKL is as quick as oneDNN with rows filled up
SAME_ROWS = 64  # rows of `multiplied` come in multiples: oneDNN makes a kernel a shape, and keeps 1,024 of them
FEW_ROWS = 4  # oneDNN's product of 1 to 3 rows takes longer than that of 4
PACKED_FOR = 8  # rows for which oneDNN chooses its layout: the best one for 4 to 32 rows
TOP_HALF = 15  # weights are scaled to below 2^15; half precision ends at 65,504
EXACT = 2.0**-36  # of the largest weight: nothing beside the rounding of fp32 sums, 2^-24
LEVELS = 127


def has_quick(weight: Tensor) -> bool:
    """Whether `multiplied` can take this weight, here and now: it gives no gradient."""
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return plain and torch._C._has_mkldnn and torch._C.has_mkl and not torch.is_grad_enabled()


def multiplied(x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """(R, O) by oneDNN, where `has_quick`. A row depends on no other."""
    rows = len(x_RI)
    if rows % SAME_ROWS:
        x_RI = F.pad(x_RI, (0, 0, 0, -rows % SAME_ROWS))
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x_RI, weight_OI, bias_O, "none", [], "")
    return product[:rows]


class Matrix(ABC):
    """A product with one weight matrix (O, I), and a bias where there is one."""

    @abstractmethod
    def __call__(self, x_RI: Tensor) -> Tensor:
        """(R, O)."""


def pack_all(matrices: Sequence[tuple[Tensor, Tensor | None]], precision: Precision) -> list[Matrix]:
    """(weight, bias) pairs in the fastest layout that this machine has for `precision`.

    On as many threads as torch computes with, because FBGEMM packs one element after the other.

    Raises:
        CapabilityError: `int8`, and this processor has no kernel for it.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        # torch 2.13 says that tensors of its quantised dtypes will go; there is no other way to FBGEMM's int8 yet.
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
        return list(pool.map(lambda pair: _pack(pair[0], pair[1], precision), matrices))


@torch.no_grad()
def _pack(weight_OI: Tensor, bias_O: Tensor | None, precision: Precision) -> Matrix:
    if precision == "int8":
        if not has_fbgemm():
            raise CapabilityError(
                "this machine has no FBGEMM, which int8 weights need; expected an x86 CPU. Use fp32 weights."
            )
        return EightBits(weight_OI, bias_O)
    if has_fbgemm() and (precision == "fp16" or is_half(weight_OI)):
        return Half(weight_OI, bias_O)
    return Blocked(weight_OI, bias_O) if torch._C._has_mkldnn else Plain(weight_OI, bias_O)


def has_fbgemm() -> bool:
    """Whether torch has FBGEMM and this CPU can run it."""
    return torch.backends.quantized.engine in ("x86", "fbgemm")


def is_half(weight: Tensor) -> bool:
    """Whether half precision holds every weight, scaled by `half_scale`."""
    scale, largest = half_scale(weight), float(weight.abs().max())

    def holds(some: Tensor) -> bool:
        scaled = some * scale
        return bool(((scaled.half().float() - scaled).abs() <= EXACT * largest * scale).all())

    return holds(weight[:1]) and holds(weight)  # one row tells of most that it does not


def half_scale(weight: Tensor) -> float:
    """The power of two that brings the largest weight just below 2^15, so that the small ones stay normal numbers."""
    largest = float(weight.abs().max())
    return 2.0 ** (TOP_HALF - math.frexp(largest)[1]) if largest > 0 else 1.0


class Plain(Matrix):
    """As it is."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._weight, self._bias = weight_OI, bias_O

    def __call__(self, x_RI: Tensor) -> Tensor:
        return F.linear(x_RI, self._weight, self._bias)


class Blocked(Matrix):
    """fp32 in oneDNN's blocks, the operator that torch's own compiler calls for a frozen Linear."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), PACKED_FOR)
        self._bias = bias_O
        self._product = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x_RI: Tensor) -> Tensor:
        rows = len(x_RI)
        if rows < FEW_ROWS:
            x_RI = F.pad(x_RI, (0, 0, 0, FEW_ROWS - rows))
        return self._product(x_RI, self._weight, self._bias, "none", [], "")[:rows]  # type: ignore[no-any-return]


class Half(Matrix):
    """Weights in half precision, rows and sums in fp32."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        scale = half_scale(weight_OI)
        bias = None if bias_O is None else bias_O * scale
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight_OI * scale, bias)
        self._back = 1.0 / scale
        self._product = torch.ops.quantized.linear_dynamic_fp16.default

    def __call__(self, x_RI: Tensor) -> Tensor:
        return self._product(x_RI, self._packed).mul_(self._back)  # type: ignore[no-any-return]


class EightBits(Matrix):
    """Weights and rows in 8 bits, sums exact in 32; a scale for each output and for each row."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None) -> None:
        scales = weight_OI.abs().amax(dim=1).clamp_(min=1e-30) / LEVELS
        rounded = (weight_OI / scales[:, None]).round_().to(torch.int8)
        zeros = torch.zeros(len(scales), dtype=torch.long)
        quantised = torch._make_per_channel_quantized_tensor(rounded, scales.double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        self._product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
        self._bias = bias_O
        # Without VNNI, FBGEMM adds pairs of products in 16 bits, up to 32,767. Rows of 7 bits, counted from their own
        # zero, keep below: 2 x 127 x 127 is 32,258.
        self._levels = LEVELS if torch.cpu._is_vnni_supported() else LEVELS // 2
        self._zero = self._levels + 1

    def __call__(self, x_RI: Tensor) -> Tensor:
        scale_R1 = torch.linalg.vector_norm(x_RI, torch.inf, -1, True).clamp_(min=1e-30).mul_(1.0 / self._levels)
        product: Tensor = self._product(x_RI / scale_R1, 1.0, self._zero, self._packed)
        return product.mul_(scale_R1) if self._bias is None else torch.addcmul(self._bias, product, scale_R1)
