"""RePaint against its algorithm in the paper's variables, its extension to noise, and what it draws on a Gaussian."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise
from kintsugi.operators import Blur, Magnitude
from kintsugi.priors.oracles import GaussianPosterior, dense_matrix
from kintsugi.problem import Problem
from kintsugi.samplers import RePaint, Schedule
from kintsugi.samplers.repaint import noise_of_pinv
from kintsugi.samplers.schedule import time_travel
from toy import (
    IMAGE,
    KEEP,
    KEYS,
    PIXELS,
    SHAPE,
    Gaussian,
    ImpulseNoise,
    exact_moments,
    mixture,
    operator,
    relative_error,
    run,
)

Array = NDArray[np.float64]
LEVELS = (4.0, 1.5, 0.7, 0.3, 0.08)


def literal(matrix: Array, y: Array, sigma_y: float, etas: list[float], path: str) -> Array:
    """Algorithm 1 in x_t = alpha x_0 + sigma eps, the projection of ``matrix`` for the mask. With noise, y is put in
    place where it is the less noisy, a singular value at a time."""
    prior, noise = mixture(), RowNoise(KEYS)
    _, s, vt = np.linalg.svd(matrix)
    s = np.concatenate((s, np.zeros(16 - len(s))))
    pinv_y = y @ np.linalg.pinv(matrix, rcond=1e-6).T

    def draw() -> Array:
        return noise.normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()

    alphas = [1 / np.sqrt(1 + eta**2) if path == "vp" else 1 / (1 + eta) for eta in etas]
    x = alphas[0] * etas[0] * draw()
    for (a, c), (alpha, after) in zip(itertools.pairwise(etas), itertools.pairwise(alphas), strict=True):
        sigma, sigma_after = alpha * a, after * c
        if c > a:
            x = after / alpha * x + np.sqrt(sigma_after**2 - (after / alpha * sigma) ** 2) * draw()
            continue
        z = torch.from_numpy(x / alpha).view(2, *SHAPE)
        x_0 = prior.denoise(z, torch.full((2,), a, dtype=torch.float64)).flatten(1).numpy()
        # q(x_{t-1} | x_t, x_0): a product of two Gaussians.
        step2 = sigma**2 - (alpha / after * sigma_after) ** 2
        mean = (alpha / after * sigma_after**2 * x + after * step2 * x_0) / sigma**2
        unknown = mean + (np.sqrt(sigma_after**2 * step2) / sigma * draw() if c > 0 else 0)
        xi = draw() if c > 0 else np.zeros((2, 16))
        bar, bar_y, bar_xi = unknown @ vt.T, pinv_y @ vt.T, xi @ vt.T
        for i in range(16):
            if s[i] > 1e-6 * s[0] and c >= sigma_y / s[i]:
                bar[:, i] = after * bar_y[:, i] + np.sqrt(sigma_after**2 - (after * sigma_y / s[i]) ** 2) * bar_xi[:, i]
        x = bar @ vt
    return x


@pytest.mark.parametrize("path", ["vp", "flow"])
@pytest.mark.parametrize(("length", "repeats"), [(1, 2), (2, 3)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mask", "average", "blur"])
def test_the_published_algorithm(name: str, noise: float, length: int, repeats: int, path: str) -> None:
    prior = mixture()
    measure, matrix = operator(name)
    problem = Problem.simulate(prior.sample(1, torch.Generator().manual_seed(5)), measure, noise)
    sampler = RePaint(length=length, repeats=repeats, schedule=Schedule(start="zero", grid=LEVELS))
    s = np.linalg.svd(matrix, compute_uv=False)
    lowest = noise * np.sqrt(np.mean(1 / s[s > 1e-6 * s[0]] ** 2))  # above it, steps are done again
    above = [level for level in LEVELS if level >= lowest]
    levels = [*time_travel([*above, 0.0], length, repeats)[:-1], *LEVELS[len(above) :], 0.0]
    theirs = literal(matrix, problem.batch.flatten(1).numpy(), noise, levels, path)
    assert relative_error(run(sampler, prior, problem, 5), theirs) < 1e-8


def test_a_mask_is_the_paper_s_equation_8() -> None:
    """The projection in its simplest case: m y + (1 - m) x at the end, and nothing of y where nothing was measured."""
    prior = mixture()
    measure, _ = operator("mask")
    x = prior.sample(1, torch.Generator().manual_seed(5))
    stated = Problem.simulate(x, measure)
    out = run(RePaint(), prior, stated, 4)
    keep = KEEP.flatten().numpy()
    np.testing.assert_allclose(out[:, keep], np.broadcast_to(x.flatten().numpy()[keep], (2, keep.sum())), atol=1e-12)
    filled = stated.with_rows(torch.where(KEEP, stated.y, 9.0))
    np.testing.assert_array_equal(run(RePaint(), prior, filled, 4), out)


# --- on the Gaussian oracle -------------------------------------------------------------------------------------------

PROBLEMS = {
    "average": ("average", 0.0),
    "mask": ("mask", 0.0),
    "noisy mask": ("mask", 0.1),
    "noisy blur": ("blur", 0.1),
}
FROM_NOISE = Schedule(start="zero", eta=20.0, end=0.02, grid="karras")
# (repeats, steps): for each problem, error of the mean and spread, in posterior standard deviations.
EXPECTED: dict[tuple[int, int], list[tuple[float, float]]] = {
    (1, 5): [(0.236, 0.527), (0.724, 0.636), (0.805, 0.678), (0.581, 0.604)],
    (1, 16): [(0.161, 0.798), (0.565, 0.890), (0.608, 0.899), (0.168, 0.823)],
    (3, 5): [(0.167, 0.605), (0.557, 0.684), (0.758, 0.687), (0.582, 0.604)],
}


@pytest.fixture(scope="module")
def gaussian() -> Gaussian:
    return Gaussian()


def measure(gaussian: Gaussian, sampler: RePaint, problem: str, steps: int, scale: float = 1.0) -> tuple[float, float]:
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    return distance(gaussian, sampler, stated, posterior, steps, scale)


def distance(
    gaussian: Gaussian, sampler: RePaint, stated: Problem, posterior: GaussianPosterior, steps: int, scale: float = 1.0
) -> tuple[float, float]:
    mean, covariance = exact_moments(sampler, gaussian.prior, stated, steps, scale)
    std = posterior.covariance.diagonal().mean().sqrt()
    error = (mean - posterior.mean.flatten()).square().mean().sqrt()
    return float(error / std), float(covariance.diagonal().mean().sqrt() / std)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize(("repeats", "steps"), EXPECTED)
def test_distance_to_the_posterior(gaussian: Gaussian, repeats: int, steps: int, problem: str) -> None:
    wanted = EXPECTED[repeats, steps][list(PROBLEMS).index(problem)]
    found = measure(gaussian, RePaint(length=1, repeats=repeats, schedule=FROM_NOISE), problem, steps)
    assert found == pytest.approx(wanted, rel=0.02, abs=0.002)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_wrong_noise_would_show(gaussian: Gaussian, scale: float) -> None:
    sampler = RePaint(length=1, repeats=1, schedule=FROM_NOISE)
    for problem, wanted in zip(PROBLEMS, EXPECTED[1, 5], strict=True):
        assert measure(gaussian, sampler, problem, 5, scale) != pytest.approx(wanted, rel=0.02, abs=0.002)


@pytest.mark.parametrize(
    ("problem", "errors"),
    [("mask", [0.639, 0.433, 0.235]), ("average", [0.192, 0.108, 0.049]), ("noisy mask", [0.758, 0.664, 0.620])],
)
def test_resampling_lets_what_was_not_measured_fit(gaussian: Gaussian, problem: str, errors: list[float]) -> None:
    """Section 4.2 of the paper: the error of the mean, which is what no noise gives, falls as steps are done again."""
    stated, posterior = gaussian.problem(*PROBLEMS[problem])
    std = posterior.covariance.diagonal().mean().sqrt()
    found = []
    for repeats in (1, 3, 10):
        sampler = RePaint(length=1, repeats=repeats, schedule=FROM_NOISE)
        mean = sampler.run(gaussian.prior, stated, 8, ImpulseNoise(PIXELS, 0), lambda done, total: None)
        found.append(float((mean - posterior.mean).square().mean().sqrt() / std))
    assert found == pytest.approx(errors, rel=0.02)


def test_denoising_tends_to_the_posterior(gaussian: Gaussian) -> None:
    """For ``A = I`` the extension to noise is unconditional sampling from the level of the noise on: exact at last."""
    identity = Blur(IMAGE, torch.ones(1, 1, dtype=torch.float64))
    stated = Problem.simulate(gaussian.truth, identity, 0.3)
    posterior = gaussian.dense.posterior(stated)
    for steps, wanted in ((4, 0.3863), (16, 0.8291)):
        sampler = RePaint(repeats=1, schedule=Schedule(start="zero", grid=(0.6, *np.geomspace(0.3, 0.01, steps))))
        error, spread = distance(gaussian, sampler, stated, posterior, steps)
        assert error < 1e-9
        assert spread == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("name", ["mask", "average", "bicubic", "blur"])
def test_the_noise_of_the_pseudo_inverse(gaussian: Gaussian, name: str) -> None:
    """A chirp in place of white noise: within a tenth of the root mean square of sigma / s over the singular values."""
    stated, _ = gaussian.problem(name, 0.1)
    s = torch.linalg.svdvals(dense_matrix(stated.operator))
    s = s[s > stated.operator.cutoff * s.max()]  # type: ignore[attr-defined]
    assert noise_of_pinv(stated) == pytest.approx(0.1 * float(s.pow(-2).mean().sqrt()), rel=0.1)


def test_errors() -> None:
    for name, values in {"length": (0, 1.5, "2"), "repeats": (0, 2.5, True)}.items():
        for value in values:
            with pytest.raises(InvalidArgument, match=rf"^{name}: "):
                RePaint(**{name: value})  # type: ignore[arg-type]
    for name in ("solver", "schedule"):
        with pytest.raises(InvalidArgument, match=rf"^{name}: "):
            RePaint(**{name: 3})  # type: ignore[arg-type]
    nonlinear = Magnitude(SHAPE)
    with pytest.raises(InvalidArgument, match=r"^operator: .*RePaint"):
        RePaint().check(mixture(), Problem(nonlinear(torch.rand(1, *SHAPE, dtype=torch.float64)), nonlinear))
