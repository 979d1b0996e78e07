"""MCG against its algorithm with a dense Jacobian, and what it draws on a Gaussian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Magnitude
from kintsugi.paths import VP, FlowMatching
from kintsugi.problem import Problem
from kintsugi.samplers import DPS, MCG, RePaint, Schedule
from toy import KEYS, SHAPE, Gaussian, mixture, operator, relative_error, run

Array = NDArray[np.float64]
LEVELS = (4.0, 1.5, 0.7, 0.3, 0.08)
FROM_LEVELS = Schedule(start="zero", grid=LEVELS)


def literal(matrix: Array, y: Array, sigma_y: float, zeta: float, path: str) -> Array:
    """Algorithm 1 in x_t: x' = step(x_t) - zeta grad_{x_t} |y - A x_0(x_t)|, then (I - P) x' and the noisy measurement
    of the new level; with measurement noise, only where that level is the noisier."""
    prior, noise = mixture(), RowNoise(KEYS)
    _, s, vt = np.linalg.svd(matrix)
    s = np.concatenate((s, np.zeros(16 - len(s))))
    pinv_y = y @ np.linalg.pinv(matrix, rcond=1e-6).T
    etas = [*LEVELS, 0.0]
    alphas = [1 / np.sqrt(1 + eta**2) if path == "vp" else 1 / (1 + eta) for eta in etas]

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    def x_0_of(x: Array, alpha: float, eta: float) -> Array:
        z = torch.from_numpy(x / alpha).view(-1, *SHAPE)
        return prior.denoise(z, torch.full((len(z),), eta, dtype=torch.float64)).flatten(1).numpy()

    x = alphas[0] * etas[0] * draw()
    for (a, c), (alpha, after) in zip(itertools.pairwise(etas), itertools.pairwise(alphas), strict=True):
        sigma, sigma_after = alpha * a, after * c
        x_0 = x_0_of(x, alpha, a)
        gradient, h = np.zeros_like(x), 1e-5
        for j in range(16):  # central differences of the norm with respect to x_t
            nudge = h * np.eye(16)[j]
            up, down = (np.linalg.norm(y - x_0_of(x + e, alpha, a) @ matrix.T, axis=1) for e in (nudge, -nudge))
            gradient[:, j] = (up - down) / (2 * h)
        step2 = sigma**2 - (alpha / after * sigma_after) ** 2
        mean = (alpha / after * sigma_after**2 * x + after * step2 * x_0) / sigma**2
        moved = mean + (np.sqrt(sigma_after**2 * step2) / sigma * draw() if c > 0 else 0) - zeta * gradient
        xi = draw() if c > 0 else np.zeros((2, 16))
        bar, bar_y, bar_xi = moved @ vt.T, pinv_y @ vt.T, xi @ vt.T
        for i in range(16):
            if s[i] > 1e-6 * s[0] and c >= sigma_y / s[i]:
                bar[:, i] = after * bar_y[:, i] + np.sqrt(sigma_after**2 - (after * sigma_y / s[i]) ** 2) * bar_xi[:, i]
        x = bar @ vt
    return x


@pytest.mark.parametrize("path", ["vp", "flow"])
@pytest.mark.parametrize("zeta", [0.05, 0.3])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_the_published_algorithm(name: str, noise: float, zeta: float, path: str) -> None:
    prior = mixture().with_path(VP() if path == "vp" else FlowMatching())
    measure, matrix = operator(name)
    if name == "mask":  # what stands where nothing was measured is part of no distance
        problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
        problem = problem.with_rows(measure(problem.batch))
    else:
        problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
    ours = run(MCG(zeta=zeta, schedule=FROM_LEVELS), prior, problem, 5)
    theirs = literal(matrix, problem.batch.flatten(1).numpy(), noise, zeta, path)
    assert relative_error(ours, theirs) < 1e-6


@pytest.mark.parametrize("name", ["mask", "blur"])
def test_between_dps_and_repaint(name: str) -> None:
    """A vanishing gradient leaves RePaint without resampling. The same draws, so the difference is the gradient's."""
    prior = mixture()
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), operator(name)[0])
    repaint = run(RePaint(repeats=1, schedule=FROM_LEVELS), prior, problem, 5)
    small, smaller = (run(MCG(zeta=zeta, schedule=FROM_LEVELS), prior, problem, 5) for zeta in (2e-6, 1e-6))
    assert relative_error(smaller, repaint) < 1e-5
    if name == "mask":  # the blur measures everything, and nothing of the gradient remains
        np.testing.assert_allclose(small - repaint, 2 * (smaller - repaint), rtol=1e-3, atol=1e-11)
        assert np.abs(smaller - repaint).max() > 1e-8


# --- on the Gaussian oracle -------------------------------------------------------------------------------------------

PROBLEMS = {"average": ("average", 0.0), "mask": ("mask", 0.0), "noisy mask": ("mask", 0.1)}
FROM_NOISE = Schedule(start="zero", eta=20.0, end=0.02, grid="karras")
DRAWS = 400
EXPECTED: dict[tuple[float, int], list[tuple[float, float]]] = {
    (1.0, 5): [(0.232, 0.523), (0.653, 0.607), (0.709, 0.598)],
    (1.0, 20): [(0.143, 0.829), (0.379, 0.871), (0.428, 0.858)],
    (3.0, 20): [(0.093, 0.824), (0.116, 0.808), (0.187, 0.834)],
}


def measure(gaussian: Gaussian, sampler: MCG | DPS, problem: str, steps: int) -> tuple[float, float]:
    """Error of the mean and spread over ``DRAWS`` samples: the norm makes the method no affine map of its noise."""
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    rows = stated.with_rows(stated.batch.expand(DRAWS, *stated.operator.out_shape))
    keys = [(0, 0, j) for j in range(DRAWS)]
    out = sampler.run(gaussian.prior, rows, steps, RowNoise(keys), lambda done, total: None).flatten(1)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (out.mean(0) - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(out.var(0).mean().sqrt() / std)


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("zeta", "steps"), EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, zeta: float, steps: int, problem: str) -> None:
    """The same seeds each time. Without the gradient the errors at 20 steps are (0.12, 0.40, 0.42)."""
    wanted = EXPECTED[zeta, steps][list(PROBLEMS).index(problem)]
    found = measure(gaussian, MCG(zeta=zeta, schedule=FROM_NOISE), problem, steps)
    assert found == pytest.approx(wanted, rel=0.02, abs=0.005)


@pytest.mark.parametrize("change", [0.5, 2.0])
def test_a_wrong_gradient_would_show(gaussian: Gaussian, change: float) -> None:
    wanted = EXPECTED[3.0, 20][1]
    assert measure(gaussian, MCG(zeta=3 * change, schedule=FROM_NOISE), "mask", 20) != pytest.approx(wanted, rel=0.05)


def test_the_default_length_is_that_of_the_image_over_the_steps() -> None:
    prior = mixture()
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), operator("mask")[0])
    np.testing.assert_array_equal(
        run(MCG(schedule=FROM_LEVELS), prior, problem, 5), run(MCG(zeta=4 / 5, schedule=FROM_LEVELS), prior, problem, 5)
    )


def test_without_noise_the_measurement_is_kept_whatever_the_gradient() -> None:
    prior = mixture()
    measure, _ = operator("average")
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure)
    out = torch.from_numpy(run(MCG(zeta=5.0), prior, problem, 3)).view(2, *SHAPE)
    torch.testing.assert_close(measure(out), problem.batch.expand(2, *measure.out_shape), rtol=0, atol=1e-9)


def test_errors() -> None:
    for value in (0.0, -1.0, float("nan"), float("inf"), "1"):
        with pytest.raises(InvalidArgument, match=r"^zeta: "):
            MCG(zeta=value)  # type: ignore[arg-type]
    for name in ("solver", "schedule"):
        with pytest.raises(InvalidArgument, match=rf"^{name}: "):
            MCG(**{name: 3})  # type: ignore[arg-type]
    nonlinear = Magnitude(SHAPE)
    with pytest.raises(InvalidArgument, match=r"^operator: .*MCG"):
        MCG().check(mixture(), Problem(nonlinear(torch.rand(1, *SHAPE, dtype=torch.float64)), nonlinear))
