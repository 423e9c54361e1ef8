"""Runs in the harness' interpreter: reads a folder of results with the harness' own functions, prints what it found.

Arguments: a folder as lm-evaluation-harness writes one a model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Prints the table, the tasks that have samples, and their metrics aggregated anew."""
    from lm_eval.api.metrics import bits_per_byte, matthews_corrcoef, mean, perplexity
    from lm_eval.utils import (
        get_file_datetime,
        get_file_task_name,
        get_latest_filename,
        get_results_filenames,
        get_sample_results_filenames,
        make_table,
    )

    names = [str(path) for path in Path(sys.argv[1]).iterdir()]
    latest = get_latest_filename(get_results_filenames(names))
    aggregations = {"mcc": matthews_corrcoef, "bits_per_byte": bits_per_byte, "perplexity": perplexity}
    samples = {}
    for name in get_sample_results_filenames(names):
        lines = [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]
        samples[get_file_task_name(Path(name).name)] = {
            metric: aggregations.get(metric, mean)([line[metric] for line in lines]) for metric in lines[0]["metrics"]
        }
    told = {
        "date": get_file_datetime(latest).replace(".json", ""),
        "table": make_table(json.loads(Path(latest).read_text(encoding="utf-8"))),
        "samples": samples,
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
