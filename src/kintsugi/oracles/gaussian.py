"""Gaussian images with the 1/f^2 spectrum of photographs: everything about the posterior is linear algebra.

The prior that a sampler sees works in Fourier, as a network would for signals of any size; the posterior is that of its
dense covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators import Bicubic, BlockAverage, Blur, LinearOperator, Mask, Matrix, StationaryCovariance, gaussian_kernel
from ..priors import GaussianPrior, StationaryPrior
from ..problem import Problem
from .base import Oracle

IMAGE = (1, 12, 12)
PIXELS = 144

# What is measured and, where both make sense, the noise of the noisy version. A circular blur without noise is
# invertible: nothing would be left to sample.
MEASUREMENTS = {
    "mask": "a random 70 % of the pixels missing",
    "box": "a box of 5 x 5 pixels missing",
    "average": "super-resolution, means of 4 x 4 pixels",
    "bicubic": "super-resolution, 4x bicubic",
    "projection": "compressed sensing, 36 random projections",
    "blur": "a Gaussian blur of 1 pixel",
}
NOISE = 0.1


def spectrum(radius: Tensor) -> Tensor:
    """1/f^2 with a pixel variance near 0.26, the same for luma and chroma."""
    return torch.stack([0.02 / (radius**2 + (1 / 16) ** 2)] * 2)


def measurement(kind: str) -> LinearOperator:
    """The operator of one of ``MEASUREMENTS``."""
    if kind == "mask":
        return Mask(torch.rand(IMAGE, generator=torch.Generator().manual_seed(1)) > 0.7, IMAGE)
    if kind == "box":
        keep = torch.ones(IMAGE)
        keep[:, 3:8, 4:9] = 0
        return Mask(keep, IMAGE)
    if kind == "average":
        return BlockAverage(IMAGE, 4)
    if kind == "bicubic":
        return Bicubic(IMAGE, 4)
    if kind == "projection":
        rows = torch.randn(36, PIXELS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        return Matrix(rows / PIXELS**0.5, IMAGE)
    return Blur(IMAGE, gaussian_kernel(1.0, 7))


def gaussian_oracle(name: str) -> Oracle:
    """``gaussian-KIND`` or ``gaussian-KIND-noisy``."""
    _, kind, *noisy = name.split("-")
    noise = NOISE if noisy else 0.0
    covariance = StationaryCovariance(spectrum)
    dense = GaussianPrior.stationary(IMAGE, covariance)
    truth = dense.sample(1, torch.Generator().manual_seed(0))
    problem = Problem.simulate(truth, measurement(kind), noise)
    posterior = dense.posterior(problem)
    root = covariance_root(posterior.covariance)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        white = torch.randn(n, PIXELS, generator=generator, dtype=torch.float64)
        return posterior.mean + (white @ root.T).view(n, *IMAGE)

    return Oracle(
        name=name,
        family="gaussian",
        summary=summary(kind, noise),
        prior=StationaryPrior(covariance, 1, dense.data_variance),
        problem=problem,
        truth=truth,
        mean=posterior.mean[0],
        std=posterior.std,
        draw=draw,
    )


def summary(kind: str, noise: float) -> str:
    """One line."""
    return f"1/f^2 Gaussian image, {MEASUREMENTS[kind]}, " + (f"noise {noise:g}" if noise else "no noise")


def covariance_root(covariance: Tensor) -> Tensor:
    """The symmetric root of a covariance (n, n) of any rank: turns white noise into draws, the same on any machine."""
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.T))
    roots = torch.where(values > 1e-12 * values[-1], values, 0.0).sqrt()  # what was measured exactly is exact
    return (vectors * roots) @ vectors.T
