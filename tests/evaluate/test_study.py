"""The verb adapt with its evidence: what a study holds, that a budget is kept, that Ctrl-C keeps the best so far."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.made_signals import made
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.base.base import Base
from headstart.data.patches import Modality, PatchCodec
from headstart.data.task import Task
from headstart.evaluate import study as study_module
from headstart.evaluate.asking import ask, verify_saved
from headstart.evaluate.budget import Pace
from headstart.evaluate.metrics import score_task
from headstart.evaluate.progress import Event
from headstart.evaluate.report import from_json, to_json
from headstart.evaluate.study import Study, adapt, study
from headstart.evaluate.trial import Trial, try_method
from headstart.ground.errors import ConfigError, DataError
from headstart.specialise import cut_inputs
from headstart.train.methods import FitSettings

QUICK = FitSettings(epochs=1, batch_rows=64, max_length=48)


@pytest.fixture(scope="module")
def task(repo: Path) -> Task:
    folder = repo / "src" / "headstart" / "demo_data"
    return Task.read(folder / "train.csv", test=folder / "test.csv", label="intent", name="demo")


@pytest.fixture(scope="module")
def done(tiny_base: Base, task: Task) -> Study:
    """One whole study with two seeds and a label curve."""
    return study(tiny_base, task, seeds=2, settings=QUICK, label_curve=True, command="headstart adapt demo.csv")


def test_every_candidate_has_its_evidence(done: Study, task: Task) -> None:
    report = done.report
    assert {c.method for c in report.candidates} == {"probe", "full", "lora", "scratch", "tfidf", "majority"}
    for c in report.candidates:
        assert c.n_test == len(task.test)
        assert c.ci95[0] <= c.value <= c.ci95[1]
        assert set(c.metrics) == {"accuracy", "macro_f1", "mcc"}
        assert c.metrics["accuracy"] == pytest.approx(c.value)
        assert (c.vs_best is None) == (c.method == report.chosen.method)
        assert (c.seeds, c.seed_sd is None) == ((2, False) if c.method in ("full", "lora", "scratch") else (1, True))
    assert next(c.method for c in report.candidates) == report.chosen.method


def test_the_choice_is_made_on_validation_among_methods_that_use_the_base(done: Study) -> None:
    from_base = [c for c in done.report.candidates if c.method in ("probe", "lora", "full")]
    assert done.report.best.validation == max(c.validation or 0.0 for c in from_base)


def test_the_base_carries_a_temperature_and_its_report(done: Study, tiny_base: Base, task: Task) -> None:
    contract, facts = done.base.contract, done.report.calibration
    assert contract is not None
    assert facts is not None
    assert contract.temperature == facts.temperature
    assert tiny_base.contract is None, "the argument of a verb is not changed"
    assert done.base.report is not None
    assert done.base.report["chosen"]["method"] == done.report.chosen.method
    assert done.base.report["errors"] == [], "no row of the user's data travels inside the base"
    assert done.base.lineage[-1].verb == "adapt"
    assert done.base.lineage[-1].parent == tiny_base.digest
    answers, _ = ask(done.base, task.test)
    chosen = done.report.best
    if chosen.seeds == 1:
        hits = np.mean(np.asarray(answers.predictions) == np.asarray(task.test.targets))
        assert hits == pytest.approx(chosen.value)


def test_the_label_curve_has_both_sides_and_a_factor(done: Study, task: Task) -> None:
    curve = done.report.label_curve
    assert curve is not None
    assert curve.worth is not None
    assert curve.worth.ci95 is not None
    sizes = [len(task.train) // part for part in (8, 4, 2, 1)]
    for method in (done.report.chosen.method, "scratch"):
        assert [p.labels for p in curve.points if p.method == method] == sizes
    assert 1 / 8 <= curve.worth.times <= 8.1
    assert curve.worth.ci95[0] <= curve.worth.times <= curve.worth.ci95[1] + 1e-9


@pytest.mark.parametrize(
    ("modality", "end"),
    [
        ("audio", "are longer than 0.3 s and lose their end"),
        ("series", "are longer than 32 steps and are shrunk to them"),
        ("image", "no train row is too long"),
    ],
)
def test_the_report_counts_the_cut_rows_that_were_told_before_training(modality: Modality, end: str) -> None:
    base, rows = tiny_patch_base(modality), made(modality)
    assert isinstance(base.codec, PatchCodec)
    found = study(base, rows, method="probe", twin=False).report
    cut = next(check for check in found.checks if check.id == "rows.cut")
    assert cut.detail.endswith(end)
    if modality == "image":
        assert (cut.status, cut.value) == ("ok", 0.0)
    else:
        assert cut.status == "warn"
        assert [cut.detail] == cut_inputs(rows.train.raws, base.codec)
        assert cut.detail.startswith(f"{cut.value:.0f} of {len(rows.train)} train rows")


def test_labels_are_given_by_a_threshold_that_survives_the_temperature(tiny_base: Base, task: Task) -> None:
    """The labels of the report are those the saved base gives, and on validation no fewer are right than at 0.5."""
    parts = {
        name: replace(part, targets=tuple((int(t),) for t in part.targets))  # type: ignore[call-overload]
        for name, part in (("train", task.train), ("validation", task.validation), ("test", task.test))
    }
    many = replace(task, kind="labels", **parts)
    found = study(tiny_base, many, method="probe", settings=QUICK, twin=False)
    contract = found.base.contract
    assert contract is not None
    assert contract.threshold != 0.5
    answers, _ = ask(found.base, many.test)
    said = score_task("labels", None, many.test.targets, answers.predictions, labels=many.labels)
    assert said == pytest.approx(found.report.best.value, abs=1e-9)
    validation, _ = ask(found.base, many.validation)
    plain, _ = ask(replace(found.base, contract=replace(contract, threshold=0.5, temperature=1.0)), many.validation)
    at = [
        score_task("labels", None, many.validation.targets, a.predictions, labels=many.labels)
        for a in (plain, validation)
    ]
    assert at[1] >= at[0]


def test_the_report_survives_json(done: Study) -> None:
    assert from_json(to_json(done.report)) == done.report


def test_a_saved_base_answers_the_same_and_a_changed_one_is_caught(done: Study, task: Task, tmp_path: Path) -> None:
    done.base.save(tmp_path / "out")
    assert verify_saved(done.base, tmp_path / "out", task.test).status == "ok"
    assert done.base.head is not None
    broken = Base.load(tmp_path / "out")
    assert broken.head is not None
    broken.head.out.weight.data.mul_(-1)
    found = verify_saved(broken, tmp_path / "out", task.test)
    assert found.status == "fail"
    assert found.value > 0


def test_lora_is_saved_and_answers_the_same(tiny_base: Base, task: Task, tmp_path: Path) -> None:
    found = study(tiny_base, task, method="lora", settings=QUICK, twin=False)
    assert found.report.chosen.method == "lora"
    found.base.save(tmp_path / "lora")
    assert verify_saved(found.base, tmp_path / "lora", task.test).status == "ok"


@pytest.mark.parametrize("method", ["probe", "scratch"])
def test_a_method_that_was_asked_for_is_the_one_kept(tiny_base: Base, task: Task, method: str) -> None:
    adapted = adapt(tiny_base, task, method=method, settings=QUICK)
    assert adapted.report is not None
    assert adapted.report["chosen"]["method"] == method
    assert adapted.contract is not None
    assert adapted.contract.method == method


def test_another_metric_is_used_throughout(tiny_base: Base, task: Task) -> None:
    report = study(tiny_base, task, method="probe", metric="mcc", twin=False, settings=QUICK).report
    assert report.task.metric == "mcc"
    assert all(c.metric == "mcc" for c in report.candidates)


# --- budget and interruption, with trainings that only take time -----------------------------------------------------


class FakeTrainings:
    """Stands in for `try_method`: the probe's answers for every method, and a clock that moves as told."""

    def __init__(self, probe: Trial, seconds: dict[str, float], *, stop_at: str = "") -> None:
        self.probe, self.seconds, self.stop_at = probe, seconds, stop_at
        self.run: list[tuple[str, int, int]] = []

    def __call__(self, base: Base, task: Task, *, method: str, seed: int, deadline: float | None, **rest: Any) -> Trial:
        if method == self.stop_at:
            raise KeyboardInterrupt
        self.run.append((method, seed, len(task.train)))
        wanted = self.seconds[method]
        allowed = float("inf") if deadline is None else max(0.0, deadline - time.monotonic())
        time.sleep(min(wanted, allowed))
        assert self.probe.fitted is not None
        stopped: Any = "done" if wanted <= allowed else "deadline"
        fitted = replace(self.probe.fitted, method=method, seconds=min(wanted, allowed), stopped=stopped, epochs=1.0)
        return replace(self.probe, method=method, seed=seed, seconds=fitted.seconds, fitted=fitted)


@pytest.fixture(scope="module")
def probe_trial(tiny_base: Base, task: Task) -> Trial:
    return try_method(tiny_base, task, method="probe", seed=0, settings=QUICK, metric="accuracy")


def faked(
    monkeypatch: pytest.MonkeyPatch, probe: Trial, *, row: float = 1e-4, stop_at: str = "", **seconds: float
) -> FakeTrainings:
    fake = FakeTrainings(probe, {"probe": 0.01, "full": 0.2, "lora": 0.2, "scratch": 0.2} | seconds, stop_at=stop_at)
    monkeypatch.setattr(study_module, "try_method", fake)
    monkeypatch.setattr(study_module, "measure_pace", lambda base, task, settings: Pace(row, base, task, settings))
    monkeypatch.setattr(Pace, "learn", lambda self, fitted: None)
    return fake


def test_without_a_budget_everything_runs_in_order_of_worth(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial
) -> None:
    fake = faked(monkeypatch, probe_trial, full=0.0, lora=0.0, scratch=0.0)
    report = study(tiny_base, task, seeds=2, settings=QUICK).report
    rows = len(task.train)
    assert fake.run == [
        (m, s, rows)
        for m, s in [("probe", 0), ("full", 0), ("scratch", 0), ("lora", 0), ("full", 1), ("scratch", 1), ("lora", 1)]
    ]
    assert report.skipped == []
    assert report.label_curve is None


@pytest.mark.parametrize("wanted", [0.5, 30.0])  # 15 trainings of half a second never fit into 6 s
def test_the_budget_is_kept_and_what_it_left_out_is_named(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial, wanted: float
) -> None:
    faked(monkeypatch, probe_trial, row=6e-4, full=wanted, scratch=wanted, lora=wanted)
    started = time.monotonic()
    report = study(tiny_base, task, budget=6.0, seeds=5, settings=QUICK).report
    assert time.monotonic() - started < 7.0  # the second is for the report on a machine that does other work as well
    assert any(s.method.startswith("LoRA") for s in report.skipped)
    assert all("needed" in s.reason for s in report.skipped)
    twin = report.candidate("scratch")
    assert twin is not None
    assert twin.stopped == (wanted > 6.0)


def test_a_budget_with_room_gets_the_label_curve(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial
) -> None:
    faked(monkeypatch, probe_trial, row=1e-6, full=0.0, lora=0.0, scratch=0.0)
    assert study(tiny_base, task, budget=30.0, settings=QUICK).report.label_curve is not None


@pytest.mark.parametrize("method", ["auto", "full"])
def test_there_is_always_an_answer(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial, method: str
) -> None:
    faked(monkeypatch, probe_trial, row=1.0, full=9.0)
    report = study(tiny_base, task, method=method, budget=0.5, settings=QUICK).report
    assert report.chosen.method == ("probe" if method == "auto" else "full")
    assert "not shown" in report.verdict
    assert [s.method for s in report.skipped]


def test_ctrl_c_keeps_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial
) -> None:
    faked(monkeypatch, probe_trial, stop_at="scratch", full=0.0)
    report = study(tiny_base, task, settings=QUICK, command="headstart adapt x.csv").report
    assert report.interrupted
    assert report.candidate("full") is not None
    assert report.candidate("lora") is None
    assert "interrupted" in report.verdict
    assert report.command == "headstart adapt x.csv"


def test_ctrl_c_before_anything_is_trained_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial
) -> None:
    faked(monkeypatch, probe_trial, stop_at="probe")
    with pytest.raises(KeyboardInterrupt):
        study(tiny_base, task, settings=QUICK)


def test_events_tell_the_plan_and_end_every_piece_of_work(
    monkeypatch: pytest.MonkeyPatch, tiny_base: Base, task: Task, probe_trial: Trial
) -> None:
    faked(monkeypatch, probe_trial, full=0.0, lora=0.0, scratch=0.0)
    events: list[Event] = []
    study(tiny_base, task, settings=QUICK, on_event=events.append)
    assert [e.stage for e in events].count("plan") == 1
    assert [e.key for e in events if e.done == 1.0] == ["probe", "TF-IDF + linear", "full", "from scratch", "LoRA"]


@pytest.mark.parametrize(
    ("ask_for", "message"),
    [
        ({"method": "ful"}, "Did you mean 'full'"),
        ({"budget": 0.0}, "budget is 0.0"),
        ({"seeds": 0}, "number of seeds is 0"),
        ({"seed": -1}, "first seed is -1"),
        ({"seed": 2**32 - 1, "seeds": 2}, "expected 0 to 4294967294"),
        ({"metric": "bleu"}, "metric is 'bleu'"),
    ],
)
def test_wrong_wishes_are_refused_before_any_work(
    tiny_base: Base, task: Task, ask_for: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        study(tiny_base, task, **ask_for)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "text-tiny"}, r"the base is 'text-tiny'; expected a Base\. Load one with headstart\.Base\.load"),
        ({"task": "reviews.csv"}, r"the task is 'reviews\.csv'; expected a Task\. Read one with headstart\.Task\.read"),
        ({"budget": "20s"}, r"the budget is '20s'; expected seconds as a number\. Write for instance budget=20"),
    ],
)
def test_an_argument_of_another_type_is_told_what_to_write(
    change: dict[str, Any], message: str, tiny_base: Base, task: Task
) -> None:
    asked: dict[str, Any] = {"base": tiny_base, "task": task, **change}
    with pytest.raises(ConfigError, match=message):
        adapt(asked.pop("base"), asked.pop("task"), **asked)


def test_a_task_without_test_rows_is_refused(tiny_base: Base, task: Task) -> None:
    with pytest.raises(DataError, match="test part of demo has no rows"):
        study(tiny_base, replace(task, test=task.test.subset([])))
