"""`fit` on toy tasks: every kind and method learns, nothing it was given changes, seeds repeat, deadlines hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer
from tests.model.shapes import MPNET, QWEN3, perturbed
from tests.train.tiny_base import LABELS, WORDS, tiny_base, toy_task

from headstart.base.base import Base
from headstart.data.task import Columns, Examples, Kind, Task
from headstart.ground.errors import ConfigError
from headstart.model.adapters import lora_modules
from headstart.train import fit as fit_module
from headstart.train import prepared
from headstart.train.fit import fit
from headstart.train.methods import METHODS, FitSettings, default_lr, resolve
from headstart.train.supervised import agreement, answers_of, balanced_weights, prior, supervise, task_loss

QUICK = FitSettings(epochs=8, batch_rows=16, lr=5e-3)


def quality(fitted: fit_module.Fitted, kind: Kind) -> float:
    test = toy_task(kind).test
    predicted = fitted.base.predict(list(test.texts))
    if kind == "score":
        return float(np.corrcoef(np.asarray(predicted), test.targets)[0, 1])  # type: ignore[arg-type]
    if kind == "tags":
        return float(
            np.mean(
                [
                    LABELS[t] == p
                    for ps, ts in zip(predicted, test.targets, strict=True)
                    for p, t in zip(ps, ts, strict=True)
                ]
            )
        )  # type: ignore[arg-type]
    wanted = [[LABELS[t[0]]] if kind == "labels" else LABELS[t] for t in test.targets]  # type: ignore[index]
    return float(np.mean([p == w for p, w in zip(predicted, wanted, strict=True)]))


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("method", ["full", "lora", "scratch"])
def test_every_trained_method_learns_every_kind(kind: Kind, method: str) -> None:
    fitted = fit(tiny_base(), toy_task(kind), method=method, settings=QUICK)
    assert quality(fitted, kind) > 0.85
    assert fitted.epochs > 0
    assert fitted.history


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_probe_beats_chance_on_random_features(kind: Kind) -> None:
    fitted = fit(tiny_base(), toy_task(kind, rows=400), method="probe")
    assert quality(fitted, kind) > (0.6 if kind != "score" else 0.3)
    assert fitted.params_trained == 24 * fitted.base.head.out.out_features + fitted.base.head.out.out_features  # type: ignore[union-attr]


@pytest.mark.parametrize("method", METHODS)
def test_the_given_base_never_changes(method: str) -> None:
    base = tiny_base()
    before = base.digest
    fit(base, toy_task(), method=method, settings=QUICK)
    assert base.digest == before
    assert base.head is None
    assert not list(lora_modules(base.trunk))


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    digests = [fit(tiny_base(), toy_task(), method="full", seed=s, settings=QUICK).base.digest for s in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_table_of_distances_is_a_weight_like_others(method: str) -> None:
    base = replace(tiny_base(), trunk=perturbed(MPNET), family="mpnet", lm=None)
    fitted = fit(base, toy_task(), method=method, settings=QUICK)
    assert quality(fitted, "choice") > 0.85
    before, after = base.trunk.relative, fitted.base.trunk.relative
    assert before is not None
    assert after is not None
    assert torch.equal(before.weight, after.weight) == (method == "lora")


def test_units_the_task_never_uses_keep_their_embedding() -> None:
    base = tiny_base()
    fitted = fit(base, toy_task(), method="full", settings=QUICK)
    before, after = base.trunk.embed.tokens.weight, fitted.base.trunk.embed.tokens.weight
    assert after.shape == before.shape
    assert torch.equal(after[20:], before[20:])
    assert not torch.allclose(after[4:6], before[4:6], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_lora_moves_adapters_and_head_only(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "training_dtype", lambda device: dtype)
    base = tiny_base()
    fitted = fit(base, toy_task(), method="lora", settings=QUICK)
    adapted = dict(fitted.base.trunk.named_parameters())
    for name, parameter in base.trunk.named_parameters():
        kept = adapted[name] if name in adapted else adapted[name.replace(".weight", ".base.weight")]
        assert torch.equal(kept, parameter), name
    moved = sum(p.numel() for _, m in lora_modules(fitted.base.trunk) for p in (m.lora_a, m.lora_b))
    assert fitted.params_trained == moved + sum(p.numel() for p in fitted.base.head.parameters())  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A base with LoRA adapters, as it comes from its folder."""
    fitted = fit(tiny_base(), toy_task(), method="lora", settings=QUICK).base
    return Base.load(fitted.save(tmp_path_factory.mktemp("adapted") / "base"))


def test_a_lora_result_is_saved_with_the_weights_of_its_base(tmp_path: Path) -> None:
    base = tiny_base()
    fitted = fit(base, toy_task(), method="lora", settings=QUICK)
    stored = [
        load_file(one.save(tmp_path / name) / "model.safetensors") for name, one in (("a", base), ("b", fitted.base))
    ]
    assert stored[0].keys() == stored[1].keys()
    assert all(torch.equal(stored[1][name], tensor) for name, tensor in stored[0].items())
    texts = list(toy_task().test.texts)
    assert Base.load(tmp_path / "b").predict(texts) == fitted.base.predict(texts)


@pytest.mark.parametrize("method", ["probe", "lora", "full"])
def test_an_adapted_base_is_adapted_again_from_where_it_stands(
    adapted: Base, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, before = list(toy_task().test.texts), adapted.digest
    assert not np.allclose(adapted.encode(texts), tiny_base().encode(texts), atol=1e-2)
    again = fit(adapted, toy_task("labels"), method=method, settings=QUICK)
    assert quality(again, "labels") > 0.85
    monkeypatch.setattr(prepared, "training_dtype", lambda device: torch.float32)
    still = fit(adapted, toy_task(), method=method, settings=FitSettings(epochs=1, lr=0.0)).base
    np.testing.assert_allclose(still.encode(texts), adapted.encode(texts), atol=1e-5)
    assert adapted.digest == before


def test_a_deadline_is_kept_with_an_answer() -> None:
    begun = time.monotonic()
    fitted = fit(
        tiny_base(),
        toy_task(rows=500),
        method="full",
        settings=FitSettings(epochs=100_000, patience=10**9),
        deadline=begun + 8.0,
    )
    assert time.monotonic() - begun < 10.0
    assert fitted.stopped == "deadline"
    assert len(fitted.base.predict(["good cat"])) == 1


def test_a_row_longer_than_one_pass_is_a_batch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "PASS_TOKENS", 4)  # every toy row is longer
    fitted = fit(tiny_base(), toy_task(rows=9), method="full", settings=FitSettings(epochs=1, batch_rows=2))
    assert fitted.epochs == 1
    assert len(fitted.history) == 5  # the last step has one row


def test_a_deadline_before_the_first_step_tells_how_good_the_start_is() -> None:
    task, late = toy_task(), time.monotonic() - 1.0
    fitted = fit(tiny_base(), task, method="full", settings=QUICK, deadline=late)
    assert (fitted.stopped, fitted.epochs, fitted.history) == ("deadline", 0.0, ())
    said = in_indices(fitted.base.predict(list(task.validation.texts)), "choice")
    assert fitted.validation == pytest.approx(agreement("choice", task.validation.targets, said), abs=0.05)


@pytest.mark.parametrize(("late", "stopped", "share"), [(True, "deadline", 64 / 500), (False, "done", 1.0)])
def test_a_probe_says_which_share_of_its_rows_it_read(late: bool, stopped: str, share: float) -> None:
    deadline = time.monotonic() + (-1.0 if late else 600.0)
    fitted = fit(tiny_base(), toy_task(rows=500), method="probe", settings=QUICK, deadline=deadline)
    assert (fitted.stopped, fitted.epochs) == (stopped, share)
    assert len(fitted.base.predict(["good cat"])) == 1


def test_early_stopping_restores_the_best_weights() -> None:
    fitted = fit(
        tiny_base(),
        toy_task(rows=48),
        method="full",
        settings=FitSettings(epochs=40, batch_rows=16, lr=5e-3, patience=2),
    )
    assert fitted.stopped == "probe"
    assert fitted.epochs < 40
    assert quality(fitted, "choice") > 0.9


def test_unknown_methods_are_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'lora'"):
        fit(tiny_base(), toy_task(), method="lorra")


def test_settings_resolve_by_rows_and_width() -> None:
    assert resolve(FitSettings(), method="full", config=QWEN3, num_rows=8000).epochs == 3
    assert resolve(FitSettings(), method="full", config=QWEN3, num_rows=100).epochs == 20
    assert resolve(FitSettings(epochs=7), method="full", config=QWEN3, num_rows=100).epochs == 7
    assert default_lr(QWEN3, "full") == pytest.approx(5e-5 * 4**1.5)


def test_balanced_weights_have_mean_one_over_the_rows() -> None:
    base, task = tiny_base(), toy_task()
    data = supervise(
        task.train.subset(range(60)), base.codec, kind="choice", num_outputs=2, pattern="full", max_length=32
    )
    weights = balanced_weights(data)
    assert float(np.mean([weights[int(t)] for t in data.targets])) == pytest.approx(1.0)  # type: ignore[call-overload]
    counts = np.bincount([int(t) for t in data.targets])  # type: ignore[call-overload]
    assert weights[0] * counts[0] == pytest.approx(weights[1] * counts[1])


def test_a_new_head_gives_every_label_its_share() -> None:
    base = tiny_base()
    for kind in ("choice", "labels", "tags"):
        task = toy_task(kind)
        data = supervise(task.train, base.codec, kind=kind, num_outputs=2, pattern="full", max_length=32)
        bias = torch.from_numpy(prior(data))
        rows = [np.atleast_1d(np.asarray(row)) for row in task.train.targets]
        counts = np.bincount(np.concatenate(rows), minlength=2)
        total = len(rows) if kind == "labels" else counts.sum()
        given = torch.sigmoid(bias) if kind == "labels" else torch.softmax(bias, 0)
        np.testing.assert_allclose(given.numpy(), counts / total, atol=1.0 / total)


def test_tag_loss_counts_first_sub_tokens_only() -> None:
    base, task = tiny_base(), toy_task("tags")
    data = supervise(task.train.subset([0, 1]), base.codec, kind="tags", num_outputs=2, pattern="full", max_length=32)
    batch = data.batch(np.array([0, 1]))
    words = sum(len(t) for t in task.train.texts[:2])
    outputs = torch.zeros(*batch.units.shape, 2)
    assert batch.targets is not None
    record = task_loss(outputs, batch.targets, "tags")
    assert record.weight == words
    assert float(record.total) == pytest.approx(words * np.log(2), rel=1e-5)
    assert sum(map(len, answers_of(outputs, batch.targets, data))) == words


@pytest.mark.parametrize("kind", ["choice", "labels", "score", "tags"])
def test_a_judge_sees_the_tasks_own_terms_and_decides_which_weights_are_kept(kind: Kind) -> None:
    base, task = tiny_base(), toy_task(kind)
    seen: list[tuple[list[object], list[object]]] = []

    def contrary(targets: Sequence[object], answers: Sequence[object]) -> float:
        seen.append((list(targets), list(answers)))
        return -agreement(kind, targets, answers)

    settings = FitSettings(epochs=4, batch_rows=16, lr=5e-3, patience=9)
    usual = fit(base, task, method="full", settings=settings)
    other = fit(base, task, method="full", settings=settings, judge=contrary)
    assert [targets for targets, _ in seen] == [list(task.validation.targets)] * 4
    worst = min(agreement(kind, *look) for look in seen)
    assert other.validation == pytest.approx(-worst, abs=0.05)  # less a little loss
    assert usual.validation >= max(agreement(kind, *look) for look in seen) - 0.05
    kept = agreement(kind, task.validation.targets, in_indices(other.base.predict(list(task.validation.texts)), kind))
    assert kept == pytest.approx(worst, abs=0.02)  # bf16 while it trains, fp32 after


def in_indices(predicted: Sequence[Any], kind: Kind) -> list[Any]:
    """Predictions with labels as indices."""
    if kind == "score":
        return list(predicted)
    if kind == "choice":
        return [LABELS.index(p) for p in predicted]
    return [tuple(LABELS.index(p) for p in row) for row in predicted]


def test_agreement_is_the_textbook_one() -> None:
    random = np.random.default_rng(0)
    wanted, said = random.integers(0, 3, 50), random.integers(0, 3, 50)
    assert agreement("choice", wanted, said) == pytest.approx(accuracy_score(wanted, said))
    several = [[tuple(np.flatnonzero(row)) for row in random.random((40, 4)) < share] for share in (0.3, 0.5)]
    tables = [MultiLabelBinarizer(classes=range(4)).fit_transform(rows) for rows in several]
    assert agreement("labels", *several) == pytest.approx(f1_score(*tables, average="micro"))
    assert agreement("score", [1.0, 2.0], [1.5, 1.0]) == pytest.approx(-0.625)
    assert agreement("tags", [(0, 1), (1,)], [(0, 0), (1,)]) == pytest.approx(2 / 3)


def paired_task() -> Task:
    """Do both members hold the same word? No member alone says anything about it."""
    words = np.random.default_rng(0).integers(4, 12, size=(600, 2))
    words[::2, 1] = words[::2, 0]
    examples = Examples(
        tuple(WORDS[a] for a in words[:, 0]),
        tuple(WORDS[b] for b in words[:, 1]),
        tuple(int(a == b) for a, b in words),
        tuple(range(600)),
    )
    cut = [examples.subset(range(*part)) for part in ((0, 400), (400, 500), (500, 600))]
    return Task("same", "choice", ("other", "same"), cut[0], cut[1], cut[2], Columns("a", "b", "label"), "0" * 64)


def test_the_probe_reads_the_members_of_a_pair_apart(tmp_path: Path) -> None:
    task = paired_task()
    base = fit(tiny_base(), task, method="probe").base
    assert base.head is not None
    assert base.head.out.in_features == 4 * base.trunk.config.dim
    assert task.test.pairs is not None
    rows = list(zip(task.test.texts, task.test.pairs, strict=True))
    said = base.predict(rows)
    assert np.mean([a == task.labels[int(t)] for a, t in zip(said, task.test.targets, strict=True)]) == 1.0  # type: ignore[call-overload]
    assert Base.load(base.save(tmp_path / "pairs")).predict(rows) == said
