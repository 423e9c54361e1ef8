"""Weights: config.json + tensors <-> our modules, through the family's slots.

Reading: the config gives the shapes, the source gives its claims, and only when both agree on every name, shape and
dtype is a tensor touched. Modules are built on the meta device and take the mapped tensors over, so fp32 weights are
never copied. Writing walks the same slots back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from headstart.base.families import FAMILIES, Family, Fields, Slot, find_family
from headstart.base.families.family import ANY
from headstart.base.tensors import FLOATS, Entry, TensorSource, listed
from headstart.ground.errors import BaseError, ConfigError
from headstart.model.adapters import plain_state
from headstart.model.config import TrunkConfig
from headstart.model.heads import LMHead, Pooler
from headstart.model.patches import PatchConfig
from headstart.model.trunk import Trunk

SKIPPED = ".skipped"  # suffix of an extra that holds the leading rows a slot cut off
# Matrices with a row a class. RoBERTa's has a dense layer before it, which is the last one in AST's.
CLASSIFIERS = ("classifier.out_proj.weight", "classifier.weight", "classifier.dense.weight", "score.weight")
CODE_KEYS = ("auto_map", "custom_pipelines", "trust_remote_code")


@dataclass(frozen=True, slots=True)
class Weights:
    """What config.json and the weight files hold. extras: kept tensors by disk name, for the way back."""

    family: Family
    trunk: Trunk
    lm: LMHead | None
    pooler: Pooler | None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A config that was understood: family, shape, slots; nothing is allocated yet."""

    fields: Fields
    family: Family
    config: TrunkConfig
    slots: tuple[Slot, ...]
    patches: PatchConfig | None = None


def read_config(values: dict[str, Any], *, where: str) -> Blueprint:
    """Understand a config.json, or say which key is wrong.

    Raises:
        BaseError: it names code to run, a quantisation, an unknown family, or a shape this trunk does not have.
    """
    fields = Fields(values, where)
    for key in CODE_KEYS:
        if values.get(key):
            raise BaseError(
                f"{where} has {key}; expected a model that needs no code of its own. "
                "Headstart never runs code from a base folder: use a base of a known family."
            )
    if values.get("quantization_config") is not None:
        raise BaseError(f"{where} has a quantization_config; expected plain float weights. Use the unquantised base.")
    if "/" in str(values.get("_attn_implementation") or values.get("attn_implementation") or ""):
        raise BaseError(f"{where} names an attention kernel to download; expected none. Remove the key.")
    family = find_family(fields)
    try:
        config = family.trunk_config(fields)
        patches = None if family.patches is None else family.patches.read(fields)
    except ConfigError as problem:
        raise BaseError(f"{where}: {problem}") from problem
    return Blueprint(fields, family, config, family.slots(config, fields), patches)


def read_weights(blueprint: Blueprint, source: TensorSource, *, where: str) -> Weights:
    """The modules of a checked source.

    Raises:
        BaseError: a tensor is missing, not expected, of another shape or dtype, not finite, or contradicts its tie.
    """
    found = _match(blueprint, source.entries, where=where)
    return _assemble(blueprint, source, found, where=where)


def _match(blueprint: Blueprint, entries: Mapping[str, Entry], *, where: str) -> dict[Slot, list[str]]:
    """Slot -> the names in the file that hold it; every complaint that needs no tensor is made here."""
    family = blueprint.family
    prefix = family.prefix if any(name.startswith(family.prefix) for name in entries) else ""
    renamed = {_modern(name): name for name in entries if not family.ignored.fullmatch(name)}
    found: dict[Slot, list[str]] = {}
    for slot in blueprint.slots:
        found[slot] = [renamed[name] for name in (_full(prefix, slot), *slot.aliases) if name in renamed]
    needed = _needed_parts(blueprint, found)
    missing = [_full(prefix, slot) for slot, names in found.items() if not names and slot.part in needed]
    if missing:
        raise BaseError(
            f"{where} lacks {len(missing):,} tensors ({listed(missing)}); expected all of {family.name}'s. "
            "Nothing is filled with random numbers: use a complete base."
        )
    extra = sorted(set(renamed.values()) - {name for names in found.values() for name in names})
    if extra:
        raise BaseError(
            f"{where} holds {len(extra):,} tensors that {family.name} has no place for ({listed(extra)}); "
            "expected none. Use a base of a known family, or remove them."
        )
    for slot, names in found.items():
        for name in names:
            _check_claim(name, entries[name], slot, where=where)
    return {slot: names for slot, names in found.items() if names}


def _modern(name: str) -> str:
    """LayerNorm gamma and beta of TensorFlow's BERT are weight and bias today."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith("LayerNorm" + old):
            return name.removesuffix(old) + new
    return name


def _full(prefix: str, slot: Slot) -> str:
    return prefix + slot.disk if slot.inside else slot.disk


def _needed_parts(blueprint: Blueprint, found: Mapping[Slot, list[str]]) -> set[str]:
    """The trunk, every head of which a part is there (the table under its output name is one of the LM head's), and the
    heads the config's architecture promises.

    No encoder with a head leaves the family's prefix out: a file without it is a bare trunk's, and its config that of
    the model the trunk was taken from (sentence-transformers writes them so). A decoder without its head is broken.
    """
    family, names = blueprint.family, blueprint.fields.values.get("architectures")
    bare = not any(n.startswith(family.prefix) for there in found.values() for n in there)
    promised: frozenset[str] = frozenset()
    if isinstance(names, list) and names and not (bare and family.pattern == "full"):
        promised = family.architectures.get(str(names[0]), frozenset())
    output = {"lm" for slot, there in found.items() if slot.part == "trunk" and set(there) & set(slot.aliases)}
    return {"trunk"} | promised | output | {slot.part for slot, there in found.items() if there}


def _check_claim(name: str, entry: Entry, slot: Slot, *, where: str) -> None:
    fits = len(entry.shape) == len(slot.shape) and all(
        w in (ANY, s) for s, w in zip(entry.shape, slot.shape, strict=True)
    )
    if not fits:
        wanted = tuple("any" if w == ANY else w for w in slot.shape)
        raise BaseError(
            f"{where}: {name} has shape {entry.shape}; expected {wanted} from the config. Use matching files."
        )
    if entry.dtype not in FLOATS:
        raise BaseError(
            f"{where}: {name} has dtype {entry.dtype}; expected one of {', '.join(FLOATS)}. "
            "Use a base that is not quantised."
        )


def _assemble(blueprint: Blueprint, source: TensorSource, found: Mapping[Slot, list[str]], *, where: str) -> Weights:
    states: dict[str, dict[str, Tensor]] = {"trunk": {}, "lm": {}, "pooler": {}}
    extras: dict[str, Tensor] = {}
    scales: list[tuple[Slot, Tensor]] = []
    for slot, names in found.items():
        tensor = _read_slot(slot, names, source, where=where)
        if not slot.ours:
            extras[slot.disk] = tensor
            continue
        if slot.scales:
            scales.append((slot, tensor))
            continue
        if slot.as_shape is not None:
            tensor = tensor.reshape(slot.as_shape)
        if slot.skip_rows:
            extras[slot.disk + SKIPPED], tensor = tensor[: slot.skip_rows], tensor[slot.skip_rows :]
        if slot.transposed:
            tensor = tensor.T.contiguous()
        for ours, piece in zip(slot.ours, tensor.chunk(len(slot.ours)), strict=True):
            module, _, name = ours.partition(".")
            states[module][name] = piece
    _fold(scales, states)
    family, config = blueprint.family, blueprint.config
    parts = _needed_parts(blueprint, found)
    with torch.device("meta"):
        trunk = Trunk(config, blueprint.patches)
        lm = LMHead(config, transform=family.lm_transform, bias=family.lm_bias) if _has_lm(blueprint, parts) else None
        pooler = Pooler(config.dim) if "pooler" in parts else None
    modules: dict[str, nn.Module | None] = {"trunk": trunk, "lm": lm, "pooler": pooler}
    for name, built in modules.items():
        if built is not None:
            built.load_state_dict(states[name], strict=True, assign=True)
            built.eval()
    return Weights(family, trunk, lm, pooler, extras)


def _fold(scales: list[tuple[Slot, Tensor]], states: Mapping[str, dict[str, Tensor]]) -> None:
    """Multiply the rows of parameters with the scales that stand beside them on disk."""
    for slot, scale in scales:
        for ours in slot.ours:
            module, _, name = ours.partition(".")
            rows = states[module][name]
            states[module][name] = rows * scale.view(-1, *([1] * (rows.dim() - 1)))


def _has_lm(blueprint: Blueprint, parts: set[str]) -> bool:
    return "lm" in parts or (blueprint.family.implied_lm and blueprint.config.tied_output)


def _read_slot(slot: Slot, names: list[str], source: TensorSource, *, where: str) -> Tensor:
    """The finite fp32 tensor of a slot; every further name it stands under must hold the same values."""
    tensor = source.tensor(names[0])
    if tensor.numel():
        low, high = torch.aminmax(tensor)  # NaN propagates to both, and nothing is allocated
        if not math.isfinite(float(low) + float(high)):
            raise BaseError(
                f"{where}: {names[0]} holds values that are not finite (NaN or Inf); expected numbers. "
                "The base is damaged: use another copy."
            )
    for alias in names[1:]:
        if not torch.equal(tensor, source.tensor(alias)):
            raise BaseError(
                f"{where}: {alias} differs from {names[0]}, to which the config ties it; expected equal values. "
                'Set "tie_word_embeddings" in config.json to what the base was trained with.'
            )
    return tensor.float()


def hf_config(weights: Weights, *, pad: int, bos: int | None, eos: int | None) -> dict[str, Any]:
    """config.json in transformers 5 spelling. bos and eos are named for decoders only, as their families do."""
    pad = _skipped_rows(weights, default=pad + 1) - 1
    family = weights.family
    config = family.hf_config(weights.trunk.config, pad)
    if family.patches is not None and weights.trunk.patches is not None:
        config |= family.patches.write(weights.trunk.patches)
    parts = _written_parts(weights, family.slots(weights.trunk.config, Fields(config)))
    if family.pattern == "causal":
        config |= {"bos_token_id": bos, "eos_token_id": eos}
    last = next((weights.extras[name] for name in CLASSIFIERS if name in weights.extras), None)
    if last is not None:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(len(last))}
        config["label2id"] = {f"LABEL_{i}": i for i in range(len(last))}
    dtype = str(weights.trunk.dtype).removeprefix("torch.")
    return {"architectures": [family.architecture(parts)], **config, "dtype": dtype}


def disk_tensors(weights: Weights, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors by their Hugging Face name for the architecture that `config` (of `hf_config`) declares."""
    family = weights.family
    slots = family.slots(weights.trunk.config, Fields(config))
    parts = _written_parts(weights, slots)
    bare = family.architecture(parts) == list(family.architectures)[-1]
    prefix = "" if bare else family.prefix
    state = {f"trunk.{name}": tensor for name, tensor in plain_state(weights.trunk).items()}
    for name, module in (("lm", weights.lm), ("pooler", weights.pooler)):
        state |= {f"{name}.{k}": v for k, v in module.state_dict().items()} if module is not None else {}
    written = {}
    for slot in slots:
        if slot.part in parts:
            written[_full(prefix, slot)] = _write_slot(slot, state, weights.extras)
    return written


def _write_slot(slot: Slot, state: Mapping[str, Tensor], extras: Mapping[str, Tensor]) -> Tensor:
    if not slot.ours:
        return extras[slot.disk].contiguous()
    if slot.scales:
        return torch.ones(slot.shape, dtype=state[slot.ours[0]].dtype)
    pieces = [state[name].detach() for name in slot.ours]
    tensor = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    if slot.skip_rows:
        kept = extras.get(slot.disk + SKIPPED)
        tensor = torch.cat((tensor.new_zeros(slot.skip_rows, tensor.shape[1]) if kept is None else kept, tensor))
    if slot.as_shape is not None:
        tensor = tensor.reshape(slot.shape)
    return (tensor.T if slot.transposed else tensor).contiguous()


def _written_parts(weights: Weights, slots: tuple[Slot, ...]) -> frozenset[str]:
    kept = {slot.part for slot in slots if not slot.ours and slot.disk in weights.extras}
    heads = {"lm"} if weights.lm is not None else set()
    return frozenset({"trunk"} | heads | ({"pooler"} if weights.pooler is not None else set()) | kept)


def _skipped_rows(weights: Weights, *, default: int) -> int:
    return next((len(t) for name, t in weights.extras.items() if name.endswith(SKIPPED)), default)


def new_weights(family: str, trunk: Trunk, lm: LMHead | None) -> Weights:
    """Weights of a trunk that was made here."""
    return Weights(FAMILIES[family], trunk, lm, None, {})


def check_linear(module: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Exact names and shapes of a small head before it is filled."""
    wanted = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != given:
        raise BaseError(f"{where} holds {given}; expected {wanted}. The folder is damaged: save it again.")
