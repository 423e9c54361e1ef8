"""The objectives: what is hidden, what is predicted, and that the loss is the textbook one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.model.shapes import QWEN3, perturbed

from headstart.model.heads import LMHead
from headstart.train import objective
from headstart.train.cross_entropy import IGNORE, linear_cross_entropy
from headstart.train.objective import (
    ROWS_STEP,
    LanguageModel,
    MaskSettings,
    causal_batch,
    draw_turns,
    lm_loss,
    masked_batch,
    turns_of,
)

SETTINGS = MaskSettings(mask_id=3, bos_id=1, num_specials=4, vocab_size=61)


def packed_rows(rows: int = 64, width: int = 128, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    random = np.random.default_rng(seed)
    units = random.integers(4, 61, (rows, width + 1))
    units[:, 50], units[:, 49] = 1, 2  # a document ends, the next one begins
    return units


def test_causal_targets_are_the_next_units() -> None:
    rows = packed_rows()
    batch = causal_batch(rows)
    assert batch.pattern == "causal"
    assert np.array_equal(batch.units.numpy(), rows[:, :-1])
    assert batch.targets is not None
    assert np.array_equal(batch.targets.numpy(), rows[:, 1:])


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_spans_hide_the_share_asked_for(share: float) -> None:
    rng = np.random.default_rng(1)
    hidden = np.stack([draw_turns(256, 3, rng) for _ in range(400)]) < share
    assert hidden.mean() == pytest.approx(share, abs=0.01)
    starts = np.diff(np.pad(hidden, ((0, 0), (1, 1))).astype(int), axis=1)
    lengths = np.nonzero(starts == -1)[1] - np.nonzero(starts == 1)[1]
    assert (lengths == 1).mean() == pytest.approx((1 - share) / 3, abs=0.03)  # of the runs, some are two spans in a row


def test_what_was_hidden_least_is_hidden_first() -> None:
    """Ten visits at a share of 0.3 hide every unit 3 times; shares that fall, as often as any other or once more."""
    settings = replace(SETTINGS, share_end=0.3)
    turns = [turns_of(7, 128, settings, seed=1, hidden_before=0.3 * visit) for visit in range(10)]
    assert set(sum((turn < 0.3).astype(int) for turn in turns)) == {3}
    shares = (0.3, 0.27, 0.24, 0.21, 0.18)
    counts = np.zeros(128, dtype=int)
    for visit, share in enumerate(shares):
        counts += turns_of(7, 128, SETTINGS, seed=1, hidden_before=sum(shares[:visit])) < share
    assert set(counts) == {1, 2}
    other = turns_of(8, 128, SETTINGS, seed=1, hidden_before=0.0)
    assert not np.array_equal(other, turns[0])


def test_masked_targets_stand_one_position_before_the_hidden_unit() -> None:
    rows = packed_rows()
    batch = masked_batch(rows, SETTINGS, progress=0.0, rng=np.random.default_rng(2))
    assert batch.targets is not None
    targets, units, original = batch.targets.numpy(), batch.units.numpy(), rows[:, :-1]
    at = targets != IGNORE
    assert np.array_equal(targets[:, :-1][at[:, :-1]], original[:, 1:][at[:, :-1]])
    assert not at[:, -1].any()
    hidden = np.zeros_like(at)
    hidden[:, 1:] = at[:, :-1]
    masked = units == SETTINGS.mask_id
    assert not (masked & ~hidden)[:, 1:].any()
    shares = masked[hidden].mean(), (units == original)[hidden].mean()
    assert shares[0] == pytest.approx(0.8, abs=0.04)
    assert shares[1] == pytest.approx(0.1, abs=0.03)
    assert np.array_equal(units[original < SETTINGS.num_specials], original[original < SETTINGS.num_specials])


def test_no_document_is_predicted_from_the_one_before() -> None:
    batch = masked_batch(packed_rows(rows=512), SETTINGS, progress=0.0, rng=np.random.default_rng(3))
    assert batch.targets is not None
    assert batch.documents is not None
    assert (batch.targets[:, 49] == IGNORE).all()
    assert (batch.documents[:, 50] == batch.documents[:, 49] + 1).all()


def test_mask_share_falls_with_progress() -> None:
    counts = [
        int((masked_batch(packed_rows(), SETTINGS, progress=p, rng=np.random.default_rng(4)).targets != IGNORE).sum())  # type: ignore[union-attr]
        for p in (0.0, 1.0)
    ]
    assert counts[1] / counts[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("with_bias", [False, True])
def test_chunked_cross_entropy_equals_torch(with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.train.cross_entropy.CHUNK_ROWS", 5)
    generator = torch.Generator().manual_seed(0)
    results = []
    for ours in (True, False):
        generator.manual_seed(0)
        hidden, matrix, bias = (
            torch.randn(*shape, generator=generator).requires_grad_() for shape in ((13, 8), (31, 8), (31,))
        )
        targets = torch.randint(0, 31, (13,), generator=generator)
        targets[[2, 5, 12]] = IGNORE
        used = bias if with_bias else None
        if ours:
            loss = linear_cross_entropy(hidden, matrix, used, targets, z_loss=0.01)
        else:
            logits = F.linear(hidden, matrix, used)
            counted = logits[targets != IGNORE]
            loss = F.cross_entropy(logits, targets) + 0.01 * counted.logsumexp(1).square().mean()
        (3.0 * loss).backward()  # type: ignore[no-untyped-call]
        results.append([loss, hidden.grad, matrix.grad, *([bias.grad] if with_bias else [])])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*results, strict=True))


def test_no_targets_cost_nothing() -> None:
    loss = linear_cross_entropy(
        torch.zeros(0, 8, requires_grad=True),
        torch.zeros(31, 8, requires_grad=True),
        None,
        torch.zeros(0, dtype=torch.long),
    )
    assert float(loss.detach()) == 0.0
    loss.backward()  # type: ignore[no-untyped-call]


def test_predicted_rows_come_in_few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch keeps kernels by shape: a new number of rows in every step took 2 MB each."""
    seen: list[int] = []

    def listening(hidden: torch.Tensor, *more: object, **settings: object) -> torch.Tensor:
        seen.append(len(hidden))
        return linear_cross_entropy(hidden, *more, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(objective, "linear_cross_entropy", listening)
    model = LanguageModel(perturbed(QWEN3), LMHead(QWEN3))
    for seed in range(8):
        batch = masked_batch(packed_rows(rows=6), SETTINGS, progress=0.0, rng=np.random.default_rng(seed))
        assert batch.targets is not None
        predicted = int((batch.targets != IGNORE).sum())
        model(batch)
        assert seen[-1] % ROWS_STEP == 0
        assert 0 <= seen[-1] - predicted < ROWS_STEP


def test_a_batch_weighs_its_units_in_both_modes() -> None:
    trunk, head = perturbed(QWEN3), LMHead(QWEN3)
    rows = packed_rows(rows=2)[:, 40:65]
    for batch in (causal_batch(rows), masked_batch(rows, SETTINGS, progress=0.0, rng=np.random.default_rng(5))):
        record = lm_loss(LanguageModel(trunk, head), batch, z_loss=0.0)
        logits = trunk(batch) @ trunk.embed.tokens.weight.t()
        expected = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)  # type: ignore[union-attr]
        assert record.total.item() / record.weight == pytest.approx(expected.item(), rel=1e-5)
        assert record.weight == 48.0
