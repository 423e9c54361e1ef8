"""`headstart data build` and `data check` as scripts see them: exit codes, one message on stderr, data on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.data.prose import Prose, write_shard

from headstart.cli import run
from headstart.data.built import open_build
from headstart.data.codec import load_tokenizer
from headstart.train.recipe import read_recipe

RECIPE = """
name = "toy"
[shape]
vocab_size = 300
dim = 32
num_layers = 2
num_heads = 2
num_kv_heads = 2
head_dim = 16
mlp_dim = 64
max_positions = 64
[corpus]
train = ["train.jsonl"]
validation = "val.jsonl"
tokenizer_bytes = 100_000
[mixture]
causal_share = 0.5
mask_start = 0.3
mask_end = 0.15
z_loss = 1e-4
[optimisation]
tokens = 40_960
tokens_per_step = 1024
micro_tokens = 512
lengths = [[0.5, 32], [1.0, 64]]
muon_lr = 0.01
adamw_lr = 0.01
weight_decay = 0.1
warmup = 0.05
cooldown = 0.5
floor = 0.05
dtype = "float32"
seed = 1
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with toy.toml, a labelled task and shards below data/, as the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    prose = Prose(51)
    item = prose.text(20)
    write_shard(tmp_path / "data" / "train.jsonl", [*(prose.text(120) for _ in range(40)), f"{prose.text(60)} {item}"])
    write_shard(tmp_path / "data" / "val.jsonl", [prose.text(120) for _ in range(4)])
    (tmp_path / "test.csv").write_text(f'text,label\n"{item.strip()}",1\n"{prose.text(15).strip()}",0\n')
    (tmp_path / "toy.toml").write_text(RECIPE)
    return tmp_path


BUILD = ("data", "build", "toy.toml", "--data", "data", "--out", "built")


def test_build_says_what_it_dropped_and_where_the_corpus_is(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BUILD, "--against", "test.csv", "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["dropped"] == {"contaminated": 1}
    assert report["saved"] == "built"
    assert "contaminated" in said.err
    assert "test.csv: 1 of 2 items found in 1 documents" in said.err
    assert open_build(desk / "built", vocab_size=300)[0].meta.num_documents == 40
    assert run([*BUILD, "--against", "test.csv"]) == 0
    said = capsys.readouterr()
    assert "nothing to do" in said.err
    assert said.out.splitlines()[-1] == "headstart pretrain toy.toml --data built --out runs/toy"
    assert run([*BUILD]) == 2
    assert "already holds something" in capsys.readouterr().err


def test_a_base_lends_its_units_to_another_corpus(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BUILD]) == 0
    assert run(["pretrain", "toy.toml", "--data", "built", "--out", "first"]) == 0
    write_shard(desk / "data" / "train.jsonl", [Prose(77).text(120) for _ in range(20)])
    again = ("data", "build", "toy.toml", "--data", "data", "--out")
    assert run([*again, "own"]) == 0
    assert run(["pretrain", "toy.toml", "--data", "own", "--out", "second", "--from", "first"]) == 2
    assert "Build it again with `headstart data build ... --from" in capsys.readouterr().err
    assert run([*again, "lent", "--from", "first"]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "headstart pretrain toy.toml --data lent --out runs/toy --from first"
    first, lent = (load_tokenizer(desk / name).tokenizer.get_vocab() for name in ("first", "lent"))
    assert lent == first != load_tokenizer(desk / "own").tokenizer.get_vocab()
    assert run(["pretrain", "toy.toml", "--data", "lent", "--out", "second", "--from", "first"]) == 0
    assert len(json.loads((desk / "second" / "headstart.json").read_text())["lineage"]) == 2


def test_several_task_files_follow_one_flag(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "other.jsonl").write_text('{"text": "six words that stand nowhere else", "label": 1}\n')
    assert run([*BUILD, "--against", "test.csv", "other.jsonl", "--json"]) == 0
    assert [task["file"] for task in json.loads(capsys.readouterr().out)["tasks"]] == ["test.csv", "other.jsonl"]


FAULTS = {
    "unknown key": ("tokenizer_bytes = 100_000\nnaer = 0.8", "naer"),
    "unknown filter": ("tokenizer_bytes = 100_000\n[corpus.filters]\nmin_wrds = 3", "min_wrds"),
    "wrong type": ('tokenizer_bytes = "many"', "Expected `int`"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_recipe_is_one_error(desk: Path, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    wrong, named = FAULTS[fault]
    (desk / "toy.toml").write_text(RECIPE.replace("tokenizer_bytes = 100_000", wrong))
    assert run([*BUILD]) == 2
    said = capsys.readouterr()
    assert named in said.err
    assert said.out == ""
    assert not (desk / "built").exists()


def test_shipped_recipes_read_without_the_new_keys() -> None:
    corpus = read_recipe("text-11m").corpus
    assert (corpus.near, corpus.weights, corpus.against, corpus.filters.language) == (0.8, {}, (), "en")


def test_check_tells_what_a_shard_holds(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (desk / "data" / "train.jsonl").open("a") as out:
        out.write('{"text": "the and of it", "source": "other"}\n')
    assert run(["data", "check", "data/train.jsonl"]) == 0
    said = capsys.readouterr().out
    assert "42 documents" in said
    assert "41 made" in said
    assert "1 would be dropped as too_short" in said
    with (desk / "data" / "train.jsonl").open("a") as out:
        out.write('{"text": \n')
    assert run(["data", "check", "data/train.jsonl", "--json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert (facts["documents"], facts["broken"], facts["faults"][0]["line"]) == (42, 1, 43)
    assert facts["sources"] == {"made": 41, "other": 1}


def test_check_tells_what_a_table_is(repo: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = repo / "src/headstart/demo_data/train.csv"
    assert run(["data", "check", str(table), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["text"], facts["label"], len(facts["labels"])) == ("choice", "text", "intent", 8)
    assert len(facts["first"]) == 3
    rows = [{"text": f"message number {i} of many", "label": "ab"[i % 2]} for i in range(40)]
    (desk / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["data", "check", "t.jsonl"]) == 0
    assert "2 classes" in capsys.readouterr().out


def test_check_reads_a_table_with_unusual_names_by_adapts_flags(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"message number {i} of many,{'ab'[i % 2]},note {i} of somebody\n" for i in range(40))
    (desk / "t.csv").write_text(f"was,wozu,wer\n{rows},a,me\n")
    assert run(["data", "check", "t.csv"]) == 2
    assert "--text" in capsys.readouterr().err
    named = ["data", "check", "t.csv", "--text", "was", "--label", "wozu", "--kind", "choice"]
    assert run(named) == 2
    assert "--drop-missing" in capsys.readouterr().err
    assert run([*named, "--drop-missing", "--max-reject", "0.5", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["text"], facts["label"], facts["kind"]) == ("was", "wozu", "choice")
    assert run([*named, "--against", "t.csv"]) == 2
    assert "--against looks at every text" in capsys.readouterr().err


def test_tables_that_cannot_be_compared_are_unknown_and_not_zero(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chinese has no spaces between words, and a text below 6 words says nothing."""
    (desk / "zh.csv").write_text("text,label\n" + "".join(f"这家酒店的房间很干净{i},好\n" for i in range(20)))
    (desk / "mixed.csv").write_text("text,label\nshort one,a\nthis one is long enough to tell,b\n")
    assert run(["data", "check", "zh.csv", "--against", "zh.csv", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["against"]
    assert (told["status"], told["shared"], told["rows"], told["unchecked"]) == ("unknown", None, 20, 20)
    assert run(["data", "check", "zh.csv", "--against", "zh.csv"]) == 0
    assert "zh.csv: unknown\n  20 of 20 rows of zh.csv" in capsys.readouterr().out
    assert run(["data", "check", "mixed.csv", "--against", "mixed.csv", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["against"]
    assert (told["status"], told["shared"], told["rows"], told["other_unchecked"]) == ("checked", 1, 2, 1)


@pytest.mark.parametrize("name", ["none.jsonl", "none.csv"])
def test_check_of_nothing_is_one_error(desk: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(["data", "check", name]) == 2
    assert "does not exist" in capsys.readouterr().err
    (desk / name).write_text("")
    assert run(["data", "check", name]) == 2
    assert "is empty" in capsys.readouterr().err


def test_an_interrupt_leaves_nothing(desk: Path) -> None:
    prose = Prose(52)
    texts = [prose.text(400) for _ in range(200)]
    with (desk / "data" / "train.jsonl").open("w") as out:
        for number in range(30):
            out.writelines(json.dumps({"text": text.replace(" ", f" {number}x ", 300)}) + "\n" for text in texts)
    before = sorted(path.name for path in desk.iterdir())
    started = subprocess.Popen(
        [sys.executable, "-m", "headstart", *BUILD], cwd=desk, stderr=subprocess.PIPE, env={**os.environ}, text=True
    )
    deadline = time.monotonic() + 60
    while not list(desk.glob(".built.tmp-*/.scratch/texts")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert "interrupted; nothing was written" in said
    assert sorted(path.name for path in desk.iterdir()) == before
