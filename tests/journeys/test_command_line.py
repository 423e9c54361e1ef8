"""The command line as scripts see it: exit codes, one message on stderr, data on stdout, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import headstart as headstart_package
from headstart import specialise
from headstart.cli import run

REPO = Path(__file__).resolve().parents[2]
DATA = REPO / "src/headstart/demo_data"
QUICK = ("--method", "probe", "--no-scratch")


def headstart(*words: object, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headstart", *map(str, words)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def specialist(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A specialist for the demo's intents and the JSON object that `adapt` printed."""
    desk = tmp_path_factory.mktemp("adapt")
    done = headstart(
        "adapt",
        DATA / "train.csv",
        "--test",
        DATA / "test.csv",
        "--label",
        "intent",
        "--base",
        tiny_base_folder,
        "--out",
        "out",
        "--budget",
        "2m",
        "--json",
        *QUICK,
        cwd=desk,
    )
    assert done.returncode == 0, done.stderr
    return desk / "out", json.loads(done.stdout)


def test_json_is_one_object_with_the_promised_keys(specialist: tuple[Path, dict[str, object]]) -> None:
    folder, report = specialist
    assert {"task", "rows", "candidates", "chosen", "checks", "saved"} <= set(report)
    candidates = report["candidates"]
    assert isinstance(candidates, list)
    for candidate in candidates:
        assert {
            "base",
            "method",
            "metric",
            "value",
            "ci95",
            "seconds",
            "ms_per_row",
            "params_trained",
            "n_test",
        } <= set(candidate)
        assert candidate["n_test"] == 128
    assert {c["method"] for c in candidates} >= {"probe", "tfidf", "majority"}
    assert {c["id"]: c["status"] for c in report["checks"]}["reload.parity"] == "ok"  # type: ignore[attr-defined]
    assert json.loads((folder / "report.json").read_text()) == report
    assert (folder / "report.html").read_text().lstrip().startswith("<!doctype html>")


def test_a_prompt_is_adapted_saved_and_asked(tiny_base_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ask.txt").write_text("{{ text }}\nIntent: {{ label }}\n")
    words = ["adapt", DATA / "train.csv", "--test", DATA / "test.csv", "--label", "intent", "--base", tiny_base_folder]
    words += ["--method", "few-shot", "--shots", "1", "--template", "ask.txt", "--template", "{{ text }}\\n{{ label }}"]
    done = headstart(*words, "--max-length", "24", "--out", "asks", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {p["template"] for p in report["prompts"]} == {"{{ text }}\nIntent: {{ label }}", "{{ text }}\n{{ label }}"}
    assert {c["id"]: c["status"] for c in report["checks"]}["reload.parity"] == "ok"
    assert not list((tmp_path / "asks").glob("*.safetensors"))
    assert "One line a prompt" in (tmp_path / "asks" / "report.html").read_text()
    answered = headstart("predict", "asks", DATA / "test.csv", cwd=tmp_path)
    assert answered.returncode == 0, answered.stderr
    rows = list(csv.DictReader(answered.stdout.splitlines()))
    assert len(rows) == 128
    assert {row["prediction"] for row in rows} <= set(report["task"]["labels"])


@pytest.fixture
def no_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a row is a failure."""
    from headstart.model.trunk import Trunk

    def refuse(self: Trunk, *arguments: object, **named: object) -> None:
        raise AssertionError("the trunk was run")

    monkeypatch.setattr(Trunk, "forward", refuse)


ASKING = ("adapt", str(DATA / "train.csv"), "--test", str(DATA / "test.csv"), "--label", "intent")


@pytest.mark.usefixtures("no_compute")
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--max-length", "1"], "max_length is 1; expected more than the 1 special tokens"),
        (
            ["--calibration", "contextual", "--demonstrations", "nearest"],
            "--calibration is contextual and --demonstrations nearest; expected",
        ),
    ],
)
def test_what_a_prompt_cannot_have_is_said_before_any_row_is_asked(
    flags: list[str], said: str, tiny_base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [*ASKING, "--base", str(tiny_base_folder), "--method", "few-shot", "--shots", "1", "--out", str(out)]
    assert run([*words, *flags]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.usefixtures("no_compute")
def test_a_prompt_refers_to_no_pickle(
    tiny_base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import load_file

    pickled = Path(shutil.copytree(tiny_base_folder, tmp_path / "pickled"))
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    monkeypatch.chdir(tmp_path)
    words = [*ASKING, "--method", "zero-shot", "--max-length", "24", "--out", "asks", "--allow-pickle", "--base"]
    assert run([*words, "pickled"]) == 2
    said = capsys.readouterr().err
    step = f"headstart bases import {pickled} --allow-pickle"
    assert "pickled holds only pickled weights; expected safetensors" in said
    assert step in said.replace("\n", " ")
    assert not (tmp_path / "asks").exists()
    assert run(step.split()[1:]) == 0
    with pytest.raises(AssertionError, match="the trunk was run"):  # the copy is asked, as is a base without pickles
        run([*words, "runs/pickled"])


def test_predict_writes_csv_and_jsonl(specialist: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    folder, _ = specialist
    to_file = headstart("predict", folder, DATA / "test.csv", "--out", "answers.jsonl", cwd=tmp_path)
    assert (to_file.returncode, to_file.stdout) == (0, ""), to_file.stderr
    written = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    printed = list(csv.DictReader(headstart("predict", folder, DATA / "test.csv", cwd=tmp_path).stdout.splitlines()))
    assert len(written) == len(printed) == 128
    assert [row["prediction"] for row in written] == [row["prediction"] for row in printed]
    assert list(written[0]) == ["text", "intent", "prediction", "probability"]
    assert all(1 / 8 <= row["probability"] <= 1 for row in written)
    with (DATA / "test.csv").open(newline="") as handle:
        assert [row["text"] for row in csv.DictReader(handle)] == [row["text"] for row in printed]


def test_predict_says_in_one_line_that_its_output_is_full(specialist: tuple[Path, dict[str, object]]) -> None:
    command = [sys.executable, "-m", "headstart", "predict", str(specialist[0]), str(DATA / "test.csv")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "No space left on device; expected a place to read or write" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_predict_reads_standard_input_and_names_empty_rows(
    specialist: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    folder, _ = specialist
    table = "text,id\nwhere is it,1\n,2\nI want my money back,3\n"
    refused = headstart("predict", folder, "-", cwd=tmp_path, stdin=table)
    assert refused.returncode == 2
    assert ":3: text is empty; expected text. 1 row like this. Add --drop-missing" in refused.stderr
    kept = headstart("predict", folder, "-", "--drop-missing", cwd=tmp_path, stdin=table)
    assert kept.returncode == 0
    assert [line.split(",")[:2] for line in kept.stdout.splitlines()[1:]] == [
        ["where is it", "1"],
        ["I want my money back", "3"],
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["adapt"], 2, "requires an argument"),
        (["adapt", "x.csv", "--methd", "full"], 2, "Did you mean --method?"),
        (["adapt", "x.csv", "--method", "fulll"], 2, "--method"),
        (["adapt", "nothing.csv"], 2, "nothing.csv"),
        (["adapt", "one.csv"], 2, "one.csv"),
        (["adapt", "good.csv", "--budget", "2x"], 2, "Write it like 90s, 5m or 1h30m"),
        (["adapt", "good.csv", "--budget", "-5s"], 2, "--budget is '-5s'; expected a time. Write it like 90s"),
        (["choose", "good.csv", "--bases", "text-tiny", "--budget", "-5s"], 2, "--budget is '-5s'; expected a time"),
        (["demo", "--budget", "-5s"], 2, "--budget is '-5s'; expected a time"),
        (["adapt", "good.csv", "--budget", "0s"], 2, "more than nothing"),
        (["adapt", "nothing.csv", "--seeds", "0"], 2, "seeds is 0; expected 1 to 100"),  # before the table is read
        (["adapt", "good.csv", "--base", "bert-base-uncased"], 2, "not on this machine"),
        (["adapt", "good.csv", "--base", ""], 2, "--base is ''; expected a name or a folder"),
        (["choose", "good.csv", "--bases", ""], 2, "a base of --bases is ''; expected a name or a folder"),
        (["choose", "good.csv", "--bases", "text-tinny", "text-tiny"], 2, "Did you mean 'text-tiny'"),
        (["prompt", "", "x"], 2, "BASE is ''; expected a name or a folder"),
        (["prompt", "BASE", "x", "--top-k", "5"], 2, "--top-k is given at temperature 0"),
        (["adapt", "good.csv", "--out", "taken"], 2, "already holds something"),
        (["adapt", "good.csv", "--out", "good.csv/new"], 2, "good.csv/new cannot be made: Not a directory; expected"),
        (["adapt", "good.csv", "--seed", "-1"], 2, "first seed is -1; expected 0 to"),
        (["adapt", "good.csv", "--max-reject", "5"], 2, "set aside is 5.0; expected 0 to 1"),
        (["adapt", "good.csv", "--label", "inten"], 2, "Did you mean"),
        (
            ["adapt", "good.csv", "--method", "zero-shot", "--shots", "2"],
            2,
            "--shots is 2; expected none for zero-shot",
        ),
        (["adapt", "good.csv", "--shots", "2"], 2, "a prompt is described for the method auto"),
        (["adapt", "good.csv", "--method", "few-shot", "--shots", "1000000000000000000"], 2, "from 0 to 1,024"),
        (["adapt", "good.csv", "--method", "few-shot", "--shots", "300"], 2, "tokens; expected at most 128"),
        (["adapt", "good.csv", "--method", "few-shot", "--template", "{{ text.x }} {{ label }}"], 2, "has a getattr"),
        (["adapt", "good.csv", "--method", "few-shot", "--template", "nothing.txt"], 2, "--template is 'nothing.txt'"),
        (["adapt", "good.csv", "--method", "few-shot", "--verbaliser", "delivery"], 2, "expected label=word"),
        (["adapt", "good.csv", "--method", "few-shot", "--verbaliser", "w.toml"], 2, "--verbaliser is 'w.toml'"),
        (["adapt", "good.csv", "--method", "few-shot", "--verbaliser", "a=b"], 2, "the verbaliser spells 'a'"),
        (["predict", "taken", "good.csv"], 2, "taken"),
        (["predict", "BASE", "good.csv"], 2, "has no task"),
        (["pretrain", "text-tinny", "--data", ".", "--out", "new"], 2, "Did you mean 'text-tiny'"),
        (["pretrain", "text-tiny", "--data", ".", "--out", "new"], 2, "train-00.jsonl.zst is missing"),
        (["serve", "x"], 2, "Unknown command"),
        (["adpt", "x"], 2, 'Did you mean "adapt"?'),
    ],
)
def test_a_mistake_is_one_message_and_the_right_code(
    words: list[str],
    code: int,
    message: str,
    tiny_base_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("keep me")
    (tmp_path / "good.csv").write_text((DATA / "train.csv").read_text())
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"message number {i},same\n" for i in range(30)))
    monkeypatch.chdir(tmp_path)
    base = () if words[0] != "adapt" or "--base" in words else ("--base", str(tiny_base_folder))
    assert run([*(str(tiny_base_folder) if w == "BASE" else w for w in words), *base]) == code
    output, told = capsys.readouterr()
    assert message in told
    assert len([line for line in told.splitlines() if line.startswith("headstart")]) == 1
    assert output == ""
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "new.work") == ["good.csv", "one.csv", "taken"]
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "keep me"


def test_interrupted_with_something_to_keep(tiny_base_folder: Path, tmp_path: Path) -> None:
    """Ctrl-C after the probe: the best so far is saved, the code is 130, and the message says how to go on."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "headstart",
            "adapt",
            str(DATA / "train.csv"),
            "--base",
            str(tiny_base_folder),
            "--seeds",
            "20",
            "--out",
            "out",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = ""
    while "TF-IDF" not in told.split("plan=")[-1].partition("\n")[2]:
        line = process.stderr.readline()
        assert line, told
        told += line
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, rest = process.communicate(timeout=90)
    assert process.returncode == 130, rest
    assert "To run it again: headstart adapt" in rest
    assert "--out" not in rest.split("To run it again:")[1], "that folder holds something now"
    assert "--out" not in output.split("interrupted=true")[1].splitlines()[0]
    assert "Traceback" not in rest
    assert "interrupted=true" in output
    assert (tmp_path / "out" / "head.safetensors").is_file()


def test_interrupted_with_nothing_to_keep(tiny_base_folder: Path, tmp_path: Path) -> None:
    """SIGTERM while the table is still being typed: nothing is written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headstart", "adapt", "-", "--base", str(tiny_base_folder), "--out", "out"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    time.sleep(3)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told == "headstart: interrupted; nothing was written.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_is_quiet(specialist: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    many = tmp_path / "many.csv"
    many.write_text("text\n" + "where is my parcel\n" * 5000)
    line = f"{sys.executable} -m headstart predict {specialist[0]} {many} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("text,prediction,probability\n", "", 0)


def test_bases_and_doctor_speak_json(tmp_path: Path) -> None:
    listed = headstart("bases", "--json", cwd=tmp_path)
    assert listed.returncode == 0
    assert isinstance(json.loads(listed.stdout)["bases"], list)
    facts = json.loads(headstart("doctor", "--json", cwd=tmp_path).stdout)
    assert facts["cores"] >= 1
    assert facts["gflops_float32"] > 0


def test_an_interrupt_behind_the_model_says_what_lies_there(
    tiny_base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is there, its report is not: "nothing was written" would not be true."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(specialise, "verify_saved", stop)
    out = tmp_path / "out"
    told = ["adapt", DATA / "train.csv", "--test", DATA / "test.csv", "--label", "intent", "--base", tiny_base_folder]
    assert run([*map(str, told), "--out", str(out), *QUICK]) == 130
    assert (out / "model.safetensors").is_file()
    assert f"interrupted; {out} holds the model, but not its report" in capsys.readouterr().err


def test_an_interrupt_while_the_command_line_loads_is_130(tmp_path: Path) -> None:
    """A module that takes its time stands where cyclopts is looked for first."""
    (tmp_path / "cyclopts.py").write_text("print('loading', flush=True)\nimport time\ntime.sleep(30)\n")
    path = os.pathsep.join((str(tmp_path), str(Path(headstart_package.__file__).parents[1])))
    started = subprocess.Popen(
        [sys.executable, "-m", "headstart", "bases"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "loading\n"
    started.send_signal(signal.SIGINT)
    _, words = started.communicate(timeout=20)
    assert started.returncode == 130
    assert "Traceback" not in words
