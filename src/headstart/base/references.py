"""The folder of a prompted base: what is asked, and a reference to the base that is asked. No weights are copied.

Layout: headstart.json (task contract with the prompt, the base's name, place and digest, and its fingerprint; lineage)
and README.md. The base is looked for where it lay and must be what it was: with other weights, another tokenizer or
another config it is another model. A place is a whole path, or the name of an embedded or cached base; what lies in the
working directory never stands for it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from headstart.base.card import card
from headstart.base.folder import SCHEMA_VERSION, Manifest, find_folder, open_source, read_manifest
from headstart.base.lineage import Fingerprint
from headstart.base.prompt import BaseReference
from headstart.base.shipped import DEFAULT, EMBEDDED, embedded_names
from headstart.ground.errors import BaseError, ConfigError, safe_repr
from headstart.ground.files import publish_folder
from headstart.model.trunk import Trunk

WHERE = "headstart.json under contract.prompt.base.place"


def read_prompted(folder: Path) -> Manifest | None:
    """The manifest of a folder that holds a prompt instead of weights; None for any other folder.

    Raises:
        BaseError: its headstart.json cannot be understood.
    """
    manifest = read_manifest(folder)
    asks = manifest is not None and manifest.contract is not None and manifest.contract.prompt is not None
    return manifest if asks else None


def reference_of(manifest: Manifest, folder: Path) -> BaseReference:
    """The base that a prompt asks.

    Raises:
        BaseError: the folder does not name one.
    """
    prompt = None if manifest.contract is None else manifest.contract.prompt
    if prompt is None or prompt.base is None:
        raise BaseError(f"{folder / 'headstart.json'} names no base; expected the one to ask. Adapt again.")
    return prompt.base


def find_reference(folder: Path, manifest: Manifest) -> str | Path:
    """Where the base lies that a prompt asks.

    Raises:
        BaseError: it is not there, or it is a prompt itself, or its place depends on the working directory.
    """
    reference = reference_of(manifest, folder)
    place = Path(reference.place)
    if reference.place in embedded_names():
        return EMBEDDED / reference.place
    if not reference.place or (not place.is_absolute() and place.exists()):
        raise BaseError(
            f"{folder} asks the base {safe_repr(repr(reference.name), 80)} at "
            f"{safe_repr(repr(reference.place), 160)}; expected a whole path, or a name that nothing in the working "
            f"directory has. Write its whole path into {WHERE}."
        )
    if place.is_file() and reference.place.endswith(".gguf"):
        return reference.place
    try:
        found, _ = find_folder(reference.place)
    except BaseError as problem:
        raise BaseError(
            f"{folder} asks the base {safe_repr(repr(reference.name), 80)}, which is not at "
            f"{safe_repr(reference.place, 160)}; expected it there, with weights {reference.digest[:12]}. "
            f"Put it back, or write its new place into {WHERE}."
        ) from problem
    if read_prompted(found) is not None:
        raise BaseError(
            f"{folder} asks {safe_repr(reference.place, 160)}, which holds a prompt and no weights; expected a base. "
            f"Write a base's place into {WHERE}."
        )
    return reference.place


def check_asked(folder: Path, manifest: Manifest, digest: str, found: Fingerprint) -> None:
    """BaseError where the base that was found is not the one that was asked when the prompt was chosen.

    digest: of its weights. Folders without a fingerprint are compared by the weights alone.
    """
    reference = reference_of(manifest, folder)
    kept = None if manifest.contract is None else manifest.contract.asked
    changed = f"weights are {digest[:12]}; expected {reference.digest[:12]}" if digest != reference.digest else ""
    if not changed and kept is not None:
        changed = difference(kept, found)
    if changed:
        raise BaseError(
            f"{folder} asks the base at {safe_repr(reference.place, 160)}, whose {changed}, which its prompt was "
            "chosen for. Put the old base back, or adapt again."
        )


def difference(kept: Fingerprint, found: Fingerprint) -> str:
    """What is other in a base that was found, as '... is A; expected B'; empty where nothing is."""
    if found.codec != kept.codec:
        return f"tokenizer is {found.codec[:12]}; expected {safe_repr(kept.codec[:12], 40)}"
    for name, value in kept.config.items():
        if found.config.get(name) != value:
            had = safe_repr(repr(value), 40)
            return f"config says {safe_repr(name, 40)} is {found.config.get(name)!r}; expected {had}"
    return ""


def require_plain(place: str) -> None:
    """Whether a saved prompt can refer to the base at `place`: whoever loads the prompt reads no pickle.

    Raises:
        ConfigError: its weights are pickled.
    """
    if place.endswith(".gguf"):
        return
    folder, root = find_folder(place)
    try:
        open_source(folder, root=root, allow_pickle=False)
    except BaseError as problem:
        raise ConfigError(
            f"the base at {safe_repr(place, 160)} holds only pickled weights; expected safetensors, because a saved "
            f"prompt refers to its base and reads it without --allow-pickle. Copy it first: headstart bases import "
            f"{shlex.quote(safe_repr(place, 400))} --allow-pickle, and give --base with the copy."
        ) from problem


def place_of(name_or_dir: str | Path | None) -> str:
    """How a reference says where a base lies: the name of an embedded or cached one, else the whole path."""
    path = Path(name_or_dir or DEFAULT).expanduser()
    if not path.exists():
        return str(name_or_dir or DEFAULT)
    whole = path.resolve()
    return whole.name if whole.parent == EMBEDDED.resolve() and whole.name in embedded_names() else str(whole)


def write_prompted(target: Path, manifest: Manifest, *, trunk: Trunk) -> None:
    """Write headstart.json and README.md into a new folder that appears at once or not at all. trunk: of the base.

    Raises:
        ConfigError: `target` already holds something, or the base that is asked lies nowhere.
    """
    reference = reference_of(manifest, target)
    if not reference.place:
        raise ConfigError(
            f"the base {safe_repr(repr(reference.name), 80)} was made here and lies in no folder; expected one that a "
            "saved prompt can refer to. Save the base, load it, and adapt again."
        )
    with publish_folder(target) as folder:
        written = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        (folder / "headstart.json").write_bytes(written + b"\n")
        described = card(
            name=manifest.name,
            family=manifest.family,
            trunk=trunk,
            contract=manifest.contract,
            lineage=manifest.lineage,
            adapter=None,
        )
        (folder / "README.md").write_text(described)


__all__ = [
    "SCHEMA_VERSION",
    "Manifest",
    "check_asked",
    "find_reference",
    "place_of",
    "read_prompted",
    "require_plain",
    "write_prompted",
]
