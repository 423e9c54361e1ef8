"""The working copies of one fit: a trunk of its own, and a task's training and validation rows as it reads them.

Enter: a base, a task, a method. Leave: `Parts`; the base and the task are never changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from headstart.base.base import Base
from headstart.data.patch_rows import PatchRows
from headstart.data.patches import PatchCodec
from headstart.data.task import Examples, Task
from headstart.data.text_codec import Encoded
from headstart.ground.device import pick_device, training_dtype
from headstart.model.adapters import attach_lora, merged
from headstart.model.heads import Pooling
from headstart.model.trunk import Trunk, initialise
from headstart.train.methods import LORA_TARGETS, FitSettings, Method
from headstart.train.supervised import Supervised, balanced_weights, standardised, supervise, supervise_patches
from headstart.train.vocabulary import Used, narrowed, renumbered, used_units


@dataclass(frozen=True)
class Parts:
    """The working copies of one fit: the whole trunk in fp32 on the CPU, the one that is trained, encoded rows.

    `trunk` computes in the training dtype and knows only the units in `used` (train/vocabulary.py); None for patches.
    """

    whole: Trunk
    trunk: Trunk
    used: Used | None
    train: Supervised
    validation: Supervised
    pooling: Pooling
    device: torch.device
    channels: int = 1


def default_pooling(base: Base, task: Task) -> Pooling:
    """Every word for tags, what the family pools patches by, the last position for causal trunks, else the mean."""
    if task.kind == "tags":
        return "token"
    if base.trunk.patches is not None:
        return base.trunk.patches.pooling
    return "last" if base.pattern == "causal" else "mean"


def prepare(base: Base, task: Task, method: Method, settings: FitSettings, seed: int) -> Parts:
    """A task's rows and a trunk of its own for them. settings: resolved."""
    device = pick_device()
    train, validation = (supervised(base, task, part, method, settings) for part in (task.train, task.validation))
    mean, scale = standardised(train)
    weights = balanced_weights(train) if settings.class_weights and task.kind == "choice" else None
    train, validation = (replace(part, mean=mean, scale=scale, class_weights=weights) for part in (train, validation))
    whole = _working_copy(base, method, settings, seed)
    pooling = default_pooling(base, task)
    if isinstance(train.encoded, PatchRows):
        assert settings.augment is not None
        assert isinstance(validation.encoded, PatchRows)
        channels = train.encoded.channels
        validation.encoded.expect_channels(channels)
        train = replace(train, encoded=replace(train.encoded, change=settings.augment, seed=seed))
        trunk = whole.to(device=device, dtype=training_dtype(device))
        return Parts(whole, trunk, None, train, validation, pooling, device, channels)
    sides = [s for part in (train, validation) for s in (part.encoded, part.second) if isinstance(s, Encoded)]
    used = used_units(sides, base.text_codec.special.pad)
    train, validation = (_narrowed_rows(part, used) for part in (train, validation))
    trunk = narrowed(whole, used).to(device=device, dtype=training_dtype(device))
    return Parts(whole, trunk, used, train, validation, pooling, device)


def supervised(base: Base, task: Task, part: Examples, method: Method, settings: FitSettings) -> Supervised:
    """One part of a task as the base reads it, in the ids of its own vocabulary; a probe reads pairs apart."""
    num_outputs = max(1, len(task.labels))
    if isinstance(base.codec, PatchCodec):
        assert base.trunk.patches is not None, "a base with a patch codec has patches"
        return supervise_patches(
            part, base.codec, base.trunk.patches, kind=task.kind, num_outputs=num_outputs, pattern=base.pattern
        )
    return supervise(
        part,
        base.codec,
        kind=task.kind,
        num_outputs=num_outputs,
        pattern=base.pattern,
        max_length=settings.max_length,
        apart=method == "probe" and part.pairs is not None,
    )


def _narrowed_rows(part: Supervised, used: Used) -> Supervised:
    """The rows in ids that index `used`."""
    assert isinstance(part.encoded, Encoded)
    return replace(
        part,
        encoded=renumbered(part.encoded, used),
        second=None if part.second is None else renumbered(part.second, used),
        pad=int(np.searchsorted(used, part.pad)),
    )


def _working_copy(base: Base, method: Method, settings: FitSettings, seed: int) -> Trunk:
    """A trunk of its own for training: pre-trained, or random for `scratch`; LoRA adapters attached where asked.

    Adapters that the base came with are folded in: an adapted base is a base again.
    """
    with torch.device("meta"):
        trunk = Trunk(base.trunk.config, base.trunk.patches)
    trunk.to_empty(device="cpu")
    if method == "scratch":
        initialise(trunk, seed=seed)
        return trunk
    trunk.load_state_dict(merged(base.trunk).state_dict())
    if method == "lora":
        attach_lora(trunk, rank=settings.lora_rank, alpha=settings.lora_alpha, targets=LORA_TARGETS, seed=seed)
    return trunk
