"""Tables that are wrong, each in its own way: one message with the place and the next step, within a second of CPU.

Three outcomes are told apart: REFUSED (a DataError), SET_ASIDE (the row's line stands in the rejects, the rest is
read) and FINE (odd, but nothing is wrong with it).
"""

from __future__ import annotations

import gzip
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from headstart.data.table import read_table
from headstart.data.task import Task
from headstart.ground.errors import ConfigError, DataError

TOPICS = ("card", "loan", "branch", "app", "fee")


def lines(count: int = 200, start: int = 0) -> list[str]:
    """CSV data lines with distinct texts and two labels."""
    return [
        f"row {i} asks about the {TOPICS[i % 5]} number {i * 7919 % 1009} again,{'yes' if i % 2 else 'no'}"
        for i in range(start, start + count)
    ]


def table(rows: list[str], header: str = "text,label") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def replaced(place: int, line: str | bytes, count: int = 200) -> bytes:
    """A good table whose data line `place` (0 is file line 2) is `line`."""
    rows: list[bytes] = [row.encode() for row in lines(count)]
    rows[place] = line if isinstance(line, bytes) else line.encode()
    return b"\n".join([b"text,label", *rows, b""])


def parquet(columns: dict[str, Any], **kwargs: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **kwargs)
    return sink.getvalue()


def jsonl(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def records(count: int = 200) -> list[dict[str, Any]]:
    return [{"text": row.rsplit(",", 1)[0], "label": row.rsplit(",", 1)[1]} for row in lines(count)]


def tagged(count: int = 200) -> list[dict[str, Any]]:
    return [
        {"tokens": ["see", f"name{i}", "now", f"x{i * 31}"], "tags": ["O", "B-PER", "O", "O"]} for i in range(count)
    ]


@dataclass(frozen=True)
class Case:
    """One wrong table: a file name, its bytes, and the words that the message must hold."""

    id: str
    name: str
    content: bytes | Callable[[], bytes]
    says: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    test: bytes | None = None


def scores(rows: list[str]) -> bytes:
    return table([*(f"text number {i} says {i * 7919},{i / 7:.3f}" for i in range(100)), *rows], "text,score")


REFUSED = (
    Case("empty file", "t.csv", b"", ("t.csv is empty", "expected a header")),
    Case("white space only", "t.csv", b" \n\n\t\n", ("t.csv is empty",)),
    Case("only a byte order mark", "t.csv", b"\xef\xbb\xbf", ("t.csv is empty",)),
    Case("header only", "t.csv", b"text,label\n", ("t.csv has no rows", "text, label")),
    Case("empty JSON list", "t.json", b"[]", ("t.json has no rows",)),
    Case(
        "parquet without rows",
        "t.parquet",
        parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}),
        ("t.parquet has no rows",),
    ),
    Case(
        "one class", "t.csv", table([f"text {i},yes" for i in range(50)]), ("only the label 'yes'", "nothing to learn")
    ),
    Case(
        "class with one row",
        "t.csv",
        replaced(120, "a question like no other here,maybe"),
        ("t.csv:122:", "'maybe' has one row", "--drop-missing"),
    ),
    Case(
        "empty label",
        "t.csv",
        replaced(41, "a text without its label,"),
        ("t.csv:43: label is empty", "1 row like this", "--drop-missing"),
    ),
    Case(
        "NaN labels",
        "t.csv",
        table([*lines(), "first one,NaN", "another one,nan"]),
        ("t.csv:202: label is empty", "2 rows like this", "--drop-missing"),
    ),
    Case(
        "every label empty", "t.csv", table([f"text {i}," for i in range(30)]), ("t.csv:2: label is empty", "30 rows")
    ),
    Case("empty text", "t.csv", replaced(7, "   ,yes"), ("t.csv:9: text is empty", "--drop-missing")),
    Case(
        "NaN label in Parquet",
        "t.parquet",
        parquet({"text": [f"text {i}" for i in range(9)], "label": [1.0, 2.0, None] * 3}),
        ("t.parquet:3: label is empty", "3 rows like this"),
    ),
    Case(
        "missing label key in JSON lines",
        "t.jsonl",
        jsonl([*records(20), {"text": "no label here"}]),
        ("t.jsonl:21: label is empty",),
    ),
    Case(
        "Latin-1 throughout",
        "t.csv",
        "\n".join(["text,label", *(f"café {i},yes" for i in range(30)), ""]).encode("latin-1"),
        ("t.csv:2:", "not UTF-8", "30 of 30 rows"),
    ),
    Case("Latin-1 header", "t.csv", "t\xe9xt,label\na,b\n".encode("latin-1"), ("t.csv:1:", "not UTF-8")),
    Case(
        "UTF-16 without its mark", "t.csv", table(lines()).decode().encode("utf-16-le"), ("UTF-16", "Save it as UTF-8")
    ),
    Case("UTF-16 cut in the middle", "t.csv", table(lines()).decode().encode("utf-16")[:-1], ("UTF-16", "damaged")),
    Case("NUL bytes everywhere", "t.csv", b"\0" * 5000, ("t.csv", "expected UTF-8")),
    Case(
        "random bytes as csv", "t.csv", bytes(i * 7919 % 256 for i in range(1, 40_000)), ("binary data", "expected CSV")
    ),
    Case("Excel workbook as csv", "t.csv", b"PK\x03\x04" + b"x" * 99, ("Excel", "Save the table as CSV")),
    Case("PDF as csv", "t.csv", b"%PDF-1.7\n", ("a PDF", "expected CSV")),
    Case(
        "missing named column",
        "t.csv",
        table(lines()),
        ("no column 'lable'", "text, label", "Did you mean 'label'?"),
        {"label": "lable"},
    ),
    Case("missing named text", "t.csv", table(lines()), ("no column 'body'", "--text"), {"text": "body"}),
    Case("same column twice for a pair", "t.csv", table(lines()), ("two different columns",), {"text": "text,text"}),
    Case("text is the label", "t.csv", table(lines()), ("both text and label",), {"text": "text", "label": "text"}),
    Case("three text columns", "t.csv", table(lines()), ("one column, or two",), {"text": "a,b,c"}),
    Case(
        "no label column",
        "t.csv",
        table([f"text {i}" for i in range(30)], "text"),
        ("expected a label column", "--label"),
    ),
    Case("no header line", "t.csv", table(lines(), "row one asks of the card,yes"), ("no header line", "text,label")),
    Case(
        "columns nobody knows",
        "t.csv",
        table([f"{i},{i + 1},{i + 2}" for i in range(30)], "q,r,s"),
        ("q, r, s", "Give --text"),
    ),
    Case(
        "only a 10 MB cell", "t.csv", lambda: table(["a" * 10_000_000 + ",yes", "short text,no"]), ("t.csv:2:", "cell")
    ),
    Case(
        "10 MB cell in JSON lines",
        "t.jsonl",
        lambda: jsonl([{"text": "a" * 10_000_000, "label": "x"}, *records(20)]),
        ("t.jsonl:1:", "10,000,000 characters"),
    ),
    Case(
        "duplicate columns",
        "t.csv",
        table(lines(), "text,text"),
        ("t.csv:1:", "two columns are named 'text'", "Rename"),
    ),
    Case(
        "duplicate columns in Parquet",
        "t.parquet",
        lambda: (
            s := io.BytesIO(),
            pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, names=["text", "text"]), s),
        )[0].getvalue(),
        ("two columns named 'text'",),
    ),
    Case(
        "20,000 columns",
        "t.csv",
        ",".join(f"c{i}" for i in range(20_000)).encode() + b"\n" + b"1," * 19_999 + b"1\n",
        ("20,000 columns", "at most 10,000"),
    ),
    Case(
        "label in test that train lacks",
        "t.csv",
        table(lines()),
        ("test.csv:3:", "'maybe'", "no, yes", "--drop-missing"),
        test=table(["a,yes", "b,maybe", "c,no"]),
    ),
    Case(
        "test without the label column",
        "t.csv",
        table(lines()),
        ("test.csv has no column 'label'",),
        test=table(["a,yes"], "text,lbl"),
    ),
    Case(
        "test equals train",
        "t.csv",
        table(lines()),
        ("200 rows of train stand in test", "different rows"),
        test=table(lines()),
    ),
    Case(
        "ragged throughout",
        "t.csv",
        table([f"one, two, and {i},yes" for i in range(50)]),
        ("t.csv:2: the row has 4 cells where the header has 2", "needs quotes", "50 of 50"),
    ),
    Case("unclosed quote in the header", "t.csv", b'"text,label\na,b\nc,d\n', ("t.csv:1:", "never closed")),
    Case(
        "unclosed quotes throughout",
        "t.csv",
        table([f'"text {i},yes' for i in range(40)]),
        ("t.csv:2: a quote that opens here",),
    ),
    Case(
        "quotes that end early",
        "t.csv",
        table([f'"text" {i},yes' for i in range(40)]),
        ("t.csv:2: a quote ends in the middle",),
    ),
    Case(
        "broken JSON lines", "t.jsonl", b'{"text": "a", "label":\n' * 30, ("t.jsonl:1:", "not valid JSON", "30 of 30")
    ),
    Case("JSON scalars", "t.jsonl", b"1\n2\n3\n" * 10, ("t.jsonl:1:", "JSON int", "expected an object")),
    Case("JSON list of scalars", "t.json", b"[1, 2, 3]", ("t.json:1:", "JSON int")),
    Case("JSON string", "t.json", b'"hello"', ("JSON str", "expected a list")),
    Case("broken JSON document", "t.json", b'[\n{"text": "a"},\n{"text": }\n]', ("t.json:3:", "not valid JSON")),
    Case("JSON nested 100,000 deep", "t.json", b"[" * 100_000, ("t.json:1:", "not valid JSON")),
    Case("JSON columns of different lengths", "t.json", b'{"text": ["a", "b"], "label": [1]}', ("different lengths",)),
    Case(
        "parquet cut off",
        "t.parquet",
        parquet({"text": ["a"] * 99, "label": ["b"] * 99})[:-40],
        ("not a readable Parquet",),
    ),
    Case("text under the name parquet", "t.parquet", b"text,label\na,b\n", ("not a readable Parquet",)),
    Case(
        "gzip cut off",
        "t.csv.gz",
        gzip.compress(table(lines(3000)))[:-500],
        ("t.csv.gz is damaged or cut off", "again"),
    ),
    Case("gzip with a broken body", "t.csv.gz", gzip.compress(table(lines()))[:40] + b"\xff" * 400, ("damaged",)),
    Case(
        "zstd cut off", "t.csv.zst", zstandard.compress(table(lines(3000)))[:-500], ("t.csv.zst is damaged or cut off",)
    ),
    Case("plain text under the name gz", "t.csv.gz", table(lines()), ("not compressed",)),
    Case(
        "numbers and words as labels",
        "t.jsonl",
        jsonl([*records(20), {"text": "x", "label": 3}]),
        ("t.jsonl:21: label is a number (3)", "line 1", "one type"),
    ),
    Case(
        "lists of different lengths",
        "t.jsonl",
        jsonl([{**row, "tags": ["O"]} for row in tagged(30)]),
        ("t.jsonl:1: the row has 4 words and 1 tags", "30 of 30"),
    ),
    Case(
        "one tag for all words",
        "t.jsonl",
        jsonl([{**row, "tags": ["O"] * 4} for row in tagged(30)]),
        ("only the label 'O'",),
    ),
    Case(
        "infinite scores",
        "t.csv",
        scores([f"more {i},inf" for i in range(5)]),
        ("t.csv:102: column score is inf", "finite number"),
    ),
    Case("NaN score", "t.csv", scores(["one more,nan"]), ("t.csv:102: score is empty", "--drop-missing")),
    Case("constant score", "t.csv", table([f"text {i},1.5" for i in range(30)], "text,score"), ("every score is 1.5",)),
    Case(
        "words as scores", "t.csv", table(lines()), ("t.csv:2: column label is no", "finite number"), {"kind": "score"}
    ),
    Case(
        "an id as the label",
        "t.csv",
        table([f"text {i},{i}" for i in range(60)]),
        ("60 different values in 60 rows", "--label"),
    ),
    Case("label -1 of a hidden test", "t.parquet", lambda: hidden_labels(), ("column label is -1", "hidden answer")),
    Case("too few rows to split", "t.csv", table(lines(6)), ("6 usable rows", "at least 10")),
    Case(
        "label is a list in a choice",
        "t.jsonl",
        jsonl([{"text": f"t {i}", "label": ["a"]} for i in range(30)]),
        ("expected one label",),
        {"kind": "choice"},
    ),
    Case(
        "texts that are numbers",
        "t.jsonl",
        jsonl([{"text": i, "label": "ab"[i % 2]} for i in range(30)]),
        ("t.jsonl:1: column text holds a int",),
        {"text": "text"},
    ),
)


def hidden_labels() -> bytes:
    schema = pa.schema(
        [("text", pa.string()), ("label", pa.int32())], metadata={"card": '{"label_names": ["no", "yes"]}'}
    )
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(30)], "label": [-1] * 30}, schema=schema), sink)
    return sink.getvalue()


def write(folder: Path, case: Case) -> tuple[Path, dict[str, Any]]:
    path = folder / case.name
    path.write_bytes(case.content() if callable(case.content) else case.content)
    options = dict(case.options)
    if case.test is not None:
        (folder / "test.csv").write_bytes(case.test)
        options["test"] = folder / "test.csv"
    return path, options


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """Imports and the first use of Arrow and rensa are not part of finding a fault."""
    sink = parquet({"a": [1]})
    pq.read_table(io.BytesIO(sink))
    Task.read(records(40))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refused_with_place_and_next_step(case: Case, tmp_path: Path) -> None:
    path, options = write(tmp_path, case)
    start = time.process_time()
    with pytest.raises(DataError) as caught:
        Task.read(path, **options)
    seconds = time.process_time() - start
    message = str(caught.value)
    for words in case.says:
        assert words in message
    assert seconds < 1.0
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 700
    assert caught.value.exit_code == 2


SET_ASIDE = (
    Case("broken UTF-8 in one row", "t.csv", replaced(30, b"caf\xe9 au lait,yes"), ("not UTF-8",)),
    Case("NUL in one row", "t.csv", replaced(30, b"a\0b,yes"), ("NUL",)),
    Case("ragged: one cell more", "t.csv", replaced(30, "one, two,yes"), ("3 cells where the header has 2",)),
    Case("ragged: one cell less", "t.csv", replaced(30, "only this"), ("1 cells where the header has 2",)),
    Case("unclosed quote in one row", "t.csv", replaced(30, '"never closed,yes'), ("quote that opens here",)),
    Case("quote that ends early", "t.csv", replaced(30, '"so" he said,yes'), ("quote ends in the middle",)),
    Case("10 MB cell among good rows", "t.csv", lambda: replaced(30, "a" * 10_000_000 + ",yes"), ("cell",)),
    Case(
        "bad JSON line",
        "t.jsonl",
        jsonl(records())[:-1].replace(b'{"text": "row 30 ', b'{text": "row 30 ') + b"\n",
        ("not valid JSON",),
    ),
    Case("JSON scalar among rows", "t.jsonl", jsonl([*records()[:30], 17, *records()[31:]]), ("JSON int",)),
    Case(
        "lone surrogate in JSON",
        "t.jsonl",
        jsonl([*records()[:30], {"text": "x\ud800", "label": "yes"}, *records()[31:]]),
        ("not valid JSON",),
    ),
    Case(
        "NaN is no JSON",
        "t.jsonl",
        jsonl([*records()[:30], {"text": "x", "label": float("nan")}, *records()[31:]]),
        ("not valid JSON",),
    ),
    Case(
        "one infinite score",
        "t.csv",
        table(
            [
                *(f"text {i} {i * 31},{i / 7:.3f}" for i in range(30)),
                "x,inf",
                *(f"text {i} {i * 31},{i / 7:.3f}" for i in range(31, 200)),
            ],
            "text,score",
        ),
        ("score is inf",),
    ),
    Case(
        "tags and words differ in one row",
        "t.jsonl",
        jsonl([*tagged()[:30], {"tokens": ["a", "b"], "tags": ["O"]}, *tagged()[31:]]),
        ("2 words and 1 tags",),
    ),
)


@pytest.mark.parametrize("case", SET_ASIDE, ids=lambda case: case.id)
def test_one_bad_row_is_set_aside_with_its_line(case: Case, tmp_path: Path) -> None:
    path, options = write(tmp_path, case)
    start = time.process_time()
    task = Task.read(path, **options)
    assert time.process_time() - start < 1.0
    (reject,) = task.rejects[case.name]
    assert reject.line == (32 if case.name.endswith(".csv") else 31)
    assert case.says[0] in reject.reason
    assert len(task.train) + len(task.validation) + len(task.test) == 199
    assert any(str(reject.line) in note for note in task.notes)


FINE = (
    Case("byte order mark", "t.csv", b"\xef\xbb\xbf" + table(lines()), ()),
    Case("CRLF", "t.csv", table(lines()).replace(b"\n", b"\r\n"), ()),
    Case("CR only", "t.csv", table(lines()).replace(b"\n", b"\r"), ()),
    Case("UTF-16 with its mark", "t.csv", table(lines()).decode().encode("utf-16"), ()),
    Case("no newline at the end", "t.csv", table(lines())[:-1], ()),
    Case("blank lines between", "t.csv", table(lines()).replace(b"\n", b"\n\n"), ()),
    Case("trailing separators", "t.csv", table(lines()).replace(b"\n", b",\n"), ()),
    Case("semicolons", "t.csv", table(lines()).replace(b",", b";"), ()),
    Case("tabs in a csv", "t.csv", table(lines()).replace(b",", b"\t"), ()),
    Case("lone quotes in a tsv", "t.tsv", table(lines()).replace(b",", b"\t").replace(b"row 9 ", b'"row 9 '), ()),
    Case("newline inside quotes", "t.csv", replaced(3, '"two\nlines of ""text"" here",yes'), ()),
    Case("upper-case header with spaces", "t.csv", table(lines(), " Text , LABEL "), ()),
    Case("gzip without its suffix", "t.csv", gzip.compress(table(lines())), ()),
    Case("zstd", "t.csv.zst", zstandard.compress(table(lines())), ()),
    Case("JSON lines under the name json", "t.json", jsonl(records()), ()),
    Case("JSON list", "t.json", json.dumps(records(), indent=1).encode(), ()),
    Case(
        "JSON by column", "t.json", json.dumps({k: [r[k] for r in records()] for k in ("text", "label")}).encode(), ()
    ),
    Case("no suffix at all", "table", table(lines()), ()),
    Case("spaces around labels", "t.csv", table([line.replace(",yes", ", yes ") for line in lines()]), ()),
)


@pytest.mark.parametrize("case", FINE, ids=lambda case: case.id)
def test_odd_but_right(case: Case, tmp_path: Path) -> None:
    path, _ = write(tmp_path, case)
    task = Task.read(path)
    assert task.labels == ("no", "yes")
    assert task.rejects == {}
    assert len(task.train) + len(task.validation) + len(task.test) == 200


def test_an_empty_cell_of_a_table_with_one_column_is_a_row(tmp_path: Path) -> None:
    """csv.writer and pandas write it as two quotes; a line without anything is none."""
    (tmp_path / "t.csv").write_text('review\ngood\n""\n\nbad\n', encoding="utf-8")
    assert read_table(tmp_path / "t.csv").columns == {"review": ["good", None, "bad"]}


def test_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(table(lines()))
    with pytest.raises(DataError, match=r"review\.csv does not exist.*Did you mean 'reviews\.csv'\?"):
        Task.read(tmp_path / "review.csv")


def test_unknown_kind_names_the_known() -> None:
    with pytest.raises(
        ConfigError, match=r"kind is 'chioce'; expected one of choice, labels, score, tags. Did you mean 'choice'"
    ):
        Task.read(records(), kind="chioce")  # type: ignore[arg-type]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        Task.read(tmp_path / "nowhere" / "t.csv")


def test_folder_names_the_tables_inside(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"is a folder; .*train\.parquet") as told:
        Task.read(tmp_path)
    assert "cannot be read" not in str(told.value), "one refusal inside another"


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_of_rejects_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="expected 0 to 1"):
        Task.read(records(), max_reject=share)


def test_unreadable_source_objects() -> None:
    with pytest.raises(DataError, match="expected a path, a DataFrame or a list of dicts"):
        Task.read(42)
    with pytest.raises(DataError, match="row 1 is a str"):
        Task.read(["a", "b"])


def test_message_shows_no_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table([*lines(), "a text,\x1b[31mred\x07", "b text,\x1b[31mred\x07"]))
    (tmp_path / "test.csv").write_bytes(table(["x,yes", "y,\x1b[2Jnew"]))
    with pytest.raises(DataError) as caught:
        Task.read(path, test=tmp_path / "test.csv")
    assert "\x1b" not in str(caught.value)
    assert "\\x1b" in str(caught.value)


def test_drop_missing_counts_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(table([*lines(), "no label,", ",yes", "one of its kind,rare"]))
    task = Task.read(path, drop_missing=True)
    assert len(task.train) + len(task.validation) + len(task.test) == 200
    assert any(note.startswith("3 rows of t.csv left out") for note in task.notes)


def test_every_line_number_survives_quoted_newlines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(replaced(3, '"two\nlines",yes').replace(b"row 9 asks", b"row 9, asks"))
    task = Task.read(path)
    assert [reject.line for reject in task.rejects["t.csv"]] == [12]


def test_many_faults_stay_fast(tmp_path: Path) -> None:
    """Four times the faults take about four times as long, on any machine; reading on from each would take 16."""

    def seconds(rows: int) -> float:
        path = tmp_path / "t.csv"
        path.write_bytes(table([f'"text {i},yes' if i % 2 else f"text {i},no" for i in range(rows)]))
        start = time.process_time()
        with pytest.raises(DataError, match=r"t\.csv:3: a quote that opens here"):
            Task.read(path)
        return time.process_time() - start

    few, many = (min(seconds(rows) for _ in range(2)) for rows in (5_000, 20_000))
    assert many < 8 * few
