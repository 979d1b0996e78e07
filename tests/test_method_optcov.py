"""Optimal covariance in a basis: the paper's two updates with dense matrices, and what they do to a Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dense
from kintsugi.errors import InvalidArgument
from kintsugi.guidance.basis import BasisCovariance
from kintsugi.operators.base import Accuracy
from kintsugi.operators.transforms import dct, idct
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior, Prior
from kintsugi.priors.spectrum import ErrorSpectrum
from kintsugi.problem import Problem
from kintsugi.samplers import OptimalCovariance, Schedule
from kintsugi.solvers import FirstOrder, Multistep
from toy import SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run, white

GRID = (3.0, 1.2, 0.4, 0.1)
SOLVED = Accuracy(1e-12, 500)


def cosines(n: int) -> np.ndarray:
    """The orthonormal DCT-II: row k is the k-th cosine."""
    k, x = np.arange(n)[:, None], np.arange(n)[None]
    rows = math.sqrt(2 / n) * np.cos(math.pi * k * (2 * x + 1) / (2 * n))
    rows[0] = math.sqrt(1 / n)
    return rows


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_dct(n: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, n, 2))
    ours = dct(torch.from_numpy(x), 2)
    np.testing.assert_allclose(ours.numpy(), np.einsum("kn,bcnj->bckj", cosines(n), x), atol=1e-13)
    np.testing.assert_allclose(idct(ours, 2).numpy(), x, atol=1e-13)
    assert dct(torch.from_numpy(x).float(), 2).dtype == torch.float32


def covariance_of(prior: Prior, basis: str, eta: float) -> np.ndarray:
    """``C`` (16, 16): of the dense Gaussian, ``diag(Psi^T C_eta Psi)``; else from the 1/f^2 model at ``k / 2n``."""
    psi = np.kron(cosines(4), cosines(4)) if basis == "dct" else np.eye(16)
    if isinstance(prior, GaussianPrior):
        data = prior.covariance.numpy()
        error = data - data @ np.linalg.inv(data + eta**2 * np.eye(16)) @ data
        return psi.T @ np.diag(np.diag(psi @ error @ psi.T)) @ psi
    f = np.add.outer((np.arange(4) / 8) ** 2, (np.arange(4) / 8) ** 2).flatten()
    s = 0.09 * 0.25 / (f + 1 / 256**2)
    v = s * eta**2 / (s + eta**2)
    return psi.T @ np.diag(v if basis == "dct" else np.full(16, v.mean())) @ psi


def gaussian_16() -> GaussianPrior:
    root = torch.randn(16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64) / 8
    return GaussianPrior(SHAPE, root @ root.T + 0.02 * torch.eye(16, dtype=torch.float64), 0.2)


@pytest.mark.parametrize("model", [mixture, gaussian_16])
@pytest.mark.parametrize("basis", ["dct", "pixel"])
@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize(
    ("name", "noise", "path"), [("mask", 0.0, VP()), ("blur", 0.2, VP()), ("average", 0.1, FlowMatching())]
)
def test_equation(name: str, noise: float, path: Path, jacobian: bool, basis: str, model: type) -> None:
    """Type I: ``grad log p(y | x_t) = (dD/dx_t)^T A^T (sigma^2 + A C A^T)^{-1} (y - A D)``. Type II:
    ``E[x_0 | x_t, y] = argmin |y - A x|^2 / sigma^2 + (x - D)^T C^{-1} (x - D)``."""
    prior, (matrix, y) = model().with_path(path), dense.measured(name, noise)
    kept = matrix @ np.linalg.pinv(matrix, rcond=3e-2)

    def likelihood(d: np.ndarray, d_x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        c = covariance_of(prior, basis, sigma / alpha)
        if not jacobian and noise > 0:
            precise = np.linalg.inv(c)
            right = matrix.T @ y / noise**2 + precise @ d
            best = np.linalg.solve(matrix.T @ matrix / noise**2 + precise, right)
            return alpha * (best - d) / sigma**2
        total = matrix @ c @ matrix.T + noise**2 * np.eye(len(matrix))
        u = np.linalg.pinv(total, rcond=1e-10) @ kept @ (y - matrix @ d)
        return d_x.T @ matrix.T @ u if jacobian else alpha * c @ matrix.T @ u / sigma**2

    wanted = np.stack([dense.ddim(prior, path, (*GRID, 0.0), GRID[0] * start, likelihood) for start in white()])
    op = operator(name)[0]
    problem = Problem(torch.from_numpy(y).view(1, *op.out_shape), op, noise)
    sampler = OptimalCovariance(jacobian, basis, SOLVED, FirstOrder(), Schedule(start="zero", grid=GRID))
    assert relative_error(run(sampler, prior, problem, 4), wanted) < 1e-6


def test_luma_and_chroma() -> None:
    """With a measured spectrum: ``C = G kron Psi diag(v_0) Psi^T + (I - G) kron Psi diag(v_1) Psi^T``, G the mean."""
    prior = mixture()
    freqs = torch.tensor([0.0, 0.2, 0.7], dtype=torch.float64)
    values = torch.rand(1, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    prior.spectrum = ErrorSpectrum(torch.tensor([0.5], dtype=torch.float64), freqs, values)
    x = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    guidance = BasisCovariance()
    ours = guidance.multiply(x, guidance.variances(prior, 0.5, x)).flatten(1).numpy()
    radius = np.sqrt(np.add.outer((np.arange(4) / 8) ** 2, (np.arange(6) / 12) ** 2)).flatten()
    psi, mean = np.kron(cosines(4), cosines(6)), np.full((3, 3), 1 / 3)
    luma, chroma = (np.exp(np.interp(radius, freqs, values[0, :, i].log())) for i in (0, 1))
    full = np.kron(mean, psi.T * luma @ psi) + np.kron(np.eye(3) - mean, psi.T * chroma @ psi)
    np.testing.assert_allclose(ours, x.flatten(1).numpy() @ full.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("jacobian", [False, True])
def test_exact_where_the_basis_is_that_of_the_prior(jacobian: bool) -> None:
    psi = np.kron(cosines(4), cosines(4))
    data = torch.from_numpy(psi.T @ np.diag(1 / (1 + np.arange(16.0))) @ psi)
    prior = GaussianPrior(SHAPE, 0.5 * (data + data.T), 0.3)
    op = operator("mask")[0]
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(0)), op, 0.1)
    posterior = prior.posterior(problem)
    schedule = Schedule(start="zero", eta=80.0, end=0.005)
    sampler = OptimalCovariance(jacobian, "dct", SOLVED, Multistep(), schedule)
    mean, covariance = exact_moments(sampler, prior, problem, 40)
    std = posterior.covariance.diagonal().mean().sqrt()
    assert float((mean - posterior.mean.flatten()).square().mean().sqrt() / std) < 0.01
    assert float(covariance.diagonal().mean().sqrt() / std) == pytest.approx(1, abs=0.02)


# Problem, noise and steps of the default, type II: (error of the mean, spread), in posterior standard deviations.
EXPECTED = {
    ("average", 0.0, 5): (0.1328, 0.5154),
    ("average", 0.0, 20): (0.0809, 0.8287),
    ("bicubic", 0.1, 5): (0.1132, 0.5075),
    ("mask", 0.1, 5): (0.2431, 0.5142),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_distance_to_the_posterior(case: tuple[str, float, int]) -> None:
    gaussian, (name, noise, steps) = Gaussian(), case
    stated, posterior = gaussian.problem(name, noise)
    std = posterior.covariance.diagonal().mean().sqrt()
    # Solved well enough to be affine in the noise, as the moments suppose.
    mean, covariance = exact_moments(OptimalCovariance(accuracy=Accuracy(1e-3, 40)), gaussian.prior, stated, steps)
    error = (mean - posterior.mean.flatten()).square().mean().sqrt() / std
    spread = covariance.diagonal().mean().sqrt() / std
    assert (float(error), float(spread)) == pytest.approx(EXPECTED[case], rel=0.02, abs=0.002)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"basis": "wavelet"}, "basis"), ({"jacobian": 1}, "jacobian"), ({"accuracy": 0.1}, "accuracy")],
)
def test_settings_are_checked(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        OptimalCovariance(**settings)
