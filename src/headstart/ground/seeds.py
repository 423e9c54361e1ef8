"""Randomness as a pure function of (seed, stream name): no global state is read, and only torch's is set."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: object) -> np.random.Generator:
    """A generator that depends on the seed and the names alone, never on what was drawn before."""
    text = "/".join(str(n) for n in (seed, *names)).encode()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "little"))
