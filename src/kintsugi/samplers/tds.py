"""TDS: the twisted diffusion sampler (Wu, Trippe, Naesseth, Blei, Cunningham, NeurIPS 2023).

Sequential Monte Carlo on the ancestral chain of the unconditional model, ``p(z_c | z_a) = N(m(D), s^2)`` with
``m(D) = D + (c/a)^2 (z_a - D)`` and ``s^2 = c^2 (1 - c^2/a^2)``, aimed at ``p(x_0) p(y | x_0)`` through the twisting
functions

    p~(y | z) = N(y; A D(z), sigma^2 I + r^2 A A^T),    r^2 = eta^2 (or s^2 eta^2 / (s^2 + eta^2)).

Each particle is proposed from the twisted transition and weighted by what that leaves (algorithm 1):

    z_c ~ N(m(D_y), s^2),    D_y = D + a^2 grad_z log p~(y | z_a)
    w = p(z_c | z_a) p~(y | z_c) / [p~(y | z_a) N(z_c; m(D_y), s^2)]

so that with many particles the samples follow the model's chain given y, however poor the twisting. The gradient is
exact: the normaliser of p~ is the same for all particles, and cancels. For an operator that is not linear A A^T is
replaced by I.

The last transition is a point, ``x_0 = D``: it is weighted by p(y | x_0) over p~(y | z) and not twisted; then one
particle is drawn. Without noise nothing would have a weight, so sigma is at least ``floor``: the samples are those of
a measurement with that much noise. With as many measurements as an image has, one particle soon carries all the
weight, and the method is guidance by the twisting function with a little selection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like
from ..guidance.ddnm import isotropic_variance
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..operators.iterative import row_dot
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march
from .schedule import Schedule


@dataclass(frozen=True)
class TDS(Sampler):
    """TDS: sequential Monte Carlo with guided proposals; follows the posterior as the particles grow.

    z_c ~ N(m(D_y), s^2), weighted by p(z_c | z_a) p~(y | z_c) / [p~(y | z_a) N(z_c; m(D_y), s^2)].

    particles: in the population of each sample. ess: the effective share of them below which they are resampled. r: the
    twisting function's standard deviation of x_0 given z, "eta" or "isotropic" (closer to the truth for data of
    independent pixels, and unstable in few steps). floor: the least standard deviation of the measurement. schedule:
    None for 20 to 0.02, from pure noise.

    Paper: Wu et al., NeurIPS 2023, algorithm 1.
    Cost: 16 forwards and 16 VJPs a step (``particles``).
    Takes: any differentiable operator; without noise, as with noise of ``floor``.
    Authors: up to 100 steps on images and 200 on proteins; 2 to 64 particles, resampled at an effective half of them.
    """

    name: ClassVar[str] = "tds"
    steadier: ClassVar[Mapping[str, str]] = {"floor": "larger", "r": "'eta'"}

    particles: int = 16
    ess: float = 0.5
    r: Literal["eta", "isotropic"] = "eta"
    floor: float = 0.02
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_type("particles", self.particles, int, "an integer of at least 1")
        check_number("particles", self.particles, lambda n: n >= 1, "an integer of at least 1")
        check_number("ess", self.ess, lambda q: 0 <= q <= 1, "a number from 0 to 1")
        if self.r not in ("eta", "isotropic"):
            raise InvalidArgument("r", self.r, "'eta' or 'isotropic'")
        check_number("floor", self.floor, lambda s: 0 < s < math.inf, "a positive number")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or Schedule(start="zero", eta=20.0, end=0.02)
        levels = schedule.levels(prior, steps)
        many = problem.select([i for i in range(len(problem.y)) for _ in range(self.particles)])
        noise2 = max(problem.noise, self.floor) ** 2

        # log_w: of each particle, (B, particles), without the twisting function at its present level.
        def step(z: Tensor, a: float, c: float, log_w: Tensor) -> tuple[Tensor, Tensor]:
            r2 = a**2 if self.r == "eta" else isotropic_variance(prior.data_variance, a)
            d, pull, twist = (t.view(*z.shape[:2], *t.shape[1:]) for t in twisted(prior, many, z, a, r2, noise2))
            if c == 0:
                residual = (many.y - many.operator(d.flatten(0, 1))).double()
                log_w = log_w - row_dot(residual, residual).view_as(log_w) / (2 * noise2)
                return take(d, systematic(log_w.softmax(1), uniform(noise, z), 1)), log_w
            log_w = log_w + twist
            share = log_w.softmax(1)
            poor = 1 / share.square().sum(1, keepdim=True) < self.ess * self.particles
            drawn = systematic(share, uniform(noise, z), self.particles)
            keep = torch.arange(self.particles, device=z.device).expand_as(drawn)
            chosen = torch.where(poor, drawn, keep)
            z, d, pull, twist = (take(t, chosen) for t in (z, d, pull, twist))
            log_w = torch.where(poor, 0.0, log_w)
            decay = (c / a) ** 2
            s, shift, xi = c * math.sqrt(1 - decay), (1 - decay) * a**2 * pull, noise.normal(z.shape[1:], z)
            # log p(z_c | z_a) - log N(z_c; m(D_y), s^2), with z_c = m(D) + shift + s xi
            change = (shift.double() * (shift / (2 * s**2) + xi / s)).flatten(2).sum(2)
            return d + decay * (z - d) + shift + s * xi, log_w - twist - change

        white = noise.normal((self.particles, *problem.operator.in_shape), problem.y)
        start = torch.zeros(white.shape[:2], dtype=torch.float64, device=white.device)
        return march(levels, schedule.scale * levels[0] * white, step, start, noise, report)[:, 0]


def twisted(
    prior: Prior, many: Problem, z: Tensor, eta: float, r2: float, noise2: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``D``, the gradient of ``log p~(y | z)`` and, but for a constant, its value, of all particles (B, K, *S)."""
    d, vjp = prior.denoise_vjp(z.flatten(0, 1), levels_like(z.flatten(0, 1), eta))
    measured, adjoint = many.operator.vjp(d)
    residual = many.y - measured
    if isinstance(many.operator, LinearOperator):
        weighted = many.operator.solve(r2, noise2, residual)
    else:
        weighted = residual / (r2 + noise2)
    return d, vjp(adjoint(weighted)), -0.5 * row_dot(residual.double(), weighted.double())


def uniform(noise: RowNoise, like: Tensor) -> Tensor:
    """One number in [0, 1) for each row of ``like``, (B, 1), float64."""
    return torch.special.ndtr(noise.normal((1,), like).double()).clamp_max(1 - 1e-12)


def systematic(share: Tensor, u: Tensor, n: int) -> Tensor:
    """``n`` indices for each row of ``share`` (B, K), which sums to 1, by systematic resampling; (B, n).

    Index k is drawn ``n share_k`` times on average, and never more than one off.
    """
    places = (u + torch.arange(n, dtype=share.dtype, device=share.device)) / n
    return torch.searchsorted(share.cumsum(1), places, right=True).clamp_max(share.shape[1] - 1)


def take(x: Tensor, chosen: Tensor) -> Tensor:
    """The particles ``chosen`` (B, n) of ``x`` (B, K, *)."""
    return x[torch.arange(len(x), device=x.device)[:, None], chosen]
