"""zero-shot and few-shot as a study: candidates, calibrations, several prompts, and a folder that answers the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.train.tiny_base import tiny_base, toy_task

from headstart.base.base import Base
from headstart.base.prompt import Shot
from headstart.data.examples import Examples
from headstart.data.task import Columns, Task
from headstart.evaluate.asking import ask, rows_of, verify_saved
from headstart.evaluate.prompting import calibrations, fewer_validation, prompt_of, try_prompt
from headstart.evaluate.report import from_json, to_json
from headstart.evaluate.study import Study, study
from headstart.ground.errors import ConfigError, DataError
from headstart.prompt.asking import Prompting, prompted

WORDS = {
    "choice": {"negative": "bad", "positive": "good"},
    "labels": {"negative": "bad", "positive": "good", "no": "not", "yes": "very"},
    "score": {"1": "bad", "4": "good"},
}
TEMPLATES = {
    "choice": ("{{ text }} is {{ label }}", "{{ text }} was {{ label }}"),
    "labels": ("{{ text }} is {{ option }} {{ label }}", "{{ text }} was {{ option }} {{ label }}"),
    "score": ("{{ text }} is {{ label }}", "{{ text }} was {{ label }}"),
}


def asking(kind: str, *, shots: int = 1, **changes: object) -> Prompting:
    """Words and templates that the tiny base can read; at most 32 positions."""
    fields = {"shots": shots, "words": WORDS[kind], "templates": TEMPLATES[kind], "joiner": " ", "max_length": 9}
    return Prompting(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The tiny base, from a folder that a prompt can refer to."""
    folder = tiny_base().save(tmp_path_factory.mktemp("base") / "tiny")
    return Base.load(folder)


@pytest.fixture(scope="module")
def done(base: Base) -> Study:
    return study(base, toy_task(), method="few-shot", seeds=2, prompting=asking("choice"), command="headstart adapt")


def test_the_table_holds_both_calibrations_zero_shot_and_the_controls(done: Study) -> None:
    report = done.report
    methods = {"few-shot", "few-shot raw", "zero-shot", "zero-shot raw", "probe", "tfidf", "majority"}
    assert {c.method for c in report.candidates} == methods
    assert (report.chosen.method, report.candidates[0].method) == ("few-shot", "few-shot")
    for c in report.candidates:
        assert c.n_test == 32
        assert c.ci95[0] <= c.value <= c.ci95[1]
    prompts = [one for one in report.prompts if one.method == "few-shot"]
    assert [(one.template, one.seed) for one in prompts] == [(t, s) for s in (0, 1) for t in TEMPLATES["choice"]]
    assert report.best.value == pytest.approx(np.mean([one.value for one in prompts]))
    assert report.best.seed_sd == pytest.approx(np.std([one.value for one in prompts], ddof=1))
    raw = report.candidate("few-shot raw")
    assert raw is not None
    assert raw.value == pytest.approx(np.mean([one.raw for one in prompts]))
    assert any(check.id == "prompt.spread" for check in report.checks)
    assert from_json(to_json(report)) == report
    assert "mean of 4 prompts" in report.verdict


def test_the_prompt_that_validation_chose_is_kept(done: Study) -> None:
    prompts = [one for one in done.report.prompts if one.method == "few-shot"]
    best = max(prompts, key=lambda one: one.validation)
    assert prompt_of(done.base).template == best.template
    assert prompt_of(done.base).calibration == best.calibration
    assert done.base.lineage[-1].config["method"] == "few-shot"
    assert done.base.head is None


@pytest.mark.parametrize("kind", ["choice", "labels", "score"])
@pytest.mark.parametrize("shots", [0, 1])
def test_a_saved_prompt_answers_as_its_report_says(base: Base, kind: str, shots: int, tmp_path: Path) -> None:
    task = toy_task(kind)  # type: ignore[arg-type]
    method = "few-shot" if shots else "zero-shot"
    prompting = asking(kind, shots=shots, templates=TEMPLATES[kind][:1])
    found = study(base, task, method=method, prompting=prompting)
    found.base.save(tmp_path / "out")
    assert verify_saved(found.base, tmp_path / "out", task.test).status == "ok"
    answers, _ = ask(Base.load(tmp_path / "out"), task.test)
    from headstart.evaluate.metrics import score_task

    said = score_task(task.kind, None, task.test.targets, answers.predictions, labels=task.labels)
    assert said == pytest.approx(found.report.best.value, abs=1e-9)


def pairs_of(task: Task) -> Task:
    """The same task over pairs."""

    def paired(part: Examples) -> Examples:
        return replace(part, pairs=tuple("the cat" for _ in part.texts))

    parts = {name: paired(getattr(task, name)) for name in ("train", "validation", "test")}
    return replace(task, columns=Columns("text", "other", "label"), **parts)


def test_pairs_are_asked_in_both_patterns(base: Base) -> None:
    task = pairs_of(toy_task())
    template = "{{ text }} a {{ pair }} is {{ label }}"
    for pattern in ("causal", "full"):
        prompting = asking("choice", shots=0, templates=(template,), pattern=pattern)
        found = study(base, task, method="zero-shot", prompting=prompting)
        assert found.base.contract is not None
        assert found.base.contract.columns == ("text", "other")
        assert found.base.predict([{"text": "good cat", "other": "bad dog"}])[0] in task.labels


def test_calibration_is_a_bias_and_none_of_it_moves_raw_scores(base: Base) -> None:
    task = toy_task()
    one = prompted(base, task, asking("choice", templates=TEMPLATES["choice"][:1]), seed=0)[0]
    scores = one.label_scores(rows_of(task.validation))
    raw, *others = calibrations(one, task, scores, only=None)
    assert [c.prompt.calibration for c in others if c.prompt] == ["none", "batch", "contextual"]
    for contract in others:
        again = replace(one, contract=contract)
        np.testing.assert_array_equal(again.label_scores(rows_of(task.validation)), scores)
    tried = try_prompt(one, task, metric="accuracy", seed=0, calibration="batch")
    assert tried.calibrated.prompted is not None
    assert prompt_of(tried.calibrated.prompted).calibration == "batch"
    assert tried.raw.prompted is not None
    assert prompt_of(tried.raw.prompted).bias == ()
    assert raw == tried.raw.prompted.contract


def test_nearest_shots_differ_by_row(base: Base) -> None:
    task = toy_task()
    prompting = asking("choice", demonstrations="nearest", templates=TEMPLATES["choice"][:1])
    found = study(base, task, method="few-shot", prompting=prompting)
    prompt = prompt_of(found.base)
    assert prompt.nearest == 1
    assert len(prompt.shots) == len(task.train)
    assert all(isinstance(shot, Shot) for shot in prompt.shots)


def test_what_cannot_be_is_refused_before_anything_is_read(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.model.trunk import Trunk

    def refuse(self: Trunk, *arguments: object, **named: object) -> None:
        raise AssertionError("the trunk was run")

    monkeypatch.setattr(Trunk, "forward", refuse)
    task = toy_task()
    for method, prompting, said in (
        ("few-shot", Prompting(shots=0), "expected at least 1 for few-shot"),
        ("zero-shot", Prompting(shots=2), "expected none for zero-shot"),
        ("probe", Prompting(shots=2), "a prompt is described for the method probe"),
    ):
        with pytest.raises(ConfigError, match=said):
            study(base, task, method=method, prompting=prompting)
    with pytest.raises(DataError, match=r"has \d+ tokens; expected at most 32"):
        study(base, task, method="few-shot", prompting=asking("choice", shots=8))
    with pytest.raises(ConfigError, match="expected one of"):
        study(base, task, method="one-shot")


def test_a_budget_that_holds_no_prompt_is_refused(base: Base) -> None:
    with pytest.raises(ConfigError, match=r"one prompt takes about .* here and cannot be stopped"):
        study(base, toy_task(), method="few-shot", prompting=asking("choice"), budget=1e-3)


def test_many_validation_rows_are_not_all_asked() -> None:
    task = toy_task()
    many = replace(task, validation=task.train.subset([row % 96 for row in range(700)]))
    fewer = fewer_validation(many)
    assert len(fewer.validation) == 500
    assert fewer.notes[-1].startswith("500 of 700 validation rows choose the prompt")
    assert fewer_validation(many).validation == fewer.validation
    assert fewer_validation(task) is task


def test_a_budget_leaves_further_prompts_out_and_says_so(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.evaluate.study.prompt_seconds", lambda base, task: -float("inf"))
    found = study(base, toy_task(), method="few-shot", prompting=asking("choice"), budget=1e-3)
    assert [c.method for c in found.report.candidates if c.method == "few-shot"] == ["few-shot"]
    assert len([one for one in found.report.prompts if one.method == "few-shot"]) == 1
    assert any("more prompts" in skipped.method for skipped in found.report.skipped)
