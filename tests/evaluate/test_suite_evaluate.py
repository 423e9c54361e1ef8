"""The verb evaluate: every kind end to end, controls in every table; a run that was killed ends in the same words."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests.evaluate.made_sets import facts, moods, set_of, write_sets

from headstart.base.base import Base
from headstart.base.lineage import Record
from headstart.evaluate.progress import Event
from headstart.evaluate.study import adapt
from headstart.evaluate.suite import computing
from headstart.evaluate.suite import run as run_module
from headstart.evaluate.suite.adapting import read_task
from headstart.evaluate.suite.index import find_sets
from headstart.evaluate.suite.leaderboard import cut, footnote, human_lines, plain_lines, show
from headstart.evaluate.suite.page import sentences
from headstart.evaluate.suite.run import Settings, evaluate
from headstart.evaluate.suite.scoreboard import OVERALL, Evaluation, to_json, without_timing
from headstart.evaluate.suite.scoring import ItemsProtocol
from headstart.evaluate.suite.specs import check_methods
from headstart.evaluate.untrained import untrained
from headstart.ground.errors import ConfigError, RunError
from headstart.ground.fanout import parse_place
from headstart.train.methods import FitSettings


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("made") / "sets")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def done(tiny_base: Base, sets: Path, place: Path) -> Evaluation:
    """Everything, with two seeds."""
    return evaluate([tiny_base], data=sets, out=place, settings=Settings(suite="all", seeds=2))


def plain(found: Evaluation) -> Any:
    """Without wall clock and without the folder it lies in."""
    return without_timing(json.loads(to_json(found))) | {"samples": ""}


def table(found: Evaluation, task: str) -> Any:
    return next(t for t in found.tasks if t.task.name == task)


def test_every_set_has_its_controls(done: Evaluation) -> None:
    roles = {t.task.name: {row.role for row in t.candidates} for t in done.tasks}
    everybody = frozenset(("base", "random", "majority", "tfidf"))
    beside = {
        everybody: ("moods", "twins", "words", "grades", "topics", "facts", "who"),
        frozenset(("base", "random")): ("grammar", "prejudice", "triples", "pronouns", "prose"),
        frozenset(("base", "random", "tfidf")): ("truths", "sums", "briefs", "orders"),
        frozenset(("base", "random", "majority")): ("gaps",),
    }
    assert roles == {name: group for group, names in beside.items() for name in names}
    assert {one.task for one in done.skipped} == {"pictures", "smells"}


def test_scores_have_intervals_and_the_rows_of_the_files(done: Evaluation) -> None:
    for t in done.tasks:
        for row in t.candidates:
            assert row.ci95[0] <= row.value <= row.ci95[1]
            assert row.n_test == t.task.rows["test"]
            if row.method == "zero-shot" and t.task.metric in ("bleu", "rouge_l"):
                assert row.metrics[row.metric] == pytest.approx(row.value)
            if t.task.protocol == "adapt" or (t.task.protocol == "choices" and row.role in ("base", "random")):
                assert row.metrics[row.metric] == pytest.approx(row.value)
    assert table(done, "moods").task.rows["test"] == 30
    assert table(done, "twins").task.metric == "mcc"
    assert table(done, "words").task.metric == "span_f1"
    assert [t.task.guess for t in done.tasks if t.task.name in ("moods", "twins", "grammar")] == [0.5, 0.0, 0.5]


def test_written_and_weighed_answers_tell_more_than_one_number(done: Evaluation, place: Path) -> None:
    def own(task: str) -> Any:
        return next(row for row in table(done, task).candidates if row.role == "base")

    assert table(done, "gaps").task.metric == "accuracy"
    assert own("gaps").metrics["perplexity"] > 1
    assert 0 < own("truths").metrics["mc2"] < 1
    lms, ss = own("triples").metrics["lms"], own("triples").metrics["ss"]
    assert own("triples").value == pytest.approx(lms * min(ss, 1 - ss) / 0.5)
    assert own("pronouns").n_test == 6
    assert abs(own("pronouns").metrics["difference"]) > 0
    assert own("prose").value == pytest.approx(own_bits(place))
    assert [row.role for row in table(done, "prose").candidates] == sorted(
        ("base", "random"), key=lambda role: {row.role: row.value for row in table(done, "prose").candidates}[role]
    )
    assert table(done, "sums").task.metric == "answer_match"
    assert set(own("briefs").metrics) == {"bleu", "rouge1", "rouge2", "rouge_l"}
    assert own("orders").metrics["loss"] > own("orders").metrics["bits_per_byte"] > 0
    (path,) = (place / "cells").glob("sums-*/tfidf-*.jsonl")
    copied = json.loads(path.read_text().splitlines()[0])
    assert copied["prompt"] == "Question: What is 0 and 1,000?\nAnswer:"
    assert (copied["target"], copied["prediction"]) == ("1000", "1000")
    copies = {t.task.name: row.value for t in done.tasks for row in t.candidates if row.role == "tfidf"}
    assert (copies["sums"], copies["briefs"]) == (1.0, pytest.approx(6 / 8, abs=0.25))


def own_bits(place: Path) -> float:
    """Bits a byte of the made texts, from the kept nats; the stretches of a text are the text."""
    (path,) = (place / "cells").glob("prose-*/base-*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    texts = ["".join(part for _, part in sample["prompt"]) for sample in samples]
    assert max(len(sample["prompt"]) for sample in samples) > 1
    nats = sum(sum(sample["scores"]) for sample in samples)
    return -nats / sum(len(text.encode()) for text in texts) / math.log(2)


def test_groups_are_averaged_and_drawn(done: Evaluation) -> None:
    row = table(done, "grammar").candidates[0]
    assert set(row.groups) == {f"p{p}" for p in range(6)}
    assert row.value == pytest.approx(np.mean(list(row.groups.values())))
    assert row.ci95_fixed is not None


def test_a_context_that_does_not_fit_loses_its_beginning_and_is_counted(tiny_base: Base, tmp_path: Path) -> None:
    rows = [{"query": "the lamp is warm " * n, "choices": ["and", "or"], "answer": 0} for n in (1, 1, 200, 300)]
    card = set_of(tmp_path / "long", "long", "multiple_choice", {"test": rows})
    (tmp_path / "long" / "INDEX.json").write_text(json.dumps([card]))
    found = evaluate([tiny_base], data=tmp_path / "long", out=tmp_path / "out", settings=Settings(suite="all"))
    own = next(row for row in table(found, "long").candidates if row.role == "base")
    assert own.metrics["filled"] == pytest.approx(0.5)


def test_seeds_are_told_apart_where_chance_draws(done: Evaluation) -> None:
    seeds = {(t.task.name, row.role): row.seeds for t in done.tasks for row in t.candidates}
    assert seeds["moods", "random"] == seeds["facts", "random"] == seeds["moods", "base"] == 2
    assert seeds["facts", "base"] == seeds["moods", "tfidf"] == 1
    for t in done.tasks:
        for row in t.candidates:
            assert (row.spread is None) == (row.seed_sd is None) == (row.seeds == 1)


def test_comparisons_are_one_family(done: Evaluation, tiny_base: Base) -> None:
    moods = {c.b for c in done.comparisons if c.task == "moods"}
    assert moods == {"majority", "TF-IDF", f"{tiny_base.name}, random"}
    assert {c.b for c in done.comparisons if c.task == OVERALL} == {f"{tiny_base.name}, random"}
    for c in done.comparisons:
        assert c.p <= c.p_holm <= 1.0
        assert c.tied == (c.p_holm >= 0.05)
    smallest = min(done.comparisons, key=lambda c: c.p)
    assert smallest.p_holm == pytest.approx(min(1.0, len(done.comparisons) * smallest.p))


def test_the_aggregate_leaves_bias_out(done: Evaluation, tiny_base: Base) -> None:
    own = next(row for row in done.overall if row.entry == tiny_base.name)
    assert (own.tasks, own.of) == (13, 13)
    values = [
        (row.value - t.task.guess) / (1 - t.task.guess)
        for t in done.tasks
        for row in t.candidates
        if row.role == "base" and t.task.suite != "bias" and t.task.name != "prose"
    ]
    assert own.value == pytest.approx(np.mean(values))
    assert next(row for row in done.overall if row.role == "tfidf").tasks == 11


def test_samples_hold_prompts_answers_and_units(done: Evaluation, tiny_base: Base, place: Path) -> None:
    def samples(pattern: str) -> list[dict[str, Any]]:
        (path,) = (place / "cells").glob(pattern)
        return [json.loads(line) for line in path.read_text().splitlines()]

    mood = samples("moods-*/base-*-s0-*.jsonl")
    assert len(mood) == 30
    ids = tiny_base.codec.encode([mood[0]["prompt"]]).ids[0].tolist()
    assert mood[0]["units"] == [ids]
    assert np.argmax(mood[0]["scores"]) == mood[0]["prediction"]
    fact = samples("facts-*/base-*.jsonl")[0]
    again = tiny_base.score(*zip(*fact["prompt"], strict=True))
    assert fact["scores"] == pytest.approx(again, abs=1e-4)
    assert fact["prediction"] == int(np.argmax(again))
    assert tiny_base.codec.decode(fact["units"][0]).strip().endswith("is here")


def test_a_killed_run_goes_on_and_ends_in_the_same_words(
    done: Evaluation, tiny_base: Base, sets: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = run_module.keep, 9

    def dying(*arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(run_module, "keep", dying)
    with pytest.raises(KeyboardInterrupt):
        evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(suite="all", seeds=2))
    finished = {path: path.read_bytes() for path in (tmp_path / "cells").rglob("*.json")}
    assert len(finished) == 9
    monkeypatch.setattr(run_module, "keep", real)
    told: list[str] = []
    again = evaluate(
        [tiny_base],
        data=sets,
        out=tmp_path,
        settings=Settings(suite="all", seeds=2),
        on_event=lambda event: told.append(event.text),
    )
    assert json.dumps(plain(again)) == json.dumps(plain(done))
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert sum(text.endswith("done") for text in told) == len(list((tmp_path / "cells").rglob("*.json"))) - 9
    for path in (place / "cells").rglob("*.jsonl"):
        assert path.read_bytes() == (tmp_path / path.relative_to(place)).read_bytes()


def test_a_finished_evaluation_computes_nothing(
    done: Evaluation, tiny_base: Base, sets: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "keep", lambda *_: pytest.fail("a cell was run twice"))
    again = evaluate([tiny_base], data=sets, out=place, settings=Settings(suite="all", seeds=2))
    assert plain(again) == plain(done)


def test_long_sets_are_scored_in_parts_that_amount_to_the_whole(
    done: Evaluation, tiny_base: Base, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computing, "PART_ITEMS", 7)
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(suite="language", seeds=2))
    assert len(list((tmp_path / "cells").glob("grammar-*/base-*.json"))) == 4
    for name in ("facts", "who", "grammar"):
        assert table(found, name).task == table(done, name).task
        for one, other in zip(table(found, name).candidates, table(done, name).candidates, strict=True):
            assert (one.entry, one.value, one.ci95, one.groups) == (other.entry, other.value, other.ci95, other.groups)


def test_a_limit_cuts_every_part_and_keeps_every_label(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("moods", "facts"), limit=6))
    assert table(found, "moods").task.rows == {"train": 6, "validation": 6, "test": 6}
    assert table(found, "facts").task.rows == {"test": 6}
    assert (found.suite, found.asked, found.limit) == (None, ["moods", "facts"], 6)
    assert "a quick look" in "".join(line.plain for line in human_lines(found))


def test_two_bases_are_compared_and_told_apart_by_their_weights(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    pair = [tiny_base, dataclasses.replace(untrained(tiny_base, seed=9), name=tiny_base.name)]
    found = evaluate(pair, data=sets, out=tmp_path, settings=Settings(tasks=("moods",)))
    entries = [one.entry for one in found.bases]
    assert entries == [f"{base.name} {base.identity[:6]}" for base in pair]
    assert [one.digest for one in found.bases] == [base.digest for base in pair]
    assert found.paired("moods", *entries) is not None
    with pytest.raises(ConfigError, match="was given twice"):
        evaluate([tiny_base, tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("moods",)))


def turned(base: Base, folder: Path, target: Path) -> Path:
    """The base of a folder with the same weights and another frequency of its positions."""
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 2 * base.trunk.config.rope_theta
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_a_base_with_another_config_is_another_base(
    tiny_base: Base, tiny_base_folder: Path, sets: Path, tmp_path: Path
) -> None:
    """Equal weights that are read in another way answer otherwise: no cell of one is taken for the other's."""
    folder = turned(tiny_base, tiny_base_folder, tmp_path / "turned")
    other, settings = Base.load(folder), Settings(tasks=("grammar",))
    assert other.digest == tiny_base.digest
    both = evaluate([tiny_base, other], data=sets, out=tmp_path / "both", settings=settings)
    assert len({one.entry for one in both.bases}) == 2
    assert [one.identity for one in both.bases] == [tiny_base.identity, other.identity]
    for base in (tiny_base, other):
        found = evaluate([base], data=sets, out=tmp_path / "out", settings=settings)
    assert len(list((tmp_path / "out" / "cells").glob("grammar-*/base-*.jsonl"))) == 2
    name, place = str(tiny_base_folder), parse_place("local:1")
    with pytest.raises(RunError, match="has not the weights, tokenizer and config asked for"):
        evaluate([other], data=sets, out=tmp_path / "there", settings=settings, on=place, names=(name,))
    assert [one.name for one in found.bases] == [other.name]


def test_a_base_with_another_tokenizer_is_another_base(
    tiny_base_folder: Path, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it lies in the same folder: a tokenizer that was mended is asked again, and its twin too."""
    folder = tmp_path / "base"
    shutil.copytree(tiny_base_folder, folder)
    asked: list[str] = []
    real = run_module.keep
    monkeypatch.setattr(run_module, "keep", lambda work, *rest: (asked.append(work.side.role), real(work, *rest)))
    evaluate([Base.load(folder)], data=sets, out=tmp_path / "out", settings=Settings(tasks=("facts",)))
    assert sorted(asked) == ["base", "majority", "random", "tfidf"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text()) | {"normalizer": {"type": "Lowercase"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    asked.clear()
    evaluate([Base.load(folder)], data=sets, out=tmp_path / "out", settings=Settings(tasks=("facts",)))
    assert sorted(asked) == ["base", "random"]


def test_a_base_is_the_same_wherever_it_lies(tiny_base: Base, tmp_path: Path) -> None:
    before = tiny_base.identity
    tiny_base.encode(["the lamp is warm"])
    tiny_base.save(tmp_path / "moved")
    assert Base.load(tmp_path / "moved").identity == before == tiny_base.identity


def test_a_base_without_a_language_model_is_passed_by_with_a_reason(
    tiny_base: Base, sets: Path, tmp_path: Path
) -> None:
    mute = dataclasses.replace(tiny_base, lm=None)
    told: list[Event] = []
    found = evaluate([mute], data=sets, out=tmp_path, settings=Settings(tasks=("moods", "facts")), on_event=told.append)
    assert [t.task.name for t in found.tasks] == ["moods"]
    assert {(one.task, one.entry) for one in found.skipped} == {("facts", "tiny")}
    assert any("facts is passed by for tiny" in event.text for event in told)
    with pytest.raises(RunError, match="nothing could be evaluated"):
        evaluate([mute], data=sets, out=tmp_path, settings=Settings(tasks=("facts",)))


def test_a_damaged_cell_is_named_and_a_taken_place_refused(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    settings = Settings(tasks=("moods", "facts"), limit=6)
    evaluate([tiny_base], data=sets, out=tmp_path, settings=settings)
    (path,) = (tmp_path / "cells").glob("facts-*/base-*.json")
    path.write_text("{")
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=settings)
    (gone,) = found.skipped
    assert (gone.task, gone.entry) == ("facts", "tiny")
    assert "Delete it, and the same command runs it again" in gone.reason
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        evaluate([tiny_base], data=sets, out=tmp_path / "file", settings=settings)


@pytest.mark.parametrize("left", [0, 11, None])
def test_a_cell_that_has_lost_samples_is_run_again(
    tiny_base: Base, sets: Path, tmp_path: Path, left: int | None
) -> None:
    settings = Settings(tasks=("moods", "facts"))
    before = evaluate([tiny_base], data=sets, out=tmp_path, settings=settings)
    (path,) = (tmp_path / "cells").glob("facts-*/base-*.jsonl")
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:left]))
    assert plain(evaluate([tiny_base], data=sets, out=tmp_path, settings=settings)) == plain(before)
    assert path.read_bytes() == whole


def test_cells_from_before_samples_were_counted_are_taken_over(
    tiny_base: Base, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("facts",)))
    for path in (tmp_path / "cells").rglob("*.json"):
        cell = json.loads(path.read_text())
        assert cell.pop("samples") == len(path.with_suffix(".jsonl").read_text().splitlines())
        path.write_text(json.dumps(cell))
    monkeypatch.setattr(run_module, "keep", lambda *_: pytest.fail("a cell was run twice"))
    assert plain(evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("facts",)))) == plain(before)


def test_a_labelled_set_that_cannot_be_read_is_passed_by_once(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    shutil.copytree(sets, tmp_path / "sets")
    (tmp_path / "sets" / "moods" / "test.jsonl").write_text('{"text": "a lamp"}\n' * 9)
    told: list[Event] = []
    found = evaluate(
        [tiny_base],
        data=tmp_path / "sets",
        out=tmp_path / "out",
        settings=Settings(tasks=("moods", "facts")),
        on_event=told.append,
    )
    assert [(gone.task, gone.entry) for gone in found.skipped] == [("moods", "")]
    assert sum("moods is passed by" in event.text for event in told) == 1


def test_both_forms_tell_every_score(done: Evaluation) -> None:
    human, piped = "\n".join(line.plain for line in human_lines(done)), "\n".join(plain_lines(done))
    for t in done.tasks:
        assert t.task.name in human
        for row in t.candidates:
            assert f"{row.value:.3f} [{row.ci95[0]:.3f}, {row.ci95[1]:.3f}]" in human
            assert f"value={row.value:.4f} low={row.ci95[0]:.4f}" in piped
    assert "tied" in human
    assert "pictures" in human
    assert "skipped task=pictures" in piped
    assert max(len(line.plain) for line in human_lines(done)) <= 100
    with Console(record=True, width=90, force_terminal=True) as console:
        show(done, console)
    assert "overall" in console.export_text()


def test_long_names_keep_what_tells_them_apart() -> None:
    names = [cut("someone/some-very-long-name-of-a-base" + end) for end in ("", ", random")]
    assert len({*names}) == 2
    assert {len(name) for name in names} == {26}


def test_methods_stand_side_by_side_with_their_own_controls(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    settings = Settings(tasks=("moods", "facts"), methods=("probe", "full", "lora"), limit=20)
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=settings)
    rows = {row.entry: row.method for row in table(found, "moods").candidates}
    assert rows == {
        "majority": "majority",
        "TF-IDF": "tfidf",
        "tiny, probe": "probe",
        "tiny, probe, random": "probe",
        "tiny, full": "full",
        "tiny, lora": "lora",
        "tiny, from scratch": "scratch",
    }
    asked = {"tiny, zero-shot", "tiny, zero-shot, random"}
    assert {row.entry for row in table(found, "facts").candidates} == {"majority", "TF-IDF"} | asked
    pairs = {frozenset((c.a, c.b)) for c in found.comparisons if c.task == "moods"}
    assert frozenset(("tiny, full", "tiny, from scratch")) in pairs
    assert frozenset(("tiny, full", "tiny, lora")) in pairs
    assert frozenset(("tiny, probe", "tiny, from scratch")) not in pairs
    covered = {row.entry: row.tasks for row in found.overall}
    both, one = ("majority", "TF-IDF"), {*rows, *asked} - {"majority", "TF-IDF"}
    assert covered == dict.fromkeys(both, 2) | dict.fromkeys(one, 1)
    assert next(sentences(found)) == "No entry was scored on all 2 sets, so that none leads on their mean."


def test_an_entry_is_of_one_method_on_all_sets(tiny_base: Base, tmp_path: Path) -> None:
    """Few-shot is called so also where no other method of those asked fits, so that its mean is over all sets."""
    random, folder = np.random.default_rng(0), tmp_path / "sets"
    cards = [
        set_of(folder, "moods", "text_classification", {"train": moods(random, 60), "test": moods(random, 30)}),
        set_of(folder, "facts", "multiple_choice", {"train": facts(random, 9), "test": facts(random, 12)}),
    ]
    (folder / "INDEX.json").write_text(json.dumps(cards))
    settings = Settings(suite="all", methods=("probe", "few-shot"), limit=12, shots=2)
    found = evaluate([tiny_base], data=folder, out=tmp_path / "out", settings=settings)
    assert "tiny, few-shot" in {row.entry for row in table(found, "facts").candidates}
    covered = {row.entry: row.tasks for row in found.overall if row.role == "base"}
    assert covered == {"tiny, few-shot": 2, "tiny, probe": 1}
    assert next(sentences(found)).startswith("tiny, few-shot reaches ")


@pytest.mark.parametrize("name", ["majority", "TF-IDF", "other, random", "other,\x1b[31m few-shot"])
def test_a_base_is_told_apart_from_controls_and_twins(tiny_base: Base, sets: Path, tmp_path: Path, name: str) -> None:
    named = [dataclasses.replace(tiny_base, name=name), dataclasses.replace(untrained(tiny_base, seed=9), name="other")]
    found = evaluate(named, data=sets, out=tmp_path, settings=Settings(tasks=("moods",), limit=20))
    rows = table(found, "moods").candidates
    assert len({row.entry for row in rows}) == len(rows) == 6
    assert {row.base for row in rows if row.role in ("base", "random")} == {name, "other"}
    own = found.bases[0].entry
    assert own in {row.entry for row in rows if row.role == "base"}
    assert "," not in own
    assert own.isprintable()
    assert found.paired("moods", own, f"{own}, random") is not None


def test_labels_saved_are_read_off_against_training_from_scratch(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    settings = Settings(tasks=("moods", "facts"), label_curve=True)
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=settings)
    rows = {row.role: row for row in table(found, "moods").candidates}
    assert set(rows) == {"base", "random", "scratch", "majority", "tfidf"}
    curve = rows["base"].label_curve
    assert [(p.method, p.labels) for p in curve.points] == [
        ("probe", 27),
        ("probe", 54),
        ("scratch", 27),
        ("scratch", 54),
    ]
    assert curve.points[1].value == rows["base"].value
    assert 0.5 <= curve.worth.times <= 2
    assert all(row.label_curve is None for row in table(found, "facts").candidates)
    assert "labels saved: " in "".join(line.plain for line in human_lines(found))
    assert sum(line.startswith("worth task=moods") for line in plain_lines(found)) == 1


def test_other_processes_give_the_same_words(
    tiny_base: Base, tiny_base_folder: Path, sets: Path, tmp_path: Path
) -> None:
    settings = Settings(tasks=("moods", "facts", "orders", "pictures"), limit=16, label_curve=True)
    here = evaluate([tiny_base], data=sets, out=tmp_path / "here", settings=settings)
    place, names = parse_place("local:2"), (str(tiny_base_folder),)
    there = evaluate([tiny_base], data=sets, out=tmp_path / "there", settings=settings, on=place, names=names)
    assert json.dumps(plain(there)) == json.dumps(plain(here))
    for path in (tmp_path / "here" / "cells").rglob("*.jsonl"):
        assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes()
    with pytest.raises(ConfigError, match="expected a name or folder a base"):
        evaluate([tiny_base], data=sets, out=tmp_path, settings=settings, on=place)


def test_a_bad_set_is_passed_by_with_its_reason_and_the_others_go_on(
    tiny_base: Base, tiny_base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = write_sets(tmp_path / "sets")
    answers = {"question": "Why?", "best_answer": "So.", "correct_answers": None, "incorrect_answers": ["No."]}
    (sets / "truths" / "test.jsonl").write_text(json.dumps(answers))
    (sets / "facts" / "test.jsonl").write_text(json.dumps({"query": " ", "choices": [" ", "  "], "answer": 0}))
    settings = Settings(tasks=("truths", "facts", "gaps"))
    here = evaluate([tiny_base], data=sets, out=tmp_path / "here", settings=settings)
    assert [t.task.name for t in here.tasks] == ["facts", "gaps"]
    assert [(one.task, one.entry) for one in here.skipped] == [("facts", "TF-IDF"), ("truths", "")]
    place, names = parse_place("local:1"), (str(tiny_base_folder),)
    there = evaluate([tiny_base], data=sets, out=tmp_path / "there", settings=settings, on=place, names=names)
    assert json.dumps(plain(there)) == json.dumps(plain(here))

    def broken(*_: Any) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(ItemsProtocol, "size", broken)
    found = evaluate(
        [tiny_base], data=sets, out=tmp_path / "broken", settings=Settings(tasks=("gaps", "pronouns", "sums"))
    )
    assert [t.task.name for t in found.tasks] == ["sums"]
    assert {(one.task, one.reason) for one in found.skipped} == {
        (name, "RecursionError: too deep") for name in ("gaps", "pronouns")
    }


def test_forgetting_stands_where_a_base_and_its_parent_do(tiny_base: Base, sets: Path, tmp_path: Path) -> None:
    task = read_task(find_sets(sets, suite="all", tasks=("moods",))[0][0], limit=None)
    child = dataclasses.replace(adapt(tiny_base, task, method="full", settings=FitSettings(epochs=1)), name="child")
    sealed = Record("seal", parent=child.digest)  # as a step that leaves the weights as they are writes it
    child = dataclasses.replace(child, lineage=(*child.lineage, sealed))
    settings = Settings(tasks=("grammar", "prose", "moods"), limit=20)
    found = evaluate([child, tiny_base], data=sets, out=tmp_path, settings=settings)
    (one,) = found.forgetting
    assert (one.parent, one.adapted) == ("tiny", "child")
    assert [change.task for change in one.changes] == ["grammar", "prose"]
    for change in one.changes:
        values = {row.entry: row.value for row in table(found, change.task).candidates}
        assert (change.before, change.after) == (values["tiny"], values["child"])
        assert change.difference == pytest.approx(change.after - change.before)
        assert change.ci95[0] <= change.difference <= change.ci95[1]
    assert "child after tiny" in "".join(line.plain for line in human_lines(found))
    assert sum(line.startswith("forgetting parent=tiny adapted=child") for line in plain_lines(found)) == 2


def test_forgetting_is_told_zero_shot_where_few_shot_stands_beside_it(
    tiny_base: Base, sets: Path, tmp_path: Path
) -> None:
    task = read_task(find_sets(sets, suite="all", tasks=("moods",))[0][0], limit=None)
    child = dataclasses.replace(adapt(tiny_base, task, method="full", settings=FitSettings(epochs=1)), name="child")
    settings = Settings(tasks=("facts",), limit=20, methods=("zero-shot", "few-shot"), shots=1)
    (one,) = evaluate([child, tiny_base], data=sets, out=tmp_path, settings=settings).forgetting
    assert [change.task for change in one.changes] == ["facts"]


def test_what_a_set_shares_with_its_own_train_part_is_told(tiny_base: Base, tmp_path: Path) -> None:
    """Two of twelve questions of a set that is asked without training; options are too short to compare."""
    random = np.random.default_rng(0)
    test, train = facts(random, 12), facts(random, 12)
    for place, row in enumerate(train):
        row["query"] = f"Question: where was the thing number {place} in those days?"
    train[3]["query"], train[7]["query"] = test[0]["query"].upper(), test[5]["query"]
    card = set_of(tmp_path / "sets", "facts", "multiple_choice", {"train": train, "test": test})
    (tmp_path / "sets" / "INDEX.json").write_text(json.dumps([card]))
    found = evaluate([tiny_base], data=tmp_path / "sets", out=tmp_path / "out", settings=Settings(tasks=("facts",)))
    assert "2 texts of 6 words or more stand in the train and the test part" in found.tasks[0].task.notes


def test_twins_of_long_sets_answer_a_draw_with_the_same_share_of_every_group(
    done: Evaluation, tiny_base: Base, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ItemsProtocol, "twin_items", 9)
    monkeypatch.setattr(computing, "PART_ITEMS", 5)
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("facts", "grammar")))
    rows = {row.role: row for row in table(found, "grammar").candidates}
    assert (rows["base"].n_test, rows["random"].n_test) == (27, 9)
    assert set(rows["random"].groups) == {f"p{p}" for p in range(6)}
    assert rows["base"].value == next(r for r in table(done, "grammar").candidates if r.role == "base").value
    cells = sorted((tmp_path / "cells").glob("grammar-*/random-*.jsonl"))
    assert len(cells) == 2
    asked = [json.loads(line)["id"] for path in cells for line in path.read_text().splitlines()]
    assert asked == sorted(set(asked))
    assert len(asked) == 9
    assert asked != list(range(1, 28, 3))
    assert found.paired("grammar", "tiny", "tiny, random") is not None
    assert found.paired(OVERALL, "tiny", "tiny, random") is not None
    assert table(found, "grammar").task.notes == ["random twins answer one item in 3 and are compared on those"]


def test_a_twin_of_a_file_that_repeats_itself_meets_every_phase_of_it(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right answer comes round every three rows, and a twin answers one row in three."""
    monkeypatch.setattr(ItemsProtocol, "twin_items", 40)
    rows = [
        {"query": f"Question: where is the lamp {i}?", "choices": ["in", "out", "up"], "answer": i % 3}
        for i in range(120)
    ]
    card = set_of(tmp_path / "sets", "round", "multiple_choice", {"test": rows})
    (tmp_path / "sets" / "INDEX.json").write_text(json.dumps([card]))
    found = evaluate([tiny_base], data=tmp_path / "sets", out=tmp_path / "out", settings=Settings(tasks=("round",)))
    (cell,) = (tmp_path / "out" / "cells").glob("round-*/random-*.jsonl")
    asked = [json.loads(line) for line in cell.read_text().splitlines()]
    assert len(asked) == 40
    assert all(7 <= [one["target"] for one in asked].count(answer) <= 20 for answer in range(3))
    (own,) = (tmp_path / "out" / "cells").glob("round-*/base-*.jsonl")
    by_id = {one["id"]: one for one in map(json.loads, own.read_text().splitlines())}
    right = [(by_id[one["id"]]["prediction"] == one["target"]) - (one["prediction"] == one["target"]) for one in asked]
    paired = found.paired("round", "tiny", "tiny, random")
    assert paired is not None
    assert paired.difference == pytest.approx(np.mean(right))


def test_the_base_nearest_to_one_half_comes_first_where_a_stereotype_is_chosen(
    done: Evaluation, tiny_base: Base, sets: Path, tmp_path: Path
) -> None:
    for task in ("prejudice", "pronouns"):
        one = table(done, task)
        away = [abs(row.value - 0.5) for row in one.candidates]
        assert one.task.metric == "preference"
        assert away == sorted(away)
    found = evaluate([tiny_base], data=sets, out=tmp_path, settings=Settings(tasks=("prejudice",), lm_eval=True))
    head = next(line for line in human_lines(found) if "tiny " in line.plain)
    assert not head.style
    assert "from the base nearest to one half" in footnote(found)
    told = json.loads(next((tmp_path / "lm-eval" / "tiny").glob("results_*.json")).read_text())
    assert told["higher_is_better"]["prejudice"]["preference"] is False


def test_methods_are_checked() -> None:
    assert check_methods("lora, probe,lora") == ("lora", "probe")
    with pytest.raises(ConfigError, match="expected some of zero-shot, few-shot, probe, lora, full"):
        check_methods("probe,lorra")


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="--limit is 0"):
        Settings(limit=0)
    with pytest.raises(ConfigError, match="--seeds is 0"):
        Settings(seeds=0)
