"""DAPS: decoupled annealing posterior sampling (Zhang, Chu, Berner, Meng, Anandkumar, Song, CVPR 2025).

Consecutive levels are decoupled: at each of them a clean signal is drawn given z and y, and noise is added to it afresh
(their algorithm 1; their paths have alpha = 1, as our z). From level a to c

    x^ = the end of the probability-flow ODE from (z, a), in ``ode_steps`` Euler steps
    x <- x - h [(x - x^) / r^2 - A'(x)^T (y - A(x)) / sigma^2] + sqrt(2 h) xi,    ``mcmc_steps`` times, from x = x^
    z = x + c xi

which is Langevin dynamics on ``N(x; x^, r^2) N(y; A(x), sigma^2)``. The authors take r = a, and
tau = 0.01 for sigma whatever the noise; here sigma is at least ``floor``. Their step is
``h = h_0 [delta + (1 - delta) t]``, with h_0 chosen by task, near the 1e-4 at which h / tau^2 = 1. Here h_0 is ``rate``
over the curvature ``1/r^2 + |A'|^2 / sigma^2``, with |A'| from a few power iterations at x^: stable for any operator
and noise below 2. t is the noise level over the first.

What it converges to. The drawn x has the wrong spread in two ways. With r = a, ``N(x^, a^2)`` is wider than
p(x_0 | z), and x^, itself a sample of the prior, should have been the mean D: unmeasured white data of variance s^2
come out with 2 s^2 as the steps grow. ``r="isotropic"`` (``r^2 = s^2 a^2 / (s^2 + a^2)``) with ``ode_steps=1``, where
x^ = D, is exact for white data. On the other hand Langevin with a step that suits sigma does not mix in directions
that are not measured: there x stays near x^. ``exact`` draws x in closed form instead, for linear operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like, linear_operator
from ..guidance.ddnm import isotropic_variance
from ..noise import RowNoise
from ..operators.iterative import row_dot
from ..operators.linearized import local_operator
from ..paths import noise_levels
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule

Width = Literal["eta", "isotropic"]


@dataclass(frozen=True)
class DAPS(Sampler):
    """DAPS: at each level an ODE to a clean signal, Langevin dynamics towards the data, and noise added afresh.

    x <- x - h [(x - x^) / r^2 - A'^T (y - A x) / sigma^2] + sqrt(2 h) xi, mcmc_steps times from x^ = ODE(z);
    z_c = x + c xi.

    ode_steps: Euler steps for x^. mcmc_steps: Langevin steps. rate: their length, 1 for the inverse of the curvature.
    decay: their length at the last level over that at the first. floor: the least standard deviation of the
    measurement. r: of x given z, "eta" or "isotropic" (less at high levels, where the data bound it). exact: draw x in
    closed form (linear operators). schedule: None for pure noise, from 10 (100 for operators without a
    pseudo-inverse) to 0.1.

    Paper: Zhang et al., CVPR 2025, algorithm 1.
    Cost: 2 forwards a step (``ode_steps``), no VJP of the network, and 100 VJPs of the operator.
    Takes: any differentiable operator; without noise, as with noise of ``floor``.
    Authors: 200 levels from 100 to 0.1, 5 ODE and 100 Langevin steps (DAPS-1K), tau 0.01, h_0 about 1e-4, delta 0.01.
    """

    name: ClassVar[str] = "daps"
    steadier: ClassVar[Mapping[str, str]] = {"rate": "smaller", "r": "'eta'"}

    ode_steps: int = 2
    mcmc_steps: int = 100
    rate: float = 1.0
    decay: float = 0.01
    floor: float = 0.01
    r: Width = "eta"
    exact: bool = False
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        for name in ("ode_steps", "mcmc_steps"):
            check_type(name, getattr(self, name), int, "an integer of at least 1")
            check_number(name, getattr(self, name), lambda n: n >= 1, "an integer of at least 1")
        check_number("rate", self.rate, lambda h: 0 < h < 2, "a number between 0 and 2")
        check_number("decay", self.decay, lambda q: 0 < q <= 1, "a number above 0 and at most 1")
        check_number("floor", self.floor, lambda s: 0 < s < math.inf, "a positive number")
        if self.r not in get_args(Width):
            raise InvalidArgument("r", self.r, "'eta' or 'isotropic'")
        check_type("exact", self.exact, bool, "True or False")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        if self.exact:
            linear_operator(problem, "exact draws of DAPS")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        # Where y says roughly what the image is, levels far above it are wasted; elsewhere the modes part there.
        first = 10.0 if problem.operator.has_pinv else 100.0
        schedule = self.schedule or Schedule(start="zero", eta=first, end=0.1)
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        sigma = max(problem.noise, self.floor)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            centre = self._clean(prior, z, a)
            r2 = a**2 if self.r == "eta" else isotropic_variance(prior.data_variance, a)
            share = self.rate * (self.decay + (1 - self.decay) * a / levels[0])
            draw = exact_draw if self.exact else self._langevin
            x = draw(problem, centre, r2, sigma, share, noise)
            return (x + c * noise.normal_like(x) if c > 0 else x), state

        return march(levels, z, step, None, noise, report)

    def _clean(self, prior: Prior, z: Tensor, a: float) -> Tensor:
        """Euler steps of ``dz/deta = (z - D)/eta`` from ``a`` to 0; a single one gives D."""
        levels = noise_levels(self.ode_steps, a, min(0.01, 0.5 * a))
        for high, low in pairwise(levels):
            d = prior.denoise(z, levels_like(z, high))
            z = d + (low / high) * (z - d)
        return z

    def _langevin(
        self, problem: Problem, centre: Tensor, r2: float, sigma: float, share: float, noise: RowNoise
    ) -> Tensor:
        x, h = centre, share / (1 / r2 + squared_norm(problem, centre) / sigma**2)
        for _ in range(self.mcmc_steps):
            measured, adjoint = problem.operator.vjp(x)
            slope = (x - centre) / r2 - adjoint(problem.y - measured) / sigma**2
            x = x - h * slope + (2 * h).sqrt() * noise.normal_like(x)
        return x


def squared_norm(problem: Problem, at: Tensor, iterations: int = 12) -> Tensor:
    """The largest eigenvalue of ``A'^T A'`` at each row of ``at``, from below, by power iterations; (B, 1, ...)."""
    operator = local_operator(problem.operator, at)
    ones = (-1,) + (1,) * (at.ndim - 1)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(at.shape[1:], generator=generator, dtype=at.dtype).to(at.device).expand_as(at)
    for _ in range(iterations):
        v = v / row_dot(v, v).sqrt().clamp_min(1e-30).view(ones)
        v = operator.adjoint(operator(v))
    return row_dot(v, v).sqrt().view(ones)


def exact_draw(problem: Problem, centre: Tensor, r2: float, sigma: float, _: float, noise: RowNoise) -> Tensor:
    """A sample of ``N(x; centre, r2) N(y; A x, sigma^2)``: one of the prior, moved by what its measurement lacks."""
    operator = linear_operator(problem, "exact draws of DAPS")
    x = centre + math.sqrt(r2) * noise.normal_like(centre)
    lacking = problem.y + sigma * noise.normal_like(problem.y) - operator(x)
    return x + r2 * operator.adjoint(operator.solve(r2, sigma**2, lacking))
