"""MMPS: the paper's equation with dense matrices, the posterior of Gaussians, and systems that are not symmetric."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dense
from kintsugi.errors import InvalidArgument
from kintsugi.guidance.gmres import gmres
from kintsugi.guidance.mmps import MMPS as MMPSGuidance
from kintsugi.operators import Nonlinear
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.problem import Problem
from kintsugi.samplers import MMPS, Schedule
from kintsugi.solvers import FirstOrder, Multistep
from toy import SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run, white

GRID = (3.0, 1.2, 0.4, 0.1)


@pytest.mark.parametrize("krylov", ["gmres", "cg"])
@pytest.mark.parametrize("path", [VP(), FlowMatching()])
@pytest.mark.parametrize(("name", "noise"), [("mask", 0.0), ("mask", 0.1), ("average", 0.0), ("blur", 0.2)])
def test_equation(name: str, noise: float, path: Path, krylov: str) -> None:
    """``grad log p(y | x_t) = (dD/dx_t)^T A^T (sigma^2 + A V A^T)^{-1} (y - A D)``, where V is the transpose of
    ``sigma_t^2/alpha_t dD/dx_t``, as their conjugate gradients take it."""
    prior, (matrix, y) = mixture().with_path(path), dense.measured(name, noise)
    kept = matrix @ np.linalg.pinv(matrix, rcond=3e-2)

    def likelihood(d: np.ndarray, d_x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        variance = sigma**2 / alpha * d_x.T
        total = matrix @ variance @ matrix.T + noise**2 * np.eye(len(matrix))
        return d_x.T @ matrix.T @ np.linalg.pinv(total, rcond=1e-10) @ kept @ (y - matrix @ d)

    wanted = np.stack([dense.ddim(prior, path, (*GRID, 0.0), GRID[0] * start, likelihood) for start in white()])
    op = operator(name)[0]
    problem = Problem(torch.from_numpy(y).view(1, *op.out_shape), op, noise)
    sampler = MMPS(40, 1e-13, krylov, FirstOrder(), Schedule(start="zero", grid=GRID))
    assert relative_error(run(sampler, prior, problem, 4), wanted) < 1e-6


def test_one_vector_is_the_best_multiple_of_the_residual() -> None:
    """One iteration: ``u = (M r . r / |M r|^2) r`` (GMRES) and ``u = (|r|^2 / r . M r) r`` (CG)."""
    prior, (matrix, y), eta, noise = mixture(), dense.measured("average", 0.1), 0.5, 0.1
    z = white()
    op = operator("average")[0]
    problem = Problem(torch.from_numpy(np.stack([y, y])).view(2, *op.out_shape), op, noise)
    ours = {
        krylov: MMPSGuidance(1, 1e-9, krylov)(prior, problem, torch.from_numpy(z).view(2, *SHAPE), eta, None)[0]
        for krylov in ("gmres", "cg")
    }
    for row in range(2):
        d, jacobian = dense.denoised(prior, z[row], eta)
        system = eta**2 * matrix @ jacobian.T @ matrix.T + noise**2 * np.eye(len(matrix))
        r = y - matrix @ d
        for krylov, factor in (
            ("gmres", (system @ r) @ r / ((system @ r) @ (system @ r))),
            ("cg", r @ r / (r @ system @ r)),
        ):
            wanted = d + eta**2 * jacobian.T @ matrix.T @ (factor * r)
            np.testing.assert_allclose(ours[krylov][row].flatten().numpy(), wanted, rtol=1e-8, atol=1e-10)


def test_a_nonlinear_measurement_is_replaced_by_its_derivative() -> None:
    prior, eta, noise = mixture(), 0.5, 0.2
    op = Nonlinear(lambda x: torch.tanh(2 * x) + 0.3 * x.roll(1, -1) ** 2, SHAPE)
    z, y = white(), np.random.default_rng(0).standard_normal((2, 16))
    problem = Problem(torch.from_numpy(y).view(2, *SHAPE), op, noise)
    ours = MMPSGuidance(30, 1e-12)(prior, problem, torch.from_numpy(z).view(2, *SHAPE), eta, None)[0].flatten(1).numpy()
    for row in range(2):
        d, jacobian = dense.denoised(prior, z[row], eta)
        left = d.reshape(4, 4)[:, [3, 0, 1, 2]].flatten()
        shift = np.eye(16).reshape(4, 4, 16)[:, [3, 0, 1, 2]].reshape(16, 16)
        slope = np.diag(2 / np.cosh(2 * d) ** 2) + 0.6 * left[:, None] * shift
        system = eta**2 * slope @ jacobian.T @ slope.T + noise**2 * np.eye(16)
        residual = y[row] - np.tanh(2 * d) - 0.3 * left**2
        wanted = d + eta**2 * jacobian.T @ slope.T @ np.linalg.solve(system, residual)
        np.testing.assert_allclose(ours[row], wanted, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "noise", "krylov"), [("average", 0.0, "gmres"), ("bicubic", 0.1, "cg"), ("mask", 0.1, "gmres")]
)
def test_exact_on_gaussians(name: str, noise: float, krylov: str) -> None:
    """With the system solved, what is left is the error of the solver, of second order."""
    gaussian = Gaussian()
    problem, posterior = gaussian.problem(name, noise)
    std = posterior.covariance.diagonal().mean().sqrt()
    errors = {}
    for steps in (10, 40):
        sampler = MMPS(40, 1e-6, krylov, Multistep(), Schedule(start="zero", eta=80.0, end=0.005))
        mean, covariance = exact_moments(sampler, gaussian.prior, problem, steps)
        error = (mean - posterior.mean.flatten()).square().mean().sqrt() / std
        errors[steps] = float(error), abs(float(covariance.diagonal().mean().sqrt() / std) - 1)
    assert errors[40][0] < 0.01
    assert errors[40][1] < 0.02
    assert sum(errors[40]) < sum(errors[10]) / 6


# --- minimal residuals ------------------------------------------------------------------------------------------------


def krylov_least_squares(matrix: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    space = np.stack([np.linalg.matrix_power(matrix, k) @ b for k in range(size)], 1)
    space = np.linalg.qr(space)[0]
    return space @ np.linalg.lstsq(matrix @ space, b, rcond=None)[0]


@pytest.mark.parametrize("size", [1, 3, 6])
def test_gmres_on_indefinite_systems(size: int) -> None:
    rng = np.random.default_rng(0)
    matrices, b = rng.standard_normal((2, 8, 8)), rng.standard_normal((2, 8))
    ours = gmres(
        lambda u: torch.einsum("bij,bj->bi", torch.from_numpy(matrices), u), torch.from_numpy(b), iterations=size
    )
    for matrix, right, u in zip(matrices, b, ours.numpy(), strict=True):
        np.testing.assert_allclose(u, krylov_least_squares(matrix, right, size), rtol=1e-7, atol=1e-9)


def test_gmres_solves_singular_systems_that_have_a_solution() -> None:
    matrix = torch.diag(torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0], dtype=torch.float64))
    b = torch.tensor([[0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0, 0.0]], dtype=torch.float64)
    u = gmres(lambda v: v @ matrix, b, tolerance=1e-12, iterations=9)
    torch.testing.assert_close(u, torch.tensor([[0, 0, 1, 1 / 2, 1 / 3], [0, 0, 0, 5 / 2, 0]], dtype=torch.float64))
    assert not bool(gmres(lambda v: v @ matrix, 0 * b).any())


def test_gmres_rows_do_not_see_each_other() -> None:
    """Rows that stop early, at different vectors, beside one that does not."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 12, generator=generator) + 6 * torch.eye(12)
    b = torch.stack([torch.randn(12, generator=generator), torch.linalg.eig(matrix)[1][:, 0].real, torch.zeros(12)])

    def solve(rows: torch.Tensor) -> torch.Tensor:
        return gmres(lambda u: torch.stack([matrix @ row for row in u]), rows, tolerance=1e-2, iterations=8)

    torch.testing.assert_close(solve(b), torch.cat([solve(row[None]) for row in b]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"iterations": 0}, "iterations"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"krylov": "lu"}, "krylov"),
        ({"solver": "ddim"}, "solver"),
        ({"schedule": 3}, "schedule"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        MMPS(**settings)
