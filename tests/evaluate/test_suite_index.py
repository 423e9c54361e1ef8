"""An index becomes sets with specs: known ones as settled, others by their kind and the words of their card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.evaluate.made_sets import write_sets

from headstart.evaluate.metrics import METRICS
from headstart.evaluate.suite.index import SetOnDisk, find_sets, read_index
from headstart.evaluate.suite.specs import KINDS, KNOWN, belongs, check_suite, metric_named, spec_of
from headstart.ground.errors import ConfigError, DataError


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    return write_sets(tmp_path / "sets")


def rewrite(folder: Path, cards: object) -> None:
    (folder / "INDEX.json").write_text(json.dumps(cards), encoding="utf-8")


def test_suites_take_sets_by_their_kind(sets: Path) -> None:
    adapt, unread = find_sets(sets, suite="adapt")
    assert [one.spec.name for one in adapt] == ["moods", "twins", "words", "grades", "topics"]
    assert {one.name for one in unread} == {"pictures", "smells"}
    language, _ = find_sets(sets, suite="language")
    assert [one.spec.name for one in language] == [
        *("facts", "who", "grammar", "truths", "gaps", "prose", "sums", "briefs", "orders")
    ]
    assert [one.spec.name for one in find_sets(sets, suite="bias")[0]] == ["prejudice", "triples", "pronouns"]
    assert len(find_sets(sets, suite="all")[0]) == 17


def test_what_cannot_be_evaluated_is_named_with_its_reason(sets: Path) -> None:
    reasons = {one.name: one.reason for one in find_sets(sets, suite="all")[1]}
    assert "no train file" in reasons["pictures"]
    assert "smell_classification is unknown" in reasons["smells"]
    (sets / "moods" / "train.jsonl").unlink()
    (sets / "facts" / "test.jsonl").unlink()
    reasons = {one.name: one.reason for one in find_sets(sets, suite="all")[1]}
    assert "no file for its split train" in reasons["moods"]
    assert "no file for its split test" in reasons["facts"]


def test_a_card_of_an_unknown_set_is_read_for_metric_groups_and_licence(sets: Path) -> None:
    found = {one.spec.name: one for one in find_sets(sets, suite="all")[0]}
    assert found["twins"].spec.metric == "mcc"
    assert found["twins"].test == "validation"
    assert (found["grammar"].spec.average, found["grammar"].spec.cluster) == ("paradigm", "paradigm")
    assert (found["facts"].spec.average, found["facts"].spec.cluster) == (None, None)
    assert (found["moods"].spec.licence, found["moods"].spec.source) == ("CC0-1.0", "made up")


@pytest.mark.parametrize(
    ("words", "kind", "expected"),
    [
        ("accuracy", "text_classification", "accuracy"),
        ("Matthews correlation", "text_classification", "mcc"),
        ("F1 and accuracy", "pair_classification", "accuracy"),
        ("macro F1", "text_classification", "macro_f1"),
        ("chunk F1 (IOB2 spans)", "token_tagging", "span_f1"),
        ("token accuracy", "token_tagging", "token_accuracy"),
        ("Pearson and Spearman correlation", "pair_regression", "pearson"),
        ("Spearman correlation", "pair_regression", "spearman"),
        ("length-normalised accuracy (acc_norm)", "multiple_choice", "accuracy_norm"),
        ("accuracy and length-normalised accuracy", "multiple_choice", "accuracy"),
        ("something of our own", "multilabel_classification", "micro_f1"),
        ("micro F1", "text_classification", "accuracy"),
    ],
)
def test_metrics_are_found_in_the_words_of_a_card(words: str, kind: str, expected: str) -> None:
    assert metric_named(words, KINDS[kind]) == expected


def test_what_is_settled_about_a_set_holds_for_its_kind_only() -> None:
    def spec(kind: str) -> object:
        return spec_of("cola", KINDS[kind], metric="accuracy", columns=[], source="mine", licence="mine")

    assert (spec("text_classification").metric, spec("text_classification").core) == ("mcc", True)  # type: ignore[attr-defined]
    assert (spec("pair_classification").metric, spec("pair_classification").source) == ("accuracy", "mine")  # type: ignore[attr-defined]


def test_every_known_set_has_a_kind_a_licence_and_a_metric_that_exists() -> None:
    for known in KNOWN.values():
        kind = KINDS[known.kind]
        assert kind.protocol is not None
        assert known.licence
        assert known.source
        metric = known.metric or kind.metric
        assert metric in METRICS or metric in ("accuracy_norm", "preference", "answer_match")
    assert {KINDS[k.kind].suite for k in KNOWN.values() if k.core} == {"adapt", "language"}


def test_the_digest_follows_the_files(sets: Path) -> None:
    def digests() -> dict[str, str]:
        return {one.spec.name: one.digest for one in find_sets(sets, suite="all")[0]}

    before = digests()
    with (sets / "facts" / "test.jsonl").open("a") as handle:
        handle.write("\n")
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {"facts"}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("briefs", {"metric": "ROUGE-1"}),
        ("moods", {"metric": "Matthews correlation"}),
        ("grammar", {"columns": ["good", "bad"]}),
    ],
)
def test_a_card_that_asks_otherwise_is_another_set_of_the_same_data(sets: Path, name: str, changed: object) -> None:
    def read() -> dict[str, SetOnDisk]:
        return {one.spec.name: one for one in find_sets(sets, suite="all")[0]}

    before = read()
    cards = json.loads((sets / "INDEX.json").read_text())
    rewrite(sets, [{**card, **changed} if card["name"] == name else card for card in cards])  # type: ignore[dict-item]
    after = read()
    assert {one for one in before if before[one].identity != after[one].identity} == {name}
    assert {one: found.digest for one, found in before.items()} == {one: found.digest for one, found in after.items()}


def test_what_only_describes_a_set_leaves_its_cells_alone(sets: Path) -> None:
    before = find_sets(sets, suite="all")[0][0]
    cards = json.loads((sets / "INDEX.json").read_text())
    rewrite(sets, [{**cards[0], "licence": "MIT", "source": "elsewhere"}, *cards[1:]])
    assert find_sets(sets, suite="all")[0][0].identity == before.identity


def test_groups_of_the_file_count_where_the_card_lists_no_columns(sets: Path) -> None:
    def read() -> dict[str, SetOnDisk]:
        return {one.spec.name: one for one in find_sets(sets, suite="all")[0]}

    listed = read()
    cards = json.loads((sets / "INDEX.json").read_text())
    rewrite(sets, [{key: value for key, value in card.items() if key != "columns"} for card in cards])
    unlisted = read()
    assert {name: one.spec for name, one in unlisted.items()} == {name: one.spec for name, one in listed.items()}
    assert unlisted["grammar"].spec.average == "paradigm"
    (sets / "grammar" / "test.jsonl").write_text("no table")
    assert read()["grammar"].spec.average is None


def test_a_file_that_is_not_the_one_of_the_card_is_told(sets: Path) -> None:
    cards = json.loads((sets / "INDEX.json").read_text())
    cards[0]["splits"]["test"]["sha256"] = "0123456789abcdef"
    rewrite(sets, cards)
    assert "not the file that the index describes" in find_sets(sets, suite="adapt")[0][0].notes[0]


def test_an_index_may_begin_with_a_byte_order_mark(sets: Path) -> None:
    cards = read_index(sets)
    path = sets / "INDEX.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_index(sets) == cards


def test_errors_say_what_to_do(sets: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no INDEX.json; there is no such folder"):
        read_index(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"names 'mood'; expected .* Did you mean 'moods'"):
        find_sets(sets, suite="all", tasks=("mood",))
    with pytest.raises(ConfigError, match=r"suite is 'adept'; expected .* Did you mean 'adapt'"):
        check_suite("adept")
    cards = json.loads((sets / "INDEX.json").read_text())
    rewrite(sets, cards[:1])
    with pytest.raises(ConfigError, match="the suite core has no set"):
        find_sets(sets, suite="core")
    rewrite(sets, [*cards, cards[0]])
    with pytest.raises(DataError, match="names the set 'moods' twice"):
        read_index(sets)
    rewrite(sets, [{**cards[0], "name": "../moods"}])
    with pytest.raises(DataError, match="expected the name of a folder"):
        read_index(sets)
    rewrite(sets, [{**cards[0], "name": "mo\x1b[31mods"}])
    with pytest.raises(DataError, match=r"names a set .*x1b.* without control characters") as caught:
        read_index(sets)
    assert "\x1b" not in str(caught.value)
    rewrite(sets, [{**cards[0], "name": "overall"}])
    with pytest.raises(DataError, match="expected another name: that is the mean over sets"):
        read_index(sets)
    rewrite(sets, {"moods": 1})
    with pytest.raises(DataError, match="is not readable"):
        read_index(sets)


def test_the_public_sets_are_all_known_or_named_as_not_evaluated(shared: Path) -> None:
    found, unread = find_sets(shared / "tasks", suite="all")
    assert {one.spec.name for one in found} == set(KNOWN)
    assert not unread
    assert len(found) + len(unread) == len(read_index(shared / "tasks"))
    assert not [note for one in found for note in one.notes]
    assert [one.spec.name for one in found if belongs(one.spec, "core")] == [
        name for name in (card.name for card in read_index(shared / "tasks")) if name in KNOWN and KNOWN[name].core
    ]
