"""`headstart demo`: the real thing on bundled data, with the embedded base and no network.

536 support messages in 8 intents, written for this project: 408 to learn from and 128 to test on, with spelling
mistakes, two-word messages and near misses between the intents.
"""

from __future__ import annotations

from pathlib import Path

from headstart.flags import AdaptFlags
from headstart.specialise import specialise

DATA = Path(__file__).parent / "demo_data"


def run_demo(*, out: Path | None, budget: str, json: bool, started: float) -> int:
    """Adapt the embedded base to the support messages and print the report; the exit code is `adapt`'s."""
    flags = AdaptFlags(test=str(DATA / "test.csv"), label="intent", budget=budget, out=out, json=json)
    return specialise(str(DATA / "train.csv"), flags, started=started, name="demo")
