"""Phase retrieval of two samples: a nonlinear measurement whose posterior is an integral over a plane.

The modulus of the Fourier transform does not tell ``x`` from ``-x``, nor from its mirror image, so that the likelihood
of two samples has four equal peaks; the prior, four Gaussians near them, decides between these. Moments and density are
sums over a regular grid. The likelihood has a kink where a Fourier coefficient is zero, so their error falls with the
square of the spacing: it is below 1e-6 (against a grid eight times finer). Draws are by rejection from the prior and so
are exact: the likelihood is at most its largest value on the grid, with a margin for what lies between grid points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..operators import Magnitude
from ..problem import Problem
from .base import Oracle
from .isotropic import IsotropicMixture

SHAPE = (1, 2)
SUMMARY = "phase retrieval of two samples (a modulus of the Fourier transform), four modes, noise 0.1"
NOISE = 0.1
MODES = ((0.3, 0.7, 0.1), (0.3, -0.5, -0.4), (0.2, 0.3, 0.8), (0.2, -0.1, -0.6))  # weight, first, second sample
WIDTH = 0.25
REACH, PER_AXIS = 2.0, 401  # the grid ends where the prior is a millionth of its peak, and the likelihood far less
# exp(0.05): between grid points the logarithm of the likelihood can rise by half its curvature, some 4 / noise^2, times
# the square of half the diagonal of a cell, 0.01.
MARGIN = 0.05


def phase_oracle(name: str) -> Oracle:
    """Its posterior has four modes, one near each of the prior's."""
    table = torch.tensor(MODES, dtype=torch.float64)
    prior = IsotropicMixture(table[:, 0], table[:, 1:].view(-1, *SHAPE), WIDTH)
    truth = torch.tensor([[[0.6, 0.3]]], dtype=torch.float64)
    operator = Magnitude(SHAPE)
    problem = Problem.simulate(truth, operator, NOISE)

    def log_likelihood(x: Tensor) -> Tensor:
        return -0.5 * (operator(x) - problem.y).square().flatten(1).sum(1) / NOISE**2

    def log_prior(x: Tensor) -> Tensor:
        own = -0.5 * x.flatten(1).square().sum(1) / WIDTH**2 - math.log(2 * math.pi * WIDTH**2)
        return own + prior.log_shares(x, x.new_full((len(x),), WIDTH**2)).logsumexp(1)

    points, cell = grid(PER_AXIS)
    likelihood = log_likelihood(points)
    logs = likelihood + log_prior(points)
    log_evidence = logs.logsumexp(0) + math.log(cell)
    shares = (logs - logs.logsumexp(0)).exp()
    mean = torch.einsum("n,n...->...", shares, points)
    bound = float(likelihood.max()) + MARGIN

    def draw(n: int, generator: torch.Generator) -> Tensor:
        kept: list[Tensor] = []
        while sum(len(part) for part in kept) < n:
            x = prior.sample(20_000, generator)
            height = torch.rand(len(x), generator=generator, dtype=torch.float64).log()
            kept.append(x[height < log_likelihood(x) - bound])
        return torch.cat(kept)[:n]

    return Oracle(
        name=name,
        family="phase",
        summary=SUMMARY,
        prior=prior,
        problem=problem,
        truth=truth,
        mean=mean,
        std=torch.einsum("n,n...->...", shares, (points - mean).square()).sqrt(),
        draw=draw,
        weights=shares @ prior.responsibilities(points),
        responsibilities=prior.responsibilities,
        density=lambda x: (log_likelihood(x) + log_prior(x) - log_evidence).exp(),
    )


def grid(per_axis: int) -> tuple[Tensor, float]:
    """Signals (N, *SHAPE) on a square about 0, and the area of a cell."""
    line = torch.linspace(-REACH, REACH, per_axis, dtype=torch.float64)
    return torch.cartesian_prod(line, line).view(-1, *SHAPE), (2 * REACH / (per_axis - 1)) ** 2
