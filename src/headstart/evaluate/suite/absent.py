"""Which controls a table of a labelled set lacks, because nobody asked for them, and the flags that add them.

Enter: the sides that were asked, whether curves were. Leave: what is missing. Training from random weights took nine
times as long as a probe, and a curve is three or four such trainings, so that a plain evaluation has neither. It says
so, because from scratch the same network can reach what a probe reaches: trec6, text-tiny, 0.820 and 0.816
(docs/notebook/2026-11-27-evaluate-oracles.md). What was asked for and failed is told elsewhere, with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from headstart.evaluate.label_curve import curve_sizes
from headstart.evaluate.suite.cells import Side
from headstart.evaluate.suite.protocol import LEARNING
from headstart.evaluate.suite.scoreboard import Missing


def missing_controls(sides: Sequence[Side], *, label_curve: bool, rows: int) -> list[Missing]:
    """Of a labelled set of so many train rows; of too few there is no curve to add. label_curve: whether it was asked
    for."""
    roles = {side.role for side in sides}
    methods = list(dict.fromkeys(side.method for side in sides if side.role == "base" and side.method is not None))
    curve = "--label-curve"
    missing = []
    if "random" not in roles:
        missing.append(Missing("random weights", f"--method {','.join((*methods, 'probe'))}"))
    if "scratch" not in roles:
        missing.append(Missing("from scratch", curve))
    if not set(methods) & set(LEARNING) and curve_sizes(rows):
        missing.append(Missing("labels saved", f"--method {','.join((*methods, 'probe'))} {curve}"))
    elif not label_curve and curve_sizes(rows):
        missing.append(Missing("labels saved", curve))
    return missing
