"""The loss law: finds known laws again, agrees with L-BFGS on the same cost, covers, and refuses what says nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from headstart.ground.errors import DataError
from headstart.train.scaling import Point, Problem, features, fit, prior

Loss = Callable[[float, float], float]


def chinchilla(
    floor: float = 0.57, a: float = 130.0, alpha: float = 0.34, b: float = 150.0, beta: float = 0.28
) -> Loss:
    """A law in bits per byte with the published exponents (Hoffmann et al. 2022)."""
    return lambda n, d: floor + a / n**alpha + b / d**beta


def runs(
    law: Loss, sizes: list[float], ratios: list[float], *, noise: float = 0.0, seed: int = 0, seeds: int = 1
) -> list[Point]:
    random = np.random.default_rng(seed)
    return [
        Point(
            f"{n:.0f}-{r:g}-{s}",
            round(n),
            4 * r * n,
            6 * n * r * n,
            law(n, 4 * r * n) * math.exp(noise * random.standard_normal()),
        )
        for n in sizes
        for r in ratios
        for s in range(seeds)
    ]


SIZES = [3e5, 1e6, 3e6, 1e7]


def test_without_noise_the_law_is_found_again() -> None:
    law = chinchilla()
    found = fit(runs(law, [1e5, 3e5, 1e6, 3e6, 1e7, 3e7, 1e8], [1, 4, 16, 64]))
    assert found.form == "both"
    assert found.values[2] == pytest.approx(0.34, abs=0.03)
    assert found.values[4] == pytest.approx(0.28, abs=0.03)
    assert math.exp(found.values[0]) == pytest.approx(0.57, abs=0.06)
    said = found.predict(parameters=3e8, text_bytes=4 * 20 * 3e8, flops=6 * 20 * 9e16)
    assert said.bits_per_byte == pytest.approx(law(3e8, 80 * 3e8), rel=0.01)


@pytest.mark.parametrize("alpha", [0.2, 0.34, 0.5])
def test_other_exponents_are_found_too(alpha: float) -> None:
    law = chinchilla(a=1.2 * 1e6**alpha, alpha=alpha)
    found = fit(runs(law, [1e5, 3e5, 1e6, 3e6, 1e7, 3e7], [1, 4, 16, 64], noise=0.002))
    assert found.values[2] == pytest.approx(alpha, abs=0.1)
    said = found.predict(parameters=1e8, text_bytes=80 * 1e8, flops=6 * 20 * 1e16)
    assert said.bits_per_byte == pytest.approx(law(1e8, 80 * 1e8), rel=0.02)


def test_one_ratio_gives_a_law_in_compute() -> None:
    law = chinchilla()
    points = runs(law, SIZES, [20], noise=0.003, seed=1)
    found = fit(points)
    assert found.form == "compute"
    assert found.values.shape == (3,)
    said = found.predict(parameters=3e7, text_bytes=80 * 3e7, flops=6 * 20 * 9e14)
    assert said.low <= law(3e7, 80 * 3e7) <= said.high
    assert said.high - said.low < 0.12


def test_the_minimum_is_that_of_l_bfgs_from_a_grid_of_starts() -> None:
    """Hoffmann et al. minimise the same cost with L-BFGS from a grid."""
    points = runs(chinchilla(), SIZES, [2, 20], noise=0.01, seed=3)
    rows = np.stack([features("both", p.parameters, p.text_bytes, p.flops) for p in points])
    problem = Problem(rows - rows.mean(axis=0), np.log([p.bits_per_byte for p in points]), *prior("both", points))
    noise = np.array([0.01])

    def cost(values: np.ndarray) -> float:
        return float(problem.cost(values[None], problem.observed[None], problem.mean[None], noise)[0])

    reference = min(
        minimize(cost, start, method="L-BFGS-B", options={"maxiter": 500}).fun for start in problem.starts()
    )
    _, costs = problem.minimise(problem.starts(), problem.observed[None], problem.mean[None], noise)
    assert costs.min() <= reference + 1e-4


def test_slopes_are_the_derivatives() -> None:
    points = runs(chinchilla(), SIZES, [2, 20])
    rows = np.stack([features("both", p.parameters, p.text_bytes, p.flops) for p in points])
    problem = Problem(rows - rows.mean(axis=0), np.zeros(len(points)), *prior("both", points))
    values = np.array([[-0.5, 0.1, 0.3, -0.2, 0.25]])
    from headstart.train.scaling import log_loss

    for k in range(5):
        step = np.zeros((1, 5))
        step[0, k] = 1e-6
        numeric = (log_loss(values + step, problem.terms) - log_loss(values - step, problem.terms)) / 2e-6
        assert problem.slopes(values)[0, :, k] == pytest.approx(numeric[0], abs=1e-7)


def test_one_broken_run_hardly_moves_the_law() -> None:
    law = chinchilla()
    points = runs(law, [3e5, 1e6, 3e6, 1e7], [5, 20, 80], noise=0.003)
    broken = [replace(p, bits_per_byte=p.bits_per_byte * 1.3) if i == 5 else p for i, p in enumerate(points)]
    where = {"parameters": 3e7, "text_bytes": 80 * 3e7, "flops": 6 * 20 * 9e14}
    assert fit(broken).predict(**where).bits_per_byte == pytest.approx(
        fit(points).predict(**where).bits_per_byte, rel=0.02
    )


def coverage(count: int, ratios: list[float], noise: float, *, worlds: int) -> tuple[float, float]:
    """(share of worlds whose next size fell inside the 95 % interval, median width of the interval)."""
    random = np.random.default_rng(7)
    inside, widths = 0, []
    for world in range(worlds):
        alpha, beta = random.uniform(0.2, 0.5, 2)
        floor, above = random.uniform(0.35, 0.9), random.uniform(0.8, 1.8)
        share = random.uniform(0.3, 0.7)
        law = chinchilla(floor, above * share * 3e5**alpha, alpha, above * (1 - share) * 6e6**beta, beta)
        points = runs(law, [3e5 * 3**k for k in range(count)], ratios, noise=noise, seed=world)
        n, ratio = 3e5 * 3**count, ratios[-1]
        truth = law(n, 4 * ratio * n) * math.exp(noise * random.standard_normal())
        said = fit(points, seed=world, draws=150).predict(
            parameters=n, text_bytes=4 * ratio * n, flops=6 * ratio * n * n
        )
        inside += said.low <= truth <= said.high
        widths.append(said.high - said.low)
    return inside / worlds, float(np.median(widths))


@pytest.mark.parametrize(
    ("count", "ratios", "widest"),
    [(3, [20.0], 0.15), (4, [20.0], 0.10), (3, [5.0, 20.0], 0.12), (5, [5.0, 20.0], 0.08)],
)
def test_the_interval_covers_the_next_size(count: int, ratios: list[float], widest: float) -> None:
    share, width = coverage(count, ratios, 0.005, worlds=40)
    assert share >= 0.85  # 95 % wanted; 40 worlds say so within 7
    assert width < widest


def test_an_interval_widens_with_distance_and_noise() -> None:
    def width(noise: float, n: float) -> float:
        found = fit(runs(chinchilla(), SIZES, [20], noise=noise, seed=2, seeds=3))
        said = found.predict(parameters=n, text_bytes=80 * n, flops=120 * n * n)
        return said.high - said.low

    assert width(0.003, 2e7) < width(0.003, 1e9)
    assert width(0.003, 2e7) < width(0.03, 2e7)


def test_the_same_runs_and_seed_give_the_same_law() -> None:
    points = runs(chinchilla(), SIZES, [20], noise=0.01)
    where = {"parameters": 3e7, "text_bytes": 80 * 3e7, "flops": 6 * 20 * 9e14}
    assert fit(points).predict(**where) == fit(points).predict(**where)
    assert fit(points, seed=1).predict(**where) != fit(points).predict(**where)


def test_too_few_runs_are_refused() -> None:
    points = runs(chinchilla(), SIZES, [20])
    for few in ([], points[:1], points[:2]):
        with pytest.raises(DataError, match="expected at least 3"):
            fit(few)
    with pytest.raises(DataError, match="expected at least 5"):
        fit(runs(chinchilla(), SIZES[:2], [2, 20]))
    with pytest.raises(DataError, match="expected at least 3"):  # seeds of one size are no law
        fit(runs(chinchilla(), [1e6], [20], noise=0.01, seeds=6))


def test_a_run_without_a_loss_is_named() -> None:
    points = runs(chinchilla(), SIZES, [20])
    for bad in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(DataError, match=points[2].name):
            fit([replace(p, bits_per_byte=bad) if p is points[2] else p for p in points])


def test_the_formula_in_words_gives_the_prediction() -> None:
    found = fit(runs(chinchilla(), SIZES, [2, 20], noise=0.003))
    n, d = 2e7, 8e8
    floor, first, second = found.words().split(" + ")
    a, alpha = first.replace("N^", "").split(" / ")
    b, beta = second.replace("D^", "").split(" / ")
    value = float(floor) + float(a) / n ** float(alpha) + float(b) / d ** float(beta)
    assert found.predict(parameters=n, text_bytes=d, flops=1.0).bits_per_byte == pytest.approx(value, rel=0.01)
