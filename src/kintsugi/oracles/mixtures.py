"""Mixtures of Gaussians: posteriors with several modes, and still known exactly.

The 25 modes on a grid are those of the field (Cardoso et al., 2024; Boys et al., 2024), divided by 16 so that data are
in [-1, 1]: means ``(i, j, i, j, ...) / 2`` for i and j from -2 to 2, each mode N(mean, I / 256), weights at random, and
one random projection measured. In 256 dimensions neighbours are 90 of their standard deviations apart: a sampler that
has picked a mode cannot change its mind, and the weights show what it picked by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..operators import Identity, Matrix
from ..priors import GaussianPrior, MixturePrior
from ..priors.base import Prior
from ..priors.oracles import MixturePosterior
from ..problem import Problem
from .base import Oracle
from .gaussian import covariance_root
from .isotropic import IsotropicMixture

GRIDS = {"16": (1, 4, 4), "256": (1, 16, 16)}
# Of the projection and the truth: chosen so that at least three modes share the posterior.
SEEDS = {"16": 16, "256": 54}
NOISE = 0.1


def grid_mixture(shape: Sequence[int]) -> IsotropicMixture:
    """The 25 modes for signals of ``shape``, which has an even number of elements."""
    line = torch.arange(-2, 3, dtype=torch.float64) / 2
    means = torch.cartesian_prod(line, line).repeat(1, math.prod(shape) // 2)
    weights = torch.randn(25, generator=torch.Generator().manual_seed(25), dtype=torch.float64).square() + 0.1
    return IsotropicMixture(weights, means.view(25, *shape), 1 / 16)


def grid_oracle(name: str) -> Oracle:
    """``mixture-DIMENSIONS`` or ``mixture-DIMENSIONS-noisy``."""
    _, dimensions, *noisy = name.split("-")
    shape, noise = GRIDS[dimensions], NOISE if noisy else 0.0
    prior = grid_mixture(shape)
    generator = torch.Generator().manual_seed(SEEDS[dimensions])
    row = torch.randn(1, math.prod(shape), generator=generator, dtype=torch.float64)
    truth = prior.sample(1, generator)
    problem = Problem.simulate(truth, Matrix(row / row.norm(), shape), noise)
    summary = grid_summary(dimensions, noise)
    return _oracle(name, summary, prior, problem, truth, prior.posterior(problem), prior.responsibilities)


def grid_summary(dimensions: str, noise: float) -> str:
    """One line."""
    ending = f"noise {noise:g}" if noise else "no noise"
    return f"25 modes on a grid in {dimensions} dimensions, one random projection measured, {ending}"


LINE_SUMMARY = "three modes of different width on a line, seen with noise 0.3"
LINE = ((0.4, -0.6, 0.1), (0.25, 0.0, 0.05), (0.35, 0.5, 0.2))  # weight, mean, standard deviation


def line_oracle(name: str) -> Oracle:
    """One number, so that prior, posterior and samples can be plotted."""
    shape, line = (1, 1), torch.tensor(LINE, dtype=torch.float64)
    prior = MixturePrior(line[:, 0], [GaussianPrior(shape, std.view(1, 1) ** 2, mean) for _, mean, std in line])

    def responsibilities(x: Tensor) -> Tensor:
        return (line[:, 0].log() + _log_normal(x, line[:, 1], line[:, 2])).softmax(1)

    truth = torch.full((1, 1, 1), 0.02, dtype=torch.float64)
    problem = Problem(torch.full((1, 1, 1), -0.15, dtype=torch.float64), Identity(shape), 0.3)
    posterior = prior.posterior(problem)
    means = torch.cat([c.mean.flatten() for c in posterior.components])
    stds = torch.cat([c.std.flatten() for c in posterior.components])

    def density(x: Tensor) -> Tensor:
        return (posterior.weights[0].log() + _log_normal(x, means, stds)).exp().sum(1)

    return _oracle(name, LINE_SUMMARY, prior, problem, truth, posterior, responsibilities, density)


def _log_normal(x: Tensor, means: Tensor, stds: Tensor) -> Tensor:
    """The logarithm of each Gaussian's density at numbers ``x`` (n, 1, 1), (n, K)."""
    return -0.5 * ((x.view(-1, 1) - means) / stds) ** 2 - stds.log() - 0.5 * math.log(2 * math.pi)


def _oracle(
    name: str,
    summary: str,
    prior: Prior,
    problem: Problem,
    truth: Tensor,
    posterior: MixturePosterior,
    responsibilities: Callable[[Tensor], Tensor],
    density: Callable[[Tensor], Tensor] | None = None,
) -> Oracle:
    weights, mean = posterior.weights[0], posterior.mean[0]
    within = torch.stack([c.std**2 for c in posterior.components])
    between = (torch.cat([c.mean for c in posterior.components]) - mean) ** 2
    return Oracle(
        name=name,
        family=name.split("-")[0],
        summary=summary,
        prior=prior,
        problem=problem,
        truth=truth,
        mean=mean,
        std=torch.einsum("k,k...->...", weights, within + between).sqrt(),
        draw=MixtureDraws(posterior),
        weights=weights,
        responsibilities=responsibilities,
        density=density,
    )


class MixtureDraws:
    """Exact draws of the posterior of one measurement under a mixture."""

    def __init__(self, posterior: MixturePosterior) -> None:
        self.weights = posterior.weights[0]
        self.means = torch.cat([c.mean for c in posterior.components])
        # Modes of one covariance share its decomposition.
        known: dict[int, Tensor] = {}
        for c in posterior.components:
            if id(c.covariance) not in known:
                known[id(c.covariance)] = covariance_root(c.covariance)
        self.roots = [known[id(c.covariance)] for c in posterior.components]

    def __call__(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        white = torch.randn(n, self.means[0].numel(), generator=generator, dtype=torch.float64)
        out = self.means[which]
        for k in which.unique().tolist():
            out[which == k] += (white[which == k] @ self.roots[k].T).view(-1, *out.shape[1:])
        return out
