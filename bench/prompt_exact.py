"""Are our log-likelihoods lm-eval's? copa, piqa and arc_easy, 0 and 5 shots, item by item, and the accuracies.

Both sides get the same requests; the five shots are the first items of the draw, the same for every question. What is
compared is scoring; how a task is worded is ours. Where the two differ by more than the tolerance, lm-eval answers once
more in float64, and it is told how far each side is from that.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.choice_sets import PLAIN, read_items
from bench.places import ROOT, Places, add_places, places_of
from bench.processes import measured
from bench.prompt_requests import accuracy, read_requests, write_items
from bench.speed_prompt import model_folder
from headstart.evaluate.suite.items import Item

TOLERANCE = 1e-4  # nats, fp32
MODULES = {"ours": ("bench.prompt_ours", "score"), "lmeval": ("bench.lmeval_requests",)}


def behind_shots(items: Sequence[Item], shots: int) -> list[Item]:
    """The items after the first `shots`, each behind those with their right answers."""
    shown = "".join("".join(item.options[item.answer]) + "\n\n" for item in items[:shots])
    return [replace(item, options=tuple((shown + a, b) for a, b in item.options)) for item in items[shots:]]


def compared(name: str, shots: int, *, model: Path, chosen: argparse.Namespace, places: Places) -> dict[str, Any]:
    """Both sides on one set."""
    requests = places.results / "prompt" / f"{name}-{shots}.jsonl"
    items = read_items(name, tasks=places.shared / "tasks", rows=chosen.rows + shots)
    write_items(behind_shots(items, shots), requests)
    found = {}
    for side, (module, *words) in MODULES.items():
        out = requests.with_suffix(f".{side}.nats.json")
        python = places.ours_python if side == "ours" else places.peer_python
        command = [python, "-m", module, *words, "--model", str(model), "--requests", str(requests), "--out", str(out)]
        measured(command, threads=chosen.threads, cwd=ROOT)
        found[side] = json.loads(out.read_text())
    asked = read_requests(requests)
    apart = [n for n, (a, b) in enumerate(zip(*found.values(), strict=True)) if abs(a - b) > TOLERANCE]
    exact = in_float64(requests, apart, model=model, chosen=chosen, places=places) if apart else []
    return {
        "set": name,
        "shots": shots,
        "items": len(items) - shots,
        "largest_difference": max(abs(a - b) for a, b in zip(*found.values(), strict=True)),
        **{f"accuracy_{side}": accuracy(nats, asked) for side, nats in found.items()},
        "apart": len(apart),
        **{
            f"error_{side}": max((abs(nats[n] - true) for n, true in zip(apart, exact, strict=True)), default=None)
            for side, nats in found.items()
        },
    }


def in_float64(
    requests: Path, chosen_ones: Sequence[int], *, model: Path, chosen: argparse.Namespace, places: Places
) -> list[float]:
    """Nats of some requests by lm-eval with the same weights in float64."""
    lines = requests.read_text(encoding="utf-8").splitlines(keepends=True)
    part = requests.with_suffix(".apart.jsonl")
    part.write_text("".join(lines[n] for n in chosen_ones), encoding="utf-8")
    out = part.with_suffix(".float64.nats.json")
    command = [places.peer_python, "-m", "bench.lmeval_requests", "--model", str(model), "--requests", str(part)]
    measured([*command, "--out", str(out), "--dtype", "float64"], threads=chosen.threads, cwd=ROOT)
    nats: list[float] = json.loads(out.read_text())
    return nats


def main() -> None:
    """Prints a line a set; leaves with 1 where they differ."""
    parser = argparse.ArgumentParser(prog="bench prompt-exact", description=(__doc__ or "").splitlines()[0])
    add_places(parser)
    parser.add_argument("--base", help="a causal folder; without it SmolLM2 from its GGUF")
    parser.add_argument("--sets", default=",".join(PLAIN))
    parser.add_argument("--shots", default="0,5")
    parser.add_argument("--rows", type=int, default=500, help="items a set at most")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    places = places_of(chosen)
    (places.results / "prompt").mkdir(exist_ok=True)
    model = model_folder(chosen.base, places)
    found = []
    for name in chosen.sets.split(","):
        for shots in (int(count) for count in chosen.shots.split(",")):
            found.append(compared(name, shots, model=model, chosen=chosen, places=places))
            print(json.dumps(found[-1]), flush=True)
    (places.results / "prompt_exact.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    good = all(
        one["largest_difference"] <= TOLERANCE and one["accuracy_ours"] == one["accuracy_lmeval"] for one in found
    )
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
