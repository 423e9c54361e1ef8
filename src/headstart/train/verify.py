"""Proof that a run can be stopped: N steps in one piece against N/2 + N/2 through a checkpoint, bit for bit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from headstart.data.corpus import PackedCorpus
from headstart.ground.errors import GateError
from headstart.train.checkpoint import Checkpoints, Identity, Saved
from headstart.train.course import Course, Trained, Watch, follow
from headstart.train.loop import StepRecord
from headstart.train.objective import LanguageModel
from headstart.train.pretrain import TextCourse
from headstart.train.recipe import Recipe

NEVER = 1e9  # seconds between checkpoints: only the one at the end is written


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared: steps, tensors of the final state, values in them."""

    steps: int
    tensors: int
    values: int


def verify_resume(
    recipe: Recipe,
    train: PackedCorpus,
    validation: PackedCorpus,
    *,
    steps: int,
    identity: Identity,
    compile_blocks: bool,
    start: LanguageModel | None = None,
) -> Verified:
    """`verify_course` of text under a recipe."""
    course = TextCourse(recipe, train, validation, start)
    return verify_course(course, steps=steps, identity=identity, compile_blocks=compile_blocks)


def verify_course(course: Course[Trained], *, steps: int, identity: Identity, compile_blocks: bool) -> Verified:
    """Run the first `steps` steps of a course twice: in one piece, and stopped, saved and taken up in the middle.

    Raises:
        GateError: a loss or a tensor differs in a single bit.
    """

    def stretch(folder: Path, until: int) -> list[float]:
        losses: list[float] = []
        last = 0

        def count(record: StepRecord) -> None:
            nonlocal last
            losses.append(record.loss)
            last = record.step + 1

        follow(
            course,
            probe_every=course.plan(0).steps + 1,
            compile_blocks=compile_blocks,
            checkpoints=Checkpoints(folder, identity, every=NEVER),
            watch=Watch(on_step=count, stop=lambda: last >= until),
        )
        return losses

    with tempfile.TemporaryDirectory() as room:
        whole, halves = Path(room) / "whole", Path(room) / "halves"
        straight = stretch(whole, steps)
        broken = stretch(halves, steps // 2) + stretch(halves, steps)
        one, two = (newest(folder, identity) for folder in (whole, halves))
        return compare(straight, broken, one, two)


def newest(folder: Path, identity: Identity) -> Saved:
    """The only checkpoint that a stretch left."""
    saved = Checkpoints(folder, identity).newest()
    assert saved is not None, "every stretch ends with a checkpoint"
    return saved


def compare(straight: list[float], broken: list[float], one: Saved, two: Saved) -> Verified:
    """GateError at the first difference."""
    for step, (a, b) in enumerate(zip(straight, broken, strict=True)):
        if a != b:
            raise GateError(
                f"the loss of step {step} is {b!r} after going on and {a!r} in one piece; expected the same bits. "
                "Do not trust resumed runs on this machine, and report its torch version."
            )
    first, second = one.tensors(), two.tensors()
    for name, tensor in first.items():
        if not torch.equal(tensor, second[name]):
            raise GateError(
                f"{name} differs after going on; expected the same bits. Do not trust resumed runs on this machine, "
                "and report its torch version."
            )
    return Verified(len(straight), len(first), sum(t.numel() for t in first.values()))
