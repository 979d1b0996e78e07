"""The noisy conjugate update against a numerical integration of its frozen equation, eigenvalue by eigenvalue."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import MixturePrior
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM
from kintsugi.solvers.conjugate import Frozen
from toy import SHAPE, N, mixture, operator, relative_error, run, white

CUTOFF = {"mask": 1e-4, "average": 1e-4, "blur": 3e-2}


def alpha_of(path: Path, eta: float) -> float:
    return 1 / (1 + eta) if isinstance(path, FlowMatching) else 1 / math.sqrt(1 + eta * eta)


def time_of(path: Path, eta: float) -> float:
    if isinstance(path, FlowMatching):
        return eta / (1 + eta)
    big_b = math.log1p(eta * eta)  # 0.1 t + 9.95 t^2 = B
    return (math.sqrt(0.01 + 4 * 9.95 * big_b) - 0.1) / (2 * 9.95)


def split(path: Path, frozen: Frozen, eta: float) -> tuple[float, float]:
    """``D = k z - m F`` of the frozen quantity."""
    if frozen == "noise":
        return 1.0, eta
    if frozen == "data":
        return 0.0, -1.0
    alpha = alpha_of(path, eta)
    return (alpha if isinstance(path, FlowMatching) else alpha**2), eta * alpha


def numerical(
    prior: MixturePrior,
    matrix: np.ndarray,
    cutoff: float,
    y: np.ndarray,
    noise: float,
    path: Path,
    frozen: Frozen,
    levels: list[float],
    w: float,
    lam: float,
) -> np.ndarray:
    """Each step's ODE with F and the VJP of u held, solved to 1e-11 in the eigenbasis of A^T A.

    dz/deta = (z - D)/eta - eta w alpha^2 [k (rho A^+ y - rho D) - m alpha q],  D = k z - m F,  rho = r^2 lam / (r^2 lam
    + sigma^2), and with a lambda its part of the conjugate variable held at its first value.
    """
    values, basis = np.linalg.eigh(matrix.T @ matrix)
    kept = values > cutoff**2 * values.max()
    pinv = basis[:, kept] / values[kept] @ basis[:, kept].T @ matrix.T
    data = (y @ pinv.T @ basis)[0]
    s2 = prior.data_variance

    def rho(eta: float) -> np.ndarray:
        r2 = s2 * eta * eta / (s2 + eta * eta)
        return np.where(kept, r2 * values / (r2 * values + noise**2), 0.0)

    z = y @ pinv.T + levels[0] * white()
    for a, c in itertools.pairwise(levels):
        leaf = torch.from_numpy(z).view(-1, *SHAPE).requires_grad_(True)
        clean = prior.denoise(leaf, torch.full((len(z),), a, dtype=torch.float64))
        u = (data - clean.detach().flatten(1).numpy() @ basis) * rho(a) @ basis.T
        (jtu,) = torch.autograd.grad((clean.flatten(1) * torch.from_numpy(u)).sum(), leaf)
        if frozen == "data" and c == 0:
            return clean.detach().flatten(1).numpy()
        k_a, m_a = split(path, frozen, a)
        held = (k_a * z - clean.detach().flatten(1).numpy()) / m_a @ basis
        q = (k_a * u - jtu.flatten(1).numpy()) / (m_a * alpha_of(path, a)) @ basis
        start = z @ basis

        def slope(eta: float, state: np.ndarray, a: float, *frozen_at: np.ndarray) -> np.ndarray:
            held, q, z_a = frozen_at
            now, grown, passed = state[: -2 * N].reshape(-1, N), state[-2 * N : -N], state[-N:]
            (k, m), alpha, weight = split(path, frozen, eta), alpha_of(path, eta), w * alpha_of(path, eta) ** 2
            d = k * now - m * held
            out = (now - d) / eta - eta * weight * (k * rho(eta) * (data - d) - m * alpha * q)
            # With grown = log mu(eta)/mu(a) and passed = kappa(eta) - kappa(a): the conjugate variable is
            # x~ = e^{lam t - kappa} z / mu, and lam x~ dt of the true equation becomes lam x~(a) dt.
            step = 1e-6 * eta
            speed = (time_of(path, eta + step) - time_of(path, eta - step)) / (2 * step)
            first = z_a * np.exp(lam * (time_of(path, a) - time_of(path, eta)) + passed + grown)
            out = out + lam * speed * (first - now)
            return np.concatenate([out.ravel(), np.full(N, (1 - k) / eta), eta * weight * k * k * rho(eta)])

        state = np.concatenate([start.ravel(), np.zeros(2 * N)])
        solution = solve_ivp(
            slope, (a, max(c, 1e-9)), state, method="LSODA", rtol=1e-11, atol=1e-13, args=(a, held, q, start)
        )
        assert solution.success
        z = solution.y[: -2 * N, -1].reshape(-1, N) @ basis.T
    return z


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    return mixture()


CASES = [
    (VP(), "noise", 15.0, 0.0),
    (VP(), "noise", 100.0, 0.0),
    (VP(), "noise", 4.0, 0.3),
    (VP(), "velocity", 15.0, 0.0),
    (FlowMatching(), "velocity", 15.0, 0.0),
    (FlowMatching(), "velocity", 30.0, -0.3),
    (FlowMatching(), "data", 15.0, 0.0),
]


@pytest.mark.parametrize("noise", [0.001, 0.02, 0.3])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
@pytest.mark.parametrize(("path", "frozen", "w", "lam"), CASES)
def test_noisy_update_solves_its_frozen_equation(
    prior: MixturePrior, name: str, noise: float, path: Path, frozen: Frozen, w: float, lam: float
) -> None:
    op, matrix = operator(name)
    x = prior.sample(1, torch.Generator().manual_seed(11))
    y = x.flatten(1).numpy() @ matrix.T + noise * np.random.default_rng(0).standard_normal(len(matrix))
    problem = Problem(torch.from_numpy(y).view(-1, *op.out_shape), op, noise)
    steps, tau = 4, 0.6
    ours = run(CPiGDM(w=w, lam=lam, tau=tau, frozen=frozen, start="pinv", path=path), prior, problem, steps)
    levels = [float(path.eta(tau * (1 - i / steps))) for i in range(steps + 1)]
    theirs = numerical(prior, matrix, CUTOFF[name], y, noise, path, frozen, levels, w, lam)
    assert relative_error(ours, theirs) < 1e-6
