"""The data step of plug-and-play methods, as DiffPIR takes it (Zhu et al., CVPRW 2023).

    D_y = argmin_x |y - A x|^2 + rho |x - D|^2,    rho = lam sigma_y^2 / eta^2

has the closed form ``D + r^2 A^T (r^2 A A^T + sigma_y^2)^{-1} (y - A D)`` with ``r^2 = sigma_y^2 / rho = eta^2 /
lam``: the posterior mean of the isotropic model (``ddnm.py``) if the variance of x_0 given z were ``eta^2 / lam``.
Without noise it is the projection onto the data, for any lam. For a nonlinear measurement, where the authors take a
gradient step of length ``1/rho``, this is one Gauss-Newton step: A in its derivative at D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..operators.linearized import local_operator
from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like


@dataclass(frozen=True)
class Proximal(Guidance):
    """A proximal step towards the data; one forward a level. ``lam``: how firmly the network's estimate is held."""

    lam: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.lam < float("inf"):
            raise InvalidArgument("lam", self.lam, "a positive number")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        d = prior.denoise(z, levels_like(z, eta))
        operator = local_operator(problem.operator, d)
        residual = problem.y - problem.operator(d)
        r2 = eta**2 / self.lam
        return d + r2 * operator.adjoint(operator.solve(r2, problem.noise**2, residual)), state
