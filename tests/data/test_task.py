"""Reading Tasks: columns and kinds found by themselves, over the public sets and over small tables of every shape."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.data.table import Table, read_table
from headstart.data.task import Columns, Kind, Task

# set, kind, text, pair, label, labels, and whether train loses rows that repeat test
PUBLIC: list[tuple[str, Kind, str, str | None, str, int]] = [
    ("sst2", "choice", "text", None, "label", 2),
    ("banking77", "choice", "text", None, "label", 77),
    ("trec6", "choice", "text", None, "label", 6),
    ("subj", "choice", "text", None, "label", 2),
    ("cola", "choice", "text", None, "label", 2),
    ("ag_news", "choice", "text", None, "label", 4),
    ("mrpc", "choice", "text_a", "text_b", "label", 2),
    ("rte", "choice", "text_a", "text_b", "label", 2),
    ("stsb", "score", "text_a", "text_b", "score", 0),
    ("nlupp_banking", "labels", "text", None, "labels", 48),
    ("conll2000_chunk", "tags", "tokens", None, "tags", 23),
    ("ud_ewt_pos", "tags", "tokens", None, "tags", 17),
]


@pytest.mark.parametrize(("name", "kind", "text", "pair", "label", "labels"), PUBLIC, ids=[row[0] for row in PUBLIC])
def test_public_sets_need_no_flags(
    shared: Path, name: str, kind: Kind, text: str, pair: str | None, label: str, labels: int
) -> None:
    folder = shared / "tasks" / name
    test = folder / "test.parquet" if (folder / "test.parquet").is_file() else folder / "validation.parquet"
    given = read_table(test)
    train = pq.read_table(folder / "train.parquet").slice(0, 10_000)  # sst2 has 67,349 rows
    task = Task.read(train, test=test, name=name)
    assert (task.kind, task.columns) == (kind, Columns(text, pair, label))
    assert len(task.labels) == labels
    assert len(task.test) == len(given)
    assert list(task.test.ids) == given.lines
    assert (task.test.pairs is None) == (pair is None)
    total = len(train)
    (leak,) = [check for check in task.checks if check.id == "split.leak"]
    assert len(task.train) + len(task.validation) >= total - leak.value
    assert 0.08 * total < len(task.validation) < 0.11 * total


def test_a_path_gives_the_name(shared: Path) -> None:
    folder = shared / "tasks" / "rte"
    assert Task.read(folder / "train.parquet", test=folder / "validation.parquet").name == "rte"


def test_declared_names_keep_their_order(shared: Path) -> None:
    folder = shared / "tasks" / "trec6"
    task = Task.read(folder / "train.parquet", test=folder / "test.parquet")
    assert task.labels == ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    given = read_table(folder / "test.parquet")
    assert list(task.test.targets) == given.columns["label"]


def test_ten_thousand_rows_in_two_seconds_of_cpu(shared: Path) -> None:
    folder = shared / "tasks" / "banking77"
    start = time.process_time()
    Task.read(folder / "train.parquet", test=folder / "test.parquet")
    assert time.process_time() - start < 2.0


def rows(count: int = 120, **columns: Any) -> list[dict[str, Any]]:
    """Rows with distinct texts; a callable column is called with the row number."""
    base = {"text": lambda i: f"message {i} about order {i * 7919 % 997} and nothing else"}
    return [{k: v(i) if callable(v) else v for k, v in (base | columns).items()} for i in range(count)]


@pytest.mark.parametrize(
    ("label", "values", "kind", "labels"),
    [
        ("label", ["no", "yes"], "choice", ("no", "yes")),
        ("intent", ["b", "a", "c"], "choice", ("a", "b", "c")),
        ("stars", [5, 1, 10], "choice", ("1", "5", "10")),
        ("stars", ["5", "1", "10"], "choice", ("1", "5", "10")),
        ("label", [1.0, 2.0], "choice", ("1", "2")),
        ("label", [True, False], "choice", ("false", "true")),
        ("score", [0.5, 1.25, 3.0], "score", ()),
        ("similarity", [0.1, 0.2], "score", ()),
        ("score", list(range(20)), "score", ()),
        ("score", [1, 2, 3], "choice", ("1", "2", "3")),
        ("labels", [["a"], [], ["b", "a"]], "labels", ("a", "b")),
    ],
)
def test_kind_follows_from_the_answers(label: str, values: list[Any], kind: Kind, labels: tuple[str, ...]) -> None:
    task = Task.read(rows(**{label: lambda i: values[i % len(values)]}))
    assert (task.kind, task.labels, task.columns.label) == (kind, labels, label)


def test_joined_labels_only_when_asked() -> None:
    data = rows(label=lambda i: ["a|b", "b", "a"][i % 3])
    assert Task.read(data).kind == "choice"
    task = Task.read(data, kind="labels")
    assert task.labels == ("a", "b")
    assert set(task.train.targets) == {(0, 1), (1,), (0,)}


@pytest.mark.parametrize(
    ("first", "second"),
    [("sentence1", "sentence2"), ("premise", "hypothesis"), ("text_a", "text_b"), ("question1", "question2")],
)
def test_known_pairs(first: str, second: str) -> None:
    data = [
        {"idx": i, first: f"the first of {i}", second: f"the second of {i * 31}", "label": i % 2} for i in range(60)
    ]
    task = Task.read(data)
    assert task.columns == Columns(first, second, "label")
    assert task.train.pairs is not None


def test_named_columns_win() -> None:
    data = [
        {"title": f"title {i} is here", "body": f"body {i} is there", "a": "xy"[i % 2], "label": i % 3}
        for i in range(60)
    ]
    task = Task.read(data, text="title,body", label="a")
    assert task.columns == Columns("title", "body", "a")
    assert Task.read(data, text="TITLE").columns == Columns("title", None, "label")


def test_unknown_names_are_read_where_there_is_no_doubt() -> None:
    data = [{"nr": i, "was der Kunde schrieb": f"eine ganze Nachricht {i}", "art": "xy"[i % 2]} for i in range(60)]
    assert Task.read(data).columns == Columns("was der Kunde schrieb", None, "art")


def test_tags_from_json_and_from_spaces() -> None:
    nested = [{"tokens": ["see", f"name{i}", "go"], "ner_tags": ["O", "B-PER", "O"]} for i in range(40)]
    flat = [{k: " ".join(v) for k, v in row.items()} for row in nested]
    dumped = [{k: json.dumps(v) for k, v in row.items()} for row in nested]
    for data in (nested, flat):
        task = Task.read(data)
        assert (task.kind, task.labels) == ("tags", ("B-PER", "O"))
        assert task.train.texts[0][0] == "see"
        assert task.train.targets[0] == (1, 0, 1)
    assert Task.read(dumped, kind="tags").train.targets[0] == (1, 0, 1)


def test_given_parts_are_kept() -> None:
    data = rows(300, label=lambda i: "ab"[i % 2])
    task = Task.read(data[:200], validation=data[200:250], test=data[250:])
    assert (len(task.train), len(task.validation), len(task.test)) == (200, 50, 50)
    assert task.notes == ()


def test_same_table_same_task_and_seed_changes_the_split() -> None:
    data = rows(label=lambda i: "ab"[i % 2])
    assert Task.read(data) == Task.read(data)
    assert Task.read(data, seed=1).test != Task.read(data).test
    assert Task.read(data, seed=1).digest == Task.read(data).digest


def test_describe_names_rows_columns_classes_and_parts() -> None:
    first, *_ = Task.read(rows(200, stars=lambda i: i % 5)).describe()
    assert first == "200 rows · text=text · label=stars (5 classes) · 162 train, 18 validation, 20 test"


def test_preview_shows_rows_as_understood() -> None:
    task = Task.read(rows(label=lambda i: ["a|b", "a"][i % 2]), kind="labels")
    assert all("->" in line for line in task.preview(3))
    assert len(task.preview(3)) == 3
    assert task.answer((0, 1)) == "a, b"
    assert task.answer(()) == "(none)"


def test_labels_that_only_test_has_are_known_when_declared(tmp_path: Path) -> None:
    meta = {"card": json.dumps({"label_names": ["O", "B-X", "B-Y"]})}
    for name, last in (("train", 1), ("test", 2)):
        table = pa.table(
            {"tokens": [["see", f"{name}{i}"] for i in range(40)], "tags": [[0, last if i else 1] for i in range(40)]}
        )
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(meta), sink)
        (tmp_path / f"{name}.parquet").write_bytes(sink.getvalue())
    task = Task.read(tmp_path / "train.parquet", test=tmp_path / "test.parquet")
    assert task.labels == ("O", "B-X", "B-Y")


def test_names_in_hugging_face_metadata(tmp_path: Path) -> None:
    features = {
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pa.table({"text": [f"text {i} is long enough" for i in range(40)], "label": [i % 2 for i in range(40)]})
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}),
        tmp_path / "t.parquet",
    )
    assert Task.read(tmp_path / "t.parquet").labels == ("neg", "pos")


def test_table_objects(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    data = rows(label=lambda i: "ab"[i % 2])
    frame = pandas.DataFrame(data)
    assert Task.read(frame).train == Task.read(data).train
    frame.loc[3, "label"] = float("nan")
    with pytest.raises(ValueError, match="DataFrame:4: label is empty"):
        Task.read(frame)


def test_arrow_tables_and_columns_of_lists() -> None:
    data = rows(label=lambda i: "ab"[i % 2])
    columns = {k: [row[k] for row in data] for k in ("text", "label")}
    assert Task.read(pa.table(columns)).train == Task.read(columns).train == Task.read(data).train


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"text,label\na b,x\nc d,y\n", b'{"text": "a b", "label": "x"}\n{"text": "c d", "label": "y"}\n'):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        table = read_table("-")
        assert isinstance(table, Table)
        assert (table.source, table.columns) == ("stdin", {"text": ["a b", "c d"], "label": ["x", "y"]})


def test_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,label\na,b\n")
    (tmp_path / "b.csv").write_bytes(b"text,label\na,b\n")
    (tmp_path / "c.csv").write_bytes(b"text,label\na,c\n")
    a, b, c = (read_table(tmp_path / f"{n}.csv").digest for n in "abc")
    assert a == b != c


def test_csv_round_trip_of_hard_texts(tmp_path: Path) -> None:
    import csv

    hard = [
        'a "quoted" word',
        "comma, here",
        "two\nlines",
        "tab\there",
        " spaces ",
        "ünïcödé 🎉",
        "semi;colon",
        "=1+1",
        "a\u2028b",
    ]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["text", "label"], *([text, "x"] for text in hard)])
    table = read_table(tmp_path / "t.csv")
    assert table.columns["text"] == hard
    assert table.lines == [2, 3, 4, 6, 7, 8, 9, 10, 11]
