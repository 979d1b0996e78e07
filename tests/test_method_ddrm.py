"""DDRM: a function of ``A^T A`` against the paper's singular value decomposition, and what it draws on a Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Blur, LinearOperator, Magnitude, Mask, gaussian_kernel
from kintsugi.problem import Problem
from kintsugi.samplers import DDRM, Schedule
from toy import IMAGE, KEYS, SHAPE, Gaussian, exact_moments, mixture, operator, relative_error, run

Array = NDArray[np.float64]
LEVELS = (6.0, 1.5, 0.7, 0.3, 0.08)
WEIGHTS = torch.linspace(0.0, 1.5, 16, dtype=torch.float64).view(SHAPE)


def measured(name: str) -> tuple[LinearOperator, Array]:
    if name == "weights":
        return Mask(WEIGHTS, SHAPE), np.diag(WEIGHTS.flatten().numpy())
    return operator(name)


def literal(matrix: Array, y: Array, sigma_0: float, eta: float, eta_b: float, levels: tuple[float, ...]) -> Array:
    """Equations 7 and 8 for each singular value, in the authors' variables x_t = sqrt(abar) (x_0 + sigma_t eps)."""
    prior, noise = mixture(), RowNoise(KEYS)
    u, s, vt = np.linalg.svd(matrix)
    s = np.concatenate((s, np.zeros(16 - len(s))))
    known = s > 1e-6 * s[0]
    uty = (y @ u)[:, : known.sum()]
    ybar = uty / s[: known.sum()]

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy() @ vt.T

    xi, bar = draw(), np.zeros((2, 16))
    for i in range(16):  # equation 7
        if known[i] and levels[0] >= sigma_0 / s[i]:
            bar[:, i] = ybar[:, i] + np.sqrt(levels[0] ** 2 - (sigma_0 / s[i]) ** 2) * xi[:, i]
        else:
            bar[:, i] = levels[0] * xi[:, i]
    for sigma, after in zip(levels, (*levels[1:], 0.0), strict=True):
        abar = 1 / (1 + sigma**2)
        x_t = np.sqrt(abar) * bar @ vt
        z = torch.from_numpy(x_t / np.sqrt(abar)).view(2, *SHAPE)
        x_0 = prior.denoise(z, torch.full((2,), sigma, dtype=torch.float64)).flatten(1).numpy()
        eps = (x_t - np.sqrt(abar) * x_0) / np.sqrt(1 - abar)
        bar_0, bar_eps = x_0 @ vt.T, eps @ vt.T
        xi = draw() if after > 0 else np.zeros((2, 16))
        for i in range(16):  # equation 8
            fresh = eta * after * xi[:, i]
            kept = np.sqrt(1 - eta**2) * after
            if not known[i]:
                bar[:, i] = bar_0[:, i] + kept * bar_eps[:, i] + fresh
            elif after < sigma_0 / s[i]:
                bar[:, i] = bar_0[:, i] + kept * (ybar[:, i] - bar_0[:, i]) / (sigma_0 / s[i]) + fresh
            else:
                spread = np.sqrt(after**2 - (sigma_0 / s[i]) ** 2 * eta_b**2)
                bar[:, i] = (1 - eta_b) * bar_0[:, i] + eta_b * ybar[:, i] + spread * xi[:, i]
    return bar @ vt


@pytest.mark.parametrize(("churn", "data"), [(0.85, 1.0), (0.3, 0.6)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mask", "weights", "average", "blur"])
def test_singular_values_one_by_one(name: str, noise: float, churn: float, data: float) -> None:
    prior = mixture()
    measure, matrix = measured(name)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
    ours = run(DDRM(churn=churn, data=data, schedule=Schedule(grid=LEVELS)), prior, problem, 5)
    theirs = literal(matrix, problem.batch.flatten(1).numpy(), noise, churn, data, LEVELS)
    assert relative_error(ours, theirs) < 1e-8


@pytest.mark.parametrize("name", ["weights", "blur"])
def test_all_three_cases_are_met(name: str) -> None:
    """With the levels and the noise of the test above, values above, below and without a measurement of use."""
    s = np.linalg.svd(measured(name)[1], compute_uv=False)
    crossing = 0.2 / s[s > 1e-6 * s[0]]
    assert (crossing.min() < np.array(LEVELS)).any()
    assert (crossing.max() > np.array(LEVELS)).any()


def test_without_noise_the_measurement_is_kept() -> None:
    prior = mixture()
    measure, _ = operator("average")
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure)
    out = torch.from_numpy(run(DDRM(), prior, problem, 3)).view(2, *SHAPE)
    torch.testing.assert_close(measure(out), problem.batch.expand(2, *measure.out_shape), rtol=0, atol=1e-9)


PROBLEMS = {"average": ("average", 0.0), "noisy mask": ("mask", 0.1), "noisy blur": ("blur", 0.1)}
FROM_NOISE = Schedule(eta=20.0, end=0.01, grid="karras")
# (churn, steps): for each problem, error of the mean and spread, in posterior standard deviations.
EXPECTED: dict[tuple[float, int], list[tuple[float, float]]] = {
    (0.85, 5): [(0.243, 0.563), (0.804, 0.693), (0.432, 0.520)],
    (0.85, 20): [(0.142, 0.795), (0.555, 0.863), (0.383, 0.629)],
    (0.3, 5): [(0.250, 0.620), (0.813, 0.753), (0.306, 0.419)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: DDRM, problem: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("churn", "steps"), EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, churn: float, steps: int, problem: str) -> None:
    wanted = EXPECTED[churn, steps][list(PROBLEMS).index(problem)]
    assert measure(gaussian, DDRM(churn=churn, schedule=FROM_NOISE), problem, steps) == pytest.approx(
        wanted, rel=0.02, abs=0.002
    )


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_wrong_noise_would_show(gaussian: Gaussian, scale: float) -> None:
    for problem, wanted in zip(PROBLEMS, EXPECTED[0.85, 5], strict=True):
        found = measure(gaussian, DDRM(churn=0.85, schedule=FROM_NOISE), problem, 5, scale)
        assert found != pytest.approx(wanted, rel=0.02, abs=0.002)


def test_noisy_measurements_are_counted_again_at_each_level(gaussian: Gaussian) -> None:
    """For ``A = I`` unconditional sampling from the level of the noise would be exact (``RePaint`` does it). Below that
    level this method moves to ybar at each step anew: with more steps the mean drifts, and the spread stays narrow."""
    identity = Blur(IMAGE, torch.ones(1, 1, dtype=torch.float64))
    stated = Problem.simulate(gaussian.truth, identity, 0.3)
    posterior = gaussian.dense.posterior(stated)
    std = posterior.covariance.diagonal().mean().sqrt()
    found = {}
    for steps in (4, 16):
        sampler = DDRM(schedule=Schedule(grid=tuple(np.geomspace(0.3, 0.01, steps))))
        mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps)
        error = (mean - posterior.mean.flatten()).square().mean().sqrt()
        found[steps] = (float(error / std), float(covariance.diagonal().mean().sqrt() / std))
    assert found[4] == pytest.approx((0.1290, 0.3219), rel=0.02)
    assert found[16] == pytest.approx((0.3888, 0.4180), rel=0.02)


def test_errors() -> None:
    for name in ("churn", "data"):
        for value in (-0.1, 1.1, float("nan"), "1"):
            with pytest.raises(InvalidArgument, match=rf"^{name}: "):
                DDRM(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^schedule: "):
        DDRM(schedule=3)  # type: ignore[arg-type]
    nonlinear = Magnitude(SHAPE)
    with pytest.raises(InvalidArgument, match=r"^operator: .*DDRM"):
        DDRM().check(mixture(), Problem(nonlinear(torch.rand(1, *SHAPE, dtype=torch.float64)), nonlinear))


def test_a_noisy_blur_of_a_larger_signal_needs_no_decomposition() -> None:
    """The spectrum of a blur is at hand: 64 x 64, whose dense matrix would have 16 million entries."""
    gaussian = Gaussian()
    shape = (1, 64, 64)
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stated = Problem.simulate(x, Blur(shape, gaussian_kernel(1.5, 9)), 0.05)
    out = DDRM().run(gaussian.prior, stated, 5, RowNoise([(0, 0, 0)]), lambda done, total: None)
    assert float((stated.operator(out) - stated.y).square().mean().sqrt()) < 0.15
