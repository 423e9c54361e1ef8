"""Items: how a row becomes options, what is drawn under a limit, what guessing scores, and errors with their line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.evaluate.made_sets import set_of, write_sets

from headstart.data.table import read_table
from headstart.evaluate.suite.index import SetOnDisk, find_sets
from headstart.evaluate.suite.items import Item, after, guess_of, one_in, read_items
from headstart.evaluate.suite.protocols import protocol_of
from headstart.evaluate.suite.scoring import NO_PLACE, by_bytes, constant, likeliest, overlap, sample_of
from headstart.evaluate.suite.stereotypes import CoreferenceProtocol
from headstart.evaluate.suite.truth import TruthProtocol
from headstart.evaluate.suite.writing import InstructionProtocol
from headstart.ground.errors import DataError


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, SetOnDisk]:
    found, _ = find_sets(write_sets(tmp_path / "sets"), suite="all")
    return {one.spec.name: one for one in found}


def single(folder: Path, kind: str, rows: list[dict[str, object]]) -> SetOnDisk:
    (folder / "INDEX.json").parent.mkdir(parents=True, exist_ok=True)
    (folder / "INDEX.json").write_text(json.dumps([set_of(folder, "one", kind, {"test": rows})]))
    return find_sets(folder, suite="all")[0][0]


@pytest.mark.parametrize(
    ("context", "continuation", "expected"),
    [
        ("He ran", "home.", ("He ran", " home.")),
        ("He ran ", "home.", ("He ran", " home.")),
        ("He ran", " home.", ("He ran", " home.")),
        ("one line\n", "home", ("one line\n", "home")),
        ("Question: where?", "home", ("Question: where?\nAnswer:", " home")),
        ("Question: where?\n", "home", ("Question: where?\nAnswer:", " home")),
        ("Passage: x\nQuestion: y?\nAnswer:", "yes", ("Passage: x\nQuestion: y?\nAnswer:", " yes")),
        ("", "home", ("", "home")),
    ],
)
def test_one_space_stands_between_context_and_continuation(context: str, continuation: str, expected: object) -> None:
    assert after(context, continuation) == expected


def test_options_of_every_kind(sets: dict[str, SetOnDisk]) -> None:
    facts = read_items(sets["facts"])
    assert facts[1].options[1] == (facts[1].options[0][0], " nobody is here")
    assert [item.answer for item in facts[:3]] == [0, 1, 0]
    who = read_items(sets["who"])
    assert who[0].options[1] == ("the lamp fell on the rug 0 and the rug", " broke.")
    grammar = read_items(sets["grammar"])
    assert (grammar[0].options[0], grammar[0].answer) == (("", "the lamp is warm 0"), 0)
    assert grammar[0].average == grammar[0].cluster == "p0"


def test_truthfulness_puts_the_best_answer_first(tmp_path: Path) -> None:
    row = {
        "question": "Why?",
        "best_answer": "Because.",
        "correct_answers": ["Because.", "So."],
        "incorrect_answers": ["Magic.", "No."],
    }
    ((item, others),) = TruthProtocol().read(single(tmp_path, "truthfulness", [row]), limit=None)
    assert others == (("Q: Why?\nA:", " So."),)
    assert item.options == (("Q: Why?\nA:", " Because."), ("Q: Why?\nA:", " Magic."), ("Q: Why?\nA:", " No."))


def test_a_limit_draws_every_group_alike_and_the_same_every_time(sets: dict[str, SetOnDisk]) -> None:
    drawn = read_items(sets["grammar"], limit=12)
    assert [sum(item.average == f"p{p}" for item in drawn) for p in range(6)] == [2] * 6
    assert drawn == read_items(sets["grammar"], limit=12)
    assert [item.id for item in drawn] == sorted(item.id for item in drawn)
    assert len(read_items(sets["grammar"], limit=1000)) == len(read_items(sets["grammar"]))


def test_guessing_knows_the_number_of_options_and_the_groups() -> None:
    def item(options: int, group: str) -> Item:
        return Item(0, (("", "x"),) * options, 0, group, "")

    items = [item(2, "a"), item(4, "b"), item(4, "b"), item(4, "b")]
    assert guess_of(items, average=False) == pytest.approx((0.5 + 3 * 0.25) / 4)
    assert guess_of(items, average=True) == pytest.approx((0.5 + 0.25) / 2)


def test_the_constant_control_takes_the_best_place(sets: dict[str, SetOnDisk]) -> None:
    items = [Item(i, (("", "x"), ("", "y"), ("", "z")), 1 if i else 2) for i in range(4)]
    cell, samples = constant(items, sets["facts"].spec)
    assert [sample.prediction for sample in samples] == [1, 1, 1, 1]
    assert (cell.method, cell.guess) == ("majority", pytest.approx(1 / 3))


def test_the_overlap_control_prefers_shared_words(sets: dict[str, SetOnDisk]) -> None:
    _, samples = overlap(read_items(sets["facts"]), sets["facts"].spec)
    assert [sample.prediction for sample in samples] == [0] * 20


def test_ties_and_what_is_no_number_are_wrong() -> None:
    assert likeliest([-2.0, -1.0, -3.0]) == 1
    assert likeliest([-1.0, -1.0]) == NO_PLACE
    assert likeliest([float("nan"), -1.0]) == NO_PLACE


def test_bytes_are_those_of_the_words_without_the_leading_space() -> None:
    item = Item(0, (("q", " ab"), ("q", " é")), 0)
    assert by_bytes(item, [-4.0, -4.0]).tolist() == [-2.0, -2.0]


def test_both_rules_are_kept_and_the_metric_picks(sets: dict[str, SetOnDisk]) -> None:
    item, spec = Item(0, (("q", " a"), ("q", " a long one")), 1), sets["facts"].spec
    by_sum = sample_of(item, [-3.0, -9.0], spec, [])
    by_byte = sample_of(item, [-3.0, -9.0], replace(spec, metric="accuracy_norm"), [])
    assert by_sum.rules == by_byte.rules == [0, 1, 1]
    assert (by_sum.prediction, by_byte.prediction) == (0, 1)
    assert sample_of(item, [-3.0, -9.0], sets["grammar"].spec, []).rules == []


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        (
            "multiple_choice",
            {"query": "q", "choices": ["a", "b"], "answer": 2},
            "one/test.jsonl:1: the answer is 2 of 2",
        ),
        ("multiple_choice", {"query": "q", "choices": ["a"], "answer": 0}, "0 of 1 options"),
        ("multiple_choice", {"query": "q", "choices": "ab", "answer": 0}, "one/test.jsonl:1: the row is"),
        ("multiple_choice", {"query": None, "choices": ["a", "b"], "answer": 0}, "expected texts"),
        ("minimal_pairs", {"good": "", "bad": "b"}, "expected texts"),
        ("minimal_pairs", {"good": "a", "worse": "b"}, "has no column 'bad'"),
    ],
)
def test_bad_rows_are_named_with_their_line(kind: str, row: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_items(single(tmp_path, kind, [row]))


TRUTH = {"question": "q", "best_answer": "yes", "correct_answers": ["yes"], "incorrect_answers": ["no"]}


@pytest.mark.parametrize(
    ("kind", "row", "words"),
    [
        ("truthfulness", {**TRUTH, "correct_answers": None}, "None is no list"),
        ("truthfulness", {**TRUTH, "correct_answers": "yes"}, "'yes' is no list"),
        ("truthfulness", {**TRUTH, "incorrect_answers": "no"}, "'no' is no list"),
        ("instruction", {"instruction": "Say it.", "output": ["a", "b"]}, r"\['a', 'b'\] is no text"),
        ("instruction", {"instruction": "Say it.", "input": ["a"], "output": "b"}, r"\['a'\] is no text"),
        ("bias_coreference", {"sentence": "he left", "pro_stereotyped": "often"}, "'often' is neither true nor false"),
        ("bias_coreference", {"sentence": "he left", "pro_stereotyped": None}, "None is neither true nor false"),
    ],
)
def test_a_text_is_no_list_and_a_list_no_text(kind: str, row: dict[str, object], words: str, tmp_path: Path) -> None:
    found = single(tmp_path, kind, [row])
    with pytest.raises(DataError, match=rf"one/test.jsonl:1: the row is .*{words}.*Mend the row"):
        protocol_of(found.spec).read(found, limit=None)


def test_an_infinite_answer_is_named_with_its_row(tmp_path: Path) -> None:
    found = single(tmp_path, "multiple_choice", [{"query": "q", "choices": ["a", "b"], "answer": 0}])
    table = pa.table({"query": ["q"], "choices": [["a", "b"]], "answer": [float("inf")]})
    pq.write_table(table, tmp_path / "one" / "test.parquet")
    with pytest.raises(DataError, match=r"one/test.parquet:1: the row is .*infinity.*Mend the row"):
        read_items(replace(found, files={"test": tmp_path / "one" / "test.parquet"}))


def test_white_space_has_no_words_to_overlap(tmp_path: Path) -> None:
    found = single(tmp_path, "multiple_choice", [{"query": " ", "choices": [" ", "  "], "answer": 0}])
    with pytest.raises(DataError, match="options of one are white space alone; expected words"):
        overlap(read_items(found), found.spec)


@pytest.mark.parametrize("spelt", [("True", "False"), ("true", "false"), ("1", "0")])
def test_truth_values_are_read_as_csv_files_spell_them(spelt: tuple[str, str], tmp_path: Path) -> None:
    found = single(tmp_path, "bias_coreference", [{"sentence": "", "pro_stereotyped": ""}])
    path = tmp_path / "one" / "test.csv"
    path.write_text(
        f"sentence,pro_stereotyped\nThe nurse said he left,{spelt[1]}\nThe nurse said she left,{spelt[0]}\n"
    )
    (item,) = CoreferenceProtocol().read(replace(found, files={"test": path}), limit=None)
    assert item.options == (("", "The nurse said she left"), ("", "The nurse said he left"))


def test_a_limit_counts_the_instructions_that_have_an_output(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"instruction": f"Say {i}.", "output": f"{i}" if i % 3 == 0 else (None, " ")[i % 2]} for i in range(30)
    ]
    found = single(tmp_path, "instruction", rows)
    read = InstructionProtocol().read(found, limit=8)
    assert len(read.items) == 8
    assert {one.references[0] for one in read.items} <= {f"{i}" for i in range(0, 30, 3)}
    blank = single(tmp_path / "blank", "instruction", [{"instruction": "Say it.", "output": None}])
    with pytest.raises(DataError, match="one has no output in the 1 rows of its test part"):
        InstructionProtocol().read(blank, limit=8)


def test_the_public_sets_are_read_whole(shared: Path) -> None:
    found, _ = find_sets(shared / "tasks", suite="all")
    for one in found:
        if one.spec.protocol not in ("choices", "pairs", "cloze", "triples") or one.spec.name in ("blimp", "hellaswag"):
            continue
        items = protocol_of(one.spec).read(one, limit=None)
        assert len(items) == len(read_table(one.files[one.test]))
        for item in items:
            assert all(continuation.strip() for _, continuation in item.options)
            assert one.spec.protocol in ("pairs", "triples") or all(context.strip() for context, _ in item.options)


def test_always_yes_is_right_in_62_percent_of_boolq(shared: Path) -> None:
    (boolq,), _ = find_sets(shared / "tasks", suite="all", tasks=("boolq",))
    items = read_items(boolq)
    _, samples = constant(items, boolq.spec)
    assert sum(s.target == s.prediction for s in samples) / len(samples) == pytest.approx(0.622, abs=5e-4)
    assert {option[0][-7:] for item in items for option in item.options} == {"Answer:"}


def test_one_item_in_so_many_is_the_same_share_of_every_group_whatever_the_order_of_the_file() -> None:
    groups = [f"p{i % 67}" for i in range(67 * 1000)]
    places = one_in(34, groups, name="pairs")
    assert places == sorted(set(places))
    assert len(places) == -(-len(groups) // 34)
    counts = [[groups[place] for place in places].count(f"p{i}") for i in range(67)]
    assert set(counts) == {29, 30}
    assert places == one_in(34, groups, name="pairs")
    assert places != one_in(34, groups, name="others")
    assert one_in(1, groups, name="pairs") == list(range(len(groups)))


@pytest.mark.parametrize("groups", [[""] * 6000, [f"passage {i // 2}" for i in range(6000)]])
def test_a_draw_meets_every_phase_of_a_file_that_repeats_itself(groups: list[str]) -> None:
    places = one_in(3, groups, name="round")
    for period in (2, 3, 4, 6, 9):
        share = [sum(place % period == phase for place in places) / len(places) for phase in range(period)]
        assert share == pytest.approx([1 / period] * period, abs=0.03)
