"""Calibrating a prompt: taking out what the words alone, or the demonstrations, make likely.

contextual (Zhao et al. 2021, arXiv 2102.09690): the probabilities of the answers for texts without content are divided
out. batch (Zhou et al. 2023, arXiv 2309.17249): the mean probabilities over rows are divided out; here over unlabelled
rows that are set aside and not over the rows being answered, so that an answer does not depend on its neighbours. Both
are a bias on log-probabilities: minus the log of that prior. For kind labels the same on every label's log-odds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.base.prompted import Scores, shares
from headstart.data.examples import Kind

NO_CONTENT = ("N/A", "[MASK]", "")  # Zhao et al. 2021, section 5
FLOOR = 1e-9  # a prior is never taken as 0


def bias_of(kind: Kind, scores: Scores) -> tuple[float, ...]:
    """The bias that makes the answers over these rows equally likely: (W,), or (K,) for labels.

    scores: (N, W) or (N, K, 2) raw log-likelihoods, of contentless texts or of unlabelled rows.
    """
    prior: NDArray[np.float64] = np.clip(shares(scores).mean(axis=0), FLOOR, 1.0)
    if kind == "labels":
        return tuple((np.log(prior[:, 0]) - np.log(prior[:, 1])).tolist())
    return tuple((-np.log(prior)).tolist())


def contentless(*, pair: bool) -> list[str] | list[tuple[str, str]]:
    """The texts without content, each twice for a pair."""
    return [(text, text) for text in NO_CONTENT] if pair else list(NO_CONTENT)
