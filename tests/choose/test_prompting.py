"""Stage 2: prompts are candidates like trainings, within their share, scored on rows that chose nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.choose.test_belief import base as facts
from tests.choose.test_belief import reading
from tests.model.shapes import BERT, perturbed
from tests.train.tiny_base import tiny_base, toy_task
from tokenizers import Tokenizer

from headstart.base.base import Base
from headstart.choose import choose as choosing
from headstart.choose import prompting, search, task_file, work
from headstart.choose.belief import hand_set, log_error, standard_error
from headstart.choose.choose import Choice, choose
from headstart.choose.decision import decide
from headstart.choose.findings import SHARED_NOISE, Findings, Run, Unasked
from headstart.choose.page import render_html
from headstart.choose.plan import METHODS, check_methods
from headstart.choose.prompting import Ask, Asked, Size, ask_task, size_within
from headstart.choose.report import from_json, to_json
from headstart.choose.task_file import write_task
from headstart.choose.terminal import plain_lines, unread_lines
from headstart.choose.work import Looked, Trained
from headstart.data.codec import find_special
from headstart.data.task import Task
from headstart.data.text_codec import TextCodec
from headstart.evaluate.asking import ask, verify_saved
from headstart.evaluate.metrics import score_task
from headstart.evaluate.prompting import PromptPace
from headstart.ground.errors import CapabilityError, RunError
from headstart.train.fit import fit
from headstart.train.methods import FitSettings

BOTH = ["zero-shot", "few-shot"]


@pytest.fixture(scope="module")
def task() -> Task:
    """Labels that the tiny base has words for."""
    return replace(toy_task(rows=200), labels=("bad", "good"))


def spelling_base() -> Base:
    """The tiny base with a yes, a no, a 1 and a 4 among its words, so that every kind of answer can be spelt."""
    base = tiny_base()
    renamed = {"very": "yes", "not": "no", "is": "1", "was": "4"}
    spec = json.loads(base.text_codec.tokenizer.to_str())
    spec["model"]["vocab"] = {renamed.get(word, word): at for word, at in spec["model"]["vocab"].items()}
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    return replace(base, codec=TextCodec(tokenizer, find_special(tokenizer), base.codec.max_positions))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A base that can be asked, and one without a language-model head."""
    root = tmp_path_factory.mktemp("bases")
    tiny = spelling_base()
    replace(tiny, name="tiny").save(root / "tiny")
    codec = replace(tiny.text_codec, max_positions=BERT.max_positions)
    mute = Base(trunk=perturbed(BERT, 1), codec=codec, family="bert", pattern="full", name="mute")
    mute.save(root / "mute")
    return [str(root / "tiny"), str(root / "mute")]


@pytest.fixture(scope="module")
def choice(task: Task, folders: list[str]) -> Choice:
    return choose(task, folders, methods=[*BOTH, "probe"])


@pytest.fixture(autouse=True)
def _no_bases_of_other_tests() -> Iterator[None]:
    yield
    work.base_of.cache_clear()
    task_file.task_of.cache_clear()


def question(task: Task, base: str, folder: Path, **changes: Any) -> dict[str, Any]:
    job = Ask(base, write_task(task, folder / "task.json"), "zero-shot", "accuracy", 0, 256, str(folder / "out"), 0.1)
    return msgspec.to_builtins(msgspec.structs.replace(job, **changes))  # type: ignore[no-any-return]


def answer(job: dict[str, Any]) -> Asked:
    return msgspec.convert(ask_task(job), Asked)


def lifted(real: Callable[[Any], Any], **changes: Any) -> Callable[[Any], Any]:
    """A worker whose answers differ in some fields."""

    def other(job: Any) -> Any:
        found = real(job)
        return {**found, "trained": {**found["trained"], **changes}}

    return other


# --- as candidates ---------------------------------------------------------------------------------------------------


def test_prompts_stand_beside_trainings_with_their_own_rows_and_cost(choice: Choice, task: Task) -> None:
    rows = {(row.base, row.method): row for row in choice.report.decision.rows}
    assert set(rows) == {("tiny", "zero-shot"), ("tiny", "few-shot"), ("tiny", "probe"), ("mute", "probe")}
    for method in BOTH:
        row = rows["tiny", method]
        assert (row.status, row.share, row.rows) == ("finished", 1.0, len(task.validation))
        assert row.value is not None
        assert row.ci90[0] <= row.believed <= row.ci90[1]
        assert row.ms_per_row > 0
        assert row.ms_per_row != rows["tiny", "probe"].ms_per_row
    assert rows["tiny", "probe"].rows is None


def test_a_base_without_a_head_is_left_out_with_the_reason(choice: Choice) -> None:
    found = choice.report.findings
    assert [(found.looked[one.base].facts.name, one.method) for one in found.unasked] == [("mute", m) for m in BOTH]
    assert all("no language-model head" in one.reason for one in found.unasked)
    assert choice.report.excluded == [], "it is still trained"


def test_every_report_names_what_was_asked_and_what_was_not(choice: Choice) -> None:
    lines = list(plain_lines(choice.report))
    asked = [line for line in lines if line.startswith("candidate") and "method=few-shot" in line]
    assert len(asked) == 1
    assert " rows=32" in asked[0]
    assert sum(line.startswith("unasked base=mute") for line in lines) == 2
    page = render_html(choice.report)
    assert "Not asked by a prompt: mute + zero-shot, few-shot" in page
    assert "tiny + few-shot" in page
    assert "2 asked by a prompt on 32 rows" in page


def test_the_record_gives_the_decision_again(choice: Choice) -> None:
    again = from_json(to_json(choice.report))
    assert decide(again.findings) == choice.report.decision
    prompts = [run.pieces[0].prompt for run in again.findings.runs if run.method in BOTH]
    assert all(prompt is not None and "{{ label }}" in prompt["template"] for prompt in prompts)


# --- winning ---------------------------------------------------------------------------------------------------------


def test_a_prompt_that_wins_is_saved_as_adapt_saves_one(task: Task, folders: list[str], tmp_path: Path) -> None:
    found = choose(task, folders[:1], methods=["few-shot"])
    assert found.report.decision.method == "few-shot"
    methods = {c.method for c in found.report.winner.candidates}
    assert methods == {"few-shot", "few-shot raw", "majority", "tfidf"}
    assert [one.method for one in found.report.winner.prompts] == ["few-shot"]
    assert [r.verb for r in found.base.lineage[-2:]] == ["choose", "adapt"]
    found.base.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "headstart.json"]
    again = Base.load(tmp_path / "out")
    assert again.contract is not None
    assert again.contract.prompt is not None
    assert again.contract.prompt.base is not None
    assert again.contract.method == "few-shot"
    assert again.contract.prompt.base.place == folders[0], "the base itself, no scratch folder"
    assert again.contract.asked == Base.load(folders[0]).fingerprint
    assert verify_saved(found.base, tmp_path / "out", task.test).status == "ok"
    said = score_task(task.kind, None, task.test.targets, ask(again, task.test)[0].predictions, labels=task.labels)
    assert said == pytest.approx(found.report.winner.best.value, abs=1e-9)


def test_the_better_prompt_beats_a_training(task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    parts = {
        name: replace(part, targets=tuple(random.permutation(np.asarray(part.targets)).tolist()))
        for name, part in (("train", task.train), ("validation", task.validation), ("test", task.test))
    }
    monkeypatch.setattr(search, "ask_task", lifted(ask_task, value=1.0))
    report = choose(replace(task, **parts), folders[:1], methods=["zero-shot", "probe"]).report  # type: ignore[arg-type]
    assert report.decision.method == "zero-shot"
    assert report.decision.sentence.startswith("Take tiny + zero-shot: 1.000 on 32 validation rows at")
    assert report.decision.advice.labels is None
    assert "does not learn from more labels" in report.decision.advice.sentence
    assert decide(from_json(to_json(report)).findings) == report.decision


# --- failing, and limits ---------------------------------------------------------------------------------------------


def test_a_prompt_that_crashes_has_failed_and_the_search_goes_on(
    task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: Any) -> Any:
        raise RuntimeError("the prompt broke")

    monkeypatch.setattr(search, "ask_task", broken)
    report = choose(task, folders[:1], methods=[*BOTH, "probe"]).report
    failed = [row for row in report.decision.rows if row.status == "failed"]
    assert [row.method for row in failed] == BOTH
    assert all("the prompt broke" in row.reason for row in failed)
    assert report.decision.method == "probe"


def test_an_interrupted_control_loses_no_winner(
    task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = choosing._control

    def stopped(task: Task, search: search.Search, method: Any) -> Any:
        if method == "tfidf":
            raise KeyboardInterrupt
        return real(task, search, method)

    monkeypatch.setattr(choosing, "_control", stopped)
    found = choose(task, folders[:1], methods=["probe"])
    assert found.report.interrupted
    assert [one.reason for one in found.report.winner.skipped] == ["interrupted"]
    assert {c.method for c in found.report.winner.candidates} == {"probe", "majority"}


def test_what_failed_takes_no_chance_from_the_best() -> None:
    found = findings(0.52, 400)
    found.runs.append(Run(1, "zero-shot", 0, failed="the worker died"))
    place = found.place((1, "zero-shot"))
    assert found.chance()[place] == 0.0
    assert (found.draws()[:, place] == 0.0).all()
    assert found.ranked()[-1] == (1, "zero-shot")


def test_a_prompt_of_a_base_without_a_folder_is_no_candidate(task: Task, folders: list[str]) -> None:
    made = replace(Base.load(folders[0]), place="")
    report = choose(task, [made], methods=["zero-shot", "probe"]).report
    assert "lies in no folder" in report.findings.unasked[0].reason
    assert report.decision.method == "probe"


def test_what_is_trained_lies_in_no_folder(task: Task, folders: list[str]) -> None:
    """Its weights are not those of the folder that its base was read from; a probe's are."""
    base = Base.load(folders[0])
    places = [fit(base, task, method=method, seed=0).base.place for method in ("full", "probe")]
    assert places == ["", folders[0]]


def test_a_row_that_is_asked_in_the_end_and_too_long_is_found_before(
    task: Task, folders: list[str], tmp_path: Path
) -> None:
    """Many characters in few units are tried for length first; the row with the most units has few characters."""
    wordy = [" ".join(["good" * 10] * 4)] * 300
    texts = ["good", *wordy, " ".join(["good"] * 31)]
    long = replace(
        task.validation, texts=tuple(texts), targets=(0, 1) * (len(texts) // 2), ids=tuple(range(len(texts)))
    )
    long_task = replace(task, validation=long)
    scored = prompting.scored_rows(long_task, Size(1, 16, 128), math.inf, 0)
    assert long.ids[-1] not in {*scored.ids, *prompting.longest(long).ids}
    found = answer(question(long_task, folders[0], tmp_path, max_length=31))
    assert found.trained is None
    assert "expected at most" in found.unasked


def test_what_cannot_be_spelt_is_no_candidate(folders: list[str]) -> None:
    """Both labels of the toy task are unknown words to the tiny base, and would have the same tokens."""
    report = choose(toy_task(rows=100), folders[:1], methods=["zero-shot", "probe"]).report
    assert [row.method for row in report.decision.rows] == ["probe"]
    assert "have the same tokens" in report.findings.unasked[0].reason


def test_prompts_alone_need_no_reading(task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "read_task", None)
    report = choose(task, folders[:1], methods=["zero-shot"]).report
    assert report.decision.method == "zero-shot"
    assert unread_lines(report) == []


def test_only_prompts_and_none_possible_says_why(task: Task, folders: list[str]) -> None:
    with pytest.raises(RunError, match="no language-model head"):
        choose(task, folders[1:], methods=["zero-shot"])


def test_a_prompt_slower_than_the_limit_is_no_candidate(
    task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "ask_task", lifted(ask_task, ms_per_row=5e6))
    report = choose(task, folders[:1], methods=["zero-shot", "probe"], max_ms_per_row=1e6).report
    assert "--max-ms-per-row is 1e+06" in report.findings.unasked[0].reason
    assert [row.method for row in report.decision.rows] == ["probe"]


def test_tags_are_not_asked(task: Task) -> None:
    assert check_methods((), "tags") == ("probe", "lora", "full")
    assert check_methods((), "choice") == METHODS
    with pytest.raises(CapabilityError, match=r"--methods names few-shot and this task tags words; expected probe"):
        check_methods(("few-shot",), "tags")


# --- the share of the budget -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 0.6, 0.62, 0.9, 1.3, 2.0, 4.0, 100.0, math.inf])
def test_what_is_asked_fits_the_seconds(seconds: float) -> None:
    most, pace = Size(3, 48, 128), PromptPace(0.05, 0.01)
    if seconds < 2 * pace.start + 51 * pace.row:
        with pytest.raises(CapabilityError, match=r"asking 51 rows takes about .*expected at most .*--budget"):
            size_within(most, pace, seconds)
        return
    size = size_within(most, pace, seconds)
    assert (size.templates + 1) * pace.start + pace.row * size.readings <= seconds
    assert size.fitting >= prompting.LEAST_FITTING
    assert size.scoring >= prompting.LEAST_SCORING
    assert size == most if seconds >= 4 else size.readings < most.readings


def test_a_base_that_is_too_slow_is_not_even_loaded(
    task: Task, folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompting, "base_of", None)
    slow = answer(question(task, folders[0], tmp_path, ms_per_row=1000.0, seconds=10.0))
    assert slow.trained is None
    assert re.search("asking 51 rows takes about 51.* s here; expected at most [12]", slow.unasked)
    late = answer(question(task, folders[0], tmp_path, ms_per_row=10.0, seconds=10.0, answering=0.1))
    assert "answering validation and test rows in the end" in late.unasked


def test_prompts_get_no_more_than_their_share(task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, float]] = []

    def listening(job: Any) -> Any:
        given.append((job["method"], job["seconds"]))
        return ask_task(job)

    monkeypatch.setattr(search, "ask_task", listening)
    report = choose(task, folders, budget=8.0, settings=FitSettings(epochs=200, batch_rows=16)).report
    assert [method for method, _ in given] == BOTH, "the cheaper one first"
    assert sum(seconds for _, seconds in given[:1]) <= search.PROMPT_SHARE * 8.0 / 2
    assert given[1][1] <= search.PROMPT_SHARE * 8.0
    assert report.decision.best.value is not None


# --- one trial -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "metric"), [("choice", "accuracy"), ("labels", "micro_f1"), ("score", "pearson")])
@pytest.mark.parametrize("method", BOTH)
def test_the_score_is_that_of_the_saved_prompt_on_validation(
    kind: Any, metric: str, method: str, folders: list[str], tmp_path: Path
) -> None:
    task = toy_task(kind, rows=100)
    task = task if kind == "score" else replace(task, labels=("bad", "good"))
    found = answer(question(task, folders[0], tmp_path, method=method, metric=metric, max_length=5)).trained
    assert found is not None
    assert found.saved is not None
    said = ask(Base.load(found.saved), task.validation)[0].predictions
    assert said == pytest.approx(found.predictions) if kind == "score" else list(said) == as_given(found.predictions)
    assert found.value == pytest.approx(score_task(kind, metric, task.validation.targets, said, labels=task.labels))
    assert (found.rows, found.params_trained, found.stopped) == (32, 0, "done")


def as_given(predictions: list[Any]) -> list[Any]:
    """Labels are tuples, and lists once they were JSON."""
    return [tuple(one) if isinstance(one, list) else one for one in predictions]


def test_validation_and_test_labels_choose_nothing(task: Task, folders: list[str], tmp_path: Path) -> None:
    turned = {
        name: replace(part, targets=tuple(1 - int(t) for t in part.targets))  # type: ignore[arg-type]
        for name, part in (("validation", task.validation), ("test", task.test))
    }
    first = answer(question(task, folders[0], tmp_path)).trained
    task_file.task_of.cache_clear()
    other = answer(question(replace(task, **turned), folders[0], tmp_path)).trained  # type: ignore[arg-type]
    assert first is not None
    assert other is not None
    assert other.prompt == first.prompt
    assert other.predictions == first.predictions
    assert other.value == pytest.approx(1.0 - first.value)


def test_no_demonstration_chooses_and_long_ones_are_halved(task: Task, folders: list[str], tmp_path: Path) -> None:
    found = answer(question(task, folders[0], tmp_path, method="few-shot")).trained
    assert found is not None
    assert found.prompt is not None
    assert found.prompt["shots"] in (1, 2), "the tiny base has 32 positions"
    part = prompting.part_of(task, 48, 0)
    assert not set(part.train.ids) & set(part.validation.ids)
    assert set(part.train.ids) | set(part.validation.ids) == set(task.train.ids)
    assert list(part.validation.ids) != sorted(part.validation.ids), "the first of them are a sample too"


# --- the belief ------------------------------------------------------------------------------------------------------


def findings(value: float, rows: int, *, held_out: int = 400) -> Findings:
    looked = [Looked(facts(name), 1.0) for name in ("a", "b")]
    piece = Trained(value, 1.0, 1.0, 0, 0, 0.0, "done", FitSettings(), rows=rows, ms_per_row=7.0)
    readings = [reading(0.7), reading(0.7)]
    runs = [Run(0, "zero-shot", 0, [piece])]
    methods = ["probe", "full", "zero-shot"]
    return Findings(methods, (400, held_out, 5), 0, hand_set(), looked, readings, runs, "accuracy", 0.5)


def test_a_prompt_says_nothing_of_trainings_and_more_rows_say_more_of_it() -> None:
    few, many = findings(0.8, 32), findings(0.8, 400)
    assert many.keys[-2:] == [(0, "zero-shot"), (1, "zero-shot")]
    place = many.place((0, "zero-shot"))
    before = msgspec.structs.replace(many, runs=[]).belief()
    for one in (few, many):
        assert np.allclose(one.belief().mean[:4], before.mean[:4])
        assert log_error(0.8) < one.belief().mean[place] < before.mean[place] == pytest.approx(math.log(0.5))
    assert many.belief().covariance[place, place] < few.belief().covariance[place, place]
    assert many.belief().mean[place] < few.belief().mean[place], "few rows leave more to the floor"
    assert (many.ms_per_row((0, "zero-shot")), many.ms_per_row((0, "probe"))) == (7.0, 1.0)


def test_a_prompt_on_all_rows_is_as_unsure_as_a_probe() -> None:
    found = findings(0.8, 400)
    seen = found._seen((0, "zero-shot"))
    assert seen is not None
    share = (0.8 * 400 + 1) / 402
    assert seen.sd == pytest.approx(math.sqrt(SHARED_NOISE) * standard_error(0.8, 400) / (1 - share))


def test_an_unasked_prompt_is_no_candidate() -> None:
    found = findings(0.8, 100)
    found.unasked = [Unasked(1, "zero-shot", "too slow")]
    assert (1, "zero-shot") not in found.keys
    assert len(found.keys) == len(found.belief().mean) == 5
    assert len(decide(found).rows) == 5


def test_a_pickled_base_is_not_asked_because_nobody_could_load_its_prompt(task: Task, tmp_path: Path) -> None:
    folder = spelling_base().save(tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    report = choose(task, [folder], methods=["probe", "zero-shot"], allow_pickle=True).report
    assert [(one.method, "bases import" in one.reason) for one in report.findings.unasked] == [("zero-shot", True)]
    assert report.decision.method == "probe"
