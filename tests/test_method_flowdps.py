"""FlowDPS against a transcription of its algorithm, and against what it does, exactly, on a Gaussian prior."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Magnitude
from kintsugi.paths import VP, FlowMatching
from kintsugi.priors import Prior, StationaryPrior
from kintsugi.problem import Problem
from kintsugi.samplers import FlowDPS
from toy import KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run

STEPS = 6


def measured(name: str, noise: float) -> tuple[Problem, np.ndarray]:
    a, matrix = operator(name)
    x = mixture().sample(1, torch.Generator().manual_seed(5))
    return Problem.simulate(x, a, noise), matrix


def transcription(
    prior: Prior, problem: Problem, a: np.ndarray, iterations: int, step: float, fresh: float | None
) -> np.ndarray:
    """Algorithm 1 in x_t and the velocity of the straight path, with a dense A."""
    noise, like = RowNoise(KEYS), torch.zeros((), dtype=torch.float64)

    def white() -> np.ndarray:
        return noise.normal(SHAPE, like).flatten(1).numpy()

    y = problem.batch.flatten(1).numpy()
    first = float(FlowMatching().time(200.0))
    x = first * white()
    times = np.append(np.linspace(first, first / STEPS, STEPS), 0.0)
    for t, s in itertools.pairwise(times):
        z = torch.from_numpy(x / (1 - t)).view(-1, *SHAPE)
        level = torch.full((len(x),), t / (1 - t), dtype=torch.float64)
        v = (x - prior.denoise(z, level).flatten(1).numpy()) / t
        clean, noisy = x - t * v, x + (1 - t) * v
        guided = clean
        for _ in range(iterations):
            guided = guided - step / np.linalg.norm(a, 2) ** 2 * (guided @ a.T - y) @ a
        guided = (1 - t) * clean + t * guided
        share = 1 - s if fresh is None else fresh
        renewed = np.sqrt(1 - share) * noisy + (np.sqrt(share) * white() if s > 0 else 0.0)
        x = (1 - s) * guided + s * renewed
    return x


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_algorithm_1(name: str, noise: float) -> None:
    prior = mixture().with_path(VP())  # any prior, on the straight path
    problem, a = measured(name, noise)
    for iterations, step, fresh in ((3, 1.0, None), (2, 0.4, 0.3)):
        ours = run(FlowDPS(iterations, step, fresh), prior, problem, STEPS)
        assert relative_error(ours, transcription(prior, problem, a, iterations, step, fresh)) < 1e-6


def test_on_a_diffusion_path_t_is_its_time() -> None:
    """One step from level 1: D_y = D + t (D* - D), with t the time of the path at that level."""
    problem, a = measured("mask", 0.0)
    prior = mixture()
    y = problem.batch.flatten(1).numpy()
    for path in (VP(), FlowMatching()):
        out = run(FlowDPS(iterations=1, path=path), prior, problem, 1)
        level = path.eta_max
        t = float(path.time(level))
        z = level * RowNoise(KEYS).normal(SHAPE, torch.zeros((), dtype=torch.float64))
        d = prior.denoise(z, torch.full((len(z),), level, dtype=torch.float64)).flatten(1).numpy()
        assert relative_error(out, d + t * (y - d @ a.T) @ a) < 1e-9


PROBLEMS = {"average": 0.0, "mask": 0.0, "blur": 0.1}
# (error of the mean, spread) over the posterior's standard deviation, for each problem
EXPECTED: dict[int, list[tuple[float, float]]] = {
    5: [(0.245, 0.706), (0.755, 0.883), (0.648, 0.825)],
    20: [(0.128, 0.814), (0.519, 0.961), (0.51, 0.914)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: FlowDPS, name: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    problem, posterior = gaussian.problem(name, PROBLEMS[name])
    mean, covariance = exact_moments(sampler, gaussian.prior, problem, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("steps", EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, steps: int, name: str) -> None:
    wanted = EXPECTED[steps][list(PROBLEMS).index(name)]
    assert measure(gaussian, FlowDPS(), name, steps) == pytest.approx(wanted, rel=0.02, abs=0.002)
    for wrong in (0.5, 2.0) if steps == 5 else ():
        assert measure(gaussian, FlowDPS(), name, steps, wrong) != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_a_nonlinear_measurement_comes_closer(gaussian: Gaussian) -> None:
    """The modulus of a Fourier transform: the samples agree with the data better than samples of the prior do."""
    shape = (1, 12, 12)
    a = Magnitude(shape)
    problem = Problem(a(gaussian.truth), a)
    prior: StationaryPrior = gaussian.prior
    out = torch.from_numpy(run(FlowDPS(), prior, problem, 20)).view(-1, *shape)
    others = gaussian.dense.sample(2, torch.Generator().manual_seed(9))
    ours, theirs = (float((a(x) - problem.y).norm()) for x in (out, others))
    assert ours < 0.7 * theirs


@pytest.mark.parametrize(
    "settings",
    [
        {"iterations": 0},
        {"iterations": 1.5},
        {"iterations": float("inf")},
        {"step": 0.0},
        {"step": 2.0},
        {"fresh": 1.1},
        {"fresh": "x"},
        {"schedule": 3},
        {"path": "vp"},
    ],
)
def test_bad_settings(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=rf"^{next(iter(settings))}: "):
        FlowDPS(**settings)  # type: ignore[arg-type]
