"""TMPD: the paper's equation with dense matrices, its guard, and what it does to a Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dense
import kintsugi
from kintsugi import oracles
from kintsugi.errors import Diverged, InvalidArgument
from kintsugi.guidance.tmpd import TMPD as TMPDGuidance
from kintsugi.operators import Nonlinear
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.problem import Problem
from kintsugi.samplers import TMPD, Schedule
from kintsugi.solvers import FirstOrder
from toy import SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run, white

GRID = (3.0, 1.2, 0.4, 0.1)


def raised(sums: np.ndarray, floor: float) -> np.ndarray:
    return np.maximum(sums, floor * np.abs(sums).mean())


@pytest.mark.parametrize("floor", [1e-9, 0.7])
@pytest.mark.parametrize("path", [VP(), FlowMatching()])
@pytest.mark.parametrize(("name", "noise"), [("mask", 0.0), ("mask", 0.1), ("average", 0.0), ("blur", 0.2)])
def test_equation(name: str, noise: float, path: Path, floor: float) -> None:
    """``grad log p(y | x_t) = (dD/dx_t)^T A^T [(y - A D) / (v A (dD/dx_t)^T A^T 1 + sigma^2)]``, where v is
    ``sigma_t^2/alpha_t``."""
    prior, (matrix, y) = mixture().with_path(path), dense.measured(name, noise)
    kept = matrix @ np.linalg.pinv(matrix, rcond=3e-2)

    def likelihood(d: np.ndarray, d_x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        sums = (sigma**2 / alpha * matrix @ d_x.T @ matrix.T).sum(1)
        scaled = kept @ (y - matrix @ d) / np.where(sums == 0, 1, raised(sums, floor) + noise**2)
        return d_x.T @ matrix.T @ scaled

    wanted = np.stack([dense.ddim(prior, path, (*GRID, 0.0), GRID[0] * start, likelihood) for start in white()])
    op = operator(name)[0]
    problem = Problem(torch.from_numpy(y).view(1, *op.out_shape), op, noise)
    sampler = TMPD(floor, FirstOrder(), Schedule(start="zero", grid=GRID))
    assert relative_error(run(sampler, prior, problem, 4), wanted) < 1e-6


def test_sums_that_are_not_positive_are_raised() -> None:
    """A measurement of differences: on a smooth prior half of its row sums are below zero, and the paper's weights with
    them."""
    prior, eta, floor = mixture(), 0.5, 0.2
    matrix = np.eye(16) - 0.9 * np.roll(np.eye(16), 1, 1) + 0.3 * np.roll(np.eye(16), 5, 1)
    weights = torch.from_numpy(matrix.T.copy())
    op = Nonlinear(lambda x: (x.flatten(1) @ weights.to(x)).view_as(x), SHAPE)
    z, y = white(), np.random.default_rng(0).standard_normal((2, 16))
    problem = Problem(torch.from_numpy(y).view(2, *SHAPE), op, 0.1)
    ours = TMPDGuidance(floor)(prior, problem, torch.from_numpy(z).view(2, *SHAPE), eta, None)[0].flatten(1).numpy()
    for row in range(2):
        d, jacobian = dense.denoised(prior, z[row], eta)
        sums = eta**2 * (matrix @ jacobian.T @ matrix.T).sum(1)
        assert (sums < 0).any()
        u = (y[row] - matrix @ d) / (raised(sums, floor) + 0.01)
        np.testing.assert_allclose(ours[row], d + eta**2 * jacobian.T @ matrix.T @ u, rtol=1e-8, atol=1e-9)


# For each problem, at 5 and 20 steps of the default: (error of the mean, spread), in posterior standard deviations.
EXPECTED = {
    ("average", 0.0): [(0.1770, 0.5162), (0.1042, 0.829)],
    ("mask", 0.1): [(0.4211, 0.5407), (0.2349, 0.8416)],
    ("bicubic", 0.1): [(0.3245, 0.5373), (0.1645, 0.8415)],
}


@pytest.mark.parametrize("problem", EXPECTED)
def test_distance_to_the_posterior(problem: tuple[str, float]) -> None:
    gaussian = Gaussian()
    stated, posterior = gaussian.problem(*problem)
    std = posterior.covariance.diagonal().mean().sqrt()
    for steps, wanted in zip((5, 20), EXPECTED[problem], strict=True):
        mean, covariance = exact_moments(TMPD(), gaussian.prior, stated, steps)
        error = (mean - posterior.mean.flatten()).square().mean().sqrt() / std
        spread = covariance.diagonal().mean().sqrt() / std
        assert (float(error), float(spread)) == pytest.approx(wanted, rel=0.02, abs=0.002)


def shares(eta: float, floor: float | None) -> np.ndarray:
    """The eigenvalues of K c^{-1} on ``gaussian-projection``: the shares of the way from A D to y."""
    known = oracles.oracle("gaussian-projection")
    pixels = math.prod(known.problem.operator.in_shape)
    eye = torch.eye(pixels, dtype=torch.float64).view(pixels, *known.problem.operator.in_shape)
    level = torch.full((pixels,), eta, dtype=torch.float64)
    jacobian = (known.prior.denoise(eye, level) - known.prior.denoise(0 * eye, level)).flatten(1).numpy()
    matrix = known.problem.operator(eye).flatten(1).numpy().T
    covariance = eta**2 * matrix @ jacobian @ matrix.T
    sums = covariance.sum(1)
    found = np.linalg.eigvals(covariance / (sums if floor is None else raised(sums, floor)))
    return np.sort(found.real)


def test_row_sums_of_projections_point_anywhere() -> None:
    """The method, not us: the figures of the docstring, of which 1 is the exact correction."""
    for floor, least, most in ((None, -456.5, 689.7), (0.1, 0.17, 30.28), (0.8, 0.16, 6.19)):
        found = np.concatenate([shares(eta, floor) for eta in (20.0, 2.0, 0.5, 0.1)])
        assert (found.min(), found.max()) == pytest.approx((least, most), rel=0.01, abs=0.01)


@pytest.mark.parametrize(("steps", "most"), [(5, 0.7), (20, 0.4)])
def test_a_high_floor_holds_on_projections(steps: int, most: float) -> None:
    """Sliced distance 0.56 and 0.32 for 256 samples; with the floor of 0.1 it is stopped on its way out."""
    known = oracles.oracle("gaussian-projection")

    def sliced(sampler: TMPD) -> float:
        samples = kintsugi.restore(known.problem, known.prior, sampler, steps=steps, samples=256, tile=None).samples[0]
        return oracles.distance(samples, known, generator=1).sliced

    assert sliced(TMPD()) < most
    with pytest.raises(Diverged, match="floor"):
        sliced(TMPD(floor=0.1))


@pytest.mark.parametrize(
    ("settings", "named"), [({"floor": 0.0}, "floor"), ({"floor": 1.1}, "floor"), ({"solver": 1}, "solver")]
)
def test_settings_are_checked(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        TMPD(**settings)
