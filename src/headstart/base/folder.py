"""A base folder: finding it, reading it safely, writing it whole.

Layout: config.json, model.safetensors (or an index with shards), tokenizer files or (patches)
preprocessor_config.json; where Headstart wrote it also
headstart.json (pattern, task contract, lineage), head.safetensors (task head), adapter/ (LoRA, PEFT's format),
corpus.sketch (what was read in pre-training; corpus-2.sketch of a second one), generation_config.json (decoders) and
README.md (facts only).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from headstart.base.adapter import FOLDER as ADAPTER_FOLDER
from headstart.base.adapter import AdapterSpec, adapter_spec, load_adapter, save_adapter
from headstart.base.card import card
from headstart.base.contract import TaskContract
from headstart.base.lineage import Record, imported
from headstart.base.patch_inputs import FILE as PATCH_FILE
from headstart.base.patch_inputs import read_codec
from headstart.base.shipped import DEFAULT, EMBEDDED, embedded_names
from headstart.base.tensors import (
    SafetensorsFile,
    ShardedFiles,
    TensorSource,
    TorchFile,
    contained,
    listed,
    read_json,
    save_tensors,
)
from headstart.base.told import stated
from headstart.base.weights import Weights, check_linear, disk_tensors, hf_config, read_config, read_weights
from headstart.data.codec import load_tokenizer
from headstart.data.patches import PatchCodec
from headstart.data.sketch import file_name
from headstart.data.text_codec import Special, TextCodec
from headstart.ground.batch import Pattern
from headstart.ground.errors import BaseError, did_you_mean, safe_repr
from headstart.ground.files import publish_folder, write_atomic
from headstart.model.heads import TaskHead

SCHEMA_VERSION: Literal[1] = 1
TRAINER_STATE = ("training_args", "optimizer", "scheduler", "rng_state")  # what trainers leave beside the weights
IN_HUB_CACHE = "models--"  # how a Hugging Face cache names a model: models--org--name
NO_NAMES = ("base", "checkpoint", "files", "model", "weights")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """headstart.json: what config.json has no word for."""

    schema_version: Literal[1]
    name: str
    family: str
    pattern: Pattern
    contract: TaskContract | None
    adapter: AdapterSpec | None
    lineage: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything a folder holds, as values."""

    weights: Weights
    codec: TextCodec | PatchCodec
    pattern: Pattern
    name: str
    lineage: tuple[Record, ...]
    contract: TaskContract | None = None
    head: TaskHead | None = None
    sketches: tuple[Path, ...] = ()


def find_folder(name_or_dir: str | Path | None) -> tuple[Path, Path]:
    """(folder, the root its links must stay in): a path, an embedded base, or a model in a Hugging Face cache.

    Raises:
        BaseError: nothing of that name is on this machine; nothing is ever fetched.
    """
    if name_or_dir is None:
        name_or_dir = DEFAULT
    path = Path(name_or_dir).expanduser()
    if path.exists():
        if not path.is_dir():
            raise BaseError(f"{path} is a file; expected a base folder (or a .gguf file). Give the folder it lies in.")
        return path, _cached_model(path) or _cached_model(path.resolve()) or path
    name, embedded = str(name_or_dir), embedded_names()
    if name in embedded:
        return EMBEDDED / name, EMBEDDED / name
    cached = _in_hub_cache(name)
    if cached is not None:
        return cached
    raise BaseError(
        f"the base {safe_repr(repr(name), 120)} is not on this machine; expected a folder or one of "
        f"{', '.join(embedded) or '(no embedded base)'}.{did_you_mean(name, embedded)} "
        "Headstart is offline: give the path of a folder."
    )


def _in_hub_cache(name: str) -> tuple[Path, Path] | None:
    """A snapshot of `org/name` in an existing Hugging Face cache; its files are links into the model's own blobs."""
    parts = name.split("/")
    if len(parts) not in (1, 2) or not all(p and p not in (".", "..") for p in parts):
        return None
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    root = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / (IN_HUB_CACHE + "--".join(parts))
    snapshots = [s for s in root.glob("snapshots/*") if (s / "config.json").exists()]
    main = root / "refs" / "main"
    wanted = main.read_text().strip() if main.is_file() else ""
    chosen = next((s for s in snapshots if s.name == wanted), snapshots[0] if len(snapshots) == 1 else None)
    return None if chosen is None else (chosen, root)


def _cached_model(folder: Path) -> Path | None:
    """Where a snapshot in a Hugging Face cache keeps its files, as `snapshot_download` gives it; None for others."""
    path = Path(os.path.abspath(folder))
    inside = path.parent.name == "snapshots" and path.parents[1].name.startswith(IN_HUB_CACHE)
    return path.parents[1] if inside else None


def read_folder(folder: Path, *, root: Path, allow_pickle: bool = False) -> Contents:
    """Read a folder; every check that needs no tensor comes before the first allocation.

    Raises:
        BaseError: with the file and the key or tensor that is wrong.
    """
    if not any(folder.iterdir()):
        raise BaseError(f"{folder} is empty; expected config.json, model.safetensors and a tokenizer. Check the path.")
    for name in (*TOKENIZER_FILES, PATCH_FILE, "config.json", "headstart.json"):
        if (folder / name).is_symlink():
            contained(folder / name, inside=root)
    config_path = folder / "config.json"
    if not config_path.exists():
        raise BaseError(f"{folder} has no config.json; expected a Hugging Face model folder. Check the path.")
    config = read_json(config_path)
    blueprint = read_config(config, where=str(config_path))
    manifest = read_manifest(folder)
    if manifest is not None and manifest.family != blueprint.family.name:
        raise BaseError(
            f"{folder / 'headstart.json'} says family {manifest.family!r}; expected {blueprint.family.name!r} as in "
            "config.json. Save the folder again."
        )
    source = open_source(folder, root=root, allow_pickle=allow_pickle)
    codec: TextCodec | PatchCodec
    if blueprint.patches is None:
        if blueprint.family.whole_tokenizer and not (folder / "tokenizer.json").is_file():
            raise BaseError(
                f"{folder} has no tokenizer.json; expected one, because a vocab.txt does not say how "
                f"{blueprint.family.name} frames texts and pairs. Copy it from where this folder came from."
            )
        codec = load_tokenizer(folder, max_positions=blueprint.config.max_positions)
        check_vocabulary(codec, blueprint.config.vocab_size, where=str(folder))
    else:
        codec = read_codec(folder, blueprint.patches)
    weights = read_weights(blueprint, source, where=str(folder))
    if manifest is None:
        files = {
            p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.suffix in (".safetensors", ".bin", ".pt")
        }
        name = name_of(folder)
        lineage = (imported(name, family=blueprint.family.name, files=files, licence=stated(folder)),)
        return Contents(weights, codec, blueprint.family.pattern, name, lineage)
    if manifest.adapter is not None:
        load_adapter(folder, weights, manifest.adapter, config, root=root)
    head = None
    if manifest.contract is not None:
        front = 0 if blueprint.patches is None else blueprint.patches.prefix
        path = contained(folder / "head.safetensors", inside=root)
        head = _read_head(path, manifest.contract, blueprint.config.dim, front)
    sketches = tuple(contained(path, inside=root) for path in sketches_in(folder))
    return Contents(
        weights, codec, manifest.pattern, manifest.name, manifest.lineage, manifest.contract, head, sketches
    )


def name_of(folder: Path) -> str:
    """What to call a folder that says no name of its own: its last part, and the one before where that is no name.

    A snapshot in a Hugging Face cache is called as on the hub; a link as it was given, not as what it leads to.
    """
    cached = _cached_model(folder)
    if cached is not None:
        return cached.name.removeprefix(IN_HUB_CACHE).replace("--", "/")
    path = Path(os.path.abspath(folder))
    return f"{path.parent.name}/{path.name}" if path.name.lower() in NO_NAMES and path.parent.name else path.name


def check_vocabulary(codec: TextCodec, vocab_size: int, *, where: str) -> None:
    """Every id the tokenizer can give must have a row in the embedding."""
    if codec.vocab_size > vocab_size:
        raise BaseError(
            f"{where}: the tokenizer has ids up to {codec.vocab_size - 1:,}; expected below {vocab_size:,}, "
            "the rows of the embedding. Use the tokenizer this base was trained with."
        )


def open_source(folder: Path, *, root: Path, allow_pickle: bool) -> TensorSource:
    """The weight files of a folder, safest format first."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists() or single.is_symlink():
        return SafetensorsFile(contained(single, inside=root))
    if index.exists() or index.is_symlink():
        return ShardedFiles(contained(index, inside=root), inside=root)
    pickled = sorted(
        p for p in folder.iterdir() if p.suffix in (".bin", ".pt") and not p.name.startswith(TRAINER_STATE)
    )
    if not pickled:
        raise BaseError(
            f"{folder} has no weights; expected model.safetensors or an index with shards. Check the download."
        )
    if not allow_pickle:
        raise BaseError(
            f"{folder} holds only pickled weights ({pickled[0].name}); expected model.safetensors. "
            "Give allow_pickle=True (--allow-pickle) to read it with weights_only=True, or convert it."
        )
    if len(pickled) > 1:
        raise BaseError(
            f"{folder} holds {len(pickled)} pickled files ({listed([p.name for p in pickled])}); expected one. "
            "Convert it to safetensors."
        )
    return TorchFile(contained(pickled[0], inside=root))


def read_manifest(folder: Path) -> Manifest | None:
    """headstart.json of a folder, None where it has none.

    Raises:
        BaseError: it cannot be understood.
    """
    path = folder / "headstart.json"
    if not path.exists():
        return None
    told = read_json(path)
    version = told.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BaseError(
            f"{path} cannot be understood: its schema version is {safe_repr(repr(version), 40)}; expected "
            f"{SCHEMA_VERSION}. Upgrade Headstart, or save the folder again."
        )
    try:
        return msgspec.convert(told, Manifest)
    except msgspec.ValidationError as problem:
        raise BaseError(
            f"{path} cannot be understood: {safe_repr(str(problem), 400)}; expected what schema version "
            f"{SCHEMA_VERSION} holds. Mend the file, or make the folder again."
        ) from problem


def _read_head(path: Path, contract: TaskContract, dim: int, front: int) -> TaskHead:
    source = SafetensorsFile(path)
    with torch.device("meta"):
        head = TaskHead(
            dim,
            contract.num_outputs,
            contract.pooling,
            apart=contract.apart,
            channels=contract.channels,
            front=front,
        )
    state = {name: source.tensor(name) for name in source.entries}
    check_linear(head, state, where=str(path))
    if not all(t.is_floating_point() and bool(torch.isfinite(t).all()) for t in state.values()):
        raise BaseError(f"{path} holds values that are not finite numbers; expected some. Use another copy.")
    head.load_state_dict({name: t.float() for name, t in state.items()}, strict=True, assign=True)
    return head.eval()


def write_folder(target: Path, contents: Contents) -> None:
    """Write everything into a new folder that appears at once or not at all."""
    weights, codec = contents.weights, contents.codec
    special = codec.special if isinstance(codec, TextCodec) else Special(0)
    config = hf_config(weights, pad=special.pad, bos=special.bos, eos=special.eos)
    spec = adapter_spec(weights)
    with publish_folder(target) as folder:
        _write_json(folder / "config.json", config)
        save_tensors(_unshared(disk_tensors(weights, config)), folder / "model.safetensors")
        if isinstance(codec, TextCodec):
            codec.save(folder)
        else:
            _write_json(folder / PATCH_FILE, codec.as_dict())
        if contents.head is not None:
            save_tensors(_unshared(contents.head.state_dict()), folder / "head.safetensors")
        if spec is not None:
            save_adapter(folder, weights, spec, config)
        if weights.family.pattern == "causal" and weights.lm is not None:
            tokens = {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
            _write_json(folder / "generation_config.json", tokens)
        for place, sketch in enumerate(contents.sketches):
            shutil.copyfile(sketch, folder / file_name(place))
        write_words(folder, contents)


def sketches_in(folder: Path) -> list[Path]:
    """The sketches of a folder, in the order in which its base was pre-trained."""
    most = len(list(folder.glob("*.sketch")))
    return [path for place in range(most) if (path := folder / file_name(place)).exists()]


def write_words(folder: Path, contents: Contents) -> None:
    """headstart.json and README.md: what a folder says of itself, each replaced at once."""
    weights, spec = contents.weights, adapter_spec(contents.weights)
    manifest = Manifest(
        SCHEMA_VERSION, contents.name, weights.family.name, contents.pattern, contents.contract, spec, contents.lineage
    )
    described = card(
        name=contents.name,
        family=weights.family.name,
        trunk=weights.trunk,
        contract=contents.contract,
        lineage=contents.lineage,
        adapter=None if spec is None else asdict(spec),
        sketched=bool(contents.sketches),
        modality=contents.codec.modality if isinstance(contents.codec, PatchCodec) else None,
    )
    write_atomic(folder / "headstart.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    write_atomic(folder / "README.md", described.encode())


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """safetensors refuses two names over one storage; views are copied, whole tensors are not."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        alone = storage.nbytes() == tensor.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        found[name] = tensor if alone else tensor.clone()
    return found


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


__all__ = [
    "ADAPTER_FOLDER",
    "SCHEMA_VERSION",
    "Contents",
    "Manifest",
    "find_folder",
    "read_folder",
    "read_manifest",
    "sketches_in",
    "write_folder",
    "write_words",
]
