"""`choose` end to end on tiny bases: the better one wins, whatever fails, wherever it runs, and the record says why."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from tests.train.tiny_base import tiny_base, toy_task
from tests.train.tiny_patch_base import tiny_patch_base

from headstart.base.base import Base
from headstart.choose import choose as choosing
from headstart.choose import reading, search, terminal
from headstart.choose.choose import Choice, choose
from headstart.choose.decision import Row, decide, with_fronts
from headstart.choose.page import render_html
from headstart.choose.plan import Plan
from headstart.choose.prompting import rows_of_saving
from headstart.choose.reading import Judge
from headstart.choose.report import from_json, to_json
from headstart.choosing import running
from headstart.data.task import Task
from headstart.evaluate.budget import Budget
from headstart.evaluate.metrics import score_task
from headstart.evaluate.progress import Event, silent
from headstart.ground.errors import BaseError, ConfigError, DataError, RunError
from headstart.ground.fanout import Failed, Outcome, fan_out
from headstart.train.methods import FitSettings

QUICK = FitSettings(epochs=6, batch_rows=16, lr=5e-3)


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task(rows=300)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two bases: one as it is, one to which all words are one."""
    root = tmp_path_factory.mktemp("bases")
    good, dull = tiny_base(), tiny_base()
    with torch.no_grad():
        table = dull.trunk.embed.tokens.weight
        table.copy_(table[:1].expand_as(table))
    replace(good, name="good").save(root / "good")
    replace(dull, name="dull").save(root / "dull")
    return [str(root / "dull"), str(root / "good")]


@pytest.fixture(scope="module")
def choice(task: Task, folders: list[str]) -> Choice:
    return choose(task, folders, settings=QUICK)


def test_the_better_base_is_chosen_and_ready(choice: Choice, task: Task, tmp_path: Path) -> None:
    report, decision = choice.report, choice.report.decision
    assert decision.base == "good"
    assert decision.best.status == "finished"
    assert decision.sentence.startswith(f"Take {decision.best.title}")
    assert report.winner.best.value > 0.85
    assert report.winner.best.method == decision.method
    assert {c.method for c in report.winner.candidates} == {decision.method, "majority", "tfidf"}
    assert [r.verb for r in choice.base.lineage[-2:]] == ["choose", "adapt"]
    choice.base.save(tmp_path / "out")
    assert Base.load(tmp_path / "out").predict(list(task.test.texts[:5])) == choice.base.predict(
        list(task.test.texts[:5])
    )


def test_labels_that_have_nothing_to_do_with_the_text_get_no_advice(task: Task, folders: list[str]) -> None:
    random = np.random.default_rng(0)
    parts = {
        name: replace(part, targets=tuple(random.permutation(np.asarray(part.targets)).tolist()))
        for name, part in (("train", task.train), ("validation", task.validation), ("test", task.test))
    }
    report = choose(replace(task, **parts), folders, methods=["probe"]).report  # type: ignore[arg-type]
    assert report.decision.sentence.startswith("No candidate is shown to beat always answering the same")
    assert report.decision.advice.labels is None
    assert "points" not in report.decision.advice.sentence
    assert "Always answering the same" in terminal.tested_sentence(report)
    assert all(row.ci90[0] >= 0 for row in report.decision.rows)
    assert decide(from_json(to_json(report)).findings) == report.decision


def test_what_beats_the_majority_is_said_with_advice(choice: Choice) -> None:
    assert choice.report.findings.floor is not None
    assert "Always answering" not in terminal.tested_sentence(choice.report)
    assert choice.report.decision.advice.sentence


def test_the_page_shows_every_picture_and_every_candidate(choice: Choice) -> None:
    page = render_html(choice.report)
    assert page.count("<svg") == 4, "quality against three costs, and the label curves"
    assert all(f"Quality against {what}" in page for what in ("ms a row", "MB", "seconds of training"))
    assert "<script" not in page
    assert all(page.count(row.title) >= 1 for row in choice.report.decision.rows)
    assert len(page) < 300_000


def test_the_record_alone_gives_the_decision_again(choice: Choice) -> None:
    again = from_json(to_json(choice.report))
    assert decide(again.findings) == choice.report.decision
    assert not any(piece.predictions for run in again.findings.runs for piece in run.pieces)


def test_every_candidate_has_its_row(choice: Choice) -> None:
    rows = choice.report.decision.rows
    assert len(rows) == 6
    assert sum(row.front for row in rows) >= 1
    assert all(row.ci90[0] <= row.believed <= row.ci90[1] for row in rows)
    assert sum(row.status in ("finished", "stopped") for row in rows) >= 2


def row(name: str, believed: float, ms: float, megabytes: float, seconds: float, status: Any = "finished") -> Row:
    return Row(name, "full", status, believed, believed, (0.0, 1.0), 0.5, ms, megabytes, seconds, 1.0, 1)


def test_fronts_are_told_against_every_cost() -> None:
    rows = with_fronts(
        [
            row("best", 0.9, 9, 90, 900),
            row("quick", 0.8, 1, 80, 800),
            row("small", 0.7, 8, 7, 700),
            row("soon", 0.6, 8, 80, 6),
            row("beaten", 0.5, 9, 90, 800),
            row("not run", 0.95, 0.5, 5, 0, "not run"),
        ]
    )
    assert {one.base: one.fronts for one in rows} == {
        "best": ["ms_per_row", "megabytes", "seconds"],
        "quick": ["ms_per_row", "megabytes", "seconds"],
        "small": ["megabytes", "seconds"],
        "soon": ["seconds"],
        "beaten": [],
        "not run": [],
    }
    assert [one.front for one in rows] == [True, True, True, True, False, False]


def test_the_footnote_counts_every_candidate_as_what_it_is(choice: Choice) -> None:
    rows = [
        msgspec.structs.replace(one, status=status)
        for one, status in zip(
            choice.report.decision.rows, ("finished", "stopped", "paused", "failed", "not run", "not run"), strict=True
        )
    ]
    base = rows[-1].base
    found = msgspec.structs.replace(
        choice.report.findings,
        readings=[
            None if one.facts.name == base else reading
            for one, reading in zip(choice.report.findings.looked, choice.report.findings.readings, strict=True)
        ],
    )
    decision = msgspec.structs.replace(choice.report.decision, rows=rows)
    told = terminal.footnote(msgspec.structs.replace(choice.report, decision=decision, findings=found))
    guessed = 1 + (rows[-2].base == base)
    by_features = "" if guessed == 2 else "1 judged by features alone, "
    assert (
        f"1 trained to the end, 1 cut short, 1 paused, 1 failed, {by_features}"
        f"{guessed} by size and pre-training loss alone;"
    ) in told
    assert [terminal.row_text(one, 20, costs=False).count("…") for one in rows[:3]] == [0, 0, 1]


def test_a_wide_terminal_shows_what_a_candidate_costs(choice: Choice) -> None:
    narrow, wide = ([str(line) for line in terminal.human_lines(choice.report, width=w)] for w in (80, 120))
    assert not any("trained" in line for line in narrow[:2])
    assert wide[1].rstrip().endswith("MB  trained")
    best = choice.report.decision.best
    assert f"{best.megabytes:.0f}" in wide[2]
    assert all(len(line) <= 80 for line in narrow if "  · " in line or "▸" in line)


def test_pieces_go_on_and_are_never_begun_again(choice: Choice) -> None:
    climbed = [run for run in choice.report.findings.runs if len(run.pieces) > 1]
    assert climbed, "somebody climbed the ladder"
    for run in climbed:
        shares = [piece.share for piece in run.pieces]
        assert shares == sorted(shares)
        assert [piece.seconds for piece in run.pieces] == sorted(piece.seconds for piece in run.pieces)


def test_workers_decide_as_this_process_does(choice: Choice, task: Task, folders: list[str]) -> None:
    other = choose(task, folders, settings=QUICK, on="local:2").report
    mine = choice.report
    assert (other.decision.base, other.decision.method) == (mine.decision.base, mine.decision.method)
    ours, theirs = ({r.title: (r.status, r.value) for r in report.decision.rows} for report in (mine, other))
    assert ours.keys() == theirs.keys()
    both = [title for title in ours if ours[title][0] == theirs[title][0] == "finished"]
    assert both
    assert [ours[title][1] for title in both] == pytest.approx([theirs[title][1] for title in both], abs=0.05)


def test_what_no_budget_would_help_is_not_told_to_get_one(task: Task, tmp_path: Path) -> None:
    alike = tiny_base().save(tmp_path / "alike")  # both labels are unknown words to it
    with pytest.raises(RunError, match=r"have the same tokens.*Mend that, or give other bases or --methods"):
        choose(task, [alike], methods=["zero-shot"])


def test_a_trial_that_fails_is_a_result(task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = search.train

    def touchy(job: Any) -> Any:
        if job["method"] != "probe":
            raise RuntimeError("the trial broke")
        return real(job)

    monkeypatch.setattr(search, "train", touchy)
    report = choose(task, folders, settings=QUICK).report
    assert report.decision.method == "probe"
    failed = [row for row in report.decision.rows if row.status == "failed"]
    assert failed
    assert "the trial broke" in failed[0].reason


def test_where_all_that_went_on_fail_the_paused_are_carried_to_their_end(
    task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace(tiny_base(seed=1), name="third").save(tmp_path / "third")
    real, far = search.train, list[str]()

    def touchy(job: Any) -> Any:
        if job["until"] == 1.0:
            far.append(job["base"])
            if len(far) == 1:  # who goes on
                raise RuntimeError("out of memory")
        return real(job)

    monkeypatch.setattr(search, "train", touchy)
    report = choose(task, [*folders, str(tmp_path / "third")], methods=["lora"], settings=QUICK).report
    status = Counter(one.status for one in report.decision.rows)
    assert status["failed"] == 1
    assert status["finished"] >= 1
    assert report.decision.best.status == "finished"


def test_what_the_clock_ended_has_not_failed(task: Task, folders: list[str], tmp_path: Path) -> None:
    def fan(function: Any, jobs: Sequence[Any], **others: Any) -> list[Outcome]:
        if function is search.train and jobs and jobs[0]["method"] == "lora":
            return [Failed("late", "the time was over before it was done") for _ in jobs]
        return fan_out(function, jobs, **others)

    plan = Plan(bases=tuple(folders), methods=("probe", "lora"), settings=QUICK)
    found = search.Search(task, plan, tmp_path, silent, Budget(None), fan=fan).go()
    rows = {(one.base, one.method): one for one in decide(found).rows}
    assert rows["good", "lora"].status == "not run"
    assert rows["good", "lora"].chance > 0.0


def test_a_paused_training_tells_its_metric(choice: Choice, task: Task) -> None:
    paused = [piece for run in choice.report.findings.runs for piece in run.pieces if piece.stopped == "paused"]
    assert paused
    rows = len(task.validation)
    assert all(abs(piece.value * rows - round(piece.value * rows)) < 1e-6 for piece in paused), "so many right of all"


def test_nothing_that_ends_is_an_error(task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(job: Any) -> Any:
        raise RuntimeError("the trial broke")

    monkeypatch.setattr(search, "train", broken)
    with pytest.raises(RunError, match=r"the trial broke.*Mend that, or give other bases"):
        choose(task, folders, settings=QUICK)


def test_a_base_that_cannot_be_loaded_is_left_out_with_its_reason(
    task: Task, folders: list[str], tmp_path: Path
) -> None:
    report = choose(task, [folders[1], str(tmp_path)], methods=["probe"]).report
    assert [one.base for one in report.excluded] == [str(tmp_path)]
    assert "config.json" in report.excluded[0].reason


def test_a_base_whose_weights_are_a_link_to_nowhere_is_left_out(task: Task, folders: list[str], tmp_path: Path) -> None:
    """As a snapshot of a hub lies there that was not fetched whole."""
    shutil.copytree(folders[1], tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").unlink()
    (tmp_path / "torn" / "model.safetensors").symlink_to(tmp_path / "nowhere")
    report = choose(task, [folders[1], str(tmp_path / "torn")], methods=["probe"]).report
    assert [one.base for one in report.excluded] == [str(tmp_path / "torn")]


def test_one_base_under_two_names_is_refused(task: Task, folders: list[str], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folders[1])
    with pytest.raises(ConfigError, match=r"link and .*good, which are one; expected different bases"):
        choose(task, [folders[1], str(tmp_path / "link")])
    with pytest.raises(ConfigError, match=r"good twice; expected different bases"):
        choose(task, [folders[1], folders[1]])


def test_another_base_at_the_same_place_is_read_anew(task: Task, folders: list[str], tmp_path: Path) -> None:
    place = tmp_path / "base"
    names = []
    for folder in folders[::-1]:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        report = choose(task, [str(place)], methods=["probe"]).report
        names.append((report.decision.base, report.winner.best.value > 0.8))
    assert names == [("good", True), ("dull", False)]


def test_no_scratch_path_is_left_in_what_is_told(task: Task, folders: list[str]) -> None:
    values = [Base.load(folders[1]), replace(tiny_base(seed=1), name="good")]
    found = choose(task, values, methods=["probe"])
    assert b"headstart-choose-" not in to_json(found.report)
    assert found.report.asked.bases == [folders[1], "base 2"]
    assert not any("headstart-choose-" in str(record.config) for record in found.base.lineage)
    assert decide(found.report.findings) == found.report.decision
    picture = replace(tiny_patch_base("image"), name="eyes")
    left_out = choose(task, [values[0], picture], methods=["probe"]).report
    assert [one.base for one in left_out.excluded] == ["base 2"]
    assert b"headstart-choose-" not in to_json(left_out)


def test_the_budget_is_told_as_it_was_given(task: Task, folders: list[str]) -> None:
    """Three seconds of forty went into starting."""
    began = time.monotonic() - 3.0
    report = choose(task, folders[1:], methods=["probe"], budget=40.0, clock=running(40.0, began)).report
    assert report.asked.budget == 40.0
    assert report.environment.seconds >= 3.0
    assert running(40.0, began).left() < 37.0
    assert 0.5 < running(2.0, began).left() <= 1.0, "something is left where starting used it up"
    late = choose(task, folders[1:], methods=["probe"], budget=2.0, clock=running(2.0, began)).report
    assert late.asked.budget == 2.0


def test_a_misspelt_base_is_refused_before_any_work(
    task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "look", None)
    with pytest.raises(BaseError, match=r"text-tinny.* is not on this machine.*Did you mean 'text-tiny'"):
        choose(task, [folders[1], "text-tinny"])


def test_a_base_of_another_modality_is_told_as_adapt_tells_it(task: Task) -> None:
    with pytest.raises(ConfigError, match="image-tiny reads image and toy holds text; expected a base that reads text"):
        choose(task, ["image-tiny"])


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_mb": 1e-6}, "MB"),
        ({"max_ms_per_row": 1e-6}, "ms a row"),
        ({"licence": "permissive"}, "licence is not stated"),
    ],
)
def test_limits_leave_bases_out_with_reasons(
    limits: dict[str, Any], reason: str, task: Task, folders: list[str]
) -> None:
    with pytest.raises(ConfigError, match=reason):
        choose(task, folders, methods=["probe"], **limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bases": []}, "no base"),
        ({"methods": ["prob"]}, "Did you mean 'probe'"),
        ({"budget": -1.0}, "budget"),
        ({"on": "mars"}, "--on"),
        ({"max_mb": 0.0}, "--max-mb"),
        ({"metric": "acuracy"}, "accuracy"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    change: dict[str, Any], message: str, task: Task, folders: list[str]
) -> None:
    asked: dict[str, Any] = {"bases": folders, **change}
    with pytest.raises(ConfigError, match=message):
        choose(task, asked.pop("bases"), **asked)


def test_arguments_of_another_type_are_told_what_to_write(task: Task, folders: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected a list of them"):
        choose(task, "text-tiny")
    with pytest.raises(ConfigError, match="expected a Task"):
        choose("reviews.csv", folders)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected seconds as a number"):
        choose(task, folders, budget="20s")  # type: ignore[arg-type]


def test_a_part_without_rows_is_refused(task: Task, folders: list[str]) -> None:
    with pytest.raises(DataError, match="validation part"):
        choose(replace(task, validation=task.validation.subset([])), folders)


def test_a_budget_ends_what_would_take_hours(task: Task, folders: list[str]) -> None:
    """That it is kept is tested by a fake clock, in test_deadlines.py."""
    report = choose(task, folders, settings=replace(QUICK, epochs=100_000), budget=6.0).report
    assert report.decision.best.status in ("finished", "stopped")
    pieces = [piece for run in report.findings.runs for piece in run.pieces]
    assert all(piece.epochs < 10_000 for piece in pieces), "fewer passes, or cut short"


def test_a_control_that_leaves_no_time_to_save_is_left_out(
    task: Task, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(needed: float) -> list[str]:
        monkeypatch.setattr(choosing, "saving_seconds", lambda *_: needed)
        report = choose(task, folders[1:], methods=["probe"], budget=60.0).report
        return [one.method for one in report.winner.skipped]

    assert told(0.0) == []
    assert told(1000.0) == ["TF-IDF + linear"]


def test_saving_is_foretold_by_the_pace_of_late(
    task: Task, folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(bases=tuple(folders[1:]), methods=("probe",), settings=QUICK)
    asked = search.Search(task, plan, tmp_path, silent, Budget(None))
    decision = decide(asked.go())
    monkeypatch.setattr(asked, "finishing", lambda: 0.0)
    asked.slow = 1.0
    rested = choosing.saving_seconds(asked, decision)
    rows = rows_of_saving(len(task.test))
    loading = asked.found.looked[0].loading
    assert rested == pytest.approx(1.25 * rows * decision.best.ms_per_row / 1000 + 2 * loading)
    asked.slow = 3.0
    assert choosing.saving_seconds(asked, decision) == pytest.approx(3 * rested)


def test_ctrl_c_gives_the_best_so_far(task: Task, folders: list[str]) -> None:
    def stop(event: Event) -> None:
        if event.stage == "choose" and "validation" in event.text:
            raise KeyboardInterrupt

    report = choose(task, folders, settings=QUICK, on_event=stop).report
    assert report.interrupted
    assert report.decision.method == "probe"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_the_winner_answers_asks_it_less(
    times: int, folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one ends it all."""
    task, stops = toy_task(rows=300), []
    task = replace(task, test=task.test.subset([row % len(task.test) for row in range(400)]))

    def stop(event: Event) -> None:
        if event.stage == "score" and len(stops) < times:
            stops.append(event.text)
            raise KeyboardInterrupt

    if times == 2:
        with pytest.raises(KeyboardInterrupt):
            choose(task, folders, methods=["probe"], on_event=stop)
        return
    report = choose(task, folders, methods=["probe"], on_event=stop).report
    assert report.interrupted
    assert report.winner.interrupted
    assert report.winner.best.n_test == 40
    assert "40 of 400 test rows are answered, drawn with the seed: Ctrl-C left room" in " ".join(report.task.notes)


def test_ctrl_c_before_anything_ended_is_passed_on(task: Task, folders: list[str]) -> None:
    def stop(event: Event) -> None:
        if event.stage == "plan":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose(task, folders, settings=QUICK, on_event=stop)


def test_test_rows_are_asked_once_and_choose_nothing(task: Task, folders: list[str], choice: Choice) -> None:
    """Other test labels change the test score and nothing else."""
    turned = replace(task.test, targets=tuple(1 - int(t) if int(t) < 2 else t for t in task.test.targets))  # type: ignore[arg-type]
    other = choose(replace(task, test=turned), folders, settings=QUICK).report
    assert [(r.title, r.value) for r in other.decision.rows] == [
        (r.title, r.value) for r in choice.report.decision.rows
    ]


def test_tags_are_judged_as_they_are_scored() -> None:
    """Outputs of words that stand in rows, in the metric of rows: what a trained probe is judged by."""
    labels = ("O", "B-x", "I-x")
    task = replace(toy_task("tags", rows=8), labels=labels)
    rows = np.array([3, 3, 3, 0, 0, 7])
    wanted, said = np.array([1, 2, 0, 1, 0, 1]), np.array([1, 0, 0, 1, 0, 1])
    eye = np.eye(3)
    for metric in ("span_f1", "token_accuracy"):
        by_rows = score_task("tags", metric, [(1, 2, 0), (1, 0), (1,)], [(1, 0, 0), (1, 0), (1,)], labels=labels)
        assert Judge(task, metric)(eye[said], eye[wanted], rows) == by_rows
    assert Judge(task, "span_f1")(eye[said], eye[wanted], rows) == pytest.approx(2 / 3)
    assert Judge(task, "token_accuracy")(eye[said], eye[wanted], rows) == pytest.approx(5 / 6)


def test_a_reading_of_tags_keeps_rows_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one stretch and the next, too: 230 rows are read in three."""
    judged = list[int]()

    def counted(kind: Any, metric: Any, wanted: Any, said: Any, **others: Any) -> float:
        judged.append(len(wanted))
        return score_task(kind, metric, wanted, said, **others)

    monkeypatch.setattr(reading, "score_task", counted)
    task = toy_task("tags", rows=230)
    told = reading.read(tiny_base(), task, metric="token_accuracy", seed=0, seconds=1e9)
    assert {judged[-1], len(task.validation)} == {230, 32}
    assert 32 in judged
    assert 0.5 < told.estimates.probe_last < 1.0


@pytest.mark.parametrize("kind", ["labels", "score", "tags"])
def test_every_kind_of_question(kind: Any, folders: list[str]) -> None:
    report = choose(toy_task(kind, rows=120), folders[1:], methods=["probe"]).report
    assert np.isfinite(report.decision.best.believed)
    estimates = report.findings.readings[0].estimates
    assert all(np.isfinite(getattr(estimates, name)) for name in estimates.__struct_fields__)


def test_the_room_can_be_called_like_the_verb() -> None:
    import headstart.choose.estimators

    assert callable(headstart.choose)


@pytest.fixture(autouse=True)
def _no_bases_of_other_tests() -> Iterator[None]:
    from headstart.choose import task_file, work

    yield
    work.base_of.cache_clear()
    task_file.task_of.cache_clear()


def test_messages_are_plain_json(choice: Choice) -> None:
    assert msgspec.json.decode(to_json(choice.report))["schema_version"] == 1
