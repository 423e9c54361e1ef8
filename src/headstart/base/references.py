"""The folder of a prompted base: what is asked, and a reference to the base that is asked. No weights are copied.

Layout: headstart.json (task contract with the prompt and the base's name, place and digest; lineage) and README.md. The
base is looked for where it lay and must have the weights it had: another digest is another model.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from headstart.base.card import card
from headstart.base.folder import SCHEMA_VERSION, Manifest, find_folder, read_manifest
from headstart.base.prompt import BaseReference
from headstart.base.shipped import DEFAULT
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


def find_reference(folder: Path, manifest: Manifest) -> str:
    """Where the base lies that a prompt asks.

    Raises:
        BaseError: it is not there, or it is a prompt itself.
    """
    reference = reference_of(manifest, folder)
    place = Path(reference.place)
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


def check_digest(folder: Path, manifest: Manifest, digest: str) -> None:
    """BaseError where the weights that were found are not those that were asked when the prompt was chosen."""
    reference = reference_of(manifest, folder)
    if digest != reference.digest:
        raise BaseError(
            f"{folder} asks the base at {safe_repr(reference.place, 160)}, whose weights are {digest[:12]}; expected "
            f"{reference.digest[:12]}, which its prompt was chosen for. Put the old base back, or adapt again."
        )


def place_of(name_or_dir: str | Path | None) -> str:
    """How a reference says where a base lies: the name of an embedded or cached one, else the whole path."""
    path = Path(name_or_dir or DEFAULT).expanduser()
    return str(path.resolve()) if path.exists() else str(name_or_dir or DEFAULT)


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
    "check_digest",
    "find_reference",
    "place_of",
    "read_prompted",
    "write_prompted",
]
