"""LoRA on disk in PEFT's format: adapter/adapter_config.json + adapter/adapter_model.safetensors.

PEFT addresses a module by its Hugging Face path. Where a family fuses q, k and v into one matrix (GPT-2), the three
adapters become one of three times the rank: A stacked, B block-diagonal, the same product exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.base.families import Fields, Slot
from headstart.base.tensors import SafetensorsFile, contained, listed, save_tensors
from headstart.base.weights import Weights
from headstart.ground.errors import BaseError
from headstart.model.adapters import attach_lora, lora_modules, lora_state

FOLDER = "adapter"
PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """Rank, alpha and projections of the adapters a folder carries."""

    rank: int
    alpha: float
    targets: tuple[str, ...]


def adapter_spec(weights: Weights) -> AdapterSpec | None:
    """What is attached to the trunk, None where nothing is."""
    modules = list(lora_modules(weights.trunk))
    if not modules:
        return None
    rank = int(modules[0][1].lora_a.shape[0])
    targets = sorted({path.rpartition(".")[2] for path, _ in modules})
    return AdapterSpec(rank, modules[0][1].scale * rank, tuple(targets))


def save_adapter(folder: Path, weights: Weights, spec: AdapterSpec, config: Mapping[str, Any]) -> None:
    """Write adapter/ beside the base it belongs to; `config` is the config.json written there."""
    target = folder / FOLDER
    target.mkdir()
    prefix = "" if weights.family.architecture(frozenset()) in config["architectures"] else weights.family.prefix
    tensors: dict[str, Tensor] = {}
    patterns: dict[str, int] = {}
    for slot, pieces in _by_slot(weights, config).items():
        path = prefix + slot.disk.removesuffix(".weight")
        tensors[f"{PEFT_PREFIX}{path}.lora_A.weight"] = torch.cat([a.float() for a, _, _ in pieces])
        tensors[f"{PEFT_PREFIX}{path}.lora_B.weight"] = _block_diagonal(slot, pieces)
        patterns[path] = len(pieces)
    save_tensors({k: v.contiguous() for k, v in tensors.items()}, target / "adapter_model.safetensors")
    fused = {path: count for path, count in patterns.items() if count > 1}
    described = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": "..",
        "inference_mode": True,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(patterns),
        "modules_to_save": None,
        "fan_in_fan_out": any(slot.transposed for slot in _by_slot(weights, config)),
        "rank_pattern": {path: spec.rank * count for path, count in fused.items()},
        "alpha_pattern": {path: spec.alpha * count for path, count in fused.items()},
    }
    (target / "adapter_config.json").write_text(json.dumps(described, indent=2) + "\n")


def load_adapter(folder: Path, weights: Weights, spec: AdapterSpec, config: Mapping[str, Any], *, root: Path) -> None:
    """Attach the saved adapters to a freshly read trunk (in place: nobody else holds it yet). root: links stay in it.

    Raises:
        BaseError: the file does not hold exactly the adapters headstart.json announces.
    """
    path = contained(folder / FOLDER / "adapter_model.safetensors", inside=root)
    source = SafetensorsFile(path)
    most = max(
        (entry.shape[0] for name, entry in source.entries.items() if ".lora_A." in name and entry.shape), default=0
    )
    if not 1 <= spec.rank <= most:
        raise BaseError(
            f"{folder / 'headstart.json'}: the adapter's rank is {spec.rank}; expected 1 to {most}, as in {path.name}. "
            "Save the folder again."
        )
    attach_lora(weights.trunk, rank=spec.rank, alpha=spec.alpha, targets=spec.targets)
    bare = weights.family.architecture(frozenset()) in config["architectures"]
    prefix = PEFT_PREFIX + ("" if bare else weights.family.prefix)
    wanted: set[str] = set()
    modules = dict(lora_modules(weights.trunk))
    for slot, pieces in _by_slot(weights, config).items():
        stem = prefix + slot.disk.removesuffix(".weight")
        names = (f"{stem}.lora_A.weight", f"{stem}.lora_B.weight")
        wanted |= set(names)
        a_shape = (spec.rank * len(pieces), pieces[0][0].shape[1])
        b_shape = (slot.shape[1 if slot.transposed else 0], spec.rank * len(pieces))
        for name, shape in zip(names, (a_shape, b_shape), strict=True):
            claim = source.entries.get(name)
            if claim is None or claim.shape != shape or claim.dtype != "F32":
                raise BaseError(f"{path}: {name} is {claim}; expected F32 of shape {shape}. Save the folder again.")
        fused_a, fused_b = (source.tensor(name) for name in names)
        for place, (_, _, (ours, row, height)) in enumerate(pieces):
            ranks = slice(place * spec.rank, (place + 1) * spec.rank)
            modules[ours].lora_a.data = fused_a[ranks].clone()
            modules[ours].lora_b.data = fused_b[row : row + height, ranks].clone()
    if set(source.entries) != wanted:
        odd = sorted(set(source.entries) ^ wanted)
        raise BaseError(
            f"{path} disagrees with headstart.json about {listed(odd)}; expected the same. Save the folder again."
        )
    if not all(bool(torch.isfinite(t).all()) for pair in lora_state(weights.trunk).values() for t in pair):
        raise BaseError(f"{path} holds values that are not finite; expected numbers. Use another copy.")


Piece = tuple[Tensor, Tensor, tuple[str, int, int]]


def _by_slot(weights: Weights, config: Mapping[str, Any]) -> dict[Slot, list[Piece]]:
    """Slot -> its adapters (A, B, (our path, first output row inside the slot, output rows))."""
    state = lora_state(weights.trunk)
    found: dict[Slot, list[Piece]] = {}
    for slot in weights.family.slots(weights.trunk.config, Fields(config)):
        height = (
            slot.shape[1 if slot.transposed else 0] // max(1, len(slot.ours)) if slot.disk.endswith(".weight") else 0
        )
        for place, ours in enumerate(slot.ours):
            path = ours.removeprefix("trunk.").removesuffix(".weight")
            if ours.endswith(".weight") and path in state:
                found.setdefault(slot, []).append((*state[path], (path, place * height, height)))
    return found


def _block_diagonal(slot: Slot, pieces: list[Piece]) -> Tensor:
    """B of a fused matrix: every adapter's block at its own output rows."""
    rank = pieces[0][1].shape[1]
    fused = torch.zeros(slot.shape[1 if slot.transposed else 0], rank * len(pieces))
    for place, (_, b, (_, row, height)) in enumerate(pieces):
        fused[row : row + height, place * rank : (place + 1) * rank] = b
    return fused
