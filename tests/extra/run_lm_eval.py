"""Runs in the harness' interpreter: made tasks on our model class and on the harness' own, results to found.json.

Arguments: a base's folder, the folder with the tasks, a folder with packages of ours that the interpreter may lack.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Evaluates both."""
    base, folder, packages = sys.argv[1:]
    sys.path.append(packages)  # behind the interpreter's own
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval_headstart import HeadstartLM

    manager = TaskManager(include_path=folder, include_defaults=False)
    models = {"headstart": HeadstartLM(base), "hf": HFLM(pretrained=base, device="cpu", dtype="float32", batch_size=2)}
    found = {}
    for name, model in models.items():
        told = simple_evaluate(
            model=model, tasks=["made_choice", "made_text", "made_words"], task_manager=manager, log_samples=True
        )
        found[name] = {"results": told["results"], "samples": told["samples"]}
    Path(folder, "found.json").write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
