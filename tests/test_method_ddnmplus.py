"""DDNM+ against the paper's singular value decomposition, time travel, and what it draws on a Gaussian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import LinearOperator, Magnitude, Mask
from kintsugi.problem import Problem
from kintsugi.samplers import DDNM, DDNMPlus, Schedule
from kintsugi.samplers.schedule import time_travel
from kintsugi.solvers import FirstOrder, Solver, Tempered
from toy import KEYS, PIXELS, SHAPE, Gaussian, ImpulseNoise, exact_moments, mixture, operator, relative_error, run

Array = NDArray[np.float64]
LEVELS = (4.0, 1.5, 0.7, 0.3, 0.08)
WEIGHTS = torch.linspace(0.0, 1.5, 16, dtype=torch.float64).view(SHAPE)


def measured(name: str) -> tuple[LinearOperator, Array]:
    if name == "weights":
        return Mask(WEIGHTS, SHAPE), np.diag(WEIGHTS.flatten().numpy())
    return operator(name)


def literal(matrix: Array, y: Array, sigma_y: float, etas: list[float]) -> Array:
    """Section 3.3 and the appendix for each singular value: x_{t-1} = a_t x_hat + b_t x_t + V Phi^1/2 V^T eps; where
    the levels rise, q(x_{t+l} | x_t)."""
    prior, noise = mixture(), RowNoise(KEYS)
    _, s, vt = np.linalg.svd(matrix)
    pinv = np.linalg.pinv(matrix, rcond=1e-6)
    s = np.concatenate((s, np.zeros(16 - len(s))))

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    abars = [1 / (1 + eta**2) for eta in etas]
    x = np.sqrt(abars[0]) * y @ pinv.T + np.sqrt(1 - abars[0]) * draw()
    for abar, after in itertools.pairwise(abars):
        if after < abar:
            x = np.sqrt(after / abar) * x + np.sqrt(1 - after / abar) * draw()
            continue
        alpha = abar / after
        z = torch.from_numpy(x / np.sqrt(abar)).view(2, *SHAPE)
        eta = torch.full((2,), float(np.sqrt(1 / abar - 1)), dtype=torch.float64)
        x_0 = prior.denoise(z, eta).flatten(1).numpy()
        a_t = np.sqrt(after) * (1 - alpha) / (1 - abar)
        b_t = np.sqrt(alpha) * (1 - after) / (1 - abar)
        sigma_t = np.sqrt((1 - after) / (1 - abar) * (1 - alpha))
        lam, gamma = np.ones(16), np.zeros(16)
        for i in range(16):
            if s[i] < 1e-6 * s[0]:
                gamma[i] = sigma_t**2
            elif sigma_t >= a_t * sigma_y / s[i]:
                gamma[i] = sigma_t**2 - (a_t * sigma_y / s[i]) ** 2
            else:
                lam[i] = sigma_t * s[i] / (a_t * sigma_y)
        x_hat = x_0 - (x_0 @ matrix.T - y) @ pinv.T @ vt.T @ np.diag(lam) @ vt
        fresh = draw() if after < 1 else np.zeros((2, 16))
        x = a_t * x_hat + b_t * x + fresh @ vt.T @ np.diag(np.sqrt(gamma)) @ vt
    return x


@pytest.mark.parametrize(("length", "repeats"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mask", "weights", "average", "blur"])
def test_singular_values_one_by_one(name: str, noise: float, length: int, repeats: int) -> None:
    prior = mixture()
    measure, matrix = measured(name)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
    sampler = DDNMPlus(churn=None, length=length, repeats=repeats, schedule=Schedule(start="pinv", grid=LEVELS))
    levels = time_travel([*LEVELS, 0.0], length, repeats)
    assert (
        relative_error(
            run(sampler, prior, problem, 5), literal(matrix, problem.batch.flatten(1).numpy(), noise, levels)
        )
        < 1e-8
    )


@pytest.mark.parametrize(
    ("churn", "solver"), [(None, FirstOrder(1.0)), (0.85, Tempered(keep=(1 - 0.85**2) ** 0.5)), (1.0, Tempered())]
)
@pytest.mark.parametrize("name", ["average", "blur"])
def test_without_noise_it_is_ddnm(name: str, churn: float | None, solver: Solver) -> None:
    prior = mixture()
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), operator(name)[0])
    schedule = Schedule(grid=LEVELS)
    plus = run(DDNMPlus(churn=churn, schedule=schedule), prior, problem, 5)
    plain = run(DDNM(hard=True, solver=solver, schedule=schedule), prior, problem, 5)
    assert relative_error(plus, plain) < 1e-10


@pytest.mark.parametrize("churn", [None, 0.4, 1.0])
def test_noise_of_the_measurement_and_of_the_step_add_up(churn: float | None) -> None:
    """What each step adds has the variance of an unconditional step's in every direction: measured by impulses in y and
    in xi, on a prior that always says 0."""
    measure, matrix = measured("weights")
    a, c, sigma_y = 1.0, 0.5, 0.4

    class Zero(type(mixture())):  # type: ignore[misc]
        def denoise(self, z: torch.Tensor, eta: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(z)

    sampler = DDNMPlus(churn=churn)
    eye = torch.eye(16, dtype=torch.float64).view(16, *SHAPE)
    zero = torch.zeros_like(eye)

    class Impulses(RowNoise):
        def __init__(self, value: torch.Tensor) -> None:
            self.value = value

        def normal(self, shape: object, like: torch.Tensor) -> torch.Tensor:
            return self.value

    by_y = sampler._step(measure, Problem(eye, measure, sigma_y), zero, zero, a, c, Impulses(zero)).flatten(1)
    by_xi = sampler._step(measure, Problem(zero, measure, sigma_y), zero, zero, a, c, Impulses(eye)).flatten(1)
    known = torch.from_numpy(matrix.diagonal() > 1e-3)
    total = sigma_y**2 * by_y.square().sum(0) + by_xi.square().sum(0)
    fresh = c**2 * (1 - c**2 / a**2 if churn is None else churn**2)
    torch.testing.assert_close(total, torch.full_like(total, fresh), rtol=1e-9, atol=0)
    assert bool((by_y.diagonal()[known] > 0).all())


# --- time travel ------------------------------------------------------------------------------------------------------


def published_schedule(steps: int, length: int, repeats: int) -> list[int]:
    """The times of Lugmayr et al. (appendix B) and Wang et al.: one step down or up at a time, -1 at the end."""
    jumps = dict.fromkeys(range(0, steps - length, length), repeats - 1)
    t, times = steps, []
    while t >= 1:
        t -= 1
        times.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(length):
                t += 1
                times.append(t)
    return [*times, -1]


@pytest.mark.parametrize(
    ("steps", "length", "repeats"), [(1, 1, 3), (2, 1, 2), (7, 2, 3), (20, 5, 4), (9, 3, 1), (5, 9, 4)]
)
def test_time_travel_is_the_published_schedule(steps: int, length: int, repeats: int) -> None:
    times = published_schedule(steps, length, repeats)
    rising_on = [i for i in range(1, len(times) - 1) if times[i - 1] < times[i] < times[i + 1]]
    wanted = [float(t + 1) for i, t in enumerate(times) if i not in rising_on]
    assert time_travel([float(t) for t in range(steps, -1, -1)], length, repeats) == wanted


def test_travelling_lets_what_was_not_measured_fit(gaussian: Gaussian) -> None:
    """Their section 3.3: the mean, which is what no noise gives, comes closer."""
    problem, posterior = gaussian.problem("mask", 0.0)
    std = posterior.covariance.diagonal().mean().sqrt()
    errors = []
    for repeats in (1, 3, 10):
        sampler = DDNMPlus(churn=None, length=2, repeats=repeats, schedule=Schedule(start="zero", eta=20.0, end=0.02))
        mean = sampler.run(gaussian.prior, problem, 8, ImpulseNoise(PIXELS, 0), lambda done, total: None)
        errors.append(float((mean - posterior.mean).square().mean().sqrt() / std))
    assert errors == pytest.approx([0.640, 0.476, 0.278], rel=0.02)


# --- on the Gaussian oracle -------------------------------------------------------------------------------------------

PROBLEMS = {"average": ("average", 0.0), "noisy mask": ("mask", 0.1), "noisy blur": ("blur", 0.1)}
FROM_PINV = Schedule(start="pinv", eta=2.0, end=0.02, grid="karras")
EXPECTED: dict[tuple[float | None, int], list[tuple[float, float]]] = {
    (None, 5): [(0.192, 0.657), (0.682, 0.745), (0.650, 0.431)],
    (None, 20): [(0.150, 0.902), (0.563, 0.973), (1.615, 0.562)],
    (0.85, 5): [(0.201, 0.693), (0.700, 0.788), (0.712, 0.485)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: DDNMPlus, problem: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("churn", "steps"), EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, churn: float | None, steps: int, problem: str) -> None:
    wanted = EXPECTED[churn, steps][list(PROBLEMS).index(problem)]
    found = measure(gaussian, DDNMPlus(churn=churn, schedule=FROM_PINV), problem, steps)
    assert found == pytest.approx(wanted, rel=0.02, abs=0.002)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_wrong_noise_would_show(gaussian: Gaussian, scale: float) -> None:
    for problem, wanted in zip(PROBLEMS, EXPECTED[0.85, 5], strict=True):
        found = measure(gaussian, DDNMPlus(schedule=FROM_PINV), problem, 5, scale)
        assert found != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_scaling_is_better_than_imposing_noise(gaussian: Gaussian) -> None:
    """DDNM with a hard projection amplifies the noise of a blur; DDNM+ does not."""
    stated, posterior = gaussian.problem("blur", 0.1)
    std = posterior.covariance.diagonal().mean().sqrt()
    hard = exact_moments(DDNM(hard=True, schedule=FROM_PINV), gaussian.prior, stated, 5)[0] - posterior.mean.flatten()
    assert float(hard.square().mean().sqrt() / std) > 2.5
    assert measure(gaussian, DDNMPlus(schedule=FROM_PINV), "noisy blur", 5)[0] < 1


def test_errors() -> None:
    for name, values in {"churn": (0.0, 1.1, float("nan")), "length": (0, 1.5), "repeats": (0, True)}.items():
        for value in values:
            with pytest.raises(InvalidArgument, match=rf"^{name}: "):
                DDNMPlus(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^schedule: "):
        DDNMPlus(schedule="time")  # type: ignore[arg-type]
    nonlinear = Magnitude(SHAPE)
    with pytest.raises(InvalidArgument, match=r"^operator: .*DDNM\+"):
        DDNMPlus().check(mixture(), Problem(nonlinear(torch.rand(1, *SHAPE, dtype=torch.float64)), nonlinear))
