"""`headstart demo`: the real thing on bundled or generated data, with an embedded base and no network.

text: 536 support messages in 8 intents, written for this project: 408 to learn from and 128 to test on, with spelling
mistakes, two-word messages and near misses between the intents. image: the 1,797 handwritten digits (8 x 8) that come
with scikit-learn. audio: 480 generated sounds of 6 kinds. series: 480 generated series of 6 kinds (`demo_signals`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.flags import AdaptFlags, DemoKind
from headstart.specialise import specialise

DATA = Path(__file__).parent / "demo_data"
FULL_INK = 255 / 16  # scikit-learn's digits count ink from 0 to 16


def run_demo(kind: DemoKind, *, out: Path | None, budget: str, json: bool, started: float) -> int:
    """Adapt the embedded base of the kind and print the report; the exit code is `adapt`'s."""
    if kind == "text":
        flags = AdaptFlags(test=str(DATA / "test.csv"), label="intent", budget=budget, out=out, json=json)
        return specialise(str(DATA / "train.csv"), flags, started=started, name="demo")
    if kind == "image":
        flags = AdaptFlags(image="image", label="digit", budget=budget, out=out, json=json)
        return specialise(digits(), flags, started=started, name="demo-image")
    from headstart.demo_signals import series, sounds

    if kind == "audio":
        flags = AdaptFlags(audio="clip", label="kind", budget=budget, out=out, json=json)
        return specialise(sounds(), flags, started=started, name="demo-audio")
    flags = AdaptFlags(series="values", label="kind", budget=budget, out=out, json=json)
    return specialise(series(), flags, started=started, name="demo-series")


def digits() -> dict[str, Any]:
    """A table of pictures (8, 8), values 0 to 255, and digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return {"image": found.images * FULL_INK, "digit": found.target}
