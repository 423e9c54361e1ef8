"""Runs in the harness' interpreter: the (context, continuation) requests it makes of task files, to requests.json.

Arguments: a folder with task files, K, a seed for drawing demonstrations.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Builds the requests of every task."""
    folder, shots, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    from lm_eval.tasks import TaskManager, get_task_dict

    names = sorted(path.stem for path in folder.glob("*.yaml"))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = {}
    for name, task in get_task_dict(names, manager).items():
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=seed)
        task.build_all_requests(rank=0, world_size=1)
        found[name] = [list(one.args) for one in task.instances]
    (folder / "requests.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
