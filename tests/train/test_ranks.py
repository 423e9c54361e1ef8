"""Several processes train what one trains: equal losses, checkpoints that any number of processes goes on from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.train.test_pretrain import TOY
from tests.train.test_pretrain import corpus as corpus  # a fixture

from headstart.ground.errors import ConfigError
from headstart.train.checkpoint import MANIFEST
from headstart.train.ranks import ALONE, Ranks

ROOT = Path(__file__).parents[2]
STEPS = 20


def stretch(folder: Path, stop_at: int, *, processes: int) -> dict[int, float]:
    """Losses by step of one stretch of the run in `folder`."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    line = [sys.executable, *launcher, "-m", "tests.train.spread_run", str(folder), str(stop_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert found.returncode == 0, found.stderr
    losses = json.loads((folder / f"losses-{stop_at}.json").read_text())
    return {int(step): loss for step, loss in losses.items()}


def room(corpus: Path, name: str, *, rule: str, **changes: float | str) -> Path:
    """A folder beside the corpus with the recipe in it: fp32, 20 steps of 1,024 tokens in two micro-batches."""
    folder = corpus / name
    folder.mkdir()
    text = TOY.replace("tokens = 40_960", f"tokens = {STEPS * 1024}").replace("seed = 1", f'seed = 1\nrule = "{rule}"')
    for key, value in changes.items():
        text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert found == 1
    (folder / "toy.toml").write_text(text)
    return folder


def apart(one: Path, two: Path) -> float:
    """Largest difference between the final weights of two runs."""
    first, second = (load_file(folder / f"weights-{STEPS}.safetensors") for folder in (one, two))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize(("rule", "numbers"), [("adamw", "float32"), ("muon", "bfloat16")])
def test_two_processes_are_one_bit_for_bit(corpus: Path, rule: str, numbers: str) -> None:
    """With two micro-batches a step the additions are the same ones, so not a bit differs. In bfloat16, weights that
    are spread over processes are held in fp32, and Muon computes in bfloat16 all the same."""
    one, two = (room(corpus, name, rule=rule, dtype=f'"{numbers}"') for name in ("one", "two"))
    alone, both = stretch(one, STEPS, processes=1), stretch(two, STEPS, processes=2)
    assert list(alone) == list(range(STEPS))
    assert alone == both
    assert apart(one, two) == 0.0


@pytest.mark.parametrize("rule", ["adamw", "muon"])
def test_two_processes_are_one_within_1e5_where_sums_are_taken_in_another_order(corpus: Path, rule: str) -> None:
    """Four micro-batches a step: each process adds up two, then the two sums are added. At the rates of our recipes."""
    rooms = [room(corpus, name, rule=rule, micro_tokens=256, adamw_lr=0.004) for name in ("one", "two")]
    alone, both = stretch(rooms[0], STEPS, processes=1), stretch(rooms[1], STEPS, processes=2)
    assert list(alone) == list(both) == list(range(20))
    assert alone != both, "the sums were the same ones after all"
    assert max(abs(alone[step] - both[step]) for step in alone) <= 1e-5
    assert apart(*rooms) <= 1e-5


def test_a_run_goes_on_with_another_number_of_processes(corpus: Path) -> None:
    """Two, one, then two again: the losses and weights of one process from beginning to end."""
    straight, changing = (room(corpus, name, rule="muon") for name in ("straight", "changing"))
    alone = stretch(straight, STEPS, processes=1)
    found: dict[int, float] = {}
    for stop_at, processes in ((7, 2), (13, 1), (STEPS, 2)):
        part = stretch(changing, stop_at, processes=processes)
        assert not set(part) & set(found)
        found |= part
        last = max((changing / "checkpoints").iterdir())
        assert len(list(last.iterdir())) == processes + 1
        manifest = json.loads((last / MANIFEST).read_text())
        assert manifest["machine"]["processes"] == processes
        assert len(manifest["sha256"]) == processes
    assert found == alone
    assert apart(straight, changing) == 0.0


def test_a_step_is_dealt_out_evenly_or_not_at_all() -> None:
    items = list("abcdef")
    assert [list(Ranks(rank, 3).share(items)) for rank in range(3)] == [["a", "d"], ["b", "e"], ["c", "f"]]
    assert ALONE.share(items) == items
    with pytest.raises(ConfigError, match=r"6 micro-batches for 4 processes.*micro_tokens"):
        Ranks(0, 4).share(items)
