"""`headstart pretrain` as a process: stopped by a signal, killed at random, taken up again; the plan before it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from rich.console import Console
from tests.train.test_pretrain import TOY
from tests.train.test_pretrain import corpus as corpus  # a fixture

import headstart
from headstart.cli import run
from headstart.ground.errors import DataError
from headstart.ground.journal import Journal
from headstart.pretraining import Speaker, in_passes, over_shards, step_writer, too_large
from headstart.train.estimate import estimate
from headstart.train.loop import StepRecord
from headstart.train.recipe import read_recipe
from headstart.train.sizing import recipe_for

STEPS = 120


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "toy.toml"
    file.write_text(TOY.replace("tokens = 40_960", f"tokens = {STEPS * 1024}"))
    return file


def command(recipe: Path, corpus: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "headstart", "pretrain", str(recipe), "--data", str(corpus), "--out", str(out), *more]


def start(line: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that must end well."""
    _, words = process.communicate(timeout=120)
    assert process.returncode == 0, words


def losses(out: Path) -> dict[int, float]:
    """Loss by step, the last word on each; a killed writer may leave half a line."""
    found = {}
    for line in (out.with_name(out.name + ".work") / "metrics.jsonl").read_text().splitlines():
        try:
            record: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "loss" in record:
            found[record["step"]] = record["loss"]
    return found


def wait_for_steps(out: Path, steps: int) -> None:
    """Until so many lines stand in metrics.jsonl, or the checkpoints show it."""
    checkpoints = out.with_name(out.name + ".work") / "checkpoints"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        saved = [int(p.name.removeprefix("step-")) for p in checkpoints.glob("step-*")]
        if saved and max(saved) >= steps:
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint of step {steps} within a minute")


def test_a_signal_saves_and_the_same_command_goes_on(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finish(start(command(recipe, corpus, whole)))
    running = start(command(recipe, corpus, parts, "--save-every", "0.05s"))
    wait_for_steps(parts, 10)
    running.send_signal(signal.SIGTERM)
    _, words = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped after step" in words
    assert not parts.exists(), "no base of a run that did not end"
    again = start(command(recipe, corpus, parts, "--json"))
    said, words = again.communicate(timeout=120)
    assert again.returncode == 0, words
    assert "going on from step" in words
    assert json.loads(said)["steps"] == STEPS
    assert losses(parts) == losses(whole)
    weights = [folder / "model.safetensors" for folder in (whole, parts)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    page = (parts / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg ") == 3, "two held-out curves and the loss, of both parts together"
    assert f"read {STEPS * 1024 / 1000:.0f} k tokens" in page


SLOWLY = """
import sys, time
import headstart.data.corpus as corpus
from headstart.cli import main
read = corpus.read_shard
def slowly(path):
    for number, document in enumerate(read(path)):
        time.sleep(float(sys.argv[1]) if number else 0.04)
        yield document
corpus.read_shard = slowly
main(sys.argv[2:])
"""


def test_the_first_signal_ends_the_preparation(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    """While the tokenizer is trained, by compiled code that waits an hour for its second text: who sees the signal only
    when that returns does not see it. Then while the text is packed, 8 s."""
    recipe.write_text(recipe.read_text().replace(f"tokens = {STEPS * 1024}", "tokens = 4096"))
    whole, out = tmp_path / "whole", tmp_path / "out"
    work, line = out.with_name("out.work"), command(recipe, corpus, out)
    first = (signal.SIGTERM, work / "metrics.jsonl", set[str](), "3600")
    second = (signal.SIGINT, work / "train" / "units.bin", {"tokenizer.json"}, "0.04")
    for number, begun, made, pause in (first, second):
        running = start([sys.executable, "-c", SLOWLY, pause, *line[3:]])
        deadline = time.monotonic() + 120
        while not begun.exists():
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)  # from the file to the first text
        running.send_signal(number)
        said, words = running.communicate(timeout=60)
        assert running.returncode == 130, words
        assert f"the same command goes on from what is finished in {work}" in words
        assert said == ""
        assert {path.name for path in work.rglob("*.json")} == made, "what was not finished counts as made"
    assert not out.exists()
    finish(start(line))
    finish(start(command(recipe, corpus, whole)))
    assert losses(out) == losses(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_resume_is_proved_on_request(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    found = start(command(recipe, corpus, tmp_path / "out", "--verify-resume", "--json"))
    said, words = found.communicate(timeout=120)
    assert found.returncode == 0, words
    assert json.loads(said)["resume"] == "exact"
    assert not (tmp_path / "out").exists()


def test_the_lines_go_on_after_a_run_went_back(tmp_path: Path) -> None:
    said = StringIO()
    with (
        Speaker(Console(file=said, width=200), 40) as speaker,
        Journal(tmp_path / "metrics.jsonl", speaker.tell) as log,
    ):
        write = step_writer(read_recipe("text-11m"), log, speaker, 1)
        for step in (149, 150, 155, 145, 150, 200):
            write(StepRecord(step, 3.0, 0.1, 1.0, step * 8192, 2.0 * step))
    assert "step 200 of" in said.getvalue()


def test_the_dial_takes_the_shards_that_are_there(corpus: Path) -> None:
    sized = recipe_for("300k").recipe
    assert over_shards(sized, corpus).corpus == msgspec.structs.replace(
        sized.corpus, train=("train.jsonl",), validation="val.jsonl"
    )
    (corpus / "val.jsonl").unlink()
    with pytest.raises(DataError, match=r"holds train.jsonl; expected .* one to hold out, whose name begins with val"):
        over_shards(sized, corpus)


@pytest.mark.parametrize("data", ["nosuch", "."])
def test_shards_are_missed_before_anything_is_written(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["pretrain", "text-11m", "--data", data, "--out", "pt"]) == 2
    assert "let --size take the shards that are there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_drift_is_refused_and_nothing_is_lost(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = start(command(recipe, corpus, out, "--save-every", "0.05s"))
    wait_for_steps(out, 5)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    recipe.write_text(recipe.read_text().replace("muon_lr = 0.01", "muon_lr = 0.02"))
    refused = start(command(recipe, corpus, out))
    _, words = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "the recipe changed since" in words
    assert "--fork" in words
    forked = start(command(recipe, corpus, out, "--fork"))
    _, words = forked.communicate(timeout=120)
    assert forked.returncode == 0, words
    assert "going on from step" in words


def test_the_plan_says_every_setting_with_its_reason() -> None:
    line = [sys.executable, "-m", "headstart", "pretrain", "--size", "3m", "--dry-run", "--json"]
    plan = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    assert plan["parameters"] == pytest.approx(3e6, rel=0.2)
    assert {"width", "layers", "tokens", "muon_lr"} <= {reason["name"] for reason in plan["reasons"]}
    assert all(reason["why"] for reason in plan["reasons"])
    assert plan["seconds"] > 0


def test_a_run_that_does_not_fit_is_refused_with_the_passes_that_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """text-small is made for an accelerator: passes of 65,536 tokens."""
    monkeypatch.setattr("headstart.pretraining.machine_bytes", lambda: 16_000_000_000)
    monkeypatch.setattr("headstart.pretraining.pick_device", lambda: torch.device("cpu"))
    made_for = read_recipe("text-small").corpus
    (tmp_path / "data").mkdir()
    for name in (*made_for.train, made_for.validation):
        (tmp_path / "data" / name).touch()
    line = ["pretrain", "text-small", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert run(line) == 2
    words = capsys.readouterr().err
    advice = re.search(r"needs about (\d+) GB in passes of 65,536 tokens; .*Add --micro-tokens (\d+)\.", words)
    assert advice is not None, words
    assert int(advice[1]) > 16
    assert not list(tmp_path.glob("out*"))
    recipe = in_passes(read_recipe("text-small"), int(advice[2]))
    assert estimate(recipe).memory_bytes <= 8_000_000_000
    assert too_large(recipe) is None
    assert run(["pretrain", "text-small", "--dry-run"]) == 0
    assert f"Add --micro-tokens {advice[2]}." in capsys.readouterr().out
    assert run(["pretrain", "text-small", "--dry-run", "--micro-tokens", advice[2], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["optimisation"]["micro_tokens"] == int(advice[2])


def test_torchrun_trains_the_base_of_one_process_and_speaks_once(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text().replace(f"tokens = {STEPS * 1024}", f"tokens = {20 * 1024}"))
    finish(start(command(recipe, corpus, tmp_path / "one")))
    line = command(recipe, corpus, tmp_path / "out", "--json")
    line[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = start(line)
    said, words = process.communicate(timeout=240)
    assert process.returncode == 0, words
    assert json.loads(said)["steps"] == 20
    assert words.count("held out after 20,480 units") == 1
    one, two = losses(tmp_path / "one"), losses(tmp_path / "out")
    assert list(one) == list(two) == list(range(20))
    assert max(abs(one[step] - two[step]) for step in one) <= 1e-5
    assert headstart.Base.load(tmp_path / "out").name == "toy"


@pytest.mark.parametrize("flags", [[], ["text-tiny", "--size", "3m"]])
def test_a_recipe_or_a_size(flags: list[str]) -> None:
    line = [sys.executable, "-m", "headstart", "pretrain", *flags]
    found = subprocess.run(line, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "of RECIPE and --size is given; expected one" in found.stderr


@pytest.mark.soak
def test_sixty_kills_at_random_change_nothing(recipe: Path, corpus: Path, tmp_path: Path) -> None:
    """Killed between the start of Python and the last file; a run that came to its end makes room for the next."""
    whole, dice, kills, runs = tmp_path / "whole", random.Random(0), 0, 0
    begun = time.monotonic()
    finish(start(command(recipe, corpus, whole)))
    usual = time.monotonic() - begun
    while kills < 60:
        killed, runs = tmp_path / f"killed-{runs}", runs + 1
        while kills < 60 and not killed.exists():
            running = start(command(recipe, corpus, killed, "--save-every", "0.02s"))
            try:
                running.wait(timeout=dice.uniform(0.3, 1.2) * usual)
            except subprocess.TimeoutExpired:
                running.kill()
                running.communicate()
                kills += 1
            else:
                finish(running)
        if not killed.exists():
            finish(start(command(recipe, corpus, killed)))
        assert losses(killed) == losses(whole)
        assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert runs > 1, "no run came to its end under fire"


def test_a_terminal_gets_a_bar_and_a_file_plain_lines() -> None:
    told = []
    for terminal in (True, False):
        out = StringIO()
        console = Console(file=out, force_terminal=terminal, width=60, soft_wrap=True, highlight=False)
        with Speaker(console, 40) as speaker:
            speaker.reach(10, "loss 3.210")
            speaker.tell("held out after [10] units: " + "a long line " * 8)
            speaker.reach(40, "loss 2.000")
        told.append(out.getvalue())
    assert "100%" in told[0]
    assert "loss 2.000" in told[0]
    assert told[1] == "held out after [10] units: " + "a long line " * 8 + "\n"
