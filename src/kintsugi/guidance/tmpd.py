"""TMPD: Tweedie moment projected diffusions (Boys, Girolami, Pidstrigach, Reich, Mosca, Akyildiz, 2023).

p(x_0 | z) is projected onto the Gaussian of its first two moments, ``N(D, eta^2 J)`` (Tweedie's formulae), so
that p(y | z) = N(A D, eta^2 A J A^T + sigma^2 I) and

    D_y = D + eta^2 J^T A^T (eta^2 A J A^T + sigma^2 I)^{-1} (y - A D).

For images the matrix is replaced by the diagonal of its row sums, one more VJP (their diagonal approximation):

    c = eta^2 A J^T A^T 1 + sigma^2,    D_y = D + eta^2 J^T A^T [(y - A D) / c].

A row sum is the variance that a measurement would have if all its neighbours moved with it, so the correction is
smaller than the exact one where errors are alike nearby, and larger where they alternate. Nothing keeps it positive:
A may have negative weights (bicubic), and a network's J is not positive. The authors divide by what they get; here an
entry below ``floor`` times the mean modulus of the row sums of its image is raised to that.

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

    floor: float = 0.1

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
