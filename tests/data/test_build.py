"""A whole build at toy size: what stays, what goes and why, the same each time, in bounded memory, nothing left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.data.prose import Prose, write_shard
from tokenizers import Tokenizer

from headstart.data import build, corpus
from headstart.data.build import Built, build_corpus
from headstart.data.build_report import DROPPED, REASONS
from headstart.data.built import is_built, licences_of, open_build
from headstart.data.corpus import BOS_ID, EOS_ID, cut, train_tokenizer, write_units
from headstart.data.corpus_part import CorpusPart, Filters
from headstart.ground.errors import ConfigError, DataError, RunError

VOCABULARY = 400
PART = CorpusPart(train=("a.jsonl", "b.jsonl"), validation="val.jsonl", tokenizer_bytes=200_000)
GERMAN = "Der Hund und die Katze sind nicht auf dem Dach, aber sie werden auch bald von der Leiter steigen. " * 5


def part(**changes: Any) -> CorpusPart:
    return msgspec.structs.replace(PART, **changes)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two training shards with something planted for every kind of reason, a held-out shard, a task and a manifest."""
    folder = tmp_path / "data"
    folder.mkdir()
    prose = Prose(41)
    held = [prose.text(150) for _ in range(10)]
    first = [prose.text(150) for _ in range(60)]
    second = [prose.text(150) for _ in range(60)]
    items = [prose.text(20), prose.text(8)]
    first[10] = f"{prose.text(80)} {items[0]} {prose.text(80)}"
    second[11] = f"{prose.text(80)} {items[1]} {prose.text(80)}"
    second[20] = first[3].upper()
    second[21] = prose.changed(first[4], 0.01)
    second[22] = held[2]
    second[23] = prose.changed(held[3], 0.01)
    second[24] = "far too short"
    second[25] = GERMAN
    write_shard(folder / "a.jsonl", [{"text": t, "source": "books"} for t in first])
    write_shard(folder / "b.jsonl", [{"text": t, "source": "chat"} for t in second])
    write_shard(folder / "val.jsonl", held)
    (folder / "task.jsonl").write_text("".join(json.dumps({"text": i, "label": 1}) + "\n" for i in items))
    sources = [{"name": "books", "licence": "CC0-1.0"}, {"name": "chat", "licence": "CC-BY-4.0"}]
    (folder / "MANIFEST.json").write_text(json.dumps({"sources": sources}))
    return folder


def built(data: Path, out: Path, chosen: CorpusPart = PART, **more: Any) -> Built:
    return build_corpus(
        chosen, name="toy", vocab_size=VOCABULARY, data=data, out=out, against=[data / "task.jsonl"], **more
    )


def texts_of(out: Path, which: int = 0) -> list[str]:
    """The documents of a built part, decoded."""
    units = np.asarray(open_build(out, vocab_size=VOCABULARY)[which].units)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    starts, ends = np.flatnonzero(units == BOS_ID), np.flatnonzero(units == EOS_ID)
    assert len(starts) == len(ends)
    return [tokenizer.decode(units[a + 1 : b].tolist()) for a, b in zip(starts, ends, strict=True)]


def documents(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def test_what_stays_and_what_goes_and_why(data: Path, tmp_path: Path) -> None:
    report = built(data, tmp_path / "out").report
    assert report.dropped == {
        "contaminated": 2,
        "exact_duplicate": 1,
        "near_duplicate": 1,
        "held_out": 2,
        "too_short": 1,
        "not_english": 1,
    }
    lines = [json.loads(line) for line in (tmp_path / "out" / DROPPED).read_text().splitlines()]
    assert Counter(line["reason"] for line in lines) == report.dropped
    places = {(line["shard"], line["line"]): line for line in lines}
    assert set(places) == {("a.jsonl", 11), *(("b.jsonl", n) for n in (12, 21, 22, 23, 24, 25, 26))}
    assert places["b.jsonl", 21]["repeats"] == {"shard": "a.jsonl", "line": 4}
    assert places["b.jsonl", 22]["repeats"] == {"shard": "a.jsonl", "line": 5}
    assert places["b.jsonl", 23]["repeats"] == {"shard": "val.jsonl", "line": 3}
    assert places["b.jsonl", 23]["id"] == "b-22"
    (hit,) = places["b.jsonl", 12]["hits"]
    item = documents(data / "task.jsonl")[1]
    assert hit["kind"] == "short"
    text = documents(data / "b.jsonl")[11]
    assert text.encode()[hit["begin"] : hit["end"]].decode() == item.rstrip(".\n")
    kept = [
        text
        for name in ("a.jsonl", "b.jsonl")
        for number, text in enumerate(documents(data / name), start=1)
        if (name, number) not in places
    ]
    assert texts_of(tmp_path / "out") == kept
    assert texts_of(tmp_path / "out", 1) == documents(data / "val.jsonl")
    assert (report.documents_read, report.documents_kept) == (120, 112)
    assert [(s.name, s.licence, s.documents_kept) for s in report.sources] == [
        ("books", "CC0-1.0", 59),
        ("chat", "CC-BY-4.0", 53),
    ]
    assert (
        sum(s.units for s in report.sources)
        == report.train_units
        == len(open_build(tmp_path / "out", vocab_size=VOCABULARY)[0].units)
    )
    (task,) = report.tasks
    assert (task.items, task.short, task.found, task.documents) == (2, 1, 2, 2)
    assert report.bytes_kept == sum(len(text.encode()) for text in kept)
    words = "\n".join(report.describe())
    assert all(REASONS[reason] in words for reason in report.dropped)


def test_every_document_is_counted_once(data: Path, tmp_path: Path) -> None:
    report = built(data, tmp_path / "out", part(weights={"chat": 0.4})).report
    for source in report.sources:
        assert source.documents_kept + sum(source.dropped.values()) == source.documents_read
    assert set(report.dropped) <= set(REASONS)


def test_the_same_inputs_give_the_same_bytes_and_are_not_built_twice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = built(data, tmp_path / "one"), built(data, tmp_path / "two")
    for name in ("tokenizer.json", "train/units.bin", "train/meta.json", "validation/units.bin", DROPPED):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    same = [msgspec.structs.replace(b.report, seconds=0.0) for b in (one, two)]
    assert same[0] == same[1]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        DROPPED, "report.json", "tokenizer.json", "train", "validation",
    ]  # fmt: skip
    monkeypatch.setattr(build, "_Building", None)
    again = built(data, tmp_path / "one")
    assert not again.fresh
    assert again.report == one.report
    with pytest.raises(ConfigError, match="already holds something"):
        built(data, tmp_path / "one", part(near=0.9))


def test_weights_repeat_and_thin_out_sources(data: Path, tmp_path: Path) -> None:
    plain = Counter(texts_of(built(data, tmp_path / "plain").folder))
    mixed = Counter(texts_of(built(data, tmp_path / "mixed", part(weights={"books": 2.5, "chat": 0.5})).folder))
    books, chat = set(documents(data / "a.jsonl")), set(documents(data / "b.jsonl"))
    twice = [mixed[text] for text in plain if text in books]
    assert set(twice) == {2, 3}
    assert 15 < twice.count(3) < 45
    halved = [mixed[text] for text in plain if text in chat - books]
    assert set(halved) == {0, 1}
    assert 12 < sum(halved) < 41
    none = built(data, tmp_path / "none", part(weights={"ch*": 0, "chat": 2})).report
    assert none.sources[1].documents_kept == 0
    assert none.licences == ["CC0-1.0"]


def test_trusted_sources_pass_unread_and_recipes_name_tasks(data: Path, tmp_path: Path) -> None:
    chosen = part(filters=Filters(trusted=("ch*",)), against=("task.jsonl",), near=1)
    report = build_corpus(chosen, name="toy", vocab_size=VOCABULARY, data=data, out=tmp_path / "out").report
    assert report.dropped == {"contaminated": 2, "exact_duplicate": 1, "held_out": 1}


ERRORS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "missing shard": ({"train": ("a.jsonl", "c.jsonl")}, DataError, r"c\.jsonl is missing.*Did you mean"),
    "no shards": ({"train": ()}, ConfigError, "corpus.train is empty"),
    "missing task": ({"against": ("tsk.jsonl",)}, DataError, r"task file .*Did you mean 'task\.jsonl'"),
    "near": ({"near": 0.3}, ConfigError, r"corpus\.near is 0\.3; expected"),
    "weight": ({"weights": {"chat": -1}}, ConfigError, r"corpus\.weights\.chat is -1"),
    "unknown weight": ({"weights": {"chta": 2}}, ConfigError, "Did you mean 'chat'"),
    "all filtered": ({"filters": Filters(min_words=10_000)}, DataError, "nothing is left of 120 documents.*too_short"),
    "tokenizer": ({"tokenizer_bytes": 0}, ConfigError, "tokenizer_bytes is 0"),
    "too little text": ({"tokenizer_bytes": 1000}, DataError, "the tokenizer found .* expected 400"),
}


@pytest.mark.parametrize("fault", ERRORS)
def test_one_clear_error_and_nothing_left(data: Path, tmp_path: Path, fault: str) -> None:
    changes, kind, words = ERRORS[fault]
    with pytest.raises(kind, match=words):
        built(data, tmp_path / "out", part(**changes))
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_broken_and_empty_shards(data: Path, tmp_path: Path) -> None:
    (data / "b.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    with pytest.raises(DataError, match=r"^b\.jsonl:2 is "):
        built(data, tmp_path / "out")
    for name in ("a.jsonl", "b.jsonl"):
        (data / name).write_text("\n\n")
    with pytest.raises(DataError, match=r"the shards a\.jsonl, b\.jsonl have no documents"):
        built(data, tmp_path / "out")
    (data / "val.jsonl").write_text("")
    with pytest.raises(DataError, match=r"val\.jsonl has no documents"):
        built(data, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_taken_folder_is_refused_before_any_work(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(ConfigError, match="already holds something"):
        built(data, tmp_path / "out")
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(DataError, match="is no report"):
        built(data, tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "keep"


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("moment", ["gather_train", "near_repeats", "train_tokenizer", "write_units", "write_atomic"])
def test_an_interrupted_build_leaves_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, problem: BaseException
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(build, moment, stop)
    with pytest.raises(KeyboardInterrupt if isinstance(problem, KeyboardInterrupt) else RunError):
        built(data, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_damaged_build_is_no_build(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not is_built(data)
    with pytest.raises(DataError, match=r"holds no report\.json"):
        open_build(data, vocab_size=VOCABULARY)
    built(data, out)
    assert is_built(out)
    assert licences_of(out) == licences_of(data) == "CC-BY-4.0; CC0-1.0"
    assert licences_of(out / "train") == "not stated"
    with pytest.raises(DataError, match="was built with 400 units; expected 500"):
        open_build(out, vocab_size=500)
    with (out / "train" / "units.bin").open("ab") as units:
        units.write(b"x")
    with pytest.raises(DataError, match="two a unit"):
        open_build(out, vocab_size=VOCABULARY)


def test_long_texts_are_cut_without_a_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    random, prose = np.random.default_rng(6), Prose(42)
    gaps = ["\n", "\n\n", " \n", "\n ", "\r\n", "\n\n  ", " ", "!\n", "...\n\n", "\t\n"]
    text = "".join(prose.text(int(random.integers(1, 12))) + gaps[int(random.integers(len(gaps)))] for _ in range(400))
    tokenizer = train_tokenizer(iter([text]), vocab_size=350)
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    monkeypatch.setattr(corpus, "CALL_CHARACTERS", 100)
    assert len(cut(text)) > 50
    assert "".join(cut(text)) == text
    with (tmp_path / "units").open("wb") as out:
        written = list(write_units([text, "", text], tokenizer, out))
    assert written == [(text, len(whole) + 2), ("", 2), (text, len(whole) + 2)]
    units = np.fromfile(tmp_path / "units", dtype=np.uint16).tolist()
    assert units == [BOS_ID, *whole, EOS_ID, BOS_ID, EOS_ID, BOS_ID, *whole, EOS_ID]


def test_texts_about_special_units_make_no_borders(tmp_path: Path) -> None:
    texts = ["old <s>price</s> and <mask> and <pad>", "plain"]
    tokenizer = train_tokenizer(iter(texts * 9), vocab_size=300)
    with (tmp_path / "units").open("wb") as out:
        list(write_units(texts, tokenizer, out))
    units = np.fromfile(tmp_path / "units", dtype=np.uint16)
    assert (units < 4).sum() == 4
    ends = np.flatnonzero(units == EOS_ID)
    assert tokenizer.decode(units[1 : ends[0]].tolist()) == texts[0]
    assert tokenizer.encode("<mask>", add_special_tokens=False).ids == [3], "the caller's tokenizer is as it was"


# VmHWM and not ru_maxrss: that one starts at the peak of the process that started this one.
PEAK = """
import sys
from pathlib import Path
from headstart.data import corpus, gather
from headstart.data.build import build_corpus
from headstart.data.corpus_part import CorpusPart
gather.CHUNK = corpus.CALL_CHARACTERS = 1 << 14  # small pieces, so that a small corpus is made of many
part = CorpusPart(train=("big.jsonl",), validation="val.jsonl", tokenizer_bytes=200_000)
build_corpus(part, name="toy", vocab_size=400, data=Path(sys.argv[1]), out=Path(sys.argv[2]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Eight times the text, 0.5 MB against 4 MB: the peak may grow by the noise of an allocator, not by the text."""
    peaks = []
    prose = Prose(43)
    texts = [prose.text(500) for _ in range(150)]
    for size in (1, 8):
        folder = tmp_path / str(size)
        folder.mkdir()
        write_shard(folder / "val.jsonl", [prose.text(100)])
        with (folder / "big.jsonl").open("w") as out:
            for number in range(size):
                for text in texts:
                    words = text.split(" ")
                    words[number::9] = [f"w{number}"] * len(words[number::9])
                    out.write(json.dumps({"text": " ".join(words)}) + "\n")
        command = [sys.executable, "-c", PEAK, str(folder), str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 2, f"{peaks} MB"


def test_the_shared_corpus_is_built(shared: Path, tmp_path: Path) -> None:
    """The held-out shard of the shared corpus as training text, against the task it was cleaned of."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl.zst").symlink_to(shared / "corpus" / "val.jsonl.zst")
    write_shard(folder / "val.jsonl", [Prose(44).text(100)])
    chosen = CorpusPart(
        train=("train.jsonl.zst",),
        validation="val.jsonl",
        tokenizer_bytes=500_000,
        filters=Filters(trusted=("code-*",)),
    )
    report = build_corpus(
        chosen,
        name="toy",
        vocab_size=1000,
        data=folder,
        out=tmp_path / "out",
        against=[shared / "tasks" / name / "test.parquet" for name in ("stsb", "gsm8k")],
    ).report
    assert report.documents_read > 250
    assert report.documents_kept > 0.85 * report.documents_read
    assert report.dropped.get("contaminated", 0) <= 2
    assert len(report.sources) > 30
