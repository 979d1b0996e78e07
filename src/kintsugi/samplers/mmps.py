"""MMPS: moment matching with the network's own Jacobian (``guidance/mmps.py``) and a generic solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.mmps import MMPS as MMPSGuidance
from ..guidance.mmps import Krylov
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_type, integrate
from .schedule import Schedule

# Any measurement can start from noise; the pseudo-inverse, where there is one, gains nothing on photographs.
FROM_NOISE = Schedule(start="zero", eta=20.0, end=0.02)


@dataclass(frozen=True)
class MMPS(Sampler):
    """MMPS: moment matching, with the covariance of the clean signal from VJPs of the network.

    D_y = D + eta^2 J^T A^T u, (eta^2 A J^T A^T + sigma^2) u = y - A D.

    iterations: Krylov vectors for the system, one VJP each. tolerance: relative residual at which an image needs no
    more. krylov: "gmres", minimal residuals, or "cg", the paper's conjugate gradients, which trained networks upset.
    solver: of the reverse process. schedule: None for 20 to 0.02, from pure noise.

    Paper: Rozet et al., NeurIPS 2024, moment matching posterior sampling (section 4).
    Cost: 1 forward and up to 4 VJPs a step (``iterations`` + 1).
    Takes: any differentiable operator, with or without noise; those that are not linear through their derivative at D.
    Authors: conjugate gradients, 1 to 5 iterations, a few hundred steps of a first-order sampler from pure noise.
    """

    name: ClassVar[str] = "mmps"
    steadier: ClassVar[Mapping[str, str]] = {"iterations": "fewer", "krylov": "'gmres'"}

    iterations: int = 3
    tolerance: float = 1e-3
    krylov: Krylov = "gmres"
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        self._guidance()
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def _guidance(self) -> MMPSGuidance:
        return MMPSGuidance(self.iterations, self.tolerance, self.krylov)

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or FROM_NOISE
        return integrate(prior, problem, self._guidance(), self.solver, schedule, steps, noise, report)
