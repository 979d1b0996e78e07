"""Solvers against their papers' equations, and against converged solutions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import MixturePrior
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM
from kintsugi.solvers import FirstOrder, Multistep, Solver, Tempered
from kintsugi.solvers.conjugate import Frozen
from toy import KEYS, SHAPE, mixture, operator, order, run, white


class Fixed(RowNoise):
    """Noise that was drawn before."""

    def __init__(self, *draws: Tensor) -> None:
        self.draws = list(draws)

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        return self.draws.pop(0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    return mixture()


# --- one step, as the papers write it ---------------------------------------------------------------------------------


def vp(eta: float) -> tuple[float, float]:
    """``alpha, sigma`` of a variance-preserving path."""
    return 1 / math.sqrt(1 + eta**2), eta / math.sqrt(1 + eta**2)


@pytest.mark.parametrize("churn", [0.0, 0.3, 1.0])
def test_first_order_is_ddim(churn: float) -> None:
    """Song, Meng and Ermon (2021), equations 12 and 16, in x_t."""
    a, c = 1.7, 0.6
    x_a, d, xi = (random(2, *SHAPE, seed=s) for s in range(3))
    (alpha_a, _), (alpha_c, _) = vp(a), vp(c)
    eps = (x_a - alpha_a * d) / math.sqrt(1 - alpha_a**2)
    sigma = churn * math.sqrt((1 - alpha_c**2) / (1 - alpha_a**2)) * math.sqrt(1 - alpha_a**2 / alpha_c**2)
    x_c = alpha_c * d + math.sqrt(1 - alpha_c**2 - sigma**2) * eps + sigma * xi
    z_c, _ = FirstOrder(churn).step(x_a / alpha_a, d, a, c, None, Fixed(xi))
    torch.testing.assert_close(z_c, x_c / alpha_c, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("churn", [0.0, 1.0])
def test_multistep_is_dpm_solver_pp_2m(churn: float) -> None:
    """Lu et al. (2022), algorithm 2 and its SDE form in appendix A, in x_t with lambda = log(alpha / sigma)."""
    before, a, c = 4.0, 1.7, 0.6
    x_0, d_0, d_1, xi_0, xi_1 = (random(2, *SHAPE, seed=s) for s in range(5))
    (alpha_b, sigma_b), (alpha_a, sigma_a), (alpha_c, sigma_c) = vp(before), vp(a), vp(c)
    h_0 = math.log(alpha_a / sigma_a) - math.log(alpha_b / sigma_b)
    h_1 = math.log(alpha_c / sigma_c) - math.log(alpha_a / sigma_a)
    r = h_0 / h_1
    mixed = (1 + 1 / (2 * r)) * d_1 - d_0 / (2 * r)
    if churn == 0:
        x_1 = sigma_a / sigma_b * x_0 - alpha_a * (math.exp(-h_0) - 1) * d_0
        x_2 = sigma_c / sigma_a * x_1 - alpha_c * (math.exp(-h_1) - 1) * mixed
    else:
        x_1 = sigma_a / sigma_b * math.exp(-h_0) * x_0 + alpha_a * (1 - math.exp(-2 * h_0)) * d_0
        x_1 = x_1 + sigma_a * math.sqrt(1 - math.exp(-2 * h_0)) * xi_0
        x_2 = sigma_c / sigma_a * math.exp(-h_1) * x_1 + alpha_c * (1 - math.exp(-2 * h_1)) * mixed
        x_2 = x_2 + sigma_c * math.sqrt(1 - math.exp(-2 * h_1)) * xi_1
    solver, noise = Multistep(churn=churn), Fixed(xi_0, xi_1)
    z, memory = solver.step(x_0 / alpha_b, d_0, before, a, None, noise)
    z, _ = solver.step(z, d_1, a, c, memory, noise)
    torch.testing.assert_close(z, x_2 / alpha_c, rtol=1e-12, atol=1e-12)


def test_tempered_at_one_is_2m() -> None:
    z, d_0, d_1 = (random(2, *SHAPE, seed=s) for s in range(3))
    for solver, other in ((Tempered(1.0, 1.0, 1.0), Multistep()), (Tempered(1.0, 1.0, 0.3), Multistep(correction=0.3))):
        ours, memory = solver.step(z, d_0, 4.0, 1.7, None, Fixed())
        theirs, other_memory = other.step(z, d_0, 4.0, 1.7, None, Fixed())
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        ours, _ = solver.step(ours, d_1, 1.7, 0.6, memory, Fixed())
        theirs, _ = other.step(theirs, d_1, 1.7, 0.6, other_memory, Fixed())
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_tempered_draws_afresh() -> None:
    """``z_c = D~ + c [keep (z - D~) / a + temperature sqrt(1 - keep^2) xi]``."""
    z, d_0, d_1, xi = (random(2, *SHAPE, seed=s) for s in range(4))
    solver = Tempered(keep=0.6, temperature=0.5, correction=0.25)
    _, memory = solver.step(z, d_0, 8.0, 2.0, None, Fixed(xi))
    out, _ = solver.step(z, d_1, 2.0, 1.0, memory, Fixed(xi))
    mixed = d_1 + 0.25 * (d_1 - d_0) * math.log(2) / (2 * math.log(4))
    torch.testing.assert_close(out, mixed + 0.6 * (z - mixed) / 2 + 0.5 * 0.8 * xi, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [FirstOrder(), FirstOrder(1.0), Multistep(), Multistep(churn=1.0), Tempered()])
def test_the_last_step_gives_the_denoiser(solver: Solver) -> None:
    z, d = random(2, *SHAPE), random(2, *SHAPE, seed=1)
    _, memory = solver.step(z, 0.5 * d, 3.0, 1.0, None, RowNoise(KEYS))
    out, _ = solver.step(z, d, 1.0, 0.0, memory, RowNoise(KEYS))
    assert torch.equal(out, d)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_settings_are_checked(value: float) -> None:
    with pytest.raises(InvalidArgument, match="churn"):
        FirstOrder(value)
    with pytest.raises(InvalidArgument, match="churn"):
        Multistep(churn=value)
    with pytest.raises(InvalidArgument, match="correction"):
        Multistep(correction=value)
    for name in ("keep", "temperature", "correction"):
        with pytest.raises(InvalidArgument, match=name):
            Tempered(**{name: value})


# --- order of convergence ---------------------------------------------------------------------------------------------


def karras(steps: int, start: float, end: float) -> list[float]:
    u = np.linspace(0, 1, steps + 1)
    return list((start ** (1 / 7) + u * (end ** (1 / 7) - start ** (1 / 7))) ** 7)


def converged(
    prior: MixturePrior, problem: Problem | None, path: Path, w: float, z: np.ndarray, a: float, c: float
) -> np.ndarray:
    """``dz/deta = (z - D)/eta - eta w alpha^2 J^T (A^+ y - P D)`` from level a to c, to 1e-8, in log(eta)."""

    def slope(s: float, state: np.ndarray) -> np.ndarray:
        eta = math.exp(s)
        level = torch.full((len(z),), eta, dtype=torch.float64)
        now = torch.from_numpy(state).view(-1, *SHAPE)
        d, vjp = prior.denoise_vjp(now, level)
        out = now - d
        if problem is not None:
            u = problem.operator.pinv(problem.y - problem.operator(d))
            out = out - eta**2 * w * float(path.alpha_of_eta(eta)) ** 2 * vjp(u)
        return out.flatten().numpy()

    solution = solve_ivp(slope, (math.log(a), math.log(c)), z.ravel(), method="DOP853", rtol=1e-8, atol=1e-9)
    assert solution.success
    return solution.y[:, -1].reshape(z.shape)


@pytest.mark.parametrize("grid", [lambda n: list(np.geomspace(4.0, 0.3, n + 1)), lambda n: karras(n, 4.0, 0.3)])
@pytest.mark.parametrize(
    ("solver", "expected"),
    [(FirstOrder(), 1), (Multistep(), 2), (Multistep(correction=0.0), 1), (Multistep(correction=0.5), 1)],
)
def test_generic_solvers_have_their_order(
    prior: MixturePrior, grid: Callable[[int], list[float]], solver: Solver, expected: int
) -> None:
    z_0 = 4.0 * white()
    exact = converged(prior, None, VP(), 0.0, z_0, 4.0, 0.3)
    errors = {}
    for steps in (20, 40, 80, 160):
        z, memory = torch.from_numpy(z_0).view(-1, *SHAPE), None
        for a, c in itertools.pairwise(grid(steps)):
            d = prior.denoise(z, torch.full((len(z),), a, dtype=torch.float64))
            z, memory = solver.step(z, d, a, c, memory, RowNoise(KEYS))
        errors[steps] = float(np.abs(z.flatten(1).numpy() - exact).max())
    assert order(errors) == pytest.approx(expected, abs=0.15)
    assert errors[160] < (0.02 if expected == 1 else 5e-4)


TAU, STRENGTH = 0.5, {"VP": 4.0, "FlowMatching": 8.0}


@pytest.fixture(scope="module")
def averaged(prior: MixturePrior) -> Problem:
    """The same block averages for each of two samples."""
    op, matrix = operator("average")
    y = prior.sample(1, torch.Generator().manual_seed(5)).flatten(1).numpy() @ matrix.T
    return Problem(torch.from_numpy(y).expand(len(KEYS), -1).view(-1, *op.out_shape), op)


@pytest.fixture(scope="module")
def exact(prior: MixturePrior, averaged: Problem) -> dict[str, np.ndarray]:
    """The converged solution of the guided ODE on each path."""
    out = {}
    for path in (VP(), FlowMatching()):
        name, start = type(path).__name__, float(path.eta(TAU))
        z = averaged.operator.pinv(averaged.y).flatten(1).numpy() + start * white()
        out[name] = converged(prior, averaged, path, STRENGTH[name], z, start, 1e-5)
    return out


@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize(
    ("frozen", "lam"), [("noise", 0.0), ("noise", 0.3), ("velocity", 0.0), ("velocity", -0.3), ("data", 0.0)]
)
def test_conjugate_integrators_have_order_one(
    prior: MixturePrior, averaged: Problem, exact: dict[str, np.ndarray], path: Path, frozen: Frozen, lam: float
) -> None:
    name = type(path).__name__
    sampler = CPiGDM(w=STRENGTH[name], lam=lam, tau=TAU, frozen=frozen, path=path, start="pinv")
    errors = {}
    for steps in (20, 40, 80, 160):
        out = run(sampler, prior, averaged, steps)
        errors[steps] = float(np.sqrt(np.mean((out - exact[name]) ** 2)))
    assert 0.8 < order(errors) < 1.4
    assert errors[160] < 0.02
