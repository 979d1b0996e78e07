"""PiGDM and PiGFM: pseudo-inverse guidance (``guidance/pigdm.py``) with a generic solver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

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


@dataclass(frozen=True)
class PiGDM(Sampler):
    """PiGDM: pseudo-inverse guidance for diffusion, one forward and one VJP a step.

    w: weight of the guidance, None for the automatic choice, infinity for the unweighted equation. tau: the time in
    (0, 1] at which the run starts from ``A^+ y``, in steps uniform in time; None for the automatic choice. schedule:
    another start or grid, in place of tau. path: None for the prior's own.
    """

    name: ClassVar[str] = "pigdm"

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

    def check(self, prior: Prior, problem: Problem) -> None:
        self._guidance(problem, 5).check(prior, problem)

    def _guidance(self, problem: Problem, steps: int) -> PiGDMGuidance:
        w = pseudo_inverse_defaults(self.name, problem, steps)[0] if self.w is None else self.w
        return PiGDMGuidance(w=None if w == float("inf") else w)

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        if self.path is not None:
            prior = prior.with_path(self.path)
        schedule = self.schedule
        if schedule is None:
            tau = self.tau or pseudo_inverse_defaults(self.name, problem, steps)[1]
            schedule = Schedule(tau=tau, end=None, grid="time")
        guidance = self._guidance(problem, steps)
        return integrate(prior, problem, guidance, self.solver, schedule, steps, noise, report)


@dataclass(frozen=True)
class PiGFM(PiGDM):
    """PiGFM: pseudo-inverse guidance for flow models, one forward and one VJP a step.

    As :class:`PiGDM`, on the straight path of flow matching.
    """

    name: ClassVar[str] = "pigfm"

    path: Path | None = FlowMatching()
