"""Methods as values: which parameters move, how fast, for how long.

probe: the head. lora: low-rank adapters and the head. full: everything, lower layers more slowly. scratch: full on
random weights, the control that says what pre-training was worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from headstart.data.augment import UNCHANGED, USUAL, Augmentation
from headstart.data.raw import Modality
from headstart.ground.errors import ConfigError, did_you_mean
from headstart.model.adapters import lora_modules
from headstart.model.config import TrunkConfig
from headstart.model.heads import TaskHead
from headstart.model.trunk import Trunk
from headstart.train.optim import Group

Method = Literal["probe", "lora", "full", "scratch"]
METHODS: tuple[Method, ...] = get_args(Method)
LORA_TARGETS = (
    "q",
    "k",
    "v",
    "o",
    "gate",
    "up",
    "down",
)  # every projection: at rank 8 better than q, v alone (Hu et al. 2021, table 5)

# A new head learns faster than what it stands on: 2.8e-3 at width 384, whatever the method moves below it. At a quarter
# of that, 77 classes reached 0.874 in three epochs instead of 0.897 (docs/notebook/2026-11-24-head-start.md).
HEAD_RATES: dict[Method, float] = {"probe": 0.0, "full": 20.0, "lora": 2.0, "scratch": 5.0}
TARGET_STEPS = 600  # small tables are seen more often, until about this many steps or MAX_EPOCHS
MIN_EPOCHS, MAX_EPOCHS = 3, 20
MAX_PATCH_EPOCHS = 100  # pictures, clips and series: sets of 40 rows are common, and augmentation changes every epoch
PATIENCE = 4
NARROWEST = 192  # below this width rates stop rising: LoRA at 0.059 on width 32 ended below its own probe


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How one adaptation trains; None means "derive from the base and the data" and is resolved before training.

    batch_rows: rows per optimiser step. lr: peak rate. layer_decay: factor per layer downwards. patience: validation
    passes without a gain before stopping. augment: what is done to pictures, clips and series, anew every epoch.
    """

    epochs: int | None = None
    batch_rows: int = 32
    lr: float | None = None
    layer_decay: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    patience: int | None = None
    max_length: int = 256
    class_weights: bool = False
    lora_rank: int = 8
    lora_alpha: float = 16.0
    augment: Augmentation | None = None


def check_method(name: str) -> Method:
    """`name` as a Method, or an error with a suggestion."""
    for method in METHODS:
        if name == method:
            return method
    raise ConfigError(f"the method is {name!r}; expected one of {', '.join(METHODS)}.{did_you_mean(name, METHODS)}")


def resolve(
    settings: FitSettings, *, method: Method, config: TrunkConfig, num_rows: int, modality: Modality | None = None
) -> FitSettings:
    """Fill in what the user left open: from the method, the width of the base, the number of rows and what they are."""
    epochs = epochs_of(settings, num_rows, modality)
    patience = settings.patience if settings.patience is not None else max(PATIENCE, epochs // 5)
    usual = UNCHANGED if modality is None or method == "probe" else USUAL[modality]
    augment = settings.augment if settings.augment is not None else usual
    lr = settings.lr if settings.lr is not None else default_lr(config, method)
    decay = settings.layer_decay if settings.layer_decay is not None else (0.9 if method == "full" else 1.0)
    return replace(settings, epochs=epochs, lr=lr, layer_decay=decay, patience=patience, augment=augment)


def epochs_of(settings: FitSettings, num_rows: int, modality: Modality | None = None) -> int:
    """The passes that were asked for, or as many as a table of this size needs."""
    wanted = math.ceil(TARGET_STEPS * settings.batch_rows / max(num_rows, 1))
    most = MAX_EPOCHS if modality is None else MAX_PATCH_EPOCHS
    return settings.epochs if settings.epochs is not None else min(max(wanted, MIN_EPOCHS), most)


def default_lr(config: TrunkConfig, method: Method) -> float:
    """Peak AdamW rate for 32 rows a step: 5e-5 at width 768 (Devlin et al. 2019), higher for narrower trunks."""
    width = float((768 / max(config.dim, NARROWEST)) ** 1.5)
    return {"probe": 0.0, "full": 5e-5, "lora": 5e-4, "scratch": 2e-4}[method] * width


def parameter_groups(trunk: Trunk, head: TaskHead, method: Method, settings: FitSettings) -> list[Group]:
    """The parameters a method moves, with their rates; everything else is frozen (requires_grad off)."""
    assert settings.lr is not None
    assert settings.layer_decay is not None
    for parameter in trunk.parameters():
        parameter.requires_grad_(method in ("full", "scratch"))
    head_rate = settings.lr * HEAD_RATES[method]
    head_group = Group(tuple(head.parameters()), "adamw", head_rate, settings.weight_decay)
    if method == "lora":
        adapters = [p for _, module in lora_modules(trunk) for p in (module.lora_a, module.lora_b)]
        for parameter in adapters:
            parameter.requires_grad_(True)
        return [Group(tuple(adapters), "adamw", settings.lr, 0.0), head_group]
    groups = [head_group]
    depth = trunk.config.num_layers
    parts = [(trunk.embed, depth + 1), *((block, depth - i) for i, block in enumerate(trunk.blocks))]
    if trunk.norm is not None:
        parts.append((trunk.norm, 0))
    if trunk.relative is not None:
        parts.append((trunk.relative, depth + 1))
    for part, below in parts:
        rate = settings.lr * settings.layer_decay**below
        groups.append(Group(tuple(p for p in part.parameters() if p.dim() > 1), "adamw", rate, settings.weight_decay))
        groups.append(Group(tuple(p for p in part.parameters() if p.dim() <= 1), "adamw", rate, 0.0))
    return [g for g in groups if g.params]
