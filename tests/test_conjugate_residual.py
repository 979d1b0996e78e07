"""C-PiGDM with a residual that relaxes within a step: closed forms, dense runs, and that no guidance is too strong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import dense
from kintsugi.errors import InvalidArgument
from kintsugi.operators import Nonlinear
from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM, CPiGFM
from kintsugi.solvers.conjugate import conjugate_coefficients, free_coefficients, residual_coefficient
from test_conjugate_limits import PATHS, kappa
from test_method_pigdm_nonlinear import quantised
from toy import SHAPE, mixture, operator, relative_error, run, white

STEPS, TAU = 5, 0.6


def vjp_coefficient(path: Path, w: float, a: float, c: float, *, measured: bool, relaxing: bool = True) -> float:
    """``c_q`` of frozen noise by adaptive quadrature: ``-int K e^{-(kappa_a - kappa)} w eta^2 alpha^3 deta``."""

    def integrand(eta: float) -> float:
        exponent = (kappa(path, w, eta) - kappa(path, w, a)) if relaxing else 0.0
        exponent -= (kappa(path, w, eta) - kappa(path, w, c)) if measured else 0.0
        return w * eta**2 * dense.scales(path, eta)[0] ** 3 * math.exp(exponent)

    rate = w * a * dense.scales(path, a)[0] ** 2
    near = [max(c, a - k / rate) for k in (1, 4, 16, 64)]  # where most of it is
    return -quad(integrand, c, a, points=near, limit=400, epsabs=1e-12, epsrel=1e-10)[0]


@pytest.mark.parametrize("path", PATHS, ids=["vp", "flow"])
@pytest.mark.parametrize("w", [1.0, 15.0, 1e3, 1e5])
@pytest.mark.parametrize(("a", "c"), [(5.0, 2.0), (0.7, 0.1), (0.4, 0.0)])
def test_coefficients(path: Path, w: float, a: float, c: float) -> None:
    on = conjugate_coefficients(path, "noise", a, c, w=w, lam=0.0, rho=torch.ones_like, relaxing=True)
    off = free_coefficients(path, "noise", a, c, w=w, lam=0.0, relaxing=True)
    assert float(on.vjp[0]) == pytest.approx(vjp_coefficient(path, w, a, c, measured=True), rel=1e-6, abs=1e-9)
    assert float(off.vjp[0]) == pytest.approx(vjp_coefficient(path, w, a, c, measured=False), rel=1e-6, abs=1e-9)
    span = kappa(path, w, a) - kappa(path, w, c)
    shares = [residual_coefficient(path, "noise", a, c, w=w, lam=0.0, relaxing=r) for r in (True, False)]
    assert shares == pytest.approx([1 - math.exp(-span), span], rel=2e-6)


@pytest.mark.parametrize("lam", [0.0, 0.7])
@pytest.mark.parametrize(("a", "c"), [(1.5, 0.4), (0.4, 0.0)])
def test_coefficients_of_a_velocity(a: float, c: float, lam: float) -> None:
    """On a flow, where k = alpha, m = sigma and mu = 1/alpha, with the explicit lambda: by adaptive quadrature."""
    path, w = FlowMatching(), 30.0

    def kappa_v(eta: float) -> float:  # int eta w alpha^4
        return w * (1 / (3 * (1 + eta) ** 3) - 1 / (2 * (1 + eta) ** 2))

    def time(eta: float) -> float:
        return float(path.time(torch.tensor(eta, dtype=torch.float64)))

    def integral(factor: Callable[[float], float]) -> float:
        def integrand(eta: float) -> float:
            alpha = 1 / (1 + eta)
            transport = alpha * (1 + c) * math.exp(lam * (time(eta) - time(c)) + kappa_v(eta) - kappa_v(a))
            return transport * eta * w * alpha**2 * factor(eta)

        return quad(integrand, c, a, epsabs=1e-12)[0]

    off = free_coefficients(path, "velocity", a, c, w=w, lam=lam, relaxing=True)
    share = residual_coefficient(path, "velocity", a, c, w=w, lam=lam, relaxing=True)
    assert float(off.vjp[0]) == pytest.approx(-integral(lambda eta: eta / (1 + eta) ** 2), rel=1e-7)
    assert share == pytest.approx(integral(lambda eta: 1 / (1 + eta)), rel=1e-7)


@pytest.mark.parametrize("path", PATHS, ids=["vp", "flow"])
@pytest.mark.parametrize("name", ["mask", "average"])
def test_a_linear_measurement_densely(name: str, path: Path) -> None:
    """A run of frozen noise without measurement noise, on the range of A^T and off it."""
    prior = mixture().with_path(path)
    op, matrix = operator(name)
    pinv = np.linalg.pinv(matrix, rcond=3e-2)
    projection = pinv @ matrix
    y = prior.sample(1, torch.Generator().manual_seed(5)).flatten(1).numpy() @ matrix.T
    w = 40.0
    sampler = CPiGDM(w=w, tau=TAU, path=path, residual="relaxing")
    ours = run(sampler, prior, Problem(torch.from_numpy(y).view(-1, *op.out_shape), op), STEPS)

    levels = [float(path.eta(TAU * (1 - i / STEPS))) for i in range(STEPS + 1)]
    target = (y @ pinv.T)[0]
    wanted = []
    for z in target + levels[0] * white():
        for a, c in itertools.pairwise(levels):
            d, jacobian = dense.denoised(prior, z, a)
            eps, u = (z - d) / a, target - projection @ d
            q = (u - jacobian.T @ u) / (a * dense.scales(path, a)[0])
            relaxed = math.exp(kappa(path, w, c) - kappa(path, w, a))
            free = z + (c - a) * eps + vjp_coefficient(path, w, a, c, measured=False) * q
            moved = target + c * eps + relaxed * (z - target - a * eps)
            moved = moved + vjp_coefficient(path, w, a, c, measured=True) * q
            z = free - projection @ free + projection @ moved
        wanted.append(z)
    assert relative_error(ours, np.stack(wanted)) < 1e-7


@pytest.mark.parametrize("residual", [None, "relaxing", "frozen"])
def test_a_nonlinear_measurement_densely(residual: Any) -> None:
    """Rounding: frozen only if asked for."""
    path, w = VP(), 6.0
    prior = mixture()
    op = Nonlinear(quantised, SHAPE, pinv=lambda y: 1.1 * y)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), op)
    ours = run(CPiGDM(w=w, tau=TAU, residual=residual), prior, problem, STEPS)
    levels = [float(path.eta(TAU * (1 - i / STEPS))) for i in range(STEPS + 1)]
    target, relaxing = 1.1 * problem.y.flatten().numpy(), residual != "frozen"
    wanted = []
    for z in target + levels[0] * white():
        for a, c in itertools.pairwise(levels):
            d, jacobian = dense.denoised(prior, z, a)
            u = target - 1.1 * np.round(4 * d) / 4
            q = (u - jacobian.T @ u) / (a * dense.scales(path, a)[0])
            span = kappa(path, w, a) - kappa(path, w, c)
            share = 1 - math.exp(-span) if relaxing else span
            along = vjp_coefficient(path, w, a, c, measured=False, relaxing=relaxing)
            z = z + (c - a) * (z - d) / a + share * u + along * q
        wanted.append(z)
    assert relative_error(ours, np.stack(wanted)) < 1e-7


@pytest.mark.parametrize("sampler", [CPiGDM, CPiGFM])
@pytest.mark.parametrize("name", ["mask", "average"])
def test_a_linear_measurement_in_disguise(name: str, sampler: type[CPiGDM]) -> None:
    """Without the VJP a residual that relaxes is what the conjugate transform makes of a linear measurement."""
    prior, op = mixture(), operator(name)[0]
    problem = Problem.simulate(prior.sample(2, torch.Generator().manual_seed(5)), op)
    disguised = Problem(problem.y, Nonlinear(op, SHAPE, pinv=op.pinv))
    ours, theirs = (run(sampler(w=20.0, tau=TAU, jacobian=False), prior, p, STEPS) for p in (disguised, problem))
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_frozen_and_relaxing_have_one_limit() -> None:
    """They are two first-order schemes for one equation: their difference falls as the steps get shorter."""
    prior, op = mixture(), operator("mask")[0]
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), op)
    differences = []
    for steps in (40, 160, 640):
        frozen, relaxing = (run(CPiGDM(w=3.0, residual=r), prior, problem, steps) for r in ("frozen", "relaxing"))
        differences.append(relative_error(frozen, relaxing))
    assert differences[0] > 3 * differences[1] > 9 * differences[2]


@pytest.mark.parametrize("sampler", [CPiGDM, CPiGFM])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_no_guidance_is_too_strong(sampler: type[CPiGDM], noise: float) -> None:
    """Where frozen residuals diverge, and ten times that, have one result, which meets the data."""
    prior, (op, matrix) = mixture(), operator("mask")
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), op, noise)
    strong, stronger = (run(sampler(w=w, residual="relaxing"), prior, problem, STEPS) for w in (1e4, 1e5))
    frozen = run(sampler(w=1e4, residual="frozen"), prior, problem, STEPS)
    spread = float(prior.data_variance) ** 0.5
    assert np.abs(frozen).max() > 50 * spread > 10 * np.abs(stronger).max()
    np.testing.assert_allclose(strong, stronger, rtol=0, atol=0.02 * spread)
    if noise == 0:
        np.testing.assert_allclose(stronger @ matrix.T, problem.y.flatten(1).numpy().repeat(2, 0), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"residual": "fading"}, {"residual": "relaxing", "scheme": "heun"}, {"residual": True}]
)
def test_what_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="residual"):
        CPiGDM(**settings)
