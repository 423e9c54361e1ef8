"""`python -m bench [MEASUREMENT [flags] | all]`: names the measurements, runs one, or runs all with their defaults."""

from __future__ import annotations

import importlib
import sys

MEASUREMENTS = {
    "quality": "bench.quality",
    "speed-finetune": "bench.speed_finetune",
    "speed-probe": "bench.speed_probe",
    "label-curve": "bench.label_curve",
    "speed-pretrain": "bench.speed_pretrain",
    "time-to-loss": "bench.time_to_loss",
    "speed-prompt": "bench.speed_prompt",
    "prompt-exact": "bench.prompt_exact",
    "scoring-numbers": "bench.scoring_numbers",
    "ladder": "bench.ladder",
    "ablate": "bench.ablate",
    "blimp": "bench.blimp",
    "abilities": "bench.abilities",
    "choose": "bench.choose",
    "speed-rank": "bench.speed_rank",
    "label-forecast": "bench.label_forecast",
    "icl": "bench.icl",
    "modalities": "bench.modalities",
    "joint": "bench.joint",
    "patch-corpora": "bench.patch_corpora",
    "visible-only": "bench.visible_only",
}


def main() -> None:
    """Hands the remaining flags to the measurement; without one, prints what there is."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked not in MEASUREMENTS and asked != "all":
        for name, module in MEASUREMENTS.items():
            caption = (importlib.import_module(module).__doc__ or "").splitlines()[0]
            print(f"python -m bench {name:16}{caption}")
        raise SystemExit(2 if asked else 0)
    del sys.argv[1]
    for name in MEASUREMENTS if asked == "all" else (asked,):
        importlib.import_module(MEASUREMENTS[name]).main()


if __name__ == "__main__":
    main()
