"""The peer of `speed-rank`: transformer-ranker scores models on a file of labelled texts, as its users run it.

Prints one JSON line: seconds of `run` (loading the models included, importing not), the scores, the versions.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version

import torch
from datasets import Dataset
from transformer_ranker import TransformerRanker


def main() -> None:
    """Rank once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", required=True, help="JSON lines with text and label")
    parser.add_argument("--models", required=True, help="folders with commas")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with open(asked.rows, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    ranker = TransformerRanker(Dataset.from_list(rows), text_column="text", label_column="label")
    begun, cpu = time.perf_counter(), time.process_time()
    found = ranker.run(asked.models.split(","), batch_size=asked.batch, device="cpu")
    record = {
        "seconds": time.perf_counter() - begun,
        "rank_cpu_seconds": time.process_time() - cpu,
        "rows": len(ranker.texts),
        "scores": {name: float(score) for name, score in found.scores.items()},
        "versions": {name: version(name) for name in ("transformer-ranker", "torch", "transformers")},
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
