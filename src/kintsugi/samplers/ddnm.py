"""DDNM: null-space guidance (``guidance/ddnm.py``) with a generic solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.ddnm import DDNM as DDNMGuidance
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_type, integrate
from .defaults import null_space_schedule
from .schedule import Schedule


@dataclass(frozen=True)
class DDNM(Sampler):
    """DDNM: null-space projection, Wiener-weighted for noisy measurements; one forward a step, no VJP.

    hard: impose ``A x = y`` whatever the noise, as in the paper without noise. schedule None: from ``A^+ y``, chosen
    by the number of steps.
    """

    name: ClassVar[str] = "ddnm"

    hard: bool = False
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_type("hard", self.hard, bool, "True or False")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        DDNMGuidance(self.hard).check(prior, problem)

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or null_space_schedule(problem, steps)
        return integrate(prior, problem, DDNMGuidance(self.hard), self.solver, schedule, steps, noise, report)
