"""Back-projection (Tirer and Giryes, 2019), the guidance of CM4IR (Garber and Tirer, CVPR 2025).

    D_y = D + A^T (A A^T + zeta sigma_y^2)^{-1} (y - A D)

The pseudo-inverse, regularised by the noise of the measurement but not by the level of z: where DDNM and DiffPIR trust
the network more as the noise falls, this moves to the data by the same share at each level. Without noise all are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like, linear_operator


@dataclass(frozen=True)
class BackProjection(Guidance):
    """Regularised pseudo-inverse of what the data still say; one forward a level."""

    zeta: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.zeta < float("inf"):
            raise InvalidArgument("zeta", self.zeta, "a number of at least 0")

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "back-projection")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        return self.correct(problem, prior.denoise(z, levels_like(z, eta))), state

    def correct(self, problem: Problem, d: Tensor) -> Tensor:
        """``d + A^T (A A^T + zeta sigma_y^2)^{-1} (y - A d)``."""
        operator = linear_operator(problem, "back-projection")
        return d + operator.adjoint(operator.solve(1.0, self.zeta * problem.noise**2, problem.y - operator(d)))
