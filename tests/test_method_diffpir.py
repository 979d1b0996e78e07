"""DiffPIR against its algorithm with a dense proximal step, and what it draws on a Gaussian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.guidance.proximal import Proximal
from kintsugi.noise import RowNoise
from kintsugi.operators import Magnitude
from kintsugi.problem import Problem
from kintsugi.samplers import DiffPIR, Schedule
from toy import KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run

Array = NDArray[np.float64]
LEVELS = (4.0, 1.5, 0.7, 0.3, 0.08)


def literal(matrix: Array, y: Array, sigma_n: float, lam: float, zeta: float) -> Array:
    """Algorithm 1 in x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, the proximal problem as a dense linear system."""
    prior, noise = mixture(), RowNoise(KEYS)

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    abars = [1 / (1 + eta**2) for eta in (*LEVELS, 0.0)]
    x = np.sqrt(abars[0]) * y @ np.linalg.pinv(matrix, rcond=1e-6).T + np.sqrt(1 - abars[0]) * draw()
    for abar, after in itertools.pairwise(abars):
        bar_sigma = np.sqrt(1 - abar) / np.sqrt(abar)
        z = torch.from_numpy(x / np.sqrt(abar)).view(2, *SHAPE)
        x_0 = prior.denoise(z, torch.full((2,), bar_sigma, dtype=torch.float64)).flatten(1).numpy()
        if sigma_n > 0:
            rho = lam * sigma_n**2 / bar_sigma**2
            normal = matrix.T @ matrix + rho * np.eye(16)
            x_hat = np.linalg.solve(normal, (y @ matrix + rho * x_0).T).T
        else:  # rho = 0: of all minimisers, the closest to x_0
            x_hat = x_0 + (y - x_0 @ matrix.T) @ np.linalg.pinv(matrix, rcond=1e-6).T
        eps = (x - np.sqrt(abar) * x_hat) / np.sqrt(1 - abar)
        fresh = draw() if after < 1 else np.zeros((2, 16))
        x = np.sqrt(after) * x_hat + np.sqrt(1 - after) * (np.sqrt(1 - zeta) * eps + np.sqrt(zeta) * fresh)
    return x


@pytest.mark.parametrize(("lam", "zeta"), [(7.0, 0.3), (0.5, 0.9)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_the_published_algorithm(name: str, noise: float, lam: float, zeta: float) -> None:
    prior = mixture()
    measure, matrix = operator(name)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
    sampler = DiffPIR(lam=lam, zeta=zeta, schedule=Schedule(start="pinv", grid=LEVELS))
    theirs = literal(matrix, problem.batch.flatten(1).numpy(), noise, lam, zeta)
    assert relative_error(run(sampler, prior, problem, 5), theirs) < 1e-8


@pytest.mark.parametrize(("noise", "tolerance"), [(0.3, 2e-3), (0.0, 1e-6)])
def test_a_nonlinear_measurement_takes_a_gauss_newton_step(noise: float, tolerance: float) -> None:
    """With noise conjugate gradients to a residual of 1e-3; without, the pseudo-inverse of a dense Jacobian."""
    prior, measure = mixture(), Magnitude(SHAPE)
    x = prior.sample(1, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, measure, noise)
    z, eta, lam = x + 0.5, 0.8, 2.0
    ours, _ = Proximal(lam)(prior, problem, z, eta, None)
    d = prior.denoise(z, torch.full((1,), eta, dtype=torch.float64))
    jacobian = torch.autograd.functional.jacobian(lambda v: measure(v[None])[0], d[0]).reshape(-1, 16).numpy()
    residual = (problem.y - measure(d)).flatten().numpy()
    if noise > 0:
        rho = lam * noise**2 / eta**2
        moved = np.linalg.solve(jacobian.T @ jacobian + rho * np.eye(16), jacobian.T @ residual)
    else:
        moved = np.linalg.pinv(jacobian, rcond=1e-3) @ residual
    assert relative_error((ours - d).flatten().numpy(), moved) < tolerance


# --- on the Gaussian oracle -------------------------------------------------------------------------------------------

PROBLEMS = {"average": ("average", 0.0), "noisy mask": ("mask", 0.1), "noisy blur": ("blur", 0.1)}
FROM_PINV = Schedule(start="pinv", eta=2.0, end=0.02, grid="karras")
# (lam, zeta, steps): for each problem, error of the mean and spread, in posterior standard deviations.
EXPECTED: dict[tuple[float, float, int], list[tuple[float, float]]] = {
    (1.0, 1.0, 5): [(0.176, 0.574), (0.652, 0.654), (0.507, 0.536)],
    (1.0, 1.0, 20): [(0.066, 0.670), (0.330, 0.701), (0.123, 0.658)],
    (7.0, 0.3, 5): [(0.218, 0.746), (0.749, 0.878), (0.375, 0.818)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: DiffPIR, problem: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("lam", "zeta", "steps"), EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, lam: float, zeta: float, steps: int, problem: str) -> None:
    wanted = EXPECTED[lam, zeta, steps][list(PROBLEMS).index(problem)]
    found = measure(gaussian, DiffPIR(lam=lam, zeta=zeta, schedule=FROM_PINV), problem, steps)
    assert found == pytest.approx(wanted, rel=0.02, abs=0.002)


@pytest.mark.parametrize("changed", [{"lam": 2.0}, {"lam": 0.5}, {"scale": 0.5}, {"scale": 2.0}])
def test_a_factor_of_two_would_show(gaussian: Gaussian, changed: dict[str, float]) -> None:
    sampler = DiffPIR(lam=changed.get("lam", 1.0), zeta=1.0, schedule=FROM_PINV)
    wanted = EXPECTED[1.0, 1.0, 5][2]
    found = measure(gaussian, sampler, "noisy blur", 5, changed.get("scale", 1.0))
    assert found != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_errors() -> None:
    for name, values in {"lam": (0.0, -1.0, float("inf"), float("nan")), "zeta": (-0.1, 1.1, "0")}.items():
        for value in values:
            with pytest.raises(InvalidArgument, match=rf"^{name}: "):
                DiffPIR(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^schedule: "):
        DiffPIR(schedule=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^lam: "):
        Proximal(0.0)
