"""OT-ODE: pseudo-inverse guidance on the straight path (Pokle, Muckley, Chen, Karrer, TMLR 2024).

Their algorithm 1 integrates, by Euler's method in time, the velocity with a correction (their equations 12 and 13;
their time runs towards the data, with alpha_t = t and sigma_t = 1 - t)

    v + sigma_t^2 (d/dt log(alpha_t / sigma_t)) gamma_t grad log p(y | x_t)
    p(y | x_t) = N(A D, r_t^2 A A^T + sigma_y^2),    r_t^2 = sigma_t^2 / (sigma_t^2 + alpha_t^2)

from ``x = t_0 A^+ y + (1 - t_0) eps`` at t_0 = 0.2, with gamma_t = 1 ("unadaptive", which they recommend for this path)
or gamma_t = sqrt(alpha_t / (alpha_t^2 + sigma_t^2)) ("adaptive"). On any path that velocity is the one of the denoiser

    D_y = D + gamma_t eta^2 J^T A^T (r^2 A A^T + sigma_y^2)^{-1} (y - A D),    r^2 = s^2 eta^2 / (s^2 + eta^2), s^2 = 1

and Euler's step on the straight path is DDIM in canonical variables. With gamma_t = 1 this is therefore the guidance of
``guidance/pigdm.py`` with ``w = None``, but for the variance of the data: the authors' r_t^2 is that of white data of
variance 1, where ours is the prior's (0.25 for photographs). PiGFM integrates the same equation with the weight
``w alpha^2 r^2`` of the conjugate papers, which vanishes with the noise. The larger s^2 weakens the correction at high
noise by up to 4, which few steps need: explicit Euler steps of the full guidance are stiff.

What differs from the authors' code: the start is the pseudo-inverse for each operator, where they upsample or keep the
measurement; the system is solved exactly for each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.base import levels_like, linear_operator
from ..guidance.ddnm import isotropic_variance
from ..noise import RowNoise
from ..paths import FlowMatching, Path
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule


@dataclass(frozen=True)
class OTODE(Sampler):
    """OT-ODE: pseudo-inverse guidance of a flow through its Jacobian, in Euler steps from the pseudo-inverse.

    D_y = D + gamma eta^2 J^T A^T (r^2 A A^T + sigma_y^2)^{-1} (y - A D),  r^2 = s^2 eta^2 / (s^2 + eta^2).

    tau: the time in (0, 1] at which the run starts, from ``A^+ y`` (the authors' 1 - t_0). adaptive: gamma =
    sqrt(alpha / (alpha^2 + sigma^2)) in place of 1. variance: s^2, None for the prior's. solver: of the ODE. schedule:
    another start or grid, in place of tau. path: None for the prior's own.

    Paper: Pokle et al., TMLR 2024, algorithm 1, equations 12 and 13.
    Cost: 1 forward and 1 VJP a step.
    Takes: any linear operator, with or without noise.
    Authors: 100 steps of Euler from t_0 = 0.2 (tau 0.8), gamma 1, variance 1.
    """

    name: ClassVar[str] = "otode"
    steadier: ClassVar[Mapping[str, str]] = {"tau": "smaller", "variance": "larger"}

    tau: float = 0.8
    adaptive: bool = False
    variance: float | None = 1.0
    solver: Solver = field(default_factory=FirstOrder)
    schedule: Schedule | None = None
    path: Path | None = FlowMatching()

    def __post_init__(self) -> None:
        check_number("tau", self.tau, lambda tau: 0 < tau <= 1, "a time above 0 and at most 1")
        check_type("adaptive", self.adaptive, bool, "True or False")
        if self.variance is not None:
            check_number("variance", self.variance, lambda s2: 0 < s2 < math.inf, "a positive number or None")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "OT-ODE")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path)
        operator = linear_operator(problem, "OT-ODE")
        schedule = self.schedule or Schedule(tau=self.tau, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)

        def step(z: Tensor, a: float, c: float, memory: object) -> tuple[Tensor, object]:
            d, vjp = prior.denoise_vjp(z, levels_like(z, a))
            r2 = isotropic_variance(self.variance or prior.data_variance, a)
            u = operator.adjoint(operator.solve(r2, problem.noise**2, problem.y - operator(d)))
            alpha = float(prior.path.alpha_of_eta(a))
            gamma = 1 / math.sqrt(alpha * (1 + a**2)) if self.adaptive else 1.0
            return self.solver.step(z, d + gamma * a**2 * vjp(u), a, c, memory, noise)

        return march(levels, z, step, None, noise, report)
