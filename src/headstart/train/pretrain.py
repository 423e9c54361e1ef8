"""Pre-training on text: a recipe and packed text in, a trained trunk and its curve out.

Tokenizer, packing and the hybrid objective; train/course.py drives the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from headstart.data.corpus import PackedCorpus, pack, read_documents, train_tokenizer
from headstart.ground.batch import Batch
from headstart.ground.errors import DataError
from headstart.ground.files import write_atomic
from headstart.model.heads import LMHead
from headstart.model.trunk import Trunk, fill
from headstart.train.checkpoint import Checkpoints
from headstart.train.course import (
    SILENT,
    Course,
    Outcome,
    Watch,
    begun,
    follow,
    gone_back,
    parameter_groups,
    schedule_of,
)
from headstart.train.held_out import CurvePoint, validate
from headstart.train.objective import LanguageModel, LossRecord, lm_loss
from headstart.train.ranks import ALONE, Ranks
from headstart.train.recipe import Recipe
from headstart.train.step_plan import StepPlan, mask_settings

__all__ = [
    "SILENT",
    "TOKENIZER",
    "StepPlan",
    "TextCourse",
    "Watch",
    "build_tokenizer",
    "fresh",
    "gone_back",
    "pack_corpus",
    "parameter_groups",
    "schedule_of",
    "train_text",
]

TOKENIZER = "tokenizer.json"


def build_tokenizer(shards: Sequence[Path], *, vocab_size: int, num_bytes: int, target: Path) -> Path:
    """Train the tokenizer on the first `num_bytes` of text, once; returns the tokenizer.json."""
    file = target / TOKENIZER
    if not file.is_file():
        target.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(_first_bytes(shards, num_bytes), vocab_size=vocab_size)
        write_atomic(file, tokenizer.to_str(pretty=True).encode())
    found = Tokenizer.from_file(str(file)).get_vocab_size()
    if found != vocab_size:
        raise DataError(
            f"the tokenizer in {target} has {found} units; expected {vocab_size}. Give more text or an empty --out."
        )
    return file


def pack_corpus(recipe: Recipe, *, data: Path, work: Path) -> tuple[PackedCorpus, PackedCorpus]:
    """(train, validation) packed below `work`, made once and reused while shards and tokenizer stay the same."""
    shards = [data / name for name in recipe.corpus.train]
    tokenizer = build_tokenizer(
        shards, vocab_size=recipe.shape.vocab_size, num_bytes=recipe.corpus.tokenizer_bytes, target=work
    )
    return pack(shards, tokenizer, work / "train"), pack(
        [data / recipe.corpus.validation], tokenizer, work / "validation"
    )


class TextCourse(Course[LanguageModel]):
    """Packed text under a recipe."""

    def __init__(
        self, recipe: Recipe, train: PackedCorpus, validation: PackedCorpus, start: LanguageModel | None = None
    ) -> None:
        self.settings, self.start = recipe.optimisation, start
        self.recipe, self.train, self.validation = recipe, train, validation

    def new_model(self) -> LanguageModel:
        return new_model(self.recipe)

    def plan(self, skipped: int) -> StepPlan:
        return StepPlan(self.recipe, self.train, skipped)

    def loss(self, model: LanguageModel, batch: Batch) -> LossRecord:
        return lm_loss(model, batch, z_loss=self.recipe.mixture.z_loss)

    def look(self, model: LanguageModel, *, units: int, seconds: float) -> CurvePoint:
        bits, nats = validate(
            model,
            self.validation,
            mask_settings(self.recipe),
            causal_share=self.recipe.mixture.causal_share,
            seed=self.settings.seed,
        )
        return CurvePoint(units, seconds, bits, nats)


def train_text(
    recipe: Recipe,
    train: PackedCorpus,
    validation: PackedCorpus,
    *,
    probe_every: int,
    compile_blocks: bool = True,
    checkpoints: Checkpoints | None = None,
    watch: Watch = SILENT,
    ranks: Ranks = ALONE,
    start: LanguageModel | None = None,
) -> Outcome[LanguageModel]:
    """Run the recipe, from its last checkpoint where there is one. Same recipe, threads and torch: the same weights.

    start: weights of the recipe's shape to begin with instead of random ones; they are not changed. ranks: the
    processes that do it together; each of them calls this and has the whole result.

    Raises:
        ConfigError: the checkpoint was made of something else. RunError: three roll-backs did not help, or no space.
    """
    return follow(
        TextCourse(recipe, train, validation, start),
        probe_every=probe_every,
        compile_blocks=compile_blocks,
        checkpoints=checkpoints,
        watch=watch,
        ranks=ranks,
    )


def fresh(recipe: Recipe, start: LanguageModel | None = None, *, compile_blocks: bool) -> LanguageModel:
    """The recipe's trunk and head as a run starts, random or those of `start`, on the device and in the dtype."""
    return begun(new_model(recipe), recipe.optimisation, start, compile_blocks=compile_blocks)


def new_model(recipe: Recipe) -> LanguageModel:
    """The recipe's trunk, with nothing written into it, and a random head, in fp32."""
    config, family = recipe.trunk_config(), recipe.known_family()
    model = LanguageModel(Trunk(config), LMHead(config, transform=family.lm_transform, bias=family.lm_bias))
    fill(model.lm, seed=recipe.optimisation.seed + 1)
    return model


def _first_bytes(shards: Sequence[Path], num_bytes: int) -> Iterator[str]:
    seen = 0
    for text in read_documents(shards):
        yield text
        seen += len(text.encode())
        if seen >= num_bytes:
            return
