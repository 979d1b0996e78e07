"""TDS: algorithm 1 of the paper, dense, in x_t; and the posterior that it reaches with many particles."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

import dense
from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Mask, Matrix, Nonlinear
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior, MixturePrior, Prior
from kintsugi.problem import Problem
from kintsugi.samplers import TDS, Schedule
from kintsugi.samplers.tds import systematic
from toy import KEYS, SHAPE, mixture, operator, relative_error, run

GRID = (3.0, 1.2, 0.5, 0.2)
SHIFT = np.eye(16).reshape(4, 4, 16)[:, [3, 0, 1, 2]].reshape(16, 16)


def log_normal(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """The logarithm of the normal density, whole."""
    r = x - mean
    quadratic = r @ np.linalg.solve(covariance, r)
    return -0.5 * float(quadratic + np.linalg.slogdet(2 * math.pi * covariance)[1])


def twisted_sampler(
    prior: Prior, path: Path, at: object, y: np.ndarray, sigma: float, particles: int, ess: float, r: str, row: int
) -> np.ndarray:
    """Wu et al. (2023), algorithm 1, with DDPM's ancestral chain in x_t: ``p(x_s | x_t) = q(x_s | x_t, x_0 = D)``."""
    draws, like = RowNoise([KEYS[row]]), torch.zeros((), dtype=torch.float64)

    def normal(*shape: int) -> np.ndarray:
        return draws.normal(shape, like)[0].numpy()

    def twisting(x: np.ndarray, eta: float) -> tuple[np.ndarray, float, np.ndarray]:
        """``D``, ``log p~(y | x_t)`` and its gradient."""
        alpha, _ = dense.scales(path, eta)
        d, jacobian = dense.denoised(prior, x / alpha, eta)
        value, slope, square = at(d)
        r2 = eta**2 if r == "eta" else prior.data_variance * eta**2 / (prior.data_variance + eta**2)
        covariance = sigma**2 * np.eye(len(y)) + r2 * square
        gradient = (jacobian / alpha).T @ slope.T @ np.linalg.solve(covariance, y - value)
        return d, log_normal(y, value, covariance), gradient

    x = dense.scales(path, GRID[0])[1] * normal(particles, *SHAPE).reshape(particles, 16)
    state = [twisting(one, GRID[0]) for one in x]
    w = np.array([np.exp(twist) for _, twist, _ in state])
    for a, c in pairwise(GRID):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = dense.scales(path, a), dense.scales(path, c)
        share = w / w.sum()
        u = float(torch.special.ndtr(torch.from_numpy(normal(1)))[0])
        if 1 / (share**2).sum() < ess * particles:
            index = [int((np.cumsum(share) > (u + k) / particles).argmax()) for k in range(particles)]
            x, state, w = x[index], [state[k] for k in index], np.ones(particles)
        xi = normal(particles, *SHAPE).reshape(particles, 16)
        ratio = alpha_t / alpha_s
        spread = sigma_t**2 - ratio**2 * sigma_s**2  # of q(x_t | x_s)
        variance = spread * sigma_s**2 / sigma_t**2
        new_x, new_state, new_w = [], [], []
        for k in range(particles):
            d, twist, gradient = state[k]
            mean = (ratio * sigma_s**2 * x[k] + alpha_s * spread * d) / sigma_t**2
            guided = d + sigma_t**2 / alpha_t * gradient
            proposal = (ratio * sigma_s**2 * x[k] + alpha_s * spread * guided) / sigma_t**2
            moved = proposal + math.sqrt(variance) * xi[k]
            after = twisting(moved, c)
            log_p = log_normal(moved, mean, variance * np.eye(16))
            log_q = log_normal(moved, proposal, variance * np.eye(16))
            new_w.append(w[k] * math.exp(log_p + after[1] - twist - log_q))
            new_x.append(moved)
            new_state.append(after)
        x, state, w = np.stack(new_x), new_state, np.array(new_w)
    final = [log_normal(y, at(d)[0], sigma**2 * np.eye(len(y))) - twist for d, twist, _ in state]
    w = w * np.exp(np.array(final) - max(final))
    u = float(torch.special.ndtr(torch.from_numpy(normal(1)))[0])
    return state[int((np.cumsum(w / w.sum()) > u).argmax())][0]


@pytest.mark.parametrize("ess", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("name", "noise", "path", "r"),
    [("mask", 0.3, VP(), "eta"), ("average", 0.0, VP(), "isotropic"), ("bent", 0.2, FlowMatching(), "eta")],
)
def test_equation(name: str, noise: float, path: Path, r: str, ess: float) -> None:
    prior, sigma = mixture().with_path(path), max(noise, 0.1)
    if name == "bent":
        op = Nonlinear(lambda x: torch.tanh(2 * x) + 0.3 * x.roll(1, -1) ** 2, SHAPE)

        def at(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            left = SHIFT @ x
            slope = np.diag(2 / np.cosh(2 * x) ** 2) + 0.6 * left[:, None] * SHIFT
            return np.tanh(2 * x) + 0.3 * left**2, slope, np.eye(16)
    else:
        op, matrix = operator(name)

        def at(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return matrix @ x, matrix, matrix @ matrix.T

    y = at(prior.sample(1, torch.Generator().manual_seed(5)).flatten().numpy())[0]
    y = y + noise * np.random.default_rng(0).standard_normal(len(y))
    problem = Problem(torch.from_numpy(y).view(1, *op.out_shape), op, noise)
    sampler = TDS(5, ess, r, floor=0.1, schedule=Schedule(start="zero", grid=GRID))
    wanted = np.stack([twisted_sampler(prior, path, at, y, sigma, 5, ess, r, row) for row in range(2)])
    assert relative_error(run(sampler, prior, problem, 4), wanted) < 1e-6


def test_systematic_resampling() -> None:
    """Index k is drawn ``n share_k`` times on average over u, and always one of the two whole numbers next to that."""
    share = torch.tensor([[0.05, 0.45, 0.2, 0.3], [0.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    counts = []
    for u in np.linspace(0, 1, 200, endpoint=False):
        drawn = systematic(share, torch.full((2, 1), u, dtype=torch.float64), 7)
        counts.append(torch.stack([(drawn == k).sum(1) for k in range(4)], 1))
        assert bool(((counts[-1] - 7 * share).abs() < 1).all())
    torch.testing.assert_close(torch.stack(counts).double().mean(0), 7 * share, rtol=0, atol=0.02)


# --- many particles ---------------------------------------------------------------------------------------------------

PAIR = (1, 1, 2)
CHAIN = Schedule(start="zero", eta=10.0, end=0.05)


def chain_data(data: np.ndarray, steps: int, prior: Prior) -> np.ndarray:
    """The covariance of what the unconditional chain draws from a Gaussian of covariance ``data``."""
    levels = CHAIN.levels(prior, steps)
    out = levels[0] ** 2 * np.eye(len(data))
    for a, c in pairwise(levels):
        gain = data @ np.linalg.inv(data + a**2 * np.eye(len(data)))
        decay = (c / a) ** 2
        step = (1 - decay) * gain + decay * np.eye(len(data))
        out = step @ out @ step.T + c**2 * (1 - decay) * np.eye(len(data))
    return out


def test_many_particles_follow_the_chain_given_y() -> None:
    """On a Gaussian the chain's own posterior is known. With one particle the twisting alone decides: r = eta takes far
    too little from y here. The distance falls with the particles, to what 3000 samples can tell."""
    data = np.array([[1.0, 0.8], [0.8, 1.0]])
    prior = GaussianPrior(PAIR, torch.from_numpy(data))
    op = Matrix(torch.tensor([[1.0, 0.5]], dtype=torch.float64), PAIR)
    noise, steps, rows = 0.3, 8, 3000
    problem = Problem(torch.full((rows, *op.out_shape), 2.0, dtype=torch.float64), op, noise)
    a, model = op.matrix.numpy(), chain_data(data, steps, prior)
    gain = model @ a.T @ np.linalg.inv(a @ model @ a.T + noise**2)
    mean, covariance = gain[:, 0] * 2.0, model - gain @ a @ model
    errors = []
    for particles in (1, 4, 64):
        noises = RowNoise([(3, 0, row) for row in range(rows)])
        x = (
            TDS(particles, schedule=CHAIN)
            .run(prior, problem, steps, noises, lambda done, total: None)
            .flatten(1)
            .numpy()
        )
        errors.append((np.linalg.norm(x.mean(0) - mean), np.linalg.norm(np.cov(x.T) - covariance)))
    assert errors[0][0] > 3 * errors[2][0]
    assert errors[0][0] > errors[1][0] > errors[2][0]
    assert errors[2][0] < 4 * math.sqrt(np.trace(covariance) / rows)
    assert errors[2][1] < 0.1 * np.linalg.norm(covariance)


def test_many_particles_find_the_weights_of_modes() -> None:
    """Two modes, 0.3 and 0.7 before and 0.8 and 0.2 after the measurement, which tells little and is noisy."""
    part = 0.05 * torch.eye(2, dtype=torch.float64)
    means = (torch.tensor([[[-0.3, -1.0]]]).double(), torch.tensor([[[0.3, 1.0]]]).double())
    prior = MixturePrior(torch.tensor([0.3, 0.7]), [GaussianPrior(PAIR, part, mean) for mean in means])
    op, rows = Mask(torch.tensor([[True, False]]), PAIR), 1000
    y = torch.zeros(rows, *PAIR, dtype=torch.float64)
    y[..., 0] = -0.65
    problem = Problem(y, op, 0.4)
    exact = float(prior.posterior(problem.with_rows(y[:1])).weights[0, 1])
    shares = []
    for particles in (1, 64):
        noises = RowNoise([(5, 0, row) for row in range(rows)])
        x = TDS(particles, schedule=CHAIN).run(prior, problem, 12, noises, lambda done, total: None)
        shares.append(float((x[..., 1] > 0).double().mean()))
    assert abs(shares[1] - exact) < 0.04
    assert abs(shares[0] - exact) > 0.1


@pytest.mark.parametrize(
    "settings",
    [{"particles": 0}, {"particles": 2.5}, {"ess": 1.1}, {"r": "sigma"}, {"floor": 0.0}, {"schedule": 3}],
)
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(settings))):
        TDS(**settings)
