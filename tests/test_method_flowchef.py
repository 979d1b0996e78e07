"""FlowChef against a transcription of its algorithm, and against what it does, exactly, on a Gaussian prior."""

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
from kintsugi.samplers import FlowChef
from toy import SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run, white

STEPS = 6


def measured(name: str, noise: float) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a, noise), matrix


def transcription(prior: Prior, problem: Problem, a: np.ndarray, step: float, iterations: int) -> np.ndarray:
    """Algorithm 1 in x_t and the velocity of the straight path: the state is moved, with v held, and then Euler."""
    y = problem.batch.flatten(1).numpy()
    first = float(FlowMatching().time(200.0))
    x = first * white()
    times = np.append(np.linspace(first, first / STEPS, STEPS), 0.0)
    scale = step / np.linalg.norm(a, 2) ** 2
    for t, s in itertools.pairwise(times):
        z = torch.from_numpy(x / (1 - t)).view(-1, *SHAPE)
        level = torch.full((len(x),), t / (1 - t), dtype=torch.float64)
        v = (x - prior.denoise(z, level).flatten(1).numpy()) / t
        for _ in range(iterations):
            x = x - scale * ((x - t * v) @ a.T - y) @ a
        x = x + (s - t) * v
    return x


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_algorithm_1(name: str, noise: float) -> None:
    prior = mixture().with_path(VP())  # any prior, on the straight path
    problem, a = measured(name, noise)
    for step, iterations in ((0.5, 1), (0.2, 3)):
        ours = run(FlowChef(step, iterations), prior, problem, STEPS)
        assert relative_error(ours, transcription(prior, problem, a, step, iterations)) < 1e-6
    assert np.array_equal(run(FlowChef(), prior, problem, 20), run(FlowChef(step=0.4), prior, problem, 20))


def test_on_another_path_the_state_moves_in_its_own_units() -> None:
    """Two steps: x_t = alpha z moves by the gradient, whatever the path."""
    problem, a = measured("mask", 0.0)
    prior, path = mixture().with_path(VP()), VP()
    y = problem.batch.flatten(1).numpy()
    levels = [path.eta_max, float(path.eta(0.5)), 0.0]
    z = levels[0] * white()
    for eta, after in itertools.pairwise(levels):
        level = torch.full((len(z),), eta, dtype=torch.float64)
        d = prior.denoise(torch.from_numpy(z).view(-1, *SHAPE), level).flatten(1).numpy()
        alpha, sigma = float(path.alpha_of_eta(after)), after * float(path.alpha_of_eta(after))
        z = (alpha * d + sigma * (z - d) / eta - 0.3 * (d @ a.T - y) @ a) / alpha
    assert relative_error(run(FlowChef(step=0.3, path=None), prior, problem, 2), z) < 1e-9


PROBLEMS = {"average": 0.0, "mask": 0.0, "blur": 0.1}
# (error of the mean, spread) over the posterior's standard deviation, for each problem
EXPECTED: dict[int, list[tuple[float, float]]] = {
    5: [(0.0525, 0.734), (0.316, 0.801), (0.474, 0.79)],
    20: [(0.037, 0.929), (0.24, 0.98), (0.318, 0.968)],
    80: [(0.043, 0.985), (0.248, 1.04), (0.314, 1.031)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: FlowChef, name: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    problem, posterior = gaussian.problem(name, PROBLEMS[name])
    mean, covariance = exact_moments(sampler, gaussian.prior, problem, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("steps", EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, steps: int, name: str) -> None:
    wanted = EXPECTED[steps][list(PROBLEMS).index(name)]
    sampler = FlowChef(step=min(1.0, 8 / steps))
    assert measure(gaussian, sampler, name, steps) == pytest.approx(wanted, rel=0.02, abs=0.002)
    for wrong in (0.5, 2.0) if steps == 5 else ():
        assert measure(gaussian, sampler, name, steps, wrong) != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_a_nonlinear_measurement_comes_closer(gaussian: Gaussian) -> None:
    """The modulus of a Fourier transform: the samples agree with the data better than samples of the prior do."""
    shape = (1, 12, 12)
    a = Magnitude(shape)
    problem = Problem(a(gaussian.truth), a)
    out = torch.from_numpy(run(FlowChef(), gaussian.prior, problem, 20)).view(-1, *shape)
    others = gaussian.dense.sample(2, torch.Generator().manual_seed(9))
    ours, theirs = (float((a(x) - problem.y).norm()) for x in (out, others))
    assert ours < 0.5 * theirs


@pytest.mark.parametrize(
    "settings",
    [
        {"step": 0.0},
        {"step": 2.0},
        {"step": "x"},
        {"iterations": 0},
        {"iterations": 1.5},
        {"iterations": float("inf")},
        {"schedule": 3},
        {"path": "vp"},
    ],
)
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
        FlowChef(**settings)  # type: ignore[arg-type]
