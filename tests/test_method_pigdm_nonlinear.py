"""PiGDM and PiGFM for measurements that are not linear: the two forms of the paper, dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dense
from kintsugi.guidance.pigdm import PiGDM as PiGDMGuidance
from kintsugi.operators import Nonlinear
from kintsugi.operators.base import Accuracy
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.problem import Problem
from kintsugi.samplers import PiGDM, PiGFM, Schedule
from toy import SHAPE, mixture, operator, relative_error, run, white

GRID = (3.0, 1.2, 0.4, 0.1)
SOLVED = Accuracy(1e-13, 400)
SHIFT = np.eye(16).reshape(4, 4, 16)[:, [3, 0, 1, 2]].reshape(16, 16)


def bent(x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(2 * x) + 0.3 * x.roll(1, -1) ** 2


def bent_dense(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of (16,), and its derivative (16, 16)."""
    left = SHIFT @ x
    return np.tanh(2 * x) + 0.3 * left**2, np.diag(2 / np.cosh(2 * x) ** 2) + 0.6 * left[:, None] * SHIFT


def guidance_strength(prior: object, path: Path, eta: float, w: float | None) -> tuple[float, float]:
    """``r^2``, and what the paper's gradient is multiplied by."""
    r2 = 1 / (1 / prior.data_variance + 1 / eta**2)
    return r2, 1.0 if w is None else w * r2 * dense.scales(path, eta)[0] ** 2


@pytest.mark.parametrize("noise", [0.0, 0.15])
@pytest.mark.parametrize(("path", "w"), [(VP(), None), (VP(), 7.0), (FlowMatching(), None)])
def test_with_the_derivative(path: Path, w: float | None, noise: float) -> None:
    """Song et al. (2023), equation 7, with ``H`` the derivative of h at D."""
    prior, eta = mixture().with_path(path), 0.5
    z, y = white(), 0.3 * np.random.default_rng(0).standard_normal((2, 16))
    problem = Problem(torch.from_numpy(y).view(2, *SHAPE), Nonlinear(bent, SHAPE), noise)
    ours = PiGDMGuidance(w, SOLVED)(prior, problem, torch.from_numpy(z).view(2, *SHAPE), eta, None)[0]
    r2, strength = guidance_strength(prior, path, eta, w)
    alpha, sigma = dense.scales(path, eta)
    for row in range(2):
        d, jacobian = dense.denoised(prior, z[row], eta)
        value, h = bent_dense(d)
        d_x = jacobian / alpha
        gradient = d_x.T @ h.T @ np.linalg.solve(r2 * h @ h.T + noise**2 * np.eye(16), y[row] - value)
        wanted = d + sigma**2 / alpha * strength * gradient
        np.testing.assert_allclose(ours[row].flatten().numpy(), wanted, rtol=1e-6, atol=1e-7)


def quantised(x: torch.Tensor) -> torch.Tensor:
    return torch.round(4 * x) / 4


@pytest.mark.parametrize(
    ("sampler", "path", "w"),
    [(PiGDM, VP(), None), (PiGDM, VP(), 3.0), (PiGDM, FlowMatching(), None), (PiGFM, FlowMatching(), 3.0)],
)
def test_with_the_pseudo_inverse(sampler: type[PiGDM], path: Path, w: float | None) -> None:
    """Their equation for measurements without a derivative, ``r^{-2} (dD/dx_t)^T (h^+(y) - h^+(h(D)))``: rounding,
    whose pseudo-inverse is taken to be a stretch by 1.1."""
    prior = mixture().with_path(path)
    op = Nonlinear(quantised, SHAPE, pinv=lambda y: 1.1 * y)
    x = prior.sample(1, torch.Generator().manual_seed(5))
    problem = Problem.simulate(x, op)
    y = problem.y.flatten().numpy()

    def likelihood(d: np.ndarray, d_x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
        r2, strength = guidance_strength(prior, path, sigma / alpha, w)
        return strength / r2 * d_x.T @ (1.1 * y - 1.1 * np.round(4 * d) / 4)

    first = 1.1 * y + GRID[0] * white()
    wanted = np.stack([dense.ddim(prior, path, (*GRID, 0.0), start, likelihood) for start in first])
    ours = run(sampler(w=w or float("inf"), schedule=Schedule(grid=GRID)), prior, problem, 4)
    assert relative_error(ours, wanted) < 1e-6


@pytest.mark.parametrize(("name", "noise"), [("mask", 0.1), ("blur", 0.2), ("average", 0.0)])
def test_a_linear_measurement_in_disguise(name: str, noise: float) -> None:
    """With its derivative, what is linear gives what it gives as a linear operator."""
    prior, op = mixture(), operator(name)[0]
    problem = Problem.simulate(prior.sample(2, torch.Generator().manual_seed(5)), op, noise)
    disguised = Problem(problem.y, Nonlinear(op, SHAPE), noise)
    z = torch.from_numpy(white()).view(2, *SHAPE)
    ours, theirs = (PiGDMGuidance(5.0, SOLVED)(prior, p, z, 0.5, None)[0] for p in (disguised, problem))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_starts_from_noise_where_there_is_no_pseudo_inverse() -> None:
    """From ``A^+ y`` at an intermediate time where there is one, else from time 1: 152 times the noise."""
    prior = mixture()
    y = torch.full((1, *SHAPE), 0.2, dtype=torch.float64)
    white_2 = torch.from_numpy(white()).view(2, *SHAPE)

    def first_z(problem: Problem) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        spy = mixture()
        spy.denoise = lambda z, eta: (seen.append(z.detach()), prior.denoise(z, eta))[1]  # type: ignore[method-assign]
        run(PiGDM(), spy, problem, 5)
        return seen[0]

    torch.testing.assert_close(first_z(Problem(y, Nonlinear(bent, SHAPE), 0.1)), VP().eta_max * white_2)
    with_pinv = Nonlinear(quantised, SHAPE, pinv=lambda y: 1.1 * y)
    torch.testing.assert_close(first_z(Problem(y, with_pinv)), 1.1 * y + float(VP().eta(0.5)) * white_2)
