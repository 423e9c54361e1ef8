"""One joint checkpoint over text, pictures, sounds and series beside four separate ones: same units, same blocks.

A member is what one modality needs of its own: embedder, objective and head or decoder. Separately, each member trains
with blocks of its own; jointly all four train above the same blocks, a micro-batch of every member in each step, each
counted alike. Both read the same units as often, in as many steps; the joint one has a quarter of the blocks. Beside
them stands the same network with random weights. All are read by probes with few labels, and by the held-out loss.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from bench.modalities import few_labels, read_set
from bench.patch_corpora import gather
from bench.places import add_places, places_of
from bench.processes import machine, require_quiet
from bench.scoring import difference, interval
from bench.speed_pretrain import HELD_OUT, SHARD, excerpt
from headstart.base.base import Base
from headstart.data.codec import load_tokenizer
from headstart.data.corpus import PackedCorpus
from headstart.data.patch_corpus import PatchCorpus, pack_patches
from headstart.data.raw import Modality
from headstart.data.task import Examples, Task
from headstart.evaluate.trial import try_method
from headstart.ground.batch import Batch
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk, fill, initialise
from headstart.train.course import parameter_groups, schedule_of
from headstart.train.held_out import validate
from headstart.train.loop import Job, run
from headstart.train.masked_patches import PatchModel, patch_loss
from headstart.train.methods import FitSettings
from headstart.train.objective import LanguageModel, Learner, LossRecord, lm_loss
from headstart.train.optim import Optimiser
from headstart.train.patch_course import PatchCourse, PatchPlan, new_model
from headstart.train.patch_recipe import PatchRecipe, read_patch_recipe
from headstart.train.pretrain import pack_corpus
from headstart.train.recipe import Recipe, Shape, read_recipe
from headstart.train.step_plan import StepPlan, mask_settings

PATCHES: tuple[Modality, ...] = ("image", "audio", "series")
MEMBERS = ("text", *PATCHES)
VOCABULARY, WIDTH = 4096, 128  # of text
UNITS = 4096  # of a member's micro-batch
SETS: dict[str, tuple[str, ...]] = {
    "text": ("trec6", "sst2"),
    "image": ("fashion_mnist", "sign_digits"),
    "audio": ("fsdd",),
    "series": ("ts_gunpoint", "ts_ecg200", "ts_synthetic_control"),
}
KINDS = ("joint", "separate", "random")
Record = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """What the text member is made and read by."""

    recipe: Recipe
    train: PackedCorpus
    validation: PackedCorpus
    work: Path

    def plan(self) -> StepPlan:
        """Its batches."""
        return StepPlan(self.recipe, self.train)

    def loss(self, model: nn.Module, batch: Batch) -> LossRecord:
        """The hybrid objective."""
        assert isinstance(model, LanguageModel)
        return lm_loss(model, batch, z_loss=self.recipe.mixture.z_loss)

    def look(self, model: nn.Module) -> float:
        """Held-out bits per byte."""
        assert isinstance(model, LanguageModel)
        bits, _ = validate(model, self.validation, mask_settings(self.recipe), causal_share=1.0, seed=0)
        assert bits is not None
        return bits

    def base(self, trunk: Trunk) -> Base:
        """What a probe reads."""
        codec = load_tokenizer(self.work, max_positions=WIDTH)
        return Base(trunk=trunk.eval(), codec=codec, family="gpt2", pattern="full", name="text")


@dataclass(frozen=True)
class Patches:
    """What a member of patches is made and read by."""

    recipe: PatchRecipe
    corpus: PatchCorpus

    def plan(self) -> PatchPlan:
        """Its batches."""
        return PatchPlan(self.recipe, self.corpus)

    def loss(self, model: nn.Module, batch: Batch) -> LossRecord:
        """Masked autoencoding."""
        assert isinstance(model, PatchModel)
        return patch_loss(model, batch)

    def look(self, model: nn.Module) -> float:
        """Mean squared error of held-out hidden patches; 1 for a guess of their mean."""
        assert isinstance(model, PatchModel)
        error = PatchCourse(self.recipe, self.corpus).look(model, units=0, seconds=0.0).patch_error
        assert error is not None
        return error

    def base(self, trunk: Trunk) -> Base:
        """What a probe reads."""
        return Base(trunk=trunk.eval(), codec=self.recipe.codec(), family="vit", pattern="full", name=self.recipe.name)


Member = Text | Patches


class Joint(Learner):
    """Members whose trunks share the first one's blocks and final norm; one member alone is a separate run."""

    def __init__(self, models: Mapping[str, LanguageModel | PatchModel]) -> None:
        first, *others = models.values()
        super().__init__(first.trunk)
        for other in others:
            other.trunk.blocks, other.trunk.norm = first.trunk.blocks, first.trunk.norm
        self.members = nn.ModuleDict(dict(models))


def members_of(work: Path, shared: Path, *, steps: int, seed: int) -> dict[str, Member]:
    """All four, their data packed below `work` once."""
    corpora = work / "patches"
    if not corpora.is_dir():
        gather(shared / "tasks", corpora, 0.5)
    found: dict[str, Member] = {}
    for name in PATCHES:
        shipped = read_patch_recipe(f"{name}-tiny")
        recipe = msgspec.structs.replace(shipped, optimisation=shortened(shipped.optimisation, steps=steps, seed=seed))
        found[name] = Patches(recipe, pack_patches(corpora / name, recipe.codec(), work / f"planes-{name}"))
    text = text_recipe(found["image"].recipe.trunk_config().mlp_dim, steps=steps, seed=seed)
    excerpt(shared / "corpus" / SHARD, num_bytes=60_000_000, target=work / "text" / text.corpus.train[0])
    excerpt(shared / "corpus" / HELD_OUT, num_bytes=1 << 40, target=work / "text" / text.corpus.validation)
    packed = work / "packed"
    return {"text": Text(text, *pack_corpus(text, data=work / "text", work=packed), packed), **found}


def shortened(settings: Any, *, steps: int, seed: int) -> Any:
    """Shipped settings over so many steps of one micro-batch, in fp32."""
    return msgspec.structs.replace(
        settings, tokens=steps * UNITS, tokens_per_step=UNITS, micro_tokens=UNITS, dtype="float32", seed=seed
    )


def text_recipe(mlp_dim: int, *, steps: int, seed: int) -> Recipe:
    """The hybrid objective of text-tiny over rows of 128; its shape is that of the shipped bases for patches."""
    shipped, image = read_recipe("text-tiny"), read_patch_recipe("image-tiny")
    head_dim = image.shape.dim // image.shape.num_heads
    heads = image.shape.num_heads
    shape = Shape(VOCABULARY, image.shape.dim, image.shape.num_layers, heads, heads, head_dim, mlp_dim, WIDTH)
    settings = shortened(shipped.optimisation, steps=steps, seed=seed)
    # The rates of the shipped bases for patches, because the blocks have one rate in a joint run.
    known = image.optimisation
    settings = msgspec.structs.replace(
        settings,
        lengths=((1.0, WIDTH),),
        muon_lr=known.muon_lr,
        adamw_lr=known.adamw_lr,
        weight_decay=known.weight_decay,
        warmup=known.warmup,
        cooldown=known.cooldown,
    )
    corpus = msgspec.structs.replace(
        shipped.corpus, train=("train.jsonl",), validation="val.jsonl", tokenizer_bytes=30_000_000
    )
    return Recipe("joint-text", shape, corpus, shipped.mixture, settings, "gpt2")


def random_model(member: Member, *, seed: int) -> LanguageModel | PatchModel:
    """A member with random weights, its blocks those of a ViT."""
    if isinstance(member, Patches):
        model: LanguageModel | PatchModel = new_model(member.recipe)
    else:
        vit = read_patch_recipe("image-tiny").trunk_config()
        config = replace(vit, vocab_size=VOCABULARY, max_positions=WIDTH)
        model = LanguageModel(Trunk(config), LMHead(config, transform=False, bias=False))
        fill(model.lm, seed=seed + 1)
    initialise(model.trunk, seed=seed, zero_outputs=True)
    return model


def trained(members: Mapping[str, Member], *, seed: int) -> tuple[Joint, Record]:
    """The members trained above the same blocks; of one alone, as a separate base."""
    model = Joint({name: random_model(member, seed=seed) for name, member in members.items()})
    plans = {name: member.plan() for name, member in members.items()}
    sizes = {size_of(plan.micro_batches(0)[0]): name for name, plan in plans.items()}
    assert len(sizes) == len(plans), "batches are told apart by their units"
    settings = next(iter(members.values())).recipe.optimisation

    def loss(batch: Batch) -> LossRecord:
        name = sizes[size_of(batch)]
        found = members[name].loss(model.members[name], batch)
        return LossRecord(found.total / found.weight, 1.0)  # every member counts alike

    began = time.process_time()
    steps = next(iter(plans.values())).steps
    run(
        Job(
            model=model,
            optimiser=Optimiser(parameter_groups(model, settings)),
            micro_batches=lambda step: [batch for plan in plans.values() for batch in plan.micro_batches(step)],
            loss=loss,
            schedule=schedule_of(settings),
            steps=steps,
        )
    )
    return model, {"cpu_seconds": time.process_time() - began, "steps": steps}


def size_of(batch: Batch) -> int:
    """Numbers of a unit; 0 for text."""
    return 0 if batch.units.dim() == 2 else int(batch.units.shape[2])


def task_of(name: str, modality: str, *, tasks: Path, test_rows: int) -> Task:
    """A public set, at most so many rows of its validation and test parts."""
    if modality == "text":
        task = Task.read(str(tasks / name / "train.parquet"), test=str(tasks / name / "test.parquet"), label="label")
        task = replace(task, test=first(task.test, test_rows))
    else:
        kinds: dict[str, Modality] = {kind: kind for kind in PATCHES}
        task = read_set(tasks, name, kinds[modality], test_rows=test_rows)
    return replace(task, validation=first(task.validation, test_rows))


def first(rows: Examples, most: int) -> Examples:
    """At most so many rows."""
    return rows.subset(list(range(min(most, len(rows)))))


def gold_of(task: Task) -> list[int]:
    """The right answers of the test part, as numbers of labels."""
    return [int(target) for target in np.asarray(task.test.targets)]


def probed(base: Base, task: Task, *, per_class: int, seeds: int) -> list[list[int]]:
    """A probe's answers for the test rows, a list a seed; a seed draws the labelled rows too."""
    found = []
    for seed in range(seeds):
        part = replace(task, train=few_labels(task.train, per_class, seed=seed))
        trial = try_method(base, part, method="probe", seed=seed, settings=FitSettings(), metric="accuracy")
        found.append([int(answer) for answer in trial.test.predictions])
    return found


def read_all(kind: str, models: Mapping[str, nn.Module], members: Mapping[str, Member], chosen: Record) -> Record:
    """Held-out losses and the answers of probes."""
    losses = {name: members[name].look(models[name]) for name in members}
    answers: dict[str, list[list[int]]] = {}
    for name, member in members.items():
        trunk = models[name].trunk
        assert isinstance(trunk, Trunk)
        for task_name in SETS[name]:
            task = task_of(task_name, name, tasks=chosen["tasks"], test_rows=chosen["test_rows"])
            answers[task_name] = probed(
                member.base(trunk), task, per_class=chosen["per_class"], seeds=chosen["label_seeds"]
            )
            print(f"{kind} {task_name}", file=sys.stderr)
    return {"losses": losses, "answers": answers}


def table(found: Mapping[str, Sequence[Record]], gold: Mapping[str, Sequence[int]]) -> str:
    """Markdown: held-out losses, then a row a set; intervals over test items."""
    lines = ["| held out | " + " | ".join(found) + " |", "| --- |" + " --- |" * len(found)]
    for name in MEMBERS:
        means = [np.mean([record["losses"][name] for record in records]) for records in found.values()]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    lines += ["", "| set | " + " | ".join(found) + " | joint - separate |", "| --- |" + " --- |" * (len(found) + 1)]
    for task, answers in gold.items():
        runs = {kind: [run for r in records for run in r["answers"][task]] for kind, records in found.items()}
        cells = []
        for kind in found:
            low, high = interval("accuracy", answers, runs[kind])
            mean = np.mean([np.mean(np.asarray(run) == np.asarray(answers)) for run in runs[kind]])
            cells.append(f"{mean:.3f} [{low:.3f}, {high:.3f}]")
        gap = difference("accuracy", answers, runs["joint"], runs["separate"])
        cells.append(f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]")
        lines.append(f"| {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench joint", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1, help="of pre-training")
    parser.add_argument("--label-seeds", type=int, default=3, help="draws of the labelled rows")
    parser.add_argument("--per-class", type=int, default=10)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--force", action="store_true", help="run on a busy machine too")
    return parser.parse_args()


def main() -> None:
    """Trains the missing cells and prints the table."""
    chosen = options()
    places = places_of(chosen)
    results = places.results / "joint"
    results.mkdir(parents=True, exist_ok=True)
    require_quiet(force=chosen.force)
    torch.set_num_threads(chosen.threads)
    asked = {
        "tasks": places.shared / "tasks",
        "test_rows": chosen.test_rows,
        "per_class": chosen.per_class,
        "label_seeds": chosen.label_seeds,
    }
    found: dict[str, list[Record]] = {kind: [] for kind in KINDS}
    for seed in range(chosen.seeds):
        members = members_of(results, places.shared, steps=chosen.steps, seed=seed)
        for kind in KINDS:
            stored = results / f"{kind}-{chosen.steps}-{chosen.per_class}-s{seed}.json"
            if not stored.is_file():
                models, costs = models_of(kind, members, seed=seed)
                record = {"kind": kind, "seed": seed, "costs": costs, **read_all(kind, models, members, asked)}
                stored.write_text(json.dumps({**record, "machine": machine()}), encoding="utf-8")
            found[kind].append(json.loads(stored.read_text(encoding="utf-8")))
    gold = {
        task: gold_of(task_of(task, name, tasks=asked["tasks"], test_rows=chosen.test_rows))
        for name in MEMBERS
        for task in SETS[name]
    }
    text = table(found, gold)
    (places.results / "joint.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def models_of(kind: str, members: Mapping[str, Member], *, seed: int) -> tuple[dict[str, nn.Module], list[Record]]:
    """A model a member: trained together, each by itself, or not at all; and what it cost."""
    if kind == "random":
        return {name: random_model(member, seed=seed) for name, member in members.items()}, []
    if kind == "joint":
        model, cost = trained(members, seed=seed)
        return dict(model.members.items()), [cost]
    models, costs = {}, []
    for name, member in members.items():
        model, cost = trained({name: member}, seed=seed)
        models[name] = model.members[name]
        costs.append({"member": name, **cost})
    return models, costs


if __name__ == "__main__":
    main()
