"""`headstart pretrain`: a recipe and a folder of shards -> a saved base, its curve, and an exit code.

The tokenizer, the packed corpus and metrics.jsonl lie in OUT.work; a second run with the same --out reuses them.
"""

from __future__ import annotations

import json as jsonlib
import sys
from dataclasses import asdict
from pathlib import Path

from headstart.ground.files import refuse_taken
from headstart.train.loop import StepRecord
from headstart.train.pretrain import CurvePoint
from headstart.train.text_base import pretrain

EVERY = 50  # steps between lines for people
INTERRUPTED = 130


def pretrain_base(recipe: str, *, data: Path, out: Path, json: bool) -> int:
    """Pre-train, save, and print what came out."""
    refuse_taken(out)
    work = out.with_name(out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "metrics.jsonl").open("a", encoding="utf-8") as log:

        def on_step(step: StepRecord) -> None:
            log.write(jsonlib.dumps(asdict(step)) + "\n")
            if step.step % EVERY == 0:
                sys.stderr.write(
                    f"step {step.step}: loss {step.loss:.3f}, {step.units:,} units, {step.seconds:.0f} s\n"
                )

        def on_point(point: CurvePoint) -> None:
            log.write(jsonlib.dumps(asdict(point)) + "\n")
            log.flush()
            sys.stderr.write(f"held out after {point.units:,} units: {point.bits_per_byte:.3f} bits per byte\n")

        base = pretrain(recipe, data=data, work=work, on_step=on_step, on_point=on_point)
    base.save(out)
    results = base.report or {}
    last = results["curve"][-1]
    if json:
        sys.stdout.write(
            jsonlib.dumps(
                {"name": base.name, "saved": str(out), "parameters": base.trunk.config.num_parameters, **results}
            )
            + "\n"
        )
    else:
        sys.stdout.write(
            f"{base.name}: {last['bits_per_byte']:.3f} bits per byte after {results['units']:,} units, saved in {out}\n"
            f"headstart adapt reviews.csv --base {out}\n"
        )
    return INTERRUPTED if results["stopped"] == "interrupted" else 0
