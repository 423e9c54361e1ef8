"""Checkpoints: exact resume, drift, damage, full disks, divergence; a stopped run and a killed one lose nothing."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tests.train.test_pretrain import corpus as corpus  # a fixture
from tests.train.test_pretrain import recipe

from headstart.data.corpus import PackedCorpus
from headstart.ground.errors import ConfigError, RunError
from headstart.train import checkpoint as checkpoint_module
from headstart.train import pretrain as pretrain_module
from headstart.train.checkpoint import MANIFEST, Checkpoints, Identity, Machine, Progress
from headstart.train.guard import PATIENCE, WINDOW, Diverged, Guard
from headstart.train.loop import StepRecord
from headstart.train.pretrain import Watch, gone_back, pack_corpus, train_text
from headstart.train.text_base import identity_of, pretrain
from headstart.train.verify import verify_resume

HERE = Identity("r", "c", "t")


@pytest.fixture
def packed(corpus: Path, tmp_path: Path) -> tuple[PackedCorpus, PackedCorpus]:
    return pack_corpus(recipe(), data=corpus, work=tmp_path / "work")


class Until:
    """A watch that stops after some steps and remembers losses and words."""

    def __init__(self, steps: int = 10**9) -> None:
        self.steps, self.losses, self.words = steps, {}, []  # type: ignore[var-annotated]
        self.watch = Watch(on_step=self.see, tell=self.words.append, stop=lambda: len(self.losses) >= self.steps)

    def see(self, record: StepRecord) -> None:
        self.losses[record.step] = record.loss


def test_a_run_in_pieces_is_the_run_in_one_piece(packed: tuple[PackedCorpus, PackedCorpus], tmp_path: Path) -> None:
    """Three stops at odd places: every loss, the curve and the final weights are the same bits."""
    whole = Until()
    one = train_text(recipe(), *packed, probe_every=7, compile_blocks=False, watch=whole.watch)
    losses: dict[int, float] = {}
    for stop in (3, 11, 9, 10**9):
        piece = Until(stop)
        checkpoints = Checkpoints(tmp_path / "checkpoints", HERE)
        two = train_text(
            recipe(), *packed, probe_every=7, compile_blocks=False, checkpoints=checkpoints, watch=piece.watch
        )
        assert not set(losses) & set(piece.losses)
        losses |= piece.losses
    assert losses == whole.losses
    assert one.steps == two.steps == 40
    assert [(p.units, p.bits_per_byte) for p in one.curve] == [
        (p.units, p.bits_per_byte) for p in two.curve if p.units in {q.units for q in one.curve}
    ]
    assert all(
        torch.equal(a, b) for a, b in zip(one.model.trunk.parameters(), two.model.trunk.parameters(), strict=True)
    )


def test_100_steps_are_50_and_50_bit_for_bit(packed: tuple[PackedCorpus, PackedCorpus], tmp_path: Path) -> None:
    """Losses, weights and the optimiser's state; going on is another call that has only the folder."""
    settings = msgspec.structs.replace(recipe().optimisation, tokens=100 * 1024)
    hundred = msgspec.structs.replace(recipe(), optimisation=settings)

    def stretch(folder: Path, steps: int) -> dict[int, float]:
        seen = Until(steps)
        checkpoints = Checkpoints(folder, HERE, every=1e9)
        train_text(hundred, *packed, probe_every=1000, compile_blocks=False, checkpoints=checkpoints, watch=seen.watch)
        return seen.losses

    whole = stretch(tmp_path / "whole", 100)
    first, second = stretch(tmp_path / "halves", 50), stretch(tmp_path / "halves", 50)
    assert (list(first), list(second)) == (list(range(50)), list(range(50, 100)))
    assert first | second == whole
    states = [Checkpoints(tmp_path / name, HERE).newest() for name in ("whole", "halves")]
    one, two = (saved.tensors() for saved in states if saved is not None and saved.progress.step == 100)
    assert one.keys() == two.keys()
    assert {name.split("/")[0] for name in one} > {"weight"}
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_killed_run_goes_on_from_its_last_checkpoint(
    packed: tuple[PackedCorpus, PackedCorpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Until()
    train_text(recipe(), *packed, probe_every=50, compile_blocks=False, watch=whole.watch)
    for kill_at in (5, 17, 31):
        folder = tmp_path / f"killed-{kill_at}"
        killed = Until()

        def dying(record: StepRecord, killed: Until = killed, at: int = kill_at) -> None:
            killed.see(record)
            if record.step == at:
                raise SystemExit("killed")

        with pytest.raises(SystemExit):
            train_text(
                recipe(),
                *packed,
                probe_every=50,
                compile_blocks=False,
                checkpoints=Checkpoints(folder, HERE, every=0.0),
                watch=Watch(on_step=dying),
            )
        after = Until()
        train_text(
            recipe(),
            *packed,
            probe_every=50,
            compile_blocks=False,
            checkpoints=Checkpoints(folder, HERE),
            watch=after.watch,
        )
        assert min(after.losses) == kill_at  # saved between steps: only the step that was killed is done again
        assert killed.losses | after.losses == whole.losses


def test_verify_resume_compares_bit_for_bit(packed: tuple[PackedCorpus, PackedCorpus]) -> None:
    found = verify_resume(recipe(), *packed, steps=6, identity=identity_of(recipe(), packed[0]), compile_blocks=False)
    assert found.steps == 6
    assert found.values > 2 * sum(p.numel() for p in pretrain_module.fresh(recipe(), compile_blocks=False).parameters())


def small(step: int) -> tuple[dict[str, torch.Tensor], Progress]:
    return {"weight/a": torch.full((3,), float(step))}, Progress(step=step)


def test_the_last_two_are_kept_and_a_damaged_one_is_passed_by(tmp_path: Path) -> None:
    words: list[str] = []
    checkpoints = Checkpoints(tmp_path, HERE, tell=words.append)
    assert checkpoints.newest() is None
    for step in (1, 2, 3):
        checkpoints.save(*small(step))
    assert [p.name for p in checkpoints.found()] == ["step-00000002", "step-00000003"]
    (state,) = (path for path in checkpoints.found()[-1].iterdir() if path.name != MANIFEST)
    whole = state.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(whole), 50):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(0, 8))
        state.write_bytes(damaged)
        saved = checkpoints.newest()
        assert saved is not None
        assert saved.progress.step == 2
        assert float(saved.tensors()["weight/a"][0]) == 2.0
    assert "damaged" in words[0]
    state.unlink()
    without = checkpoints.newest()
    assert without is not None
    assert without.progress.step == 2


def test_new_checkpoints_are_kept_where_later_ones_are_damaged(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    for step in (200, 300):
        checkpoints.save(*small(step))
        (tmp_path / f"step-{step:08d}" / MANIFEST).write_text("{}")
    assert checkpoints.newest() is None
    for step in (50, 60, 70):
        checkpoints.save(*small(step))
        saved = checkpoints.newest()
        assert saved is not None
        assert saved.progress.step == step
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in names if name.startswith("step-")] == ["step-00000060", "step-00000070"]
    assert [name[:21] for name in names if name.startswith("damaged-")] == [
        "damaged-step-00000200",
        "damaged-step-00000300",
    ]


def test_leftovers_of_killed_writers_are_swept_and_never_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    checkpoints.save(*small(1))
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000002.tmp-abcd1234")
    saved = checkpoints.newest()
    assert saved is not None
    assert saved.progress.step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("field", ["recipe", "corpus", "tokenizer"])
def test_drift_is_refused_until_a_fork_is_asked_for(field: str, tmp_path: Path) -> None:
    Checkpoints(tmp_path, HERE).save(*small(4))
    other = Identity(**{**{n: getattr(HERE, n) for n in ("recipe", "corpus", "tokenizer")}, field: "other"})
    with pytest.raises(ConfigError, match=rf"the {field} changed since .*--fork"):
        Checkpoints(tmp_path, other).newest()
    forked = Checkpoints(tmp_path, other, fork=True).newest()
    assert forked is not None
    assert forked.progress.step == 4


def test_another_machine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(tmp_path, HERE).save(*small(1))
    words: list[str] = []
    monkeypatch.setattr("headstart.train.checkpoint.this_machine", lambda ranks: Machine(7, 1, "9.9", "other", "cpu"))
    assert Checkpoints(tmp_path, HERE, tell=words.append).newest() is not None
    assert "not bit for bit: threads" in words[0]


def test_a_state_that_is_not_finite_is_never_written(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HERE)
    checkpoints.save(*small(1))
    with pytest.raises(RunError, match="weight/a at step 2"):
        checkpoints.save({"weight/a": torch.tensor([1.0, float("nan")])}, Progress(step=2))
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_a_disk_that_fails_at_any_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every system call of a save fails in turn: what was there before is still there, whole."""
    checkpoints = Checkpoints(tmp_path, HERE)
    checkpoints.save(*small(1))
    calls = 0

    def failing(real, at):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return call

    failures = 0
    for at in range(1, 40):
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(os.fsync, at))
            patch.setattr(os, "replace", failing(os.replace, at))
            patch.setattr(os, "rename", failing(os.rename, at))
            patch.setattr(os, "mkdir", failing(os.mkdir, at))
            patch.setattr(Path, "open", failing(Path.open, at))
            patch.setattr(Path, "write_bytes", failing(Path.write_bytes, at))
            problem = refused(checkpoints)
        if problem is None:
            break
        failures += 1
        assert "no space left" in problem
        saved = checkpoints.newest()
        assert saved is not None
        assert saved.progress.step in (1, 2)
        shutil.rmtree(tmp_path / "step-00000002", ignore_errors=True)
    assert failures >= 5
    assert not list(tmp_path.glob(".step*"))


def test_a_disk_that_fills_within_a_file_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    """The kernel refuses: a limit on the size of files stands in for a full disk, below that of either file."""
    checkpoints = Checkpoints(tmp_path, HERE)
    saved = checkpoints.save(*small(1))
    largest = max(file.stat().st_size for file in saved.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in range(0, largest, 50):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            problem = refused(checkpoints)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert problem is not None
        assert "no space left" in problem
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
        newest = checkpoints.newest()
        assert newest is not None
        assert float(newest.tensors()["weight/a"][0]) == 1.0
    checkpoints.save(*small(2))


def refused(checkpoints: Checkpoints) -> str | None:
    """What saving step 2 is refused with."""
    try:
        checkpoints.save(*small(2))
    except RunError as problem:
        return str(problem)
    return None


def test_training_goes_on_over_a_full_disk_and_gives_up_at_the_third(
    packed: tuple[PackedCorpus, PackedCorpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "write_state", full)
    seen = Until()
    with pytest.raises(RunError, match="no space left"):
        train_text(
            recipe(),
            *packed,
            probe_every=50,
            compile_blocks=False,
            checkpoints=Checkpoints(tmp_path / "c", HERE, every=0.0),
            watch=seen.watch,
        )
    assert len(seen.losses) == 3  # tries after the first, second and third step; two were forgiven
    assert sum("Training goes on" in w for w in seen.words) == 2


def test_too_little_space_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="MB free; expected"):
        Checkpoints(tmp_path / "c", HERE).require_space(10**18)


def test_the_guard_lets_noise_pass_and_stops_a_climb() -> None:
    random = np.random.default_rng(0)
    guard = Guard()
    for step in range(1000):
        guard.see(step, 5.0 - 0.001 * step + 0.05 * float(random.normal()))
    for step in range(1000, 1000 + PATIENCE - 1):
        guard.see(step, 9.0)
    guard.see(1009, 4.0)  # one good step and the count starts anew
    for step in range(1010, 1010 + PATIENCE - 1):
        guard.see(step, float("nan"))
    with pytest.raises(Diverged, match="step 1019"):
        guard.see(1019, float("nan"))


def test_nothing_is_off_course_before_the_window_is_full() -> None:
    guard = Guard()
    for step in range(WINDOW):
        guard.see(step, 100.0 - step if step % 2 else 3.0)  # raises Diverged where it finds anything
    for step in range(WINDOW, WINDOW + PATIENCE - 1):
        guard.see(step, 1e4)
    with pytest.raises(Diverged):
        guard.see(WINDOW + PATIENCE - 1, 1e4)


def test_a_diverged_run_goes_back_past_the_data_at_half_the_rates(
    packed: tuple[PackedCorpus, PackedCorpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poisoned data ruins the loss once; the run returns, reads other rows and ends with finite weights."""
    see = Guard.see
    ruined: list[int] = []

    def poisoned(self: Guard, step: int, loss: float) -> None:
        if not ruined and step >= 9:
            self.above = step - 8
        if step == 12 and not ruined:
            ruined.append(step)
            raise Diverged(step, "the loss at step 12 is bad; expected better. Lower the learning rate.", first=9)
        if not self.above:
            see(self, step, loss)

    monkeypatch.setattr(Guard, "see", poisoned)
    seen = Until()
    factors: dict[int, float] = {}

    def watch(record: StepRecord) -> None:
        seen.see(record)
        factors[record.step] = record.factor

    found = train_text(
        recipe(),
        *packed,
        probe_every=50,
        compile_blocks=False,
        checkpoints=Checkpoints(tmp_path / "c", HERE, every=0.0),
        watch=Watch(on_step=watch, tell=seen.words.append),
    )
    assert ruined == [12]
    assert any("Going back to step 9" in w for w in seen.words), "not into the stretch that had gone wrong already"
    assert found.steps == 40
    assert factors[12] == pytest.approx(0.5)  # the plateau of the trapezoid is 1
    assert all(bool(torch.isfinite(p).all()) for p in found.model.trunk.parameters())
    saved = Checkpoints(tmp_path / "c", HERE).newest()
    assert saved is not None
    assert (saved.progress.rollbacks, saved.progress.skipped) == (1, 4)
    assert len(saved.progress.recent) == 40, "9 of before, 31 of after: the guard goes on with what it knew"


def test_a_guard_that_goes_on_judges_as_it_did() -> None:
    before = Guard()
    for step in range(WINDOW):
        before.see(step, 3.0 + 0.01 * (step % 5))
    for step in range(PATIENCE - 1):
        before.see(WINDOW + step, 9.0)
    after = Guard(before.recent, before.above)
    with pytest.raises(Diverged) as caught:
        after.see(WINDOW + PATIENCE - 1, 9.0)
    assert caught.value.first == WINDOW


def test_a_fourth_divergence_ends_the_run() -> None:
    problem = Diverged(20, "the loss is bad; expected better. Lower the learning rate.", first=18)
    assert gone_back(problem, Progress(step=15, skipped=2), 2) == Progress(step=15, skipped=8, rollbacks=3)
    with pytest.raises(RunError, match="went back 3 times"):
        gone_back(problem, Progress(step=15), 3)


def test_a_finished_work_folder_gives_the_same_base_again(corpus: Path, tmp_path: Path) -> None:
    base = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    again = pretrain(recipe(), data=corpus, work=tmp_path / "work")
    assert again.digest == base.digest
    assert len(again.lineage[0].results["curve"]) == len(base.lineage[0].results["curve"])
