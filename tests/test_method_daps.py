"""DAPS: algorithm 1 of the paper, dense; its Langevin dynamics; and what it converges to on Gaussians."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import dense
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Blur, Mask, Nonlinear, Operator, gaussian_kernel
from kintsugi.paths import FlowMatching
from kintsugi.priors import GaussianPrior
from kintsugi.problem import Problem
from kintsugi.samplers import DAPS, Schedule
from kintsugi.samplers.daps import squared_norm
from toy import KEEP, KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run, white

GRID = (3.0, 1.0, 0.3)
SHIFT = np.eye(16).reshape(4, 4, 16)[:, [3, 0, 1, 2]].reshape(16, 16)


def measurement(name: str) -> tuple[Operator, object]:
    """An operator, and ``x -> A(x), A'(x)`` of (16,)."""
    if name != "bent":
        op, matrix = operator(name)
        return op, lambda x: (matrix @ x, matrix)

    def bent(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left = SHIFT @ x
        return np.tanh(2 * x) + 0.3 * left**2, np.diag(2 / np.cosh(2 * x) ** 2) + 0.6 * left[:, None] * SHIFT

    return Nonlinear(lambda x: torch.tanh(2 * x) + 0.3 * x.roll(1, -1) ** 2, SHAPE), bent


@pytest.mark.parametrize("r", ["eta", "isotropic"])
@pytest.mark.parametrize(("name", "noise"), [("mask", 0.0), ("average", 0.3), ("bent", 0.2)])
def test_equation(name: str, noise: float, r: str) -> None:
    """Zhang et al. (2025), algorithm 1, in their variables (sigma_t is our eta, alpha is 1)."""
    prior, (op, at) = mixture(), measurement(name)
    y = at(prior.sample(1, torch.Generator().manual_seed(5)).flatten().numpy())[0]
    y = y + noise * np.random.default_rng(0).standard_normal(len(y))
    tau, rate, decay, ode, mcmc = max(noise, 0.05), 0.8, 0.3, 3, 4
    draws = RowNoise(KEYS)
    like = torch.zeros((), dtype=torch.float64)

    def xi() -> np.ndarray:
        return draws.normal(SHAPE, like).flatten(1).numpy()

    x_t = GRID[0] * xi()
    probe = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).flatten().numpy()
    for sigma_t, sigma_next in pairwise((*GRID, 0.0)):
        clean = []
        inner = (sigma_t ** (1 / 7) + np.arange(ode) / (ode - 1) * (0.01 ** (1 / 7) - sigma_t ** (1 / 7))) ** 7
        for x in x_t:
            for high, low in pairwise([*inner, 0.0]):
                score = (dense.denoised(prior, x, high)[0] - x) / high**2
                x = x - (low - high) * high * score  # dx = -sigma score dsigma
            clean.append(x)
        s2 = prior.data_variance
        r2 = sigma_t**2 if r == "eta" else s2 * sigma_t**2 / (s2 + sigma_t**2)
        steps = []
        for x in clean:
            v = probe
            for _ in range(12):
                v = at(x)[1].T @ at(x)[1] @ (v / np.linalg.norm(v))
            steps.append(rate * (decay + (1 - decay) * sigma_t / GRID[0]) / (1 / r2 + np.linalg.norm(v) / tau**2))
        x_0 = list(clean)
        for _ in range(mcmc):
            for row, noise_row in enumerate(xi()):
                value, slope = at(x_0[row])
                grad = -(x_0[row] - clean[row]) / r2 + slope.T @ (y - value) / tau**2
                x_0[row] = x_0[row] + steps[row] * grad + math.sqrt(2 * steps[row]) * noise_row
        x_t = np.stack(x_0) + (sigma_next * xi() if sigma_next else 0)
    problem = Problem(torch.from_numpy(y).view(1, *op.out_shape), op, noise)
    sampler = DAPS(ode, mcmc, rate, decay, floor=0.05, r=r, schedule=Schedule(start="zero", grid=GRID))
    ours = run(sampler, prior, problem, 3)
    assert relative_error(ours, x_t) < 1e-6
    assert np.array_equal(ours, run(sampler, prior.with_path(FlowMatching()), problem, 3))


def test_squared_norm() -> None:
    at = torch.zeros(1, 1, 12, 12)
    blur = 3.0 * Blur((1, 12, 12), gaussian_kernel(1.0, 7))  # passes the mean unchanged, three times
    assert 0.9 * 9 < float(squared_norm(Problem(at, blur), at)) < 9 * (1 + 1e-5)
    assert float(squared_norm(Problem(at, Mask(torch.rand(12, 12) > 0.5, (1, 12, 12))), at)) == pytest.approx(1)


# --- Langevin dynamics ------------------------------------------------------------------------------------------------


def white_data(variance: float) -> GaussianPrior:
    return GaussianPrior(SHAPE, variance * torch.eye(16, dtype=torch.float64))


@pytest.mark.parametrize("rate", [0.2, 1.0, 1.8])
def test_stationary_variance(rate: float) -> None:
    """One level, and so many steps that they forget x^: the mean is the posterior's, and a step h adds to the variance
    ``1/L`` of a direction of curvature L, ``1 / (L (1 - h L / 2))``. Above a rate of 2 it would diverge."""
    prior, level, sigma = white_data(0.3), 0.5, 0.4
    op = Mask(KEEP, SHAPE)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(0)), op, sigma)
    sampler = DAPS(1, 60, rate, 1.0, schedule=Schedule(start="zero", grid=(level,), scale=0.0))
    mean, covariance = exact_moments(sampler, prior, problem, 1)
    inside = KEEP.flatten()
    top = 1 / level**2 + 1 / sigma**2
    h = rate / top
    torch.testing.assert_close(mean[inside], problem.y.flatten()[inside] / sigma**2 / top, rtol=1e-3, atol=1e-6)
    for curvature, where in ((top, inside), (1 / level**2, ~inside)):
        left = (1 - h * curvature) ** (2 * 60)
        wanted = (1 - left) / (curvature * (1 - h * curvature / 2))
        assert covariance.diagonal()[where].tolist() == pytest.approx([wanted] * int(where.sum()), rel=1e-3)


def test_exact_draws_are_its_limit() -> None:
    """Small and many steps of Langevin dynamics have the moments of a draw in closed form."""
    prior = white_data(0.3)
    op = operator("blur")[0]
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(0)), op, 0.4)
    schedule = Schedule(start="zero", grid=(0.5,))
    slow = exact_moments(DAPS(1, 150, 0.1, 1.0, schedule=schedule), prior, problem, 1)
    fast = exact_moments(DAPS(1, exact=True, schedule=schedule), prior, problem, 1)
    torch.testing.assert_close(slow[0], fast[0], rtol=0, atol=1e-3)
    torch.testing.assert_close(slow[1], fast[1], rtol=0, atol=0.06 * float(fast[1].max()))


# --- what it converges to ---------------------------------------------------------------------------------------------


def moments_on_white_data(sampler: DAPS, steps: int) -> tuple[float, float]:
    """The variance of what is drawn, over the posterior's: where nothing was measured, and where it was."""
    prior, inside = white_data(0.25), KEEP.flatten()
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(0)), Mask(KEEP, SHAPE), 0.1)
    variance = exact_moments(sampler, prior, problem, steps)[1].diagonal()
    true = prior.posterior(problem).covariance.diagonal()
    return float((variance / true)[~inside].mean()), float((variance / true)[inside].mean())


def test_the_heuristic_doubles_the_variance() -> None:
    """With ``r = sigma_t`` and a solved ODE the unmeasured variance tends to twice the data's as the steps grow, though
    each draw is exact; with the true r and the mean it is right at any number of steps."""
    levels = Schedule(start="zero", eta=3.0, end=0.03)
    many = moments_on_white_data(DAPS(20, exact=True, schedule=levels), 60)
    assert many[0] == pytest.approx(2, rel=0.05)
    for steps in (3, 20):
        right = moments_on_white_data(DAPS(1, exact=True, r="isotropic", schedule=levels), steps)
        assert right == pytest.approx((1, 1), rel=0.01)


# Exact draws, at 5 and 20 steps of the default: (error of the mean, spread), in posterior standard deviations.
EXPECTED = {
    ("blur", "eta", 2): [(0.6512, 1.7367), (0.1795, 1.1294)],
    ("blur", "isotropic", 1): [(0.1014, 1.1808), (0.0576, 1.0495)],
    ("mask", "eta", 2): [(0.7019, 2.1936), (0.3872, 1.2136)],
    ("mask", "isotropic", 1): [(0.7053, 1.1518), (0.3895, 1.0641)],
}


@pytest.mark.parametrize("case", EXPECTED)
def test_distance_to_the_posterior(case: tuple[str, str, int]) -> None:
    gaussian, (name, r, ode_steps) = Gaussian(), case
    stated, posterior = gaussian.problem(name, 0.1)
    std = posterior.covariance.diagonal().mean().sqrt()
    for steps, wanted in zip((5, 20), EXPECTED[case], strict=True):
        mean, covariance = exact_moments(DAPS(ode_steps, exact=True, r=r), gaussian.prior, stated, steps)
        error = (mean - posterior.mean.flatten()).square().mean().sqrt() / std
        assert (float(error), float(covariance.diagonal().mean().sqrt() / std)) == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize(
    "settings",
    [
        {"ode_steps": 0},
        {"mcmc_steps": 1.5},
        {"rate": 2.0},
        {"decay": 0.0},
        {"floor": 0.0},
        {"r": "sigma"},
        {"exact": 1},
        {"schedule": 3},
    ],
)
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(settings))):
        DAPS(**settings)


@pytest.mark.parametrize(("name", "first"), [("mask", 10.0), ("bent", 100.0)])
def test_first_level(name: str, first: float) -> None:
    """The first noise that is drawn is all of the first z."""
    prior, op, seen = mixture(), measurement(name)[0], []

    def denoise(z: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
        seen.append(z)
        return torch.zeros_like(z)

    prior.denoise = denoise
    run(DAPS(mcmc_steps=1), prior, Problem(torch.zeros(1, *op.out_shape, dtype=torch.float64), op), 3)
    torch.testing.assert_close(seen[0].flatten(1).numpy(), first * white())


def test_exact_draws_need_a_linear_operator() -> None:
    problem = Problem(torch.zeros(1, *SHAPE), measurement("bent")[0])
    DAPS().check(mixture(), problem)
    with pytest.raises(InvalidArgument, match="operator"):
        DAPS(exact=True).check(mixture(), problem)
