"""Packed matrices and models beside the plain ones: the same numbers, or as near as their precision says."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.base.tiny_bases import tiny_base
from torch import Tensor, nn

from headstart.base.base import Base
from headstart.base.packs import Packs
from headstart.base.sampling import Sampling
from headstart.ground.batch import Batch
from headstart.ground.errors import CapabilityError, ConfigError
from headstart.model import matrices
from headstart.model.adapters import attach_lora
from headstart.model.cache import KvCache
from headstart.model.matrices import Blocked, EightBits, Half, Matrix, Plain, pack_all
from headstart.model.packed import Packed, Whole, packable

FAMILIES = ["gpt2", "llama", "qwen3"]
ROWS = (1, 2, 3, 4, 8, 33)
needs_fbgemm = pytest.mark.skipif(not matrices.has_fbgemm(), reason="FBGEMM is for x86")


def products(matrix: Matrix, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """(what the matrix makes of some rows, what fp64 makes of them), relative to the largest sum there can be."""
    for rows in ROWS:
        x = torch.randn(rows, weight.shape[1], generator=torch.Generator().manual_seed(rows))
        exact = nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
        top = (x.abs().double() @ weight.abs().double().T).max() + (0 if bias is None else bias.abs().max())
        with torch.inference_mode():
            yield matrix(x).double() / top, exact / top


@pytest.fixture(params=[True, False], ids=["bias", "plain"])
def weights(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(70, 48, generator=generator) * torch.logspace(-7, 1, 70)[:, None]
    return weight, torch.randn(70, generator=generator) if request.param else None


@pytest.mark.parametrize("kind", [Plain, Blocked])
def test_fp32_products(kind: type[Matrix], weights: tuple[Tensor, Tensor | None]) -> None:
    for found, exact in products(kind(*weights), *weights):  # type: ignore[call-arg]
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)


@needs_fbgemm
def test_half_precision_holds_what_was_stored_in_bfloat16(weights: tuple[Tensor, Tensor | None]) -> None:
    """Over eight orders of magnitude, because a common power of two is taken out."""
    weight, bias = weights[0].bfloat16().float(), weights[1]
    matrix = pack_all([(weight, bias)], "fp32")[0]
    assert isinstance(matrix, Half)
    for found, exact in products(matrix, weight, bias):
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-7)
    assert isinstance(pack_all([(weights[0], bias)], "fp32")[0], Blocked)


@needs_fbgemm
def test_rounded_products(weights: tuple[Tensor, Tensor | None]) -> None:
    expected: tuple[tuple[matrices.Precision, type[Matrix], float], ...]
    expected = (("fp16", Half, 2.0**-11), ("int8", EightBits, 1.0 / 100))
    for precision, kind, near in expected:
        matrix = pack_all([weights], precision)[0]
        assert isinstance(matrix, kind)
        for found, exact in products(matrix, *weights):
            assert float((found - exact).abs().max()) < near


@needs_fbgemm
def test_a_row_in_eight_bits_depends_on_no_other_row(weights: tuple[Tensor, Tensor | None]) -> None:
    matrix = pack_all([weights], "int8")[0]
    x = torch.randn(9, 48) * torch.logspace(-3, 3, 9)[:, None]
    x[4] = 0
    with torch.inference_mode():
        together, alone = matrix(x), torch.cat([matrix(row[None]) for row in x])
    assert torch.equal(together, alone)
    torch.testing.assert_close(together[4], torch.zeros(70) if weights[1] is None else weights[1])


@torch.inference_mode()
def steps(model: Packed | Whole) -> list[Tensor]:
    """Logits of three texts of unequal length: read, then four units each."""
    cache = KvCache(model.config, slots=3, capacity=20, dtype=model.dtype, device=model.device)
    random = np.random.default_rng(0)
    found, starts = [], [0, 0, 0]
    for new in (5, 1, 1, 3, 1):
        window = cache.window(0, starts, new)
        units = torch.from_numpy(random.integers(4, 98, (3, new)))
        hidden = model.hidden(Batch(units, torch.full((3,), new), "causal", positions=window.positions), window)
        found.append(model.logits(hidden[:, -1]))
        starts = [start + new - (place if new == 5 else 0) for place, start in enumerate(starts)]
    return found


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_model_is_the_model(family: str, stored: torch.dtype) -> None:
    base = tiny_base(family)
    assert base.lm is not None
    with torch.no_grad():
        for weight in base.trunk.parameters():
            weight.copy_(weight.to(stored))
    for found, expected in zip(
        steps(Packed(base.trunk, base.lm, "fp32")), steps(Whole(base.trunk, base.lm)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@needs_fbgemm
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("precision", "near"), [("fp16", 5e-3), ("int8", 0.1)])
def test_rounded_models_are_near(family: str, precision: matrices.Precision, near: float) -> None:
    base = tiny_base(family)
    assert base.lm is not None
    expected = torch.cat(steps(Whole(base.trunk, base.lm)))
    found = torch.cat(steps(Packed(base.trunk, base.lm, precision)))
    assert float((found - expected).abs().max()) < near * float(expected.abs().max())


def decoded(base: Base) -> list[int]:
    decoder = base.decoder()
    decoder.add(np.asarray([2, 5, 6], dtype=np.int32), Sampling(max_tokens=6))
    return [one.unit for _ in range(6) for one in decoder.step()]


def test_packed_models_are_kept_until_a_weight_changes() -> None:
    base = tiny_base("qwen3")
    assert base.lm is not None
    first = base.packs.model(base.trunk, base.lm, "fp32")
    assert base.packs.model(base.trunk, base.lm, "fp32") is first
    before = decoded(base)
    with torch.no_grad():
        base.trunk.table.copy_(base.trunk.table.flip(0))
    assert base.packs.model(base.trunk, base.lm, "fp32") is not first
    assert decoded(base) != before


def test_what_cannot_be_packed() -> None:
    base = tiny_base("llama")
    assert base.lm is not None
    assert packable(base.trunk)
    adapted = attach_lora(copy.deepcopy(base.trunk), rank=2, alpha=4.0, targets=("q",))
    for trunk in (adapted, copy.deepcopy(base.trunk).bfloat16(), tiny_base("bert").trunk):
        assert not packable(trunk)
        assert isinstance(Packs().model(trunk, base.lm, "fp32"), Whole)
        with pytest.raises(CapabilityError, match="int8 weights are for bases in fp32 on a CPU"):
            Packs().model(trunk, base.lm, "int8")
    with pytest.raises(ConfigError, match="weights is 'fp64'; expected one of fp32, fp16, int8"):
        base.decoder(weights="fp64")  # type: ignore[arg-type]


def test_a_machine_without_fbgemm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "has_fbgemm", lambda: False)
    base = tiny_base("qwen3")
    assert len(decoded(base)) == 6
    with pytest.raises(CapabilityError, match="has no FBGEMM, which int8 weights need"):
        base.decoder(weights="int8")
