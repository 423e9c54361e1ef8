"""What runs only beside an accelerator gives what the plain way gives; held here on the CPU, where both can run."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import msgspec
import pytest
import torch
from torch import nn

from headstart.ground.batch import Batch
from headstart.ground.errors import ConfigError
from headstart.model.attention import attend, attention_bias
from headstart.train import optim, recipe
from headstart.train.cross_entropy import low_softmax_gradient, softmax_gradient
from headstart.train.loop import ahead
from headstart.train.optim import StackedMuon
from headstart.train.pretrain import fresh
from headstart.train.recipe import read_recipe
from headstart.train.sizing import numbers_reason, recipe_for


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_the_compiled_softmax_is_the_plain_one(z_loss: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(17, 29, dtype=torch.float32), torch.randint(29, (17,))
    total, grad = low_softmax_gradient(logits, targets, z_loss)
    expected, expected_grad = softmax_gradient(logits.clone(), targets, z_loss)
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    assert float((grad - expected_grad).abs().max()) <= 1e-6


def test_its_gradient_is_that_of_autograd() -> None:
    torch.manual_seed(1)
    logits, targets = torch.randn(7, 11, dtype=torch.float64, requires_grad=True), torch.randint(11, (7,))
    log_z = torch.logsumexp(logits, 1)
    loss = nn.functional.cross_entropy(logits, targets, reduction="sum") + 0.1 * log_z.square().sum()
    (expected,) = torch.autograd.grad(loss, logits)
    assert float((low_softmax_gradient(logits.detach(), targets, 0.1)[1] - expected).abs().max()) <= 1e-6


def test_stacked_muon_steps_as_muon() -> None:
    torch.manual_seed(0)
    shapes = [(64, 64)] * 3 + [(128, 64)] * 2 + [(64, 128)] * 2 + [(32, 96)]
    one = [nn.Parameter(0.05 * torch.randn(shape)) for shape in shapes]
    other = [nn.Parameter(p.detach().clone()) for p in one]
    theirs = torch.optim.Muon(one, lr=6e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    ours = StackedMuon(
        [{"params": other, "numbers": torch.bfloat16}], lr=6e-3, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(5):
        for p, q in zip(one, other, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        if step == 2:
            one[4].grad = other[4].grad = None  # one without a gradient stays where it is
        theirs.step()
        ours.step()
    for p, q in zip(one, other, strict=True):
        assert float((p - q).detach().abs().max()) <= 1e-6
        assert torch.equal(theirs.state[p]["momentum_buffer"], ours.state[q]["momentum_buffer"])


@pytest.mark.parametrize("shape", [(48, 48), (96, 32), (32, 96)])
def test_a_run_in_fp32_takes_muons_steps_in_fp32(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = nn.Parameter(torch.zeros(shape))
    made = optim.Optimiser([optim.Group((matrix,), "muon", lr=1.0, weight_decay=0.0, numbers=torch.float32)])
    matrix.grad = torch.randn(shape)
    left, sizes, right = torch.linalg.svd(matrix.grad.double(), full_matrices=False)
    found = sizes / sizes.norm()
    for _ in range(5):
        found = 3.4445 * found - 4.7750 * found**3 + 2.0315 * found**5
    expected = -0.2 * math.sqrt(max(shape)) * (left * found) @ right
    made.step(factor=1.0, weight=1.0, clip=None)
    assert float((matrix.detach() - expected).abs().max()) <= 1e-5


def test_a_recipe_is_computed_in_bf16_only_where_that_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = read_recipe("text-11m").optimisation
    assert asked.dtype == "bfloat16"
    sized = recipe_for("200k")
    assert sized.recipe.optimisation.dtype == "bfloat16", "a recipe is the same everywhere"
    for dtype, name in ((torch.float32, "float32"), (torch.bfloat16, "bfloat16")):
        monkeypatch.setattr(recipe, "training_dtype", lambda device, known=dtype: known)
        assert recipe.in_fast_numbers(asked) == msgspec.structs.replace(asked, dtype=name)
        model = fresh(sized.recipe, compile_blocks=False)
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert numbers_reason(asked).value == name
        plain = msgspec.structs.replace(asked, dtype="float32")
        assert recipe.in_fast_numbers(plain) == plain


def test_batches_made_ahead_are_those_of_the_steps_in_order() -> None:
    def make(step: int) -> list[Batch]:
        units = torch.full((2, 3), step)
        return [
            Batch(units, torch.tensor([3, 2]), "causal", targets=units + 1),
            Batch(units + 7, torch.ones(2), "full"),
        ]

    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    made = list(ahead(make, range(5, 12)))
    assert torch.equal(torch.random.get_rng_state(), before), "the generator of dropout stays where it was"
    assert [int(step[0].units[0, 0]) for step in made] == list(range(5, 12))
    for step, batches in zip(range(5, 12), made, strict=True):
        for got, expected in zip(batches, make(step), strict=True):
            assert torch.equal(got.units, expected.units)
            assert torch.equal(got.lengths, expected.lengths)
            assert (got.pattern, got.targets is None) == (expected.pattern, expected.targets is None)
        assert batches[0].targets is not None
        assert int(batches[0].targets[0, 0]) == step + 1


def test_a_fault_in_what_is_made_ahead_comes_out() -> None:
    def make(step: int) -> list[Batch]:
        raise ValueError(f"row {step} in process {os.getpid()}")

    with pytest.raises(ValueError, match="row 0"):
        next(ahead(make, range(3)))


def test_an_error_for_people_keeps_its_words() -> None:
    def make(step: int) -> list[Batch]:
        raise ConfigError("the step is odd; expected even. Mend it.")

    with pytest.raises(ConfigError, match=r"^the step is odd; expected even. Mend it.$"):
        next(ahead(make, range(3)))


STOPPED = """
import os, signal, sys, time, torch
from headstart.ground.batch import Batch
from headstart.train import loop
stand_apart = loop._stand_apart
loop._stand_apart = lambda maker: (time.sleep(maker * 0.3), stand_apart(maker))  # the second is still on its way
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append("asked"))
def make(step):
    return [Batch(torch.full((1, 2), step), torch.tensor([2]), "causal")]
made = loop.ahead(make, range(50))
first = next(made)
os.killpg(os.getpgid(0), signal.SIGTERM)
time.sleep(0.5)
print(asked, [int(step[0].units[0, 0]) for step in made] == list(range(1, 50)))
"""


def test_a_signal_to_the_group_is_for_the_process_that_trains() -> None:
    """torchrun and schedulers signal the whole group: the makers must live until the checkpoint is written."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STOPPED],
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
    )
    assert done.stdout == "['asked'] True\n", done.stderr


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_causal_as_a_word_is_causal_as_a_bias(kv_heads: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 8) for heads in (4, kv_heads, kv_heads))
    batch = Batch(torch.zeros(2, 9, dtype=torch.long), torch.tensor([9, 9]), "causal")
    with_bias = attend(q, k, v, attention_bias(batch, torch.float32))
    assert float((attend(q, k, v, None, causal=True) - with_bias).abs().max()) <= 1e-6
