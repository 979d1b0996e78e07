"""TMPD: Tweedie moment projection with a diagonal of row sums (``guidance/tmpd.py``) and a generic solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.tmpd import TMPD as TMPDGuidance
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_type, integrate
from .mmps import FROM_NOISE
from .schedule import Schedule


@dataclass(frozen=True)
class TMPD(Sampler):
    """TMPD: moment matching, with the covariance of the measurement reduced to the diagonal of its row sums.

    D_y = D + eta^2 J^T A^T [(y - A D) / c], c = eta^2 A J^T A^T 1 + sigma^2.

    floor: the least row sum, over their mean modulus in the image, since it may be zero or negative, and the correction
    then has no bound or the wrong sign. solver: of the reverse process. schedule: None for 20 to 0.02, from pure noise.

    Paper: Boys et al., 2023 (TMLR 2024), with the diagonal approximation.
    Cost: 1 forward and 2 VJPs a step.
    Takes: any differentiable operator, with or without noise; those that are not linear through their derivative at D.
    Authors: linear operators; 1000 ancestral steps from pure noise; no floor.
    """

    name: ClassVar[str] = "tmpd"
    steadier: ClassVar[Mapping[str, str]] = {"floor": "larger"}

    floor: float = 0.8
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        TMPDGuidance(self.floor)
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or FROM_NOISE
        return integrate(prior, problem, TMPDGuidance(self.floor), self.solver, schedule, steps, noise, report)
