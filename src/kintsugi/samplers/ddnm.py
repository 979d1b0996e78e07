"""DDNM: null-space guidance (``guidance/ddnm.py``) with a generic solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

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
from .space import Range, Space


@dataclass(frozen=True)
class DDNM(Sampler):
    """DDNM: null-space projection of the clean estimate, Wiener-weighted for noisy measurements.

    D_y = D + r^2 A^T (r^2 A A^T + sigma_y^2)^{-1} (y - A D);  hard or without noise  D_y = A^+ y + (I - A^+ A) D.

    hard: impose ``A x = y`` whatever the noise, as in the paper without noise. solver: from one level to the next.
    schedule: None for levels from ``A^+ y``, chosen by the number of steps and the noise.

    Paper: Wang, Yu, Zhang, ICLR 2023, algorithm 1 and equation 13.
    Cost: 1 forward a step, no VJP.
    Takes: any linear operator, with or without noise.
    Authors: 100 steps of DDIM with churn 0.85, from pure noise; no noise in the measurement.
    """

    name: ClassVar[str] = "ddnm"
    steadier: ClassVar[Mapping[str, str]] = {"schedule": "with a lower first level"}
    space: ClassVar[Space] = {
        "schedule.eta": Range(0.5, 50.0, log=True),
        "schedule.end": Range(0.005, 0.3, log=True),
    }

    hard: bool = False
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_type("hard", self.hard, bool, "True or False")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        DDNMGuidance(self.hard).check(prior, problem)

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        schedule = self.schedule or null_space_schedule(problem, steps)
        return {"schedule.eta": schedule.eta, "schedule.end": schedule.end}

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or null_space_schedule(problem, steps)
        return integrate(prior, problem, DDNMGuidance(self.hard), self.solver, schedule, steps, noise, report)
