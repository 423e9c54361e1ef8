"""The fitted prior finds what recorded searches have in common, and stays as wide as they differ."""

from __future__ import annotations

import msgspec
import numpy as np
from bench.choose_prior import Part, fit, fitted_to, parts, standardised
from bench.choose_replay import Table
from tests.bench.test_choose_replay import GAIN, LEVELS, table_of, truth_of

from headstart.choose.belief import NAMES, hand_set

METHODS = list(GAIN)
PLACE = {name: place for place, name in enumerate(NAMES)}


def table(gain: float, *, seed: int, name: str = "toy") -> Table:
    """Full training takes a share of the probe's error away, and the test rows are many."""
    random = np.random.default_rng(seed)
    levels = {base: float(np.clip(level + random.normal(0, 0.05), 0.3, 0.85)) for base, level in LEVELS.items()}
    truth = msgspec.structs.replace(truth_of(levels), name=name, rows=(800, 500, 5000))
    cells = [
        msgspec.structs.replace(cell, test=1 - (1 - levels[cell.base]) * float(np.exp(gain * (cell.method == "full"))))
        for cell in truth.cells
    ]
    return table_of(msgspec.structs.replace(truth, cells=cells))


def test_without_records_the_prior_is_the_one_set_by_hand() -> None:
    assert fit([], METHODS) == hand_set()


def test_what_the_sets_have_in_common_is_found_and_known_better() -> None:
    tables = [table(-0.7, seed=seed, name=f"set {seed}") for seed in range(6)]
    before, after = hand_set(), fit(tables, METHODS)
    full, lora = PLACE["full"], PLACE["lora"]
    assert before.mean[full] == -0.30
    assert -0.75 < after.mean[full] < -0.55
    assert abs(after.mean[lora]) < 0.12  # nothing is gained by LoRA here
    assert after.covariance[full][full] < before.covariance[full][full]
    assert "set 5" in after.reason
    assert after.reason.startswith("the weights are fitted to 6 recorded")


def test_sets_that_differ_leave_the_prior_wide() -> None:
    alike = fit([table(-0.5, seed=seed) for seed in range(6)], METHODS)
    apart = fit([table(gain, seed=seed) for seed, gain in enumerate((0.3, -1.3, 0.2, -1.2, 0.1, -1.1))], METHODS)
    full = PLACE["full"]
    assert apart.covariance[full][full] > 1.5 * alike.covariance[full][full]


def test_a_set_counts_once_however_many_prefixes_were_read() -> None:
    assert sum(one.share for one in parts(table(-0.5, seed=0), METHODS)) == 1.0


def test_the_fitted_prior_is_nearer_on_a_set_it_has_not_seen() -> None:
    tables = [table(-0.7, seed=seed) for seed in range(6)]
    unseen = table(-0.7, seed=99)
    by_hand, fitted = (
        float(np.sqrt(np.mean(standardised(unseen, METHODS, prior) ** 2)))
        for prior in (hand_set(), fit(tables, METHODS))
    )
    assert fitted < by_hand


def test_what_is_foretold_of_a_new_set_is_as_unsure_as_it_turns_out() -> None:
    """Sets drawn from the model that is fitted, of candidates with two signals: the weights of one more are within."""
    random, off = np.random.default_rng(0), []
    size, told = len(NAMES), [PLACE["full"], PLACE["size"]]
    hand, own = np.asarray(hand_set().mean), np.zeros(size)
    own[told] = 0.2, 0.12
    for _ in range(60):
        common = hand.copy()
        common[told] = random.normal(hand[told], [0.25, 0.15])
        drawn = []
        for _ in range(6):
            design = np.zeros((9, size))
            design[:, told] = random.normal(size=(9, 2))
            away = design @ random.normal(common, own) + random.normal(0, 0.2, 9)
            drawn.append(Part(design, away, 0.2**2 * np.eye(9), 1.0))
        prior = fitted_to(drawn, "simulated")
        spread = np.sqrt(np.diag(np.asarray(prior.covariance)))
        off.append(((random.normal(common, own) - np.asarray(prior.mean)) / spread)[told])
    assert 0.85 < float(np.sqrt(np.mean(np.square(off)))) < 1.12


def test_a_correlation_below_zero_is_a_score_like_others() -> None:
    below = table(-0.5, seed=0)
    below.truth.cells[0] = msgspec.structs.replace(below.truth.cells[0], test=-0.05)
    assert np.all(np.isfinite(fit([below], METHODS).mean))
