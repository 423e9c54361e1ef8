"""Fan-out: the same outcomes here, in processes and on Ray, whatever raises, dies or comes late."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headstart.ground.errors import ConfigError
from headstart.ground.fanout import Crew, Done, Failed, Outcome, Place, fan_out, name_of, parse_place, side_by_side

WORK = '''
"""Jobs for workers."""
import os, signal, sys, time
from pathlib import Path
from headstart.ground.errors import DataError

def double(job):
    time.sleep(job.get("sleep", 0))
    print("this must not break a line")
    return {"twice": 2 * job["x"], "pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}

def touchy(job):
    """Raises for 1, ends its process for 2, kills it once for 3."""
    if job["x"] == 1:
        raise DataError("x is 1; expected another number. Give 0.")
    if job["x"] == 2:
        sys.stderr.write("out of luck\\n")
        sys.stderr.flush()
        os._exit(7)
    mark = Path(job["mark"])
    if job["x"] == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job["x"] == 4:
        raise KeyError("nobody")
    return job["x"]

def slow_and_marked(job):
    """Leaves a mark for every start; its process id says which node it ran on."""
    with Path(job["marks"]).open("a") as handle:
        handle.write(f"{job['x']} {os.getppid()}\\n")
    time.sleep(job["sleep"])
    return job["x"] ** 2
'''


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "fanned_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    importlib.invalidate_caches()
    yield importlib.import_module("fanned_work")
    import sys

    del sys.modules["fanned_work"]


def values(outcomes: list[Outcome]) -> list[Any]:
    return [o.value if isinstance(o, Done) else (o.why, o.attempts) for o in outcomes]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("here", Place("here")),
        ("local:3", Place("local", 3)),
        ("local", Place("local", os.cpu_count() or 1)),
        ("ray://head:10001", Place("ray", address="ray://head:10001")),
        ("ray://auto", Place("ray", address="auto")),
    ],
)
def test_a_place_is_read(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "local:0", "local:-1", "local:x", "ray", "ray://", "ray:auto", "slurm://x"])
def test_no_place_is_an_error_that_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match="local:2"):
        parse_place(text)


def test_a_place_says_how_many_jobs_run_at_once() -> None:
    assert [side_by_side(parse_place(text)) for text in ("here", "local:3")] == [1, 3]


def test_work_must_be_found_by_name() -> None:
    with pytest.raises(ConfigError, match="top-level"):
        name_of(lambda job: job)


@pytest.mark.parametrize("on", ["here", "local:2"])
def test_answers_come_in_the_order_of_the_jobs(on: str, work: ModuleType) -> None:
    jobs = [{"x": x, "sleep": 0.05 * (x == 0)} for x in range(6)]
    heard: list[int] = []
    found = fan_out(work.double, jobs, on=parse_place(on), on_outcome=lambda index, _: heard.append(index))
    assert [o.value["twice"] for o in found if isinstance(o, Done)] == [0, 2, 4, 6, 8, 10]
    assert sorted(heard) == list(range(6))
    pids = {o.value["pid"] for o in found if isinstance(o, Done)}
    assert (pids == {os.getpid()}) == (on == "here")
    assert len(pids) == (1 if on == "here" else 2)
    if on != "here":
        assert {o.value["threads"] for o in found if isinstance(o, Done)} == {"1"}


def test_raising_dying_and_killed_jobs_do_not_end_the_others(work: ModuleType, tmp_path: Path) -> None:
    jobs = [{"x": x, "mark": str(tmp_path / "mark")} for x in (0, 1, 2, 3, 4, 5)]
    found = fan_out(work.touchy, jobs, on=Place("local", 2), attempts=2)
    assert values(found) == [0, ("raised", 1), ("died", 2), 3, ("raised", 1), 5]
    assert isinstance(found[1], Failed)
    assert found[1].reason == "x is 1; expected another number. Give 0."
    assert isinstance(found[2], Failed)
    assert "exit code 7: out of luck" in found[2].reason
    assert isinstance(found[4], Failed)
    assert found[4].reason == "KeyError: 'nobody'"


def test_a_deadline_ends_workers_and_keeps_what_is_done(work: ModuleType) -> None:
    jobs = [{"x": 1}, {"x": 2, "sleep": 60}, {"x": 3, "sleep": 60}]
    begun = time.monotonic()
    found = fan_out(work.double, jobs, on=Place("local", 1), deadline=begun + 2.0)
    assert time.monotonic() - begun < 4
    assert isinstance(found[0], Done)
    assert values(found[1:]) == [("late", 1), ("late", 0)]


def test_an_interrupt_ends_the_workers_and_is_passed_on(work: ModuleType) -> None:
    pids: list[int] = []

    def stop(index: int, outcome: Outcome) -> None:
        assert isinstance(outcome, Done)
        pids.append(outcome.value["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fan_out(work.double, [{"x": 1}, {"x": 2, "sleep": 60}], on=Place("local", 1), on_outcome=stop)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_crew_stays_from_call_to_call_and_survives_a_death(work: ModuleType, tmp_path: Path) -> None:
    with Crew() as crew:
        first, second = (fan_out(work.double, [{"x": 1}], on=Place("local", 1), crew=crew) for _ in range(2))
        mark = str(tmp_path / "mark")
        died = fan_out(work.touchy, [{"x": 2, "mark": mark}], on=Place("local", 1), attempts=1, crew=crew)
        last = fan_out(work.touchy, [{"x": 5, "mark": mark}, {"x": 6, "mark": mark}], on=Place("local", 2), crew=crew)
    assert isinstance(first[0], Done)
    assert isinstance(second[0], Done)
    assert first[0].value["pid"] == second[0].value["pid"]
    assert values(died) == [("died", 1)]
    assert values(last) == [5, 6]
    with pytest.raises(ProcessLookupError):
        os.kill(first[0].value["pid"], 0)


def test_no_jobs_need_no_worker(work: ModuleType) -> None:
    assert fan_out(work.double, [], on=Place("local", 2)) == []


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_ray_cluster_of_two_nodes_loses_no_job_when_one_is_killed(
    work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    import ray
    from ray.cluster_utils import Cluster

    marks = tmp_path / "marks"
    jobs = [{"x": x, "marks": str(marks), "sleep": 2.0} for x in range(8)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    kill = threading.Timer(1.0, cluster.remove_node, (second,), {"allow_graceful": False})

    def in_the_middle_of_the_next(index: int, outcome: Outcome) -> None:
        if not kill.ident:
            kill.start()

    try:
        assert side_by_side(parse_place("ray://auto")) == 2, "a job a core of the cluster"
        found = fan_out(work.slow_and_marked, jobs, on=parse_place("ray://auto"), on_outcome=in_the_middle_of_the_next)
        left = side_by_side(parse_place("ray://auto"))
    finally:
        kill.join()
        ray.shutdown()
        cluster.shutdown()
    assert values(found) == [x * x for x in range(8)]
    assert left == 1, "the killed node's core is not counted on"
    starts = [line.split() for line in marks.read_text().splitlines()]
    assert len({parent for _, parent in starts}) >= 2, "both nodes worked"
    assert len(starts) > 8, "the killed node's job was begun again"
