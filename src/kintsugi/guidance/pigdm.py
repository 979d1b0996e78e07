"""Pseudo-inverse guidance: PiGDM (Song et al., ICLR 2023) and, on a flow, PiGFM (Pokle et al., TMLR 2024).

p(x_0 | z) is approximated by N(D, r^2 I), so that p(y | z) = N(A D, r^2 A A^T + sigma^2 I) and

    g = J^T A^T (r^2 A A^T + sigma^2 I)^{-1} (y - A D),    D_y = D + eta^2 g                       (their eq. 7)

The papers multiply g by an adaptive weight. With ``w`` None there is none: the equation as it stands. With a number,
``g`` is multiplied by ``w alpha(eta)^2 r^2``, the weight of the conjugate papers ("w r_t^2 mu_t^2" for diffusion and
"w t (1 - t)" for flows), so that PiGDM and C-PiGDM integrate the same equation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like, linear_operator
from .ddnm import isotropic_variance


@dataclass(frozen=True)
class PiGDM(Guidance):
    """Pseudo-inverse guidance through the Jacobian of the denoiser; one forward and one VJP a level."""

    w: float | None = None

    def __post_init__(self) -> None:
        if self.w is not None and not self.w > 0:
            raise InvalidArgument("w", self.w, "a positive number or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "PiGDM")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        operator = linear_operator(problem, "PiGDM")
        d, vjp = prior.denoise_vjp(z, levels_like(z, eta))
        r2 = isotropic_variance(prior.data_variance, eta)
        u = operator.adjoint(operator.solve(r2, problem.noise**2, problem.y - operator(d)))
        weight = eta**2
        if self.w is not None:
            weight *= self.w * float(prior.path.alpha_of_eta(eta)) ** 2 * r2
        return d + weight * vjp(u), state
