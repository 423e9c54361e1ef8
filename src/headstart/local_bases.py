"""`headstart bases`: what lies on this machine to start from: listed, shown, imported, verified.

A base is known by a folder: one inside the package, or one below runs/. Listing and showing read JSON and the headers
of weight files only, so they import nothing heavy; importing and verifying load the base with all its checks.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from headstart.base.shipped import EMBEDDED, embedded_names
from headstart.base.told import bits_in, licence_in
from headstart.doctor import show
from headstart.ground.errors import BaseError, ConfigError, did_you_mean, safe_repr
from headstart.ground.files import refuse_taken

RUNS = Path("runs")  # where results go without --out
HEADER_LIMIT = 16 << 20  # bytes of a safetensors header
SPEED_ROWS, SPEED_TEXT = 64, "The parcel that I ordered three weeks ago has not arrived, and nobody answers my letters."


def folders() -> dict[str, Path]:
    """Every base of this machine by the name it loads by: the embedded ones, then those below runs/."""
    below = sorted(path.parent for path in RUNS.glob("*/headstart.json"))
    return {name: EMBEDDED / name for name in embedded_names()} | {str(path): path for path in below}


def bases_over(modality: str) -> list[str]:
    """What `--bases all` means: the bases over text, image, audio or series that answer no task yet; each once."""
    one_each = {path.resolve(): name for name, path in reversed(folders().items())}
    told = {name: describe(path) for path, name in reversed(one_each.items())}
    return [name for name, facts in told.items() if facts["modality"] == modality and facts["role"] == "base"]


def list_bases(*, json: bool) -> int:
    """Print every base, a line or an object each."""
    found = {name: describe(path) for name, path in folders().items()}
    if json:
        show({"bases": [{"name": name, **facts} for name, facts in found.items()]}, json=True)
        return 0
    for name, facts in found.items():
        millions = "?" if facts["params"] is None else f"{facts['params'] / 1e6:.1f}"
        bits = "" if facts["bits_per_byte"] is None else f"{facts['bits_per_byte']:.2f} bits/byte"
        line = (
            f"{name:<32} {facts['modality']:<7} {facts['family'] or '?':<11} {millions:>7} M "
            f"{facts['megabytes']:>7.1f} MB  {facts['licence']:<12} {facts['task'] or bits or facts['role']}"
        )
        sys.stdout.write(line.rstrip() + "\n")
    return 0


def show_base(name: str, *, json: bool) -> int:
    """Print what a base is and what made it, step by step."""
    path = find(name)
    content = read_manifest(path)
    facts = {"name": name, "folder": str(path), **describe(path)}
    steps = [
        {key: step.get(key) for key in ("verb", "code", "hardware", "seconds", "seed")} for step in content["lineage"]
    ]
    if json:
        show({**facts, "lineage": steps}, json=True)
        return 0
    show(facts, json=False)
    for step in steps:
        seconds = "" if step["seconds"] is None else f" in {step['seconds']:,.0f} s"
        sys.stdout.write(f"{step['verb']}{seconds} · {step['code']} · {step['hardware'] or 'hardware not stated'}\n")
    return 0


def verify_base(name: str, *, json: bool) -> int:
    """Load a base with every check, compute with it, print its digest and speed. BaseError where it is not whole."""
    from headstart.base.base import Base
    from headstart.data.text_codec import TextCodec

    begun = time.perf_counter()
    base = Base.load(name)
    facts: dict[str, Any] = {
        "name": name,
        "whole": True,
        "parameters": base.trunk.num_parameters,
        "digest": base.digest,
        "load_seconds": round(time.perf_counter() - begun, 3),
        "scores": list(base.score_patterns),
        "ms_per_row": None,
    }
    if isinstance(base.codec, TextCodec):
        rows = [SPEED_TEXT] * SPEED_ROWS
        base.encode(rows)
        begun = time.perf_counter()
        base.encode(rows)
        facts["ms_per_row"] = round((time.perf_counter() - begun) / SPEED_ROWS * 1e3, 3)
    show(facts, json=json)
    return 0


def import_base(source: str, *, name: str | None, allow_pickle: bool, json: bool) -> int:
    """Copy a model folder, or a model of the Hugging Face cache, below runs/, checked and in one layout."""
    from headstart.base.base import Base

    out = RUNS / (name or Path(source).name.removesuffix(".gguf"))
    if out.parent != RUNS or out.name in ("", ".", ".."):
        given = f"the name is {name!r}" if name else f"{safe_repr(source, 60)} gives no name"
        raise ConfigError(f"{given}; expected one that makes a folder below runs/. Give --name my-base.")
    refuse_taken(out)
    base = Base.load(source, allow_pickle=allow_pickle)
    base.save(out)
    facts = {"name": str(out), "from": source, **describe(out)}
    if json:
        show(facts, json=True)
    else:
        sys.stdout.write(
            f"{out}: {base.trunk.num_parameters:,} parameters, {base.family}\nheadstart bases verify {out}\n"
        )
    return 0


def find(name: str) -> Path:
    """The folder of a listed base, or of a path; BaseError where there is none."""
    found = folders()
    path = found.get(name) or Path(name)
    if not any((path / name).is_file() for name in ("config.json", "headstart.json")):
        near = did_you_mean(name, found)
        raise BaseError(
            f"the base {name!r} is not on this machine; expected a folder or one of {', '.join(found)}.{near}"
        )
    return path


def describe(folder: Path) -> dict[str, Any]:
    """Family, modality, size, licence and role of a folder, read from its small files without touching the weights."""
    content, config = read_manifest(folder), read_small(folder / "config.json")
    contract, lineage = content.get("contract") or {}, content["lineage"]
    labels = ", ".join(safe_repr(label, 24) for label in contract.get("labels", [])[:6])
    task = f"{contract.get('kind')}: {labels}" if contract else None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    codec = read_small(folder / "preprocessor_config.json")
    return {
        "family": content.get("family") or config.get("model_type"),
        "modality": codec.get("headstart", {}).get("modality", "image") if codec else "text",
        "role": "specialist" if contract else "adapter" if content.get("adapter") else "base",
        "params": parameters_in(folder),
        "megabytes": round(size / 1e6, 1),
        "licence": licence_in(folder, lineage),
        "bits_per_byte": bits_in(lineage),
        "task": task,
    }


def parameters_in(folder: Path) -> int | None:
    """Numbers in a folder's weight files, from their headers; None where it has none or a header cannot be read."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as handle:
                size = int.from_bytes(handle.read(8), "little")
                header = msgspec.json.decode(handle.read(size) if size <= HEADER_LIMIT else b"")
            total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # `verify` says what is wrong with it
            return None
    return total or None


def read_manifest(folder: Path) -> dict[str, Any]:
    """headstart.json with lists and objects where they belong; what else stands there is taken for nothing."""
    content = read_small(folder / "headstart.json")
    lineage, contract = content.get("lineage"), content.get("contract")
    steps = [step for step in lineage if isinstance(step, dict)] if isinstance(lineage, list) else []
    content |= {"lineage": steps, "contract": contract if isinstance(contract, dict) else None}
    if content["contract"] is not None and not isinstance(content["contract"].get("labels"), list):
        content["contract"] = {**content["contract"], "labels": []}
    return content


def read_small(path: Path) -> dict[str, Any]:
    """A JSON object of a folder; empty where there is none that can be read: `verify` says what is wrong with it."""
    try:
        content = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return content if isinstance(content, dict) else {}
