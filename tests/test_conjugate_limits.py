"""Where the conjugate update is known in closed form, and what it becomes for a strong guidance."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from kintsugi.paths import VP, FlowMatching, Path
from kintsugi.priors import MixturePrior
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM
from kintsugi.solvers.conjugate import Coefficients, Frozen, conjugate_coefficients
from kintsugi.solvers.tabulated import tabulated
from toy import SHAPE, mixture, operator, relative_error, run, white

PATHS = (VP(), FlowMatching())
LEVELS = (5.0, 2.0, 0.7, 0.1, 0.0)


def kappa(path: Path, w: float, eta: float) -> float:
    """``int eta w alpha^2 deta``, by hand."""
    if isinstance(path, VP):
        return 0.5 * w * math.log1p(eta * eta)
    return w * (math.log1p(eta) + 1 / (1 + eta))


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    return mixture()


def denoise(prior: MixturePrior, z: np.ndarray, eta: float) -> np.ndarray:
    level = torch.full((len(z),), eta, dtype=torch.float64)
    return prior.denoise(torch.from_numpy(z).view(-1, *SHAPE), level).flatten(1).numpy()


@pytest.mark.parametrize("path", PATHS, ids=["vp", "flow"])
@pytest.mark.parametrize("w", [1.0, 15.0, 100.0, 1e3, 1e5])
def test_coefficients_without_vjp_have_a_closed_form(path: Path, w: float) -> None:
    for a, c in itertools.pairwise(LEVELS):
        on = conjugate_coefficients(path, "noise", a, c, w=w, lam=0.0, rho=torch.ones_like)
        off = conjugate_coefficients(path, "noise", a, c, w=w, lam=0.0, rho=torch.zeros_like)
        relaxed = math.exp(kappa(path, w, c) - kappa(path, w, a))
        assert [float(on.z), float(on.data)] == pytest.approx([relaxed, 1 - relaxed], abs=1e-9)
        assert float(on.frozen[0]) == pytest.approx(c - relaxed * a, abs=1e-8)
        assert [float(off.z), float(off.frozen[0]), float(off.data)] == pytest.approx([1.0, c - a, 0.0], abs=1e-9)


@pytest.mark.parametrize("path", PATHS, ids=["vp", "flow"])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_without_vjp_the_measured_part_relaxes_to_the_data(prior: MixturePrior, name: str, path: Path) -> None:
    """The closed form of DESIGN.md, section 4: DDIM off the range, and exponential relaxation on it."""
    op, matrix = operator(name)
    pinv = np.linalg.pinv(matrix, rcond=3e-2)
    projection = pinv @ matrix
    y = prior.sample(1, torch.Generator().manual_seed(5)).flatten(1).numpy() @ matrix.T
    problem = Problem(torch.from_numpy(y).view(-1, *op.out_shape), op)
    w, tau, steps = 8.0, 0.6, 5
    ours = run(CPiGDM(w=w, tau=tau, jacobian=False, path=path, start="pinv"), prior, problem, steps)

    levels = [float(path.eta(tau * (1 - i / steps))) for i in range(steps + 1)]
    target = y @ pinv.T
    z = target + levels[0] * white()
    for a, c in itertools.pairwise(levels):
        eps = (z - denoise(prior, z, a)) / a
        z_null, eps_null = z - z @ projection.T, eps - eps @ projection.T
        z_range, eps_range = z @ projection.T, eps @ projection.T
        relaxed = math.exp(kappa(path, w, c) - kappa(path, w, a))
        z = z_null + (c - a) * eps_null + target + c * eps_range + relaxed * (z_range - target - a * eps_range)
    assert relative_error(ours, z) < 1e-9


@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_strong_guidance_is_ddnm(prior: MixturePrior, name: str) -> None:
    """DDNM (Wang, Yu, Zhang, 2023, equations 11 to 13): ``x_0|t = A^+ y + (I - P) D``, and the network's own noise."""
    op, matrix = operator(name)
    pinv = np.linalg.pinv(matrix, rcond=3e-2)
    y = prior.sample(1, torch.Generator().manual_seed(5)).flatten(1).numpy() @ matrix.T
    problem = Problem(torch.from_numpy(y).view(-1, *op.out_shape), op)
    tau, steps = 0.6, 5
    levels = [float(VP().eta(tau * (1 - i / steps))) for i in range(steps + 1)]
    z = y @ pinv.T + levels[0] * white()
    for a, c in itertools.pairwise(levels):
        d = denoise(prior, z, a)
        z = y @ pinv.T + d - d @ (pinv @ matrix).T + c * (z - d) / a

    errors = []
    for w in (20.0, 200.0, 2e4):
        ours = run(CPiGDM(w=w, tau=tau, jacobian=False, start="pinv"), prior, problem, steps)
        errors.append(relative_error(ours, z))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-9


@pytest.mark.parametrize(("a", "c"), [(1.5, 0.6), (0.4, 0.0)])
@pytest.mark.parametrize("frozen", ["noise", "velocity", "data"])
@pytest.mark.parametrize("path", PATHS, ids=["vp", "flow"])
def test_many_eigenvalues_are_interpolated(path: Path, frozen: Frozen, a: float, c: float) -> None:
    """Above 4096 eigenvalues the coefficients come from a table; it may cost no more than 2e-6."""

    def of(lam: torch.Tensor) -> Coefficients:
        def rho(eta: torch.Tensor) -> torch.Tensor:
            r2 = (0.25 * eta**2 / (0.25 + eta**2)).view(-1, 1)
            return r2 * lam / (r2 * lam + 0.05**2)

        return conjugate_coefficients(path, frozen, a, c, w=30.0, lam=0.1, rho=rho, known=(a, 1.3 * a))

    lam = torch.logspace(-6, 0, 5001, dtype=torch.float64).flip(0)
    exact, table = of(lam), tabulated(of)(lam)

    def listed(on: Coefficients) -> list[torch.Tensor]:
        return [on.z, *on.frozen, on.data, *on.vjp]

    for wanted, got in zip(listed(exact), listed(table), strict=True):
        assert got.shape == wanted.shape == lam.shape
        assert float((got - wanted).abs().max()) <= 2e-6 * float(wanted.abs().max())


def test_a_table_keeps_the_shape_and_dtype_of_the_eigenvalues() -> None:
    def of(lam: torch.Tensor) -> Coefficients:
        return Coefficients(lam, (2 * lam,), lam**2, (lam.log(),))

    lam = torch.rand(70, 80, generator=torch.Generator().manual_seed(0)) + 0.01
    table = tabulated(of)(lam)
    wanted = (lam, 2 * lam, lam**2, lam.log())
    for got, exact in zip((table.z, *table.frozen, table.data, *table.vjp), wanted, strict=True):
        torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-5)
