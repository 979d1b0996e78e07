"""PiGDM and PiGFM: pseudo-inverse guidance (``guidance/pigdm.py``) with a generic solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from ..guidance.pigdm import PiGDM as PiGDMGuidance
from ..noise import RowNoise
from ..paths import FlowMatching, Path
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, integrate
from .defaults import pseudo_inverse_defaults
from .schedule import Schedule
from .space import Range, Space


@dataclass(frozen=True)
class PiGDM(Sampler):
    """PiGDM: pseudo-inverse guidance for diffusion, one forward and one VJP a step.

    D_y = D + eta^2 w alpha^2 r^2 J^T A^T (r^2 A A^T + sigma^2)^{-1} (y - A D), r^2 = s^2 eta^2 / (s^2 + eta^2).

    w: weight of the guidance, None for the automatic choice, infinity for the unweighted equation. tau: the time in
    (0, 1] at which the run starts from ``A^+ y``, in steps uniform in time; None for the automatic choice, which is 1,
    pure noise, where A has no pseudo-inverse. schedule: another start or grid, in place of tau. path: None for the
    prior's own, or what paces it (``Path.paced``).

    Paper: Song, Vahdat, Mardani and Kautz, ICLR 2023, equation 7; the weight is that of Pandey et al., 2024.
    Cost: 1 forward and 1 VJP a step.
    Takes: any operator that is linear, has a pseudo-inverse (then without noise), or is differentiable.
    Authors: unit weight times r^2, 100 steps of DDIM with noise (eta 1) from pure noise, s = 1.
    """

    name: ClassVar[str] = "pigdm"
    steadier: ClassVar[Mapping[str, str]] = {"w": "smaller", "tau": "smaller"}
    space: ClassVar[Space] = {"w": Range(1.0, 200.0, log=True), "tau": Range(0.2, 1.0)}

    w: float | None = None
    tau: float | None = None
    solver: Solver = field(default_factory=FirstOrder)
    schedule: Schedule | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.w is not None:
            check_number("w", self.w, lambda w: w > 0, "a positive number, infinity or None")
        if self.tau is not None:
            check_number("tau", self.tau, lambda tau: 0 < tau <= 1, "a time above 0 and at most 1, or None")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        w, tau = pseudo_inverse_defaults(self.name, problem, steps)
        tau = tau if problem.operator.has_pinv else 1.0
        return {"w": w if self.w is None else self.w, "tau": self.tau or tau}

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path.paced())
        w, tau = self.resolved(problem, steps).values()
        schedule = self.schedule or Schedule(tau=tau, end=None, grid="time")
        guidance = PiGDMGuidance(w=None if w == float("inf") else w)
        return integrate(prior, problem, guidance, self.solver, schedule, steps, noise, report)


@dataclass(frozen=True)
class PiGFM(PiGDM):
    """PiGFM: pseudo-inverse guidance for flow models, one forward and one VJP a step.

    As :class:`PiGDM`, on the straight path of flow matching, where alpha = 1 / (1 + eta).

    Paper: Pokle, Muckley, Chen and Karrer, TMLR 2024, algorithm 1.
    Cost: 1 forward and 1 VJP a step.
    Takes: as PiGDM; the authors' are linear.
    Authors: unit weight, r^2 with s = 1, start at t = 0.2 (tau 0.8) from A^+ y, 100 Euler steps or an adaptive solver.
    """

    name: ClassVar[str] = "pigfm"

    path: Path | None = FlowMatching()
