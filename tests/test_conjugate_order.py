"""The schemes of the conjugate integrators: measured order of convergence, noise, and nonlinear measurements.

The reference integrates the conditional ODE itself, by SciPy in float64 on a Gaussian-mixture prior, from the
definition of the guidance; it knows nothing of the transform.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import BlockAverage, Linearized, Magnitude, Matrix, Nonlinear
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import GaussianPrior, Prior
from kintsugi.priors.oracles import dense_matrix
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM
from kintsugi.samplers.cpigdm import Scheme
from toy import KEEP, KEYS, SHAPE, mixture, operator, order, relative_error

W = 12.0
START, END = 2.5, 0.15
WANTED: dict[Scheme, float] = {"euler": 1, "multistep2": 2, "multistep3": 3, "heun": 2}


def problem(name: str, noise: float) -> Problem:
    measure, _ = operator(name)
    y = measure(mixture().sample(1, torch.Generator().manual_seed(5)))
    return Problem(y.expand(2, *measure.out_shape).clone(), measure, noise)


def reference(prior: Prior, problem: Problem, z: torch.Tensor, end: float = END) -> np.ndarray:
    """``z`` at level ``end``, by an adaptive integrator of order 8."""
    a = dense_matrix(problem.operator)
    values, vectors = torch.linalg.eigh(a.T @ a)

    def residual(d: torch.Tensor, r2: float) -> torch.Tensor:
        # A^T (A A^T + sigma^2 / r^2)^{-1} (y - A d), on the range of A^T
        keep = values > 1e-6 * values.max()
        scale = torch.where(keep, 1 / (values + problem.noise**2 / r2).clamp_min(1e-30), 0.0)
        back = (problem.y.flatten(1) - d.flatten(1) @ a.T) @ a
        return (((back @ vectors) * scale) @ vectors.T).view_as(d)

    def slope(eta: float, flat: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(flat).view_as(z)
        d, vjp = prior.denoise_vjp(at, at.new_full((len(at),), eta))
        r2 = prior.data_variance * eta**2 / (prior.data_variance + eta**2)
        omega = W * float(prior.path.alpha_of_eta(eta)) ** 2
        return ((at - d) / eta - eta * omega * vjp(residual(d, r2))).flatten().numpy()

    out = solve_ivp(slope, (START, end), z.flatten().numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
    return out.y[:, -1]


def first_z() -> torch.Tensor:
    return START * torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("path", [VP(), FlowMatching()], ids=["vp", "flow"])
@pytest.mark.parametrize("frozen", ["noise", "velocity", "data"])
@pytest.mark.parametrize("scheme", WANTED)
def test_order_of_convergence(scheme: Scheme, frozen: str, path: Path, noise: float) -> None:
    prior = mixture().with_path(path)
    stated, z = problem("average", noise), first_z()
    wanted = reference(prior, stated, z)
    sampler = CPiGDM(w=W, scheme=scheme, frozen=frozen)  # type: ignore[arg-type]
    errors = {}
    for steps in (32, 64, 128):
        levels = np.sinh(np.linspace(np.arcsinh(START), np.arcsinh(END), steps + 1)).tolist()
        out = sampler.along(prior, stated, z, levels, W, RowNoise(KEYS))
        errors[steps] = relative_error(out.flatten().numpy(), wanted)
    assert order(errors) == pytest.approx(WANTED[scheme], abs=0.35)
    assert errors[128] < {1: 0.03, 2: 3e-3, 3: 3e-4}[int(WANTED[scheme])]


def test_a_wrong_basis_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the divided differences halved, the order falls to one."""
    from kintsugi.samplers import cpigdm

    right = cpigdm.divided_differences
    monkeypatch.setattr(cpigdm, "divided_differences", lambda *a: [v / 2**j for j, v in enumerate(right(*a))])
    with pytest.raises(AssertionError):
        test_order_of_convergence("multistep2", "noise", FlowMatching(), 0.0)


# --- noise added and removed again ------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["euler", "heun"])
def test_churn_forgets_a_wrong_start(scheme: Scheme) -> None:
    """An error of the start that the ODE carries to the end is forgotten in proportion to the noise added."""
    prior = GaussianPrior(SHAPE, 0.25 * torch.eye(16, dtype=torch.float64))
    stated = problem("mask", 0.0)
    shift = torch.full((2, *SHAPE), 1.0, dtype=torch.float64)
    levels = np.sinh(np.linspace(np.arcsinh(START), np.arcsinh(END), 41)).tolist()

    def response(churn: float) -> torch.Tensor:
        sampler = CPiGDM(w=W, scheme=scheme, churn=churn)
        with_, without = (
            sampler.along(prior, stated, z, levels, W, RowNoise(KEYS)) for z in (first_z() + shift, first_z())
        )
        return (with_ - without)[0, 0][~KEEP]

    # White data of variance s^2, not measured here: z shrinks by sqrt((s^2 + c^2) / (s^2 + a^2)) along the ODE. A rise
    # from a to (1 + r) a and the way back multiplies that by sqrt((s^2 + a^2) / (s^2 + (1 + r)^2 a^2)).
    quiet, noisy = response(0.0), response(2.0)
    rise = (np.exp(2.0 / 40) - 1 + 1) ** 2
    expected = np.prod([np.sqrt((0.25 + a**2) / (0.25 + rise * a**2)) for a in levels[:-1]])
    measured = float((noisy / quiet).mean())
    assert measured == pytest.approx(float(expected), rel=0.1 if scheme == "euler" else 0.01)


def test_churn_keeps_the_variance_of_the_posterior() -> None:
    """White data, nothing measured at these pixels: the samples have the variance of the data, with and without."""
    prior = GaussianPrior(SHAPE, 0.25 * torch.eye(16, dtype=torch.float64))
    keys = [(0, 0, j) for j in range(2000)]
    measure, _ = operator("mask")
    stated = Problem(torch.zeros(2000, *SHAPE, dtype=torch.float64), measure)
    levels = [*np.sinh(np.linspace(np.arcsinh(20.0), np.arcsinh(0.02), 60)).tolist(), 0.0]
    noise = RowNoise(keys)
    z = np.sqrt(20.0**2 + 0.25) * noise.normal(SHAPE, stated.y)
    out = CPiGDM(w=W, scheme="heun", churn=3.0).along(prior, stated, z, levels, W, noise)
    # 9 pixels of 2000 rows: a standard error of 0.5 % in the variance's root
    assert float(out[:, 0, ~KEEP].square().mean().sqrt()) == pytest.approx(0.5, rel=0.02)


# --- nonlinear measurements -------------------------------------------------------------------------------------------


def test_a_linear_operator_in_disguise() -> None:
    """Gauss-Newton on a linear function is the linear method."""
    linear = BlockAverage(SHAPE, 2)
    disguised = Nonlinear(linear, SHAPE)
    prior, z = mixture(), first_z()
    y = problem("average", 0.0).y
    levels = [START, 1.0, 0.4, 0.0]
    for noise in (0.0, 0.1):
        outs = [
            CPiGDM(w=W).along(prior, Problem(y, op, noise), z, levels, W, RowNoise(KEYS)) for op in (linear, disguised)
        ]
        torch.testing.assert_close(outs[1], outs[0], rtol=1e-3, atol=1e-3)


def test_a_pseudo_inverse_gives_the_equation_with_the_residual_held() -> None:
    """``dz/deta = eps + ... - eta omega J^T u`` with u, eps and E^T u held: for noise frozen, in closed form."""
    bend: Callable[[torch.Tensor], torch.Tensor] = torch.sinh
    bent = Nonlinear(bend, SHAPE, pinv=torch.asinh)
    prior, z = mixture(), first_z()
    y = bend(mixture().sample(2, torch.Generator().manual_seed(5)))
    a, c = 1.4, 0.5
    out = CPiGDM(w=W, residual="frozen").along(prior, Problem(y, bent), z, [a, c], W, RowNoise(KEYS))
    d, vjp = prior.denoise_vjp(z, torch.full((2,), a, dtype=torch.float64))
    u, eps = torch.asinh(y) - d, (z - d) / a
    q = (u - vjp(u)) / a  # E^T u, which the method holds after dividing by alpha: q_x = q / alpha_a
    grid = torch.linspace(c, a, 20001, dtype=torch.float64)
    alpha = (1 + grid**2).rsqrt()
    explicit = torch.trapezoid(grid * W * alpha**2, grid)
    implicit = torch.trapezoid(grid * W * alpha**2 * grid * alpha, grid) * np.sqrt(1 + a**2)
    wanted = z + (c - a) * eps + explicit * u - implicit * q
    torch.testing.assert_close(out, wanted, rtol=1e-6, atol=1e-7)


def test_phase_retrieval_near_a_known_signal() -> None:
    """A modulus that is nearly linear around the prior's mean: what it gives is what its derivative there gives."""
    measure = Magnitude(SHAPE)
    mean = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    prior = GaussianPrior(SHAPE, 1e-4 * torch.eye(16, dtype=torch.float64), mean)
    stated = Problem.simulate(prior.sample(2, torch.Generator().manual_seed(1)), measure, 1e-3)
    local = Linearized(measure, mean[None])
    jacobian = torch.cat([local(e[None]) for e in torch.eye(16, dtype=torch.float64).view(16, *SHAPE)]).flatten(1).T
    shifted = Problem(stated.y - local.value + local(mean[None]), Matrix(jacobian, SHAPE, measure.out_shape), 1e-3)
    z = mean + 0.02 * RowNoise(KEYS).normal_like(stated.y.new_zeros(2, *SHAPE))
    levels = [*np.geomspace(0.02, 2e-3, 4).tolist(), 0.0]
    bent, straight = (CPiGDM(w=2e4).along(prior, p, z, levels, 2e4, RowNoise(KEYS)) for p in (stated, shifted))
    assert relative_error((bent - mean).flatten().numpy(), (straight - mean).flatten().numpy()) < 0.05


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"scheme": "rk4"}, "scheme"),
        ({"scheme": "heun", "lam": 0.3}, "lam"),
        ({"scheme": "multistep2", "churn": 0.5}, "churn"),
        ({"churn": -1.0}, "churn"),
        ({"churn": float("inf")}, "churn"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        CPiGDM(**settings)  # type: ignore[arg-type]


def test_higher_order_needs_a_linear_operator() -> None:
    stated = Problem(torch.ones(1, 1, 8, 8), Magnitude(SHAPE))
    with pytest.raises(InvalidArgument, match=r"^scheme: "):
        CPiGDM(scheme="heun").check(mixture(), stated)
