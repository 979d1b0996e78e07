"""OT-ODE against a transcription of its algorithm, against PiGDM's guidance, and against what it does on a Gaussian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.operators import Magnitude
from kintsugi.paths import VP, FlowMatching
from kintsugi.priors import Prior
from kintsugi.problem import Problem
from kintsugi.samplers import OTODE, PiGFM
from toy import SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run, white

STEPS = 5


def measured(name: str, noise: float) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a, noise), matrix


def transcription(prior: Prior, problem: Problem, a: np.ndarray, t0: float, adaptive: bool, s2: float) -> np.ndarray:
    """Algorithm 1 with the straight path, in their time (1 is data): Euler steps of equation 12 with a dense A.

    The velocity is ``(x_1 - x_t) / (1 - t)`` and the VJP is taken with respect to x_t, as printed.
    """
    y = problem.batch.flatten(1).numpy()
    x = t0 * y @ np.linalg.pinv(a).T + (1 - t0) * white()
    times = np.append(1 - np.linspace(1 - t0, (1 - t0) / STEPS, STEPS), 1.0)
    for t, after in itertools.pairwise(times):
        alpha, sigma = t, 1 - t
        point = torch.from_numpy(x).view(-1, *SHAPE).requires_grad_(True)
        with torch.enable_grad():
            x1 = prior.denoise(point / alpha, torch.full((len(x),), sigma / alpha, dtype=torch.float64))
        hat = x1.detach().flatten(1).numpy()
        r2 = sigma**2 * s2 / (sigma**2 + s2 * alpha**2)
        system = r2 * a @ a.T + problem.noise**2 * np.eye(len(a))
        vec = (y - hat @ a.T) @ np.linalg.pinv(system, rcond=1e-10) @ a
        (g,) = torch.autograd.grad(x1, point, torch.from_numpy(vec).view(-1, *SHAPE))
        gamma = np.sqrt(alpha / (alpha**2 + sigma**2)) if adaptive else 1.0
        velocity = (hat - x) / sigma
        x = x + (after - t) * (velocity + sigma**2 * (1 / t + 1 / (1 - t)) * gamma * g.flatten(1).numpy())
    return x


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_algorithm_1(name: str, noise: float) -> None:
    prior = mixture().with_path(VP())  # any prior, on the straight path
    problem, a = measured(name, noise)
    for tau, adaptive, s2 in ((0.8, False, 1.0), (0.6, True, 0.25)):
        ours = run(OTODE(tau=tau, adaptive=adaptive, variance=s2), prior, problem, STEPS)
        assert relative_error(ours, transcription(prior, problem, a, 1 - tau, adaptive, s2)) < 1e-6


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_with_the_priors_variance_it_is_the_unweighted_guidance_of_pigfm(noise: float) -> None:
    problem, _ = measured("blur", noise)
    prior = mixture()
    ours = run(OTODE(variance=None), prior, problem, STEPS)
    assert relative_error(ours, run(PiGFM(w=float("inf"), tau=0.8), prior, problem, STEPS)) < 1e-9
    prior.data_variance = 1.0
    assert (
        relative_error(run(OTODE(), prior, problem, STEPS), run(PiGFM(w=float("inf"), tau=0.8), prior, problem, 5))
        < 1e-9
    )


def test_another_path_moves_the_levels_and_the_adaptive_weight() -> None:
    problem, _ = measured("mask", 0.1)
    prior = mixture().with_path(VP())
    for adaptive in (False, True):
        own, straight = (run(OTODE(adaptive=adaptive, path=p), prior, problem, 5) for p in (None, FlowMatching()))
        assert np.array_equal(own, run(OTODE(adaptive=adaptive, path=VP()), prior, problem, 5))
        assert relative_error(own, straight) > 0.02


PROBLEMS = {"average": 0.0, "mask": 0.0, "blur": 0.1}
# (error of the mean, spread) over the posterior's standard deviation, for each problem
EXPECTED: dict[int, list[tuple[float, float]]] = {
    5: [(0.060, 0.775), (0.420, 0.829), (0.245, 0.753)],
    20: [(0.066, 0.932), (0.410, 0.988), (0.287, 0.946)],
    80: [(0.068, 0.976), (0.410, 1.032), (0.300, 1.001)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: OTODE, name: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    problem, posterior = gaussian.problem(name, PROBLEMS[name])
    mean, covariance = exact_moments(sampler, gaussian.prior, problem, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("steps", EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, steps: int, name: str) -> None:
    wanted = EXPECTED[steps][list(PROBLEMS).index(name)]
    assert measure(gaussian, OTODE(), name, steps) == pytest.approx(wanted, rel=0.02, abs=0.002)
    for wrong in (0.5, 2.0) if steps == 5 else ():
        assert measure(gaussian, OTODE(), name, steps, wrong) != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_a_nonlinear_measurement_is_refused() -> None:
    a = Magnitude(SHAPE)
    problem = Problem(a(torch.rand(1, *SHAPE, dtype=torch.float64)), a)
    with pytest.raises(InvalidArgument, match=r"^operator: "):
        OTODE().check(mixture(), problem)


@pytest.mark.parametrize(
    "settings",
    [
        {"tau": 0.0},
        {"tau": 1.1},
        {"tau": "x"},
        {"adaptive": 1},
        {"variance": 0.0},
        {"variance": float("inf")},
        {"solver": "ddim"},
        {"schedule": 3},
        {"path": "vp"},
    ],
)
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
        OTODE(**settings)  # type: ignore[arg-type]
