"""Small exact problems that several test files share: a mixture prior on 4 x 4 signals with operators whose matrices
are written down by hand, and a stationary Gaussian on 12 x 12."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

import kintsugi
from kintsugi.noise import RowNoise
from kintsugi.operators import Bicubic, BlockAverage, Blur, LinearOperator, Mask, StationaryCovariance, gaussian_kernel
from kintsugi.priors import GaussianPrior, MixturePrior, Prior, StationaryPrior
from kintsugi.priors.oracles import GaussianPosterior
from kintsugi.problem import Problem
from kintsugi.samplers import Sampler

SHAPE, N = (1, 4, 4), 16
KEEP = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]], dtype=torch.bool)
KERNEL = torch.tensor([[0.0, 0.1, 0.1], [0.2, 0.3, 0.0], [0.0, 0.2, 0.1]], dtype=torch.float64)
KEYS = [(7, 0, 0), (7, 0, 1)]


def mixture() -> MixturePrior:
    """Three Gaussians that overlap, with full covariances."""
    generator = torch.Generator().manual_seed(3)
    parts = []
    for mean in (-0.4, 0.1, 0.5):
        root = torch.randn(N, N, generator=generator, dtype=torch.float64) / 10
        tilt = 0.2 * torch.randn(SHAPE, generator=generator, dtype=torch.float64)
        parts.append(GaussianPrior(SHAPE, root @ root.T + 0.01 * torch.eye(N, dtype=torch.float64), mean + tilt))
    return MixturePrior(torch.tensor([0.3, 0.5, 0.2]), parts)


def operator(name: str) -> tuple[LinearOperator, np.ndarray]:
    """``mask``, ``average`` or ``blur``, and its matrix (m, 16)."""
    if name == "mask":
        return Mask(KEEP, SHAPE), np.diag(KEEP.double().flatten().numpy())
    if name == "average":
        pair = np.kron(np.eye(2), np.full((1, 2), 0.5))
        return BlockAverage(SHAPE, 2), np.kron(pair, pair)
    matrix = np.zeros((4, 4, 4, 4))
    for i, j, k, m in np.ndindex(4, 4, 3, 3):  # y_ij = sum_km kernel_km x_{i-k+1, j-m+1}, around the border
        matrix[i, j, (i - k + 1) % 4, (j - m + 1) % 4] += float(KERNEL[k, m])
    return Blur(SHAPE, KERNEL), matrix.reshape(N, N)


def run(sampler: Sampler, prior: Prior, problem: Problem, steps: int) -> np.ndarray:
    """Two samples (2, n), with the noise of ``KEYS``."""
    rows = problem.with_rows(problem.batch.expand(len(KEYS), *problem.operator.out_shape))
    out = sampler.run(prior, rows, steps, RowNoise(KEYS), lambda done, total: None)
    return out.flatten(1).numpy()


def white() -> np.ndarray:
    """The first noise that :func:`run` draws, (2, 16)."""
    return RowNoise(KEYS).normal(SHAPE, torch.zeros((), dtype=torch.float64)).flatten(1).numpy()


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Distance over the norm of ``theirs``."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


IMAGE, PIXELS = (1, 12, 12), 144


def spectrum(radius: torch.Tensor) -> torch.Tensor:
    """1/f^2, as photographs have, with a pixel variance near 0.26."""
    return torch.stack([0.02 / (radius**2 + (1 / 16) ** 2)] * 2)


class Gaussian:
    """The stationary Gaussian oracle: the prior that samplers see, its dense form, and one signal drawn from it."""

    def __init__(self) -> None:
        self.covariance = StationaryCovariance(spectrum)
        self.dense = GaussianPrior.stationary(IMAGE, self.covariance)
        self.prior = StationaryPrior(self.covariance, 1, self.dense.data_variance)
        self.truth = self.dense.sample(1, torch.Generator().manual_seed(0))
        keep = torch.rand(IMAGE, generator=torch.Generator().manual_seed(1)) > 0.7
        self.operators: dict[str, LinearOperator] = {
            "average": BlockAverage(IMAGE, 4),
            "bicubic": Bicubic(IMAGE, 4),
            "mask": Mask(keep, IMAGE),
            "blur": Blur(IMAGE, gaussian_kernel(1.0, 7)),
        }

        self._problems: dict[tuple[str, float], tuple[Problem, GaussianPosterior]] = {}

    def problem(self, name: str, noise: float) -> tuple[Problem, GaussianPosterior]:
        """A measurement of the truth, and the exact posterior."""
        if (name, noise) not in self._problems:
            problem = Problem.simulate(self.truth, self.operators[name], noise)
            self._problems[name, noise] = problem, self.dense.posterior(problem)
        return self._problems[name, noise]

    def distance(self, name: str, noise: float, sampler: str, steps: int, samples: int) -> tuple[float, float]:
        """Error of the mean, and spread, of a sampler with its defaults, over the posterior's standard deviation."""
        problem, posterior = self.problem(name, noise)
        std = float(posterior.covariance.diagonal().mean().sqrt())
        result = kintsugi.restore(problem, self.prior, sampler, steps=steps, samples=samples, batch=samples, tile=None)
        error = float((result.mean - posterior.mean).square().mean().sqrt())
        return error / std, float(result.std.square().mean().sqrt()) / std


class ImpulseNoise(RowNoise):
    """Row 0 draws zeros; each further row draws a single one, in one pixel of one draw."""

    def __init__(self, pixels: int, draws: int, scale: float = 1.0) -> None:
        self.pixels, self.draws, self.scale, self.drawn = pixels, draws, scale, 0

    def normal(self, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        out = like.new_zeros((1 + self.draws * self.pixels, self.pixels))
        if self.draws:
            rows = slice(1 + self.drawn * self.pixels, 1 + (self.drawn + 1) * self.pixels)
            out[rows] = self.scale * torch.eye(self.pixels, dtype=like.dtype)
        self.drawn += 1
        return out.view(-1, *shape)


def exact_moments(
    sampler: Sampler, prior: Prior, problem: Problem, steps: int, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (n,) and covariance (n, n) of what ``sampler`` draws where it is an affine map of its noise, as on a
    Gaussian prior: no Monte Carlo error. ``scale`` multiplies every noise it draws."""
    pixels = math.prod(problem.operator.in_shape)
    count = ImpulseNoise(pixels, 0)
    sampler.run(prior, problem, steps, count, lambda done, total: None)
    noise = ImpulseNoise(pixels, count.drawn, scale)
    rows = problem.batch.expand(1 + noise.draws * pixels, *problem.operator.out_shape)
    out = sampler.run(prior, problem.with_rows(rows), steps, noise, lambda done, total: None).flatten(1)
    response = out[1:] - out[0]
    return out[0], response.T @ response


def order(errors: dict[int, float]) -> float:
    """The order of convergence: the slope of log error against log steps, its sign turned."""
    slope, _ = np.polyfit(np.log(list(errors)), np.log(list(errors.values())), 1)
    return -float(slope)
