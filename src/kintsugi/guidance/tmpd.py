"""TMPD: Tweedie moment projected diffusions (Boys, Girolami, Pidstrigach, Reich, Mosca, Akyildiz, 2023).

p(x_0 | z) is projected onto the Gaussian of its first two moments, ``N(D, eta^2 J)`` (Tweedie's formulae), so
that p(y | z) = N(A D, eta^2 A J A^T + sigma^2 I) and

    D_y = D + eta^2 J^T A^T (eta^2 A J A^T + sigma^2 I)^{-1} (y - A D).

For images the matrix is replaced by the diagonal of its row sums, one more VJP (their diagonal approximation):

    c = eta^2 A J^T A^T 1 + sigma^2,    D_y = D + eta^2 J^T A^T [(y - A D) / c].

A row sum is the variance that a measurement would have if all its neighbours moved with it, so the correction is
smaller than the exact one where errors are alike nearby, and larger where they alternate. Nothing keeps it positive:
A may have negative weights (bicubic, random projections), and a network's J is not positive. The authors divide by what
they get; here an entry below ``floor`` times the mean modulus of the row sums of its image is raised to that.

The exact correction moves A D to y where there is no noise; this one moves it by the eigenvalues of K c^{-1},
K = eta^2 A J^T A^T, as shares of the way. A share below 0 leads away from the data, one far above 1 beyond them, and
both are repeated at each level. On the oracle ``gaussian-projection`` (J is exact; 36 projections with weights of both
signs, of whose row sums one to six are negative) they lie, over eta = 0.1 to 20, between

    -456 and 690 without a floor,    0.2 and 30 with 0.1,    0.2 and 6.2 with 0.8,    0.2 and 4.9 for the diagonal of K.

So the method as published diverges there. So does a floor of 0.1, at 5 and 20 steps: its sliced distance is above 1000,
where that of 0.8 is 0.56 and 0.32. On the other oracles of docs/oracles.md the two differ by less than 0.01. On
photographs 0.8 costs 0.2 dB for a box, whose row sums a network's J makes uneven, and 0.04 elsewhere. The authors'
code can also take the diagonal itself, by a VJP for each measurement, or Hutchinson's estimate of it.

Where the residual is restricted to the range of A, and a nonlinear measurement is replaced by its derivative at D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like
from .residual import local_residual


@dataclass(frozen=True)
class TMPD(Guidance):
    """Moment projection with the diagonal of row sums; one forward and two VJPs a level."""

    floor: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise InvalidArgument("floor", self.floor, "a number above 0 and at most 1")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        d, vjp = prior.denoise_vjp(z, levels_like(z, eta))
        operator, residual = local_residual(problem, d)
        sums = eta**2 * operator(vjp(operator.adjoint(torch.ones_like(residual))))
        modulus = sums.abs().flatten(1).mean(1).view(-1, *(1,) * (sums.ndim - 1))
        variance = torch.maximum(sums, self.floor * modulus.clamp_min(torch.finfo(sums.dtype).tiny))
        u = residual / (variance + problem.noise**2)
        return d + eta**2 * vjp(operator.adjoint(u)), state
