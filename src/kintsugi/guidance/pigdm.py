"""Pseudo-inverse guidance: PiGDM (Song et al., ICLR 2023) and, on a flow, PiGFM (Pokle et al., TMLR 2024).

p(x_0 | z) is approximated by N(D, r^2 I), so that p(y | z) = N(A D, r^2 A A^T + sigma^2 I) and

    g = J^T A^T (r^2 A A^T + sigma^2 I)^{-1} (y - A D),    D_y = D + eta^2 g                       (their eq. 7)

The papers multiply g by an adaptive weight. With ``w`` None there is none: the equation as it stands. With a number,
``g`` is multiplied by ``w alpha(eta)^2 r^2``, the weight of the conjugate papers ("w r_t^2 mu_t^2" for diffusion and
"w t (1 - t)" for flows), so that PiGDM and C-PiGDM integrate the same equation.

A measurement h that is not linear: without noise, and with a pseudo-inverse that obeys ``h(h^+(h(x))) = h(x)``, the
paper needs no derivative of h (JPEG, quantisation; their section on measurements without one),

    g = r^{-2} J^T (h^+(y) - h^+(h(D))).

Otherwise h is replaced by its derivative A' at D (Gauss-Newton):

    g = J^T A'^T (r^2 A' A'^T + sigma^2 I)^{-1} (y - h(D)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import Accuracy, LinearOperator
from ..operators.iterative import conjugate_gradients
from ..operators.linearized import Linearized
from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like
from .ddnm import isotropic_variance
from .spectral import STEP_ACCURACY


@dataclass(frozen=True)
class PiGDM(Guidance):
    """Pseudo-inverse guidance through the Jacobian of the denoiser; one forward and one VJP a level.

    ``accuracy`` bounds the conjugate gradients for measurements that are not linear; they do not call the network.
    """

    w: float | None = None
    accuracy: Accuracy = STEP_ACCURACY

    def __post_init__(self) -> None:
        if self.w is not None and not self.w > 0:
            raise InvalidArgument("w", self.w, "a positive number or None")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        d, vjp = prior.denoise_vjp(z, levels_like(z, eta))
        r2 = isotropic_variance(prior.data_variance, eta)
        weight = eta**2
        if self.w is not None:
            weight *= self.w * float(prior.path.alpha_of_eta(eta)) ** 2 * r2
        return d + weight * vjp(pulled_back(problem, d, r2, self.accuracy)), state


def pulled_back(problem: Problem, d: Tensor, r2: float, accuracy: Accuracy) -> Tensor:
    """``A^T (r2 A A^T + sigma^2 I)^{-1} (y - A(d))``, or ``(A^+(y) - A^+(A(d))) / r2``; shape (B, *in_shape).

    With a derivative A' it is solved as ``(r2 A'^T A' + sigma^2 I) x = A'^T (y - A(d))``, which always has a solution.
    """
    operator, noise2 = problem.operator, problem.noise**2
    if isinstance(operator, LinearOperator):
        return operator.adjoint(operator.solve(r2, noise2, problem.y - operator(d)))
    if operator.has_pinv and noise2 == 0:
        return (operator.pinv(problem.y) - operator.pinv(operator(d))) / r2
    local = Linearized(operator, d)

    def normal(x: Tensor) -> Tensor:
        return r2 * local.adjoint(local(x)) + noise2 * x

    start = local.adjoint(problem.y - local.value)
    return conjugate_gradients(normal, start, tolerance=accuracy.tolerance, iterations=accuracy.iterations)
