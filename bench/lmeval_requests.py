"""The other side of prompt scoring: lm-evaluation-harness on the same requests, as its hf model scores them.

Runs in the peers' interpreter and imports nothing of ours. Prints one JSON line; log-likelihoods go to --out.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Scores a file of requests."""
    parser = argparse.ArgumentParser(prog="bench.lmeval_requests")
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--dtype", default="float32")
    chosen = parser.parse_args()
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lines = [json.loads(line) for line in chosen.requests.read_text(encoding="utf-8").splitlines()]
    asked = [
        Instance("loglikelihood", {}, (line["context"], line["continuation"]), place)
        for place, line in enumerate(lines)
    ]
    model = HFLM(pretrained=chosen.model, device="cpu", dtype=chosen.dtype, batch_size=chosen.batch_size)
    start, cpu = time.perf_counter(), time.process_time()
    nats = [value for value, _ in model.loglikelihood(asked, disable_tqdm=True)]
    record = {"seconds": time.perf_counter() - start, "score_cpu_seconds": time.process_time() - cpu}
    chosen.out.write_text(json.dumps(nats), encoding="utf-8")
    names = ("lm-eval", "transformers", "torch")
    print(json.dumps({**record, "requests": len(asked), "versions": {name: version(name) for name in names}}))


if __name__ == "__main__":
    main()
