"""cpigdm and cpigfm against literal transcriptions of the papers, over whole runs, in float64.

What is transcribed is the conditional conjugate integrator of Pandey, Yang and Mandt (NeurIPS 2024) as its authors
published it, in the model's own variables ``x_t`` and times, with the coefficients Phi_y, Phi_s and Phi_j integrated
by an adaptive quadrature, and nothing of ``solvers/conjugate.py``. The transform ``A_t`` has factors down to e^-170 on
the range of A^T, which float64 cannot hold next to the 1 of the null space; so ``A_t`` is applied in the orthonormal
basis that an SVD of the dense matrix gives, where it is diagonal. P and A^+ are dense matrices.

The authors' flow code multiplies the Jacobian coefficient by a further ``dt``, and adds its two parts to the whole of
the gradient instead of to the gradient and to its projection. The paper's formula has neither, and is what is
transcribed here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from kintsugi.noise import RowNoise
from kintsugi.priors import MixturePrior
from kintsugi.problem import Problem
from kintsugi.samplers import CPiGDM, CPiGFM
from toy import KEYS, SHAPE, N, mixture, operator, relative_error, run, white

BETA_MIN, BETA_MAX = 0.1, 20.0


@dataclass
class Literal:
    """What every transcription needs: y, the dense matrices, and the basis in which A_t is diagonal."""

    prior: MixturePrior
    matrix: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        _, singular, rotation = np.linalg.svd(self.matrix)
        self.pinv = np.linalg.pinv(self.matrix)
        self.projection = self.pinv @ self.matrix
        self.rotation = rotation  # rows: right singular vectors; coordinates of x are rotation @ x
        self.on_range = np.zeros(N, dtype=bool)
        self.on_range[: len(singular)] = singular > 1e-8
        self.white = white()

    def eigen(self, null: float, measured: float) -> np.ndarray:
        """A function of P, as its values along the coordinates."""
        return np.where(self.on_range, measured, null)

    def network(self, x: np.ndarray, scale: float, sigma: float, output: str) -> tuple[np.ndarray, ...]:
        """What a network that predicts ``output`` gives at ``x_t = scale x_0 + sigma eps``: the prediction, the clean
        estimate, the residual ``A^+ y - P x_0^`` and (d prediction/d x_t)^T of it, by autograd."""
        leaf = torch.from_numpy(x).view(-1, *SHAPE).requires_grad_(True)
        clean = self.prior.denoise(leaf / scale, torch.full((len(x),), sigma / scale, dtype=torch.float64))
        noise = (leaf - scale * clean) / sigma
        predicted = {"noise": noise, "data": clean, "v": scale * noise - sigma * clean, "flow": clean - noise}[output]
        x0 = clean.detach().flatten(1).numpy()
        u = self.y @ self.pinv.T - x0 @ self.projection.T
        (grad,) = torch.autograd.grad((torch.from_numpy(u) * predicted.flatten(1)).sum(), leaf)
        return predicted.detach().flatten(1).numpy(), x0, u, grad.flatten(1).numpy()


def integral(f: Callable[[float], float], low: float, high: float) -> float:
    """By adaptive quadrature in the square root of the variable: VP integrands have a root singularity at 0."""

    def g(r: float) -> float:
        return f(r * r) * 2 * r

    a, b = math.sqrt(low), math.sqrt(high)
    size = (b - a) * max(abs(g(a + (b - a) * u)) for u in (0.001, 0.1, 0.5, 0.9, 0.999))
    return float(quad(g, a, b, epsabs=1e-13 * size, epsrel=1e-11, limit=400)[0])


def literal_vp(case: Literal, steps: int, w: float, lam: float, tau: float, output: str) -> np.ndarray:
    """C-PiGDM in time t, with ``x_bar = A_t x_t``; ``output`` is what is frozen, ``noise`` (the paper) or ``v``."""

    def beta(t: float) -> float:
        return BETA_MIN + t * (BETA_MAX - BETA_MIN)

    def big_b(t: float) -> float:
        return BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t * t

    def mu(t: float) -> float:
        return math.exp(-0.5 * big_b(t))

    def std(t: float) -> float:
        return math.sqrt(-math.expm1(-big_b(t)))

    if output == "noise":
        # dx/dt = -b/2 x + b/(2 std) eps - b/2 w mu (I - std deps/dx)^T (A^+ y - P x_0), x_0 = (x - std eps) / mu.
        def linear(t: float) -> float:  # of -B/2 and of the range's w/2 B: c_1 and c_2 of the authors' code
            return lam * t + 0.5 * big_b(t)

        def decay(t: float) -> float:
            return -0.5 * w * big_b(t)

        def score(t: float) -> tuple[float, float]:
            return 0.5 * beta(t) / std(t), 0.5 * beta(t) / std(t) - 0.5 * w * beta(t) * std(t)

        def data(t: float) -> float:
            return -0.5 * w * beta(t) * mu(t)

        def jacobian(t: float) -> float:
            return 0.5 * w * beta(t) * std(t) * mu(t)
    else:
        # dx/dt = b mu/(2 std) v - b/2 w mu^2 (mu I - std dv/dx)^T (A^+ y - P x_0), x_0 = mu x - std v.
        def linear(t: float) -> float:
            return lam * t

        def decay(t: float) -> float:  # -int b/2 w mu^4, with d mu^2 = -b mu^2 dt
            return -0.25 * w * (1 - mu(t) ** 4)

        def score(t: float) -> tuple[float, float]:
            return 0.5 * beta(t) * mu(t) / std(t), 0.5 * beta(t) * (mu(t) / std(t) - w * mu(t) ** 3 * std(t))

        def data(t: float) -> float:
            return -0.5 * w * beta(t) * mu(t) ** 3

        def jacobian(t: float) -> float:
            return 0.5 * w * beta(t) * std(t) * mu(t) ** 2

    def transform(t: float) -> tuple[float, float]:
        return math.exp(linear(t)), math.exp(linear(t) + decay(t))

    times = [tau * (1 - i / steps) for i in range(steps + 1)]
    rotate = case.rotation
    data_coordinates = case.y @ case.pinv.T @ rotate.T
    x = mu(tau) * case.y @ case.pinv.T + std(tau) * case.white
    x_bar = x @ rotate.T * case.eigen(*transform(tau))
    for now, then in itertools.pairwise(times):
        predicted, _, _, grad = case.network(x, mu(now), std(now), output)
        # d Phi: from t = now down to t = then
        phi_s = [-integral(lambda t, i=i: transform(t)[i] * score(t)[i], then, now) for i in (0, 1)]
        phi_j = [-integral(lambda t, i=i: transform(t)[i] * jacobian(t), then, now) for i in (0, 1)]
        phi_y = -integral(lambda t: transform(t)[1] * data(t), then, now)
        x_bar = (
            x_bar
            - lam * x_bar * (now - then)
            + case.eigen(*phi_s) * (predicted @ rotate.T)
            + case.eigen(*phi_j) * (grad @ rotate.T)
            + case.eigen(0.0, phi_y) * data_coordinates
        )
        x = x_bar / case.eigen(*transform(then)) @ rotate
    return x


def literal_flow(case: Literal, steps: int, w: float, lam: float, tau: float) -> np.ndarray:
    """C-PiGFM in the flow's own time s = 1 - t, from noise to data, with ``B = -lam`` of their code."""

    def transform(s: float) -> tuple[float, float]:
        return math.exp(-lam * s), math.exp(-lam * s + w * (s * s / 2 - s**3 / 3))

    # dx/ds = v + w s (1-s) (I + (1-s) dv/dx)^T (A^+ y - P (x + (1-s) v))
    times = [1 - tau * (1 - i / steps) for i in range(steps + 1)]
    rotate = case.rotation
    data_coordinates = case.y @ case.pinv.T @ rotate.T
    x = times[0] * case.y @ case.pinv.T + (1 - times[0]) * case.white
    x_bar = x @ rotate.T * case.eigen(*transform(times[0]))
    for now, then in itertools.pairwise(times):
        predicted, _, _, grad = case.network(x, now, 1 - now, "flow")
        phi_1 = (
            integral(lambda s: transform(s)[0], now, then),
            integral(lambda s: transform(s)[1] * (1 - w * s * (1 - s) ** 2), now, then),
        )
        phi_2 = integral(lambda s: transform(s)[1] * w * s * (1 - s), now, then)
        phi_3 = [integral(lambda s, i=i: transform(s)[i] * w * s * (1 - s) ** 2, now, then) for i in (0, 1)]
        x_bar = (
            x_bar
            - lam * x_bar * (then - now)
            + case.eigen(*phi_1) * (predicted @ rotate.T)
            + case.eigen(0.0, phi_2) * data_coordinates
            + case.eigen(*phi_3) * (grad @ rotate.T)
        )
        x = x_bar / case.eigen(*transform(then)) @ rotate
    return x


def literal_data(case: Literal, steps: int, w: float, lam: float, tau: float) -> np.ndarray:
    """Frozen data prediction in the flow's time t, from ``dx/dt = (x - D)/t - w (1-t) t (dD/dx)^T u``.

    The part linear in x, 1/t, makes ``x_bar = e^{lam t} x / t``.
    """
    times = [tau * (1 - i / steps) for i in range(steps + 1)]
    x = (1 - tau) * case.y @ case.pinv.T + tau * case.white
    for now, then in itertools.pairwise(times):
        predicted, x0, _, grad = case.network(x, 1 - now, now, "data")
        if then == 0:
            return x0
        x_bar = math.exp(lam * now) * x / now
        phi_s = integral(lambda t: math.exp(lam * t) / t**2, then, now)
        phi_j = integral(lambda t: math.exp(lam * t) * w * (1 - t), then, now)
        x_bar = x_bar - lam * x_bar * (now - then) + phi_s * predicted + phi_j * grad
        x = x_bar * then / math.exp(lam * then)
    raise AssertionError("the last time is 0")


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    return mixture()


def set_up(prior: MixturePrior, name: str) -> tuple[Problem, Literal]:
    op, matrix = operator(name)
    x = prior.sample(1, torch.Generator().manual_seed(11))
    y = x.flatten(1).numpy() @ matrix.T
    return Problem(torch.from_numpy(y).view(-1, *op.out_shape), op), Literal(prior, matrix, y)


LAMBDAS = (0.0, 0.3, -0.3)
TAU = 0.6


@pytest.mark.parametrize("name", ["mask", "average"])
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("w", [1.0, 15.0, 100.0])
def test_cpigdm_is_the_diffusion_paper(prior: MixturePrior, name: str, w: float, lam: float) -> None:
    problem, case = set_up(prior, name)
    ours = run(CPiGDM(w=w, lam=lam, tau=TAU, start="pinv"), prior, problem, 6)
    assert relative_error(ours, literal_vp(case, 6, w, lam, TAU, "noise")) < 1e-6


@pytest.mark.parametrize("name", ["mask", "average"])
@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("w", [1.0, 15.0, 100.0])
def test_cpigfm_is_the_flow_paper(prior: MixturePrior, name: str, w: float, lam: float) -> None:
    problem, case = set_up(prior, name)
    ours = run(CPiGFM(w=w, lam=lam, tau=0.8, start="pinv"), prior, problem, 6)
    assert relative_error(ours, literal_flow(case, 6, w, lam, 0.8)) < 1e-6


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("w", [1.0, 100.0])
def test_velocity_frozen_on_a_diffusion_path(prior: MixturePrior, w: float, lam: float) -> None:
    problem, case = set_up(prior, "average")
    ours = run(CPiGDM(w=w, lam=lam, tau=TAU, frozen="velocity", start="pinv"), prior, problem, 5)
    assert relative_error(ours, literal_vp(case, 5, w, lam, TAU, "v")) < 1e-6


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("w", [1.0, 15.0])
def test_data_frozen(prior: MixturePrior, w: float, lam: float) -> None:
    problem, case = set_up(prior, "average")
    ours = run(CPiGFM(w=w, lam=lam, tau=0.8, frozen="data", start="pinv"), prior, problem, 7)
    assert relative_error(ours, literal_data(case, 7, w, lam, 0.8)) < 1e-6


def test_float32_suffices(prior: MixturePrior) -> None:
    """The transform's range factor is e^168 here; it is divided out before it is evaluated."""
    problem, case = set_up(prior, "average")
    case.white = RowNoise(KEYS).normal(SHAPE, torch.zeros(())).double().flatten(1).numpy()
    ours = run(CPiGDM(w=100.0, tau=TAU, start="pinv"), prior, Problem(problem.y.float(), problem.operator), 6)
    assert ours.dtype == np.float32
    assert relative_error(ours, literal_vp(case, 6, 100.0, 0.0, TAU, "noise")) < 1e-5
