"""`headstart pretrain`: a recipe and a folder of data -> a saved base, its curve, its page (text), and an exit code.

The tokenizer, the packed corpus or planes, metrics.jsonl and the checkpoints lie in OUT.work. A run that was stopped or
killed goes on from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import glob
import json as jsonlib
import math
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch.distributed import is_torchelastic_launched

from headstart.base.base import Base
from headstart.data.built import is_built
from headstart.data.patch_corpus import pack_patches
from headstart.doctor import arithmetic_speed, machine_bytes
from headstart.evaluate.training_page import write_training_page
from headstart.flags import seconds_of
from headstart.ground.device import pick_device
from headstart.ground.errors import INTERRUPTED, ConfigError, DataError, GateError
from headstart.ground.files import publish_folder, refuse_taken, refuse_unwritable, sweep
from headstart.ground.journal import Journal
from headstart.ground.stopping import stop_on_signals
from headstart.train.checkpoint import Tell
from headstart.train.estimate import estimate
from headstart.train.held_out import CurvePoint
from headstart.train.loop import StepRecord
from headstart.train.patch_base import identity_of as patch_identity
from headstart.train.patch_base import pretrain_patches
from headstart.train.patch_course import PatchCourse
from headstart.train.patch_recipe import PatchRecipe, is_for_patches, read_patch_recipe
from headstart.train.pretrain import Watch
from headstart.train.ranks import Ranks, joined
from headstart.train.recipe import Optimisation, Recipe, in_fast_numbers, read_recipe, recipe_values
from headstart.train.sizing import Reason, numbers_reason, recipe_for
from headstart.train.text_base import COMPILE_FROM, find_corpus, identity_of, pretrain, require_shards, started_from
from headstart.train.verify import verify_course, verify_resume

EVERY = 50  # steps between lines for people
VERIFIED_STEPS = 8


def pretrain_base(
    recipe: str | None,
    *,
    size: str | None,
    data: Path | None,
    out: Path | None,
    start: str | None,
    micro_tokens: int | None,
    save_every: str,
    fork: bool,
    verify: bool,
    dry_run: bool,
    json: bool,
) -> int:
    """Pre-train, save, and print what came out."""
    chosen, reasons = chosen_recipe(recipe, size)
    chosen = in_passes(chosen, micro_tokens)
    if dry_run:
        return explain(chosen, reasons, json=json)
    if data is None or out is None:
        raise ConfigError(
            f"{'--data' if data is None else '--out'} is missing; expected a folder. Write --data SHARDS --out DIR, or "
            "--dry-run to see what would be trained."
        )
    refuse_taken(out)
    refuse_unwritable(out)
    every = seconds_of(save_every, flag="--save-every")
    if isinstance(chosen, Recipe) and not is_built(data):
        chosen = over_shards(chosen, data) if recipe is None else chosen
        require_shards(chosen, data)
    if (problem := too_large(chosen)) is not None:
        raise ConfigError(problem)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    if start is not None and isinstance(chosen, PatchRecipe):
        raise ConfigError(f"--from is {start} with the recipe {chosen.name}; expected a recipe for text. Leave it out.")
    begin = None if start is None else Base.load(start)
    if verify:
        return prove(chosen, data, work, begin, json=json)
    with joined() as ranks:
        log_file = work / "metrics.jsonl" if ranks.first else Path(os.devnull)
        console = Console(stderr=True, soft_wrap=True, highlight=False, quiet=not ranks.first)
        with Speaker(console, chosen.num_steps) as speaker, Journal(log_file, speaker.tell) as log:
            if ranks.first:
                sweep(out.parent, glob.escape(out.name), speaker.tell)
                for place in (work, *filter(Path.is_dir, work.iterdir())):
                    sweep(place, "*", speaker.tell)
            for reason in reasons:
                speaker.tell(f"{reason.name} {reason.value}: {reason.why}")
            if isinstance(chosen, Recipe) and not is_built(data):
                speaker.tell(f"the text in {data} is read as it is: what `headstart data build` would drop stays in")
            try:
                with stop_on_signals(speaker.tell) as stop:
                    steps, points = step_writer(chosen, log, speaker, ranks.size), point_writer(log, speaker.tell)
                    watch = Watch(steps, points, speaker.tell, stop, stop.done)
                    base = trained(chosen, data, work, begin, save_every=every, fork=fork, watch=watch, ranks=ranks)
            except KeyboardInterrupt:
                speaker.tell(f"interrupted; the same command goes on from what is finished in {work}")
                return INTERRUPTED
            results = base.report or {}
            if results["stopped"] == "asked":
                speaker.tell(f"stopped after step {results['steps']:,}; the same command goes on from there")
                return INTERRUPTED
        if ranks.first:
            with publish_folder(out) as folder:  # the page with the base, or neither: a kill in between lost the page
                base.save(folder)
                if isinstance(chosen, Recipe):
                    write_training_page(base, folder, out=out, metrics=log_file, roof=roof_of(chosen, ranks))
            show(base, out, json=json)
    return 0


def trained(
    recipe: Recipe | PatchRecipe,
    data: Path,
    work: Path,
    start: Base | None,
    *,
    save_every: float,
    fork: bool,
    watch: Watch,
    ranks: Ranks,
) -> Base:
    """Text or patches."""
    if isinstance(recipe, PatchRecipe):
        return pretrain_patches(
            recipe, data=data, work=work, save_every=save_every, fork=fork, watch=watch, ranks=ranks
        )
    return pretrain(
        recipe, data=data, work=work, start=start, save_every=save_every, fork=fork, watch=watch, ranks=ranks
    )


def chosen_recipe(recipe: str | None, size: str | None) -> tuple[Recipe | PatchRecipe, tuple[Reason, ...]]:
    """The named recipe, or the one the dial gives, with reasons; ConfigError unless exactly one is given."""
    if (recipe is None) == (size is None):
        given = "neither" if recipe is None else "both"
        raise ConfigError(f"{given} of RECIPE and --size is given; expected one. Write text-tiny, or --size 11m.")
    if recipe is not None:
        named = (read_patch_recipe if is_for_patches(recipe_values(recipe)) else read_recipe)(recipe)
        same = in_fast_numbers(named.optimisation) == named.optimisation
        return named, () if same else (numbers_reason(named.optimisation),)
    assert size is not None
    sized = recipe_for(size)
    return sized.recipe, sized.reasons


def too_large(recipe: Recipe | PatchRecipe) -> str | None:
    """What is said where training needs more memory than this machine has: it would be killed after minutes, without a
    word. Of accelerators and of recipes for patches nothing is foretold."""
    if isinstance(recipe, PatchRecipe) or pick_device().type != "cpu":
        return None
    needed, there, micro = estimate(recipe).memory_bytes, machine_bytes(), recipe.optimisation.micro_tokens
    if needed <= there:
        return None
    widest = max(width for _, width in recipe.optimisation.lengths)
    while micro // 2 >= widest and estimate(in_passes(recipe, micro)).memory_bytes > there / 2:
        micro //= 2
    return (
        f"{recipe.name} needs about {needed / 1e9:.0f} GB in passes of {recipe.optimisation.micro_tokens:,} tokens; "
        f"expected at most the {there / 1e9:.0f} GB of this machine. Add --micro-tokens {micro}."
    )


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe | PatchRecipe)


def in_passes(recipe: AnyRecipe, micro_tokens: int | None) -> AnyRecipe:
    """The recipe in passes of so many tokens; as it is for None."""
    if micro_tokens is None:
        return recipe
    settings = msgspec.structs.replace(recipe.optimisation, micro_tokens=micro_tokens)
    return msgspec.structs.replace(recipe, optimisation=settings)


def over_shards(recipe: Recipe, data: Path) -> Recipe:
    """A recipe of the dial over whatever shards a folder holds; one whose name begins with val is held out.

    Raises:
        DataError: there are none, or none to hold out.
    """
    found = sorted(p.name for p in data.glob("*") if p.name.removesuffix(".gz").removesuffix(".zst").endswith(".jsonl"))
    held = [name for name in found if name.startswith("val")]
    rest = [name for name in found if name not in held]
    if not held or not rest:
        raise DataError(
            f"{data} holds {', '.join(found) or 'no .jsonl, .jsonl.gz or .jsonl.zst'}; expected shards to train on "
            'and one to hold out, whose name begins with val, one {"text": ...} a line. Add it, or give another --data.'
        )
    part = msgspec.structs.replace(recipe.corpus, train=tuple(rest), validation=held[0])
    return msgspec.structs.replace(recipe, corpus=part)


def explain(recipe: Recipe | PatchRecipe, reasons: tuple[Reason, ...], *, json: bool) -> int:
    """What would be trained, why so, and what it would cost here; nothing is read or written."""
    if isinstance(recipe, PatchRecipe):
        return explain_patches(recipe, reasons, json=json)
    cost = estimate(recipe, speed=speed_of(recipe.optimisation))
    assert cost.seconds is not None, "a speed was given"
    if json:
        facts = {
            "recipe": msgspec.to_builtins(recipe),
            "parameters": recipe.trunk_config().num_parameters,
            "reasons": [asdict(reason) for reason in reasons],
            "memory_bytes": cost.memory_bytes,
            "flops": cost.flops,
            "seconds": cost.seconds,
        }
        sys.stdout.write(jsonlib.dumps(facts) + "\n")
        return 0
    lines = [f"{reason.name} {reason.value}: {reason.why}" for reason in reasons]
    lines += [
        f"{recipe.name}: {recipe.trunk_config().num_parameters:,} parameters, {recipe.optimisation.tokens:,} tokens",
        f"about {cost.seconds / 60:,.0f} minutes on this machine, {cost.memory_bytes / 1e9:.2f} GB, "
        f"{cost.flops:.2g} FLOPs",
    ]
    problem = too_large(recipe)
    lines += [] if problem is None else [problem]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def explain_patches(recipe: PatchRecipe, reasons: tuple[Reason, ...], *, json: bool) -> int:
    """The same of a recipe for patches; its memory is not foretold."""
    config, patches = recipe.trunk_config(), recipe.patches()
    flops = float(sum(map(recipe.step_flops, range(recipe.num_steps))))
    facts = {
        "recipe": msgspec.to_builtins(recipe),
        "parameters": config.num_parameters + patches.num_parameters(config.dim),
        "flops": flops,
        "seconds": flops / speed_of(recipe.optimisation),
    }
    words = (
        f"{recipe.name}: {facts['parameters']:,} parameters, {recipe.optimisation.tokens:,} patches of "
        f"{patches.unit_size} numbers, {recipe.hidden.share:.0%} of them hidden\n{flops:.2g} FLOPs"
    )
    told = "".join(f"{reason.name} {reason.value}: {reason.why}\n" for reason in reasons)
    sys.stdout.write((jsonlib.dumps(facts) if json else told + words) + "\n")
    return 0


def prove(recipe: Recipe | PatchRecipe, data: Path, work: Path, start: Base | None, *, json: bool) -> int:
    """Stop and go on in the middle of a few steps, and compare with going straight on. GateError where they differ."""
    if is_torchelastic_launched():
        raise ConfigError("--verify-resume is given under torchrun; expected one process. Leave torchrun out.")
    if isinstance(recipe, PatchRecipe):
        corpus = pack_patches(data, recipe.codec(), work / "planes")
        course, identity = PatchCourse(recipe, corpus), patch_identity(recipe, corpus)
        found = verify_course(course, steps=VERIFIED_STEPS, identity=identity, compile_blocks=False)
    else:
        train, validation = find_corpus(recipe, data, work, start)
        found = verify_resume(
            recipe,
            train,
            validation,
            steps=VERIFIED_STEPS,
            identity=identity_of(recipe, train, start),
            compile_blocks=recipe.optimisation.tokens >= COMPILE_FROM,
            start=None if start is None else started_from(start),
        )
    if found.steps != VERIFIED_STEPS:
        raise GateError(f"the recipe has {found.steps} steps; expected at least {VERIFIED_STEPS} to stop in between.")
    facts = asdict(found)
    words = f"{found.steps} steps in one piece and in two are the same: {found.values:,} values, bit for bit"
    sys.stdout.write((jsonlib.dumps({"resume": "exact", **facts}) if json else words) + "\n")
    return 0


def step_writer(
    recipe: Recipe | PatchRecipe, log: Journal, speaker: Speaker, processes: int
) -> Callable[[StepRecord], None]:
    """A line of metrics.jsonl a step, with speed and share of the roof (`mfu`); every EVERY steps one for people."""
    settings = recipe.optimisation
    roof = processes * speed_of(settings)
    noun = "patches" if isinstance(recipe, PatchRecipe) else "tokens"
    last: StepRecord | None = None
    before = math.nan  # seconds at the end of the step before

    def write(record: StepRecord) -> None:
        nonlocal last, before
        if last is not None and record.step <= last.step:  # the run went back
            last, before = None, math.nan
        told, took, before = asdict(record), record.seconds - before, record.seconds
        if took > 0:
            told |= {"per_second": settings.tokens_per_step / took, "mfu": recipe.step_flops(record.step) / took / roof}
        log.add(told)
        speaker.reach(record.step + 1, f"loss {record.loss:.3f}")
        if last is not None and record.step % EVERY == 0:
            seconds = (record.seconds - last.seconds) / (record.step - last.step)
            speed = settings.tokens_per_step / seconds
            share = recipe.step_flops(record.step) / seconds / roof
            left = seconds * (recipe.num_steps - record.step - 1)
            speaker.tell(
                f"step {record.step:,} of {recipe.num_steps:,}: loss {record.loss:.3f}, norm {record.grad_norm:.2f}, "
                f"{speed:,.0f} {noun}/s, {share:.0%} of the machine's arithmetic, "
                f"{left / 60:.0f} min left"
            )
        if last is None or record.step % EVERY == 0:
            last = record

    return write


def speed_of(settings: Optimisation) -> float:
    """FLOP/s of this machine's matrix products in the numbers in which it computes a recipe."""
    return arithmetic_speed(in_fast_numbers(settings).dtype) * 1e9


def roof_of(recipe: Recipe, ranks: Ranks) -> float | None:
    """FLOP/s of this machine's matrix products; None where an accelerator or several processes did the work."""
    if ranks.size > 1 or pick_device().type != "cpu":
        return None
    return speed_of(recipe.optimisation)


def point_writer(log: Journal, tell: Tell) -> Callable[[CurvePoint], None]:
    """A line of metrics.jsonl and one for people a point of the held-out curve."""

    def write(point: CurvePoint) -> None:
        log.add(asdict(point))
        tell(f"held out after {point.units:,} units: {reading(point)}")

    return write


def reading(point: CurvePoint) -> str:
    """A point of the curve in words: what the run trains, and only that."""
    said = {
        "bits per byte": point.bits_per_byte,
        "nats per hidden unit": point.masked_nats,
        "of the variance of hidden patches": point.patch_error,
    }
    return ", ".join(f"{value:.3f} {what}" for what, value in said.items() if value is not None)


def show(base: Base, out: Path, *, json: bool) -> None:
    """What came out: one JSON object, or a sentence and the next command."""
    results = cast(dict[str, Any], base.report)
    if json:
        facts = {"name": base.name, "saved": str(out), "parameters": base.trunk.num_parameters, **results}
        sys.stdout.write(jsonlib.dumps(facts) + "\n")
        return
    last = CurvePoint(**results["curve"][-1])
    table = "reviews.csv" if base.trunk.patches is None else "photos/"
    sys.stdout.write(
        f"{base.name}: {reading(last)} after {results['units']:,} units, "
        f"saved in {out}\n"
        f"headstart adapt {table} --base {out}\n"
    )


class Speaker:
    """Words for people on stderr, and below them, on a terminal only, a bar with the share done and the time left."""

    def __init__(self, console: Console, steps: int) -> None:
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=steps)

    def __enter__(self) -> Speaker:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, words: str) -> None:
        """One line."""
        self._bar.console.print(words, markup=False)

    def reach(self, step: int, words: str) -> None:
        """Move the bar to a step."""
        self._bar.update(self._task, completed=step, description=words)
