"""The one loop: exact accumulation, deadlines, stops, and a divergence that ends clearly."""

from __future__ import annotations

import math
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headstart.ground.batch import Batch
from headstart.ground.errors import RunError
from headstart.train.loop import Job, run
from headstart.train.objective import LossRecord
from headstart.train.optim import Group, Optimiser
from headstart.train.schedule import trapezoid


def flat(_: float) -> float:
    return 1.0


def regression(rows: int = 12) -> tuple[nn.Linear, Batch]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(5, 1)
    with torch.no_grad():
        model.weight.copy_(torch.randn(1, 5, generator=generator))
        model.bias.zero_()
    units = torch.randint(0, 9, (rows, 5), generator=generator)
    return model, Batch(units, torch.full((rows,), 5), "full", targets=torch.randn(rows, generator=generator))


def split(batch: Batch, *sizes: int) -> list[Batch]:
    parts = zip(batch.units.split(sizes), batch.lengths.split(sizes), batch.targets.split(sizes), strict=True)  # type: ignore[union-attr]
    return [Batch(u, n, "full", targets=t) for u, n, t in parts]


def job(model: nn.Linear, batches: list[Batch], steps: int = 3, lr: float = 0.05, **more: object) -> Job:
    def loss(batch: Batch) -> LossRecord:
        error = F.mse_loss(model(batch.units.to(model.weight.dtype))[:, 0].float(), batch.targets, reduction="sum")  # type: ignore[arg-type]
        return LossRecord(error, float(len(batch.units)))

    optimiser = Optimiser([Group(tuple(model.parameters()), "adamw", lr, 0.0)])
    return Job(
        model=model, optimiser=optimiser, micro_batches=lambda _: batches, loss=loss, schedule=flat, steps=steps, **more
    )  # type: ignore[arg-type]


def test_uneven_micro_batches_train_like_one_batch() -> None:
    (whole, batch), (parts, _) = regression(), regression()
    one = run(job(whole, [batch]))
    many = run(job(parts, split(batch, 1, 8, 3)))
    assert torch.allclose(whole.weight, parts.weight, atol=1e-6)
    assert [r.loss for r in one.history] == pytest.approx([r.loss for r in many.history], rel=1e-5)
    assert one.stopped == "done"
    assert one.steps == 3
    assert one.units == 3 * 60


def test_bf16_models_train_on_fp32_masters() -> None:
    (exact, batch), (low, _) = regression(), regression()
    low.to(torch.bfloat16)
    start = low.weight.detach().float().clone()
    made = job(low, [batch], steps=40, lr=1e-5)  # one step is far below bf16's resolution of a weight near 1
    run(made)
    unrounded = made.optimiser.in_full_precision(low)
    run(job(exact, [batch], steps=40, lr=1e-5))
    assert unrounded.weight.dtype == torch.float32
    assert float((unrounded.weight.detach() - start).abs().max()) == pytest.approx(4e-4, rel=0.1)


def test_a_deadline_ends_the_run_and_bends_the_schedule() -> None:
    model, batch = regression()
    made = job(model, [batch], steps=100_000)
    begun = time.monotonic()
    result = run(
        Job(
            **{
                **{f: getattr(made, f) for f in made.__slots__},
                "schedule": trapezoid(warmup=0.0, cooldown=1.0),
                "deadline": begun + 0.5,
            }
        )
    )
    assert result.stopped == "deadline"
    assert time.monotonic() - begun < 0.7
    assert result.history[-1].factor < 0.1


def test_a_probe_can_stop_the_run() -> None:
    model, batch = regression()
    seen: list[int] = []
    result = run(job(model, [batch], steps=50, probe=lambda step: seen.append(step) or step >= 6, probe_every=3))
    assert (seen, result.stopped, result.steps) == ([3, 6], "probe", 6)


def test_control_c_keeps_what_was_reached() -> None:
    model, batch = regression()

    def interrupt(record: object) -> None:
        if getattr(record, "step", 0) == 4:
            raise KeyboardInterrupt

    result = run(job(model, [batch], steps=50, on_step=interrupt))
    assert (result.stopped, result.steps) == ("interrupted", 5)
    assert not model.training


def test_a_single_bad_gradient_changes_nothing_and_three_end_the_run() -> None:
    model, batch = regression()
    bad = Batch(batch.units, batch.lengths, "full", targets=torch.full((12,), math.nan))
    before = model.weight.detach().clone()
    made = job(model, [bad], steps=2)
    run(made)
    assert torch.equal(model.weight, before)
    with pytest.raises(RunError, match="Lower the learning rate"):
        run(job(model, [bad], steps=3))


def test_trapezoid_rises_stays_and_falls() -> None:
    factor = trapezoid(warmup=0.1, cooldown=0.5, floor=0.05)
    assert [factor(p) for p in (0.0, 0.05, 0.3, 0.75, 1.0)] == pytest.approx([0.0, 0.5, 1.0, 0.525, 0.05])


def test_muon_steps_are_as_large_as_adamw_steps() -> None:
    weight = nn.Parameter(torch.zeros(32, 48))
    optimiser = Optimiser([Group((weight,), "muon", 0.01, 0.0)])
    weight.grad = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    optimiser.step(factor=1.0, weight=1.0, clip=None)
    # Liu et al. 2025: 0.2 * sqrt(max(rows, columns)) makes the root mean square of an update 0.2, times the rate.
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.002, rel=0.25)
