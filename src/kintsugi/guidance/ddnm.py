"""DDNM: replace what was measured, keep what was not (Wang, Yu, Zhang, ICLR 2023).

Hard (equation 13 of the paper, without noise): ``D_y = A^+ y + (I - A^+ A) D``.

Wiener-weighted: the covariance of x_0 given z is taken as ``r^2 I`` with ``r^2 = s^2 eta^2 / (s^2 + eta^2)``, s^2 the
variance of the data, and Bayes' rule for white noise of variance sigma^2 gives

    D_y = D + r^2 A^T (r^2 A A^T + sigma^2 I)^{-1} (y - A D).

It is the exact posterior mean of the isotropic model where DDNM+ scales the correction by a schedule; without noise
the two forms agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like, linear_operator

Level = TypeVar("Level", float, Tensor)


def isotropic_variance(data_variance: float, eta: Level) -> Level:
    """``r^2``: the variance of x_0 given z for white data of variance ``data_variance``."""
    return data_variance * eta**2 / (data_variance + eta**2)


@dataclass(frozen=True)
class DDNM(Guidance):
    """Null-space guidance. ``hard`` imposes ``A D_y = y`` whatever the noise; else Wiener-weighted."""

    hard: bool = False

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "DDNM")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        operator = linear_operator(problem, "DDNM")
        d = prior.denoise(z, levels_like(z, eta))
        residual = problem.y - operator(d)
        if self.hard:
            return d + operator.pinv(residual), state
        r2 = isotropic_variance(prior.data_variance, eta)
        return d + r2 * operator.adjoint(operator.solve(r2, problem.noise**2, residual)), state
