"""CM4IR and its noise against the authors' scheme, and what they do on a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.guidance import DDNM as DDNMGuidance
from kintsugi.guidance.back_projection import BackProjection
from kintsugi.guidance.base import Guidance
from kintsugi.noise import RowNoise
from kintsugi.operators import Magnitude
from kintsugi.problem import Problem
from kintsugi.samplers import CM4IR, Schedule
from kintsugi.samplers.base import integrate
from kintsugi.samplers.cm4ir import geometric_levels
from kintsugi.solvers import Tempered
from kintsugi.solvers.noise_split import NoiseSplit
from toy import KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run

Array = NDArray[np.float64]


def literal(matrix: Array, y: Array, sigma_y: float, etas: dict[str, float], abar: float, gamma: float) -> Array:
    """The authors' loop, with the singular values of ``matrix`` and a denoiser for the consistency model."""
    prior, noise = mixture(), RowNoise(KEYS)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    factors = np.where(s > 1e-6 * s[0], s / (s**2 + etas["zeta"] * sigma_y**2 + 1e-300), 0.0)
    steps = 4

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    abars = [abar]
    for _ in range(steps - 1):
        abars.append(min(abars[-1] * (1 + gamma), 0.9999))
    x = y @ np.linalg.pinv(matrix, rcond=1e-6).T + draw() * np.sqrt(1 - abars[0])
    for i in range(steps):
        sigma = np.sqrt(1 - abars[i])
        told = torch.full((2,), (1 + etas["delta"]) * sigma, dtype=torch.float64)
        x_0 = prior.denoise(torch.from_numpy(x).view(2, *SHAPE), told).flatten(1).numpy()
        z_minus = (x_0 - x) / sigma
        if sigma_y > 0 and i == steps - 1:
            return x_0
        x = x_0 - ((x_0 @ matrix.T - y) @ u * factors) @ vt
        if i < steps - 1:
            after = np.sqrt(1 - abars[i + 1])
            x = x + after * etas["eta"] * draw() + after * np.sqrt(1 - etas["eta"] ** 2) * z_minus
    return x


@pytest.mark.parametrize(("fresh", "zeta", "delta"), [(0.1, 0.0, 0.0), (0.4, 3.0, 0.3)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_the_authors_scheme(name: str, noise: float, fresh: float, zeta: float, delta: float) -> None:
    prior = mixture()
    measure, matrix = operator(name)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
    last = np.sqrt(1 - 0.55 * 1.2**3)
    levels = geometric_levels(4, np.sqrt(1 - 0.55), float(last))
    sampler = CM4IR(fresh=fresh, zeta=zeta, delta=delta, schedule=Schedule(start="pinv", grid=levels))
    etas = {"eta": fresh, "zeta": zeta, "delta": delta}
    theirs = literal(matrix, problem.batch.flatten(1).numpy(), noise, etas, 0.55, 0.2)
    assert relative_error(run(sampler, prior, problem, 4), theirs) < 1e-8


@pytest.mark.parametrize("guidance", [DDNMGuidance(), BackProjection(0.5)])
@pytest.mark.parametrize("fresh", [0.0, 0.3, 1.0])
def test_the_solver_serves_every_guidance(guidance: Guidance, fresh: float) -> None:
    """Without turning the sign it is ``Tempered``; with it, the old noise is mirrored at D_y."""
    prior = mixture()
    measure, _ = operator("blur")
    problem = Problem.simulate(prior.sample(2, torch.Generator().manual_seed(5)), measure, 0.2)
    z = prior.sample(2, torch.Generator().manual_seed(6)) + 0.3
    d, _ = guidance(prior, problem, z, 0.9, None)

    def step(solver: NoiseSplit | Tempered) -> torch.Tensor:
        return solver.step(z, d, 0.9, 0.4, None, RowNoise(KEYS))[0]

    straight = step(NoiseSplit(fresh, turned=False))
    turned = step(NoiseSplit(fresh))
    torch.testing.assert_close(straight, step(Tempered(keep=(1 - fresh**2) ** 0.5)))
    xi = RowNoise(KEYS).normal_like(z)
    torch.testing.assert_close((straight + turned) / 2, d + 0.4 * fresh * xi)
    torch.testing.assert_close(straight - turned, 2 * 0.4 * (1 - fresh**2) ** 0.5 * (z - d) / 0.9)
    doubled = step(NoiseSplit(fresh, delta=1.0))
    torch.testing.assert_close(turned - doubled, 0.2 * fresh * xi, rtol=0, atol=1e-12)
    assert torch.equal(NoiseSplit(fresh).step(z, d, 0.9, 0.0, None, RowNoise(KEYS))[0], d)


def test_the_levels_are_the_authors_rule() -> None:
    levels = geometric_levels(5, 0.7, 0.1)
    abars = 1 - np.square(levels)
    np.testing.assert_allclose(abars[1:] / abars[:-1], (0.99 / 0.51) ** 0.25, rtol=1e-12)
    assert (levels[0], levels[-1]) == pytest.approx((0.7, 0.1))
    assert geometric_levels(1, 0.7, 0.1) == pytest.approx((0.7,))


# --- on the Gaussian oracle -------------------------------------------------------------------------------------------

PROBLEMS = {"average": ("average", 0.0), "noisy mask": ("mask", 0.1), "noisy blur": ("blur", 0.1)}
# steps: for each problem, error of the mean and spread, in posterior standard deviations.
EXPECTED: dict[int, list[tuple[float, float]]] = {
    5: [(0.125, 0.052), (0.556, 0.087), (0.814, 0.047)],
    20: [(0.068, 0.047), (0.352, 0.052), (1.095, 0.040)],
}
SOLVERS: dict[str, tuple[float, float]] = {"Split": (0.3890, 0.1105), "Straight": (0.7240, 0.7842)}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: CM4IR, problem: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


def from_pinv(steps: int) -> CM4IR:
    return CM4IR(schedule=Schedule(start="pinv", grid=geometric_levels(steps, 0.7, 0.1)))


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("steps", EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, steps: int, problem: str) -> None:
    wanted = EXPECTED[steps][list(PROBLEMS).index(problem)]
    assert measure(gaussian, from_pinv(steps), problem, steps) == pytest.approx(wanted, rel=0.02, abs=0.001)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_wrong_noise_would_show(gaussian: Gaussian, scale: float) -> None:
    for problem, wanted in zip(PROBLEMS, EXPECTED[5], strict=True):
        assert measure(gaussian, from_pinv(5), problem, 5, scale) != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_what_turning_the_sign_does(gaussian: Gaussian) -> None:
    """With DDNM's guidance in five steps: the mean comes closer, and the spread is lost."""
    stated, posterior = gaussian.problem("mask", 0.0)
    std = posterior.covariance.diagonal().mean().sqrt()

    class Split(CM4IR):
        turned = True

        def run(self, prior, problem, steps, noise, report):  # type: ignore[no-untyped-def]
            schedule = Schedule(start="pinv", eta=0.7, end=0.1)
            solver = NoiseSplit(0.1, self.turned)
            return integrate(prior, problem, DDNMGuidance(), solver, schedule, steps, noise, report)

    class Straight(Split):
        turned = False

    found = {}
    for sampler in (Split(), Straight()):
        mean, covariance = exact_moments(sampler, gaussian.prior, stated, 5)
        error = (mean - posterior.mean.flatten()).square().mean().sqrt()
        found[type(sampler).__name__] = (float(error / std), float(covariance.diagonal().mean().sqrt() / std))
    for name, wanted in SOLVERS.items():
        assert found[name] == pytest.approx(wanted, rel=0.02)


def test_a_start_that_is_not_converged_would_show(gaussian: Gaussian) -> None:
    """The first level is low: the Gaussian start has to be accurate, with noise as without."""
    for name, noise in (("mask", 0.0), ("mask", 0.1), ("average", 0.05)):
        stated, posterior = gaussian.problem(name, noise)
        still = CM4IR(schedule=Schedule(start="gaussian", grid=(1e-4,)))
        out = still.run(gaussian.prior, stated, 1, RowNoise([(0, 0, 0)]), lambda done, total: None)
        std = posterior.covariance.diagonal().mean().sqrt()
        assert float((out - posterior.mean).square().mean().sqrt() / std) < 0.02


def test_errors() -> None:
    for name, values in {"fresh": (-0.1, 1.1), "zeta": (-1.0, float("inf")), "delta": (-0.5, float("nan"))}.items():
        for value in values:
            with pytest.raises(InvalidArgument, match=rf"^{name}: "):
                CM4IR(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^schedule: "):
        CM4IR(schedule=3)  # type: ignore[arg-type]
    for settings in ({"fresh": 2.0}, {"delta": -1.0}, {"turned": 1}):
        with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
            NoiseSplit(**settings)
    with pytest.raises(InvalidArgument, match=r"^zeta: "):
        BackProjection(-1.0)
    nonlinear = Magnitude(SHAPE)
    with pytest.raises(InvalidArgument, match=r"^operator: .*back-projection"):
        CM4IR().check(mixture(), Problem(nonlinear(torch.rand(1, *SHAPE, dtype=torch.float64)), nonlinear))
