"""DPS: diffusion posterior sampling (Chung, Kim, Mccann, Klasky, Ye, ICLR 2023).

The likelihood of the noisy variable is replaced by that of its denoised mean, ``p(y | z) ~ N(y; A D, sigma^2 I)``, and
its gradient is taken through the network. The authors normalise it: their step size ``zeta_i = zeta / |y - A D|`` makes
the correction ``zeta`` times the gradient of the *norm*, one number an image, whatever the measurement noise and the
length of the step. After an unconditional step from level a to c (their algorithm 1, line 7, in z = x_t / alpha)

    z_c = step(z_a, D) - zeta / (alpha_a alpha_c) grad_z |y - A D|,    grad_z |r| = -J^T A'^T r / |r|

Since the correction does not shrink with the step, few steps need a larger ``zeta``; and since it never vanishes, the
samples of a Gaussian prior do not follow its posterior: their spread and mean are functions of ``zeta`` and of the
number of steps. The norm is that of each image by itself; the authors' code takes it over the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.base import levels_like
from ..noise import RowNoise
from ..operators.iterative import unit_rows
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule
from .space import Range, Space


@dataclass(frozen=True)
class DPS(Sampler):
    """DPS: the gradient of the distance to the data, through the network, after each unconditional step.

    z_c = step(z_a, D) - zeta / (alpha_a alpha_c) grad_z |y - A D|, the norm of each image by itself.

    zeta: length of the correction. solver: of the unconditional step. schedule: None for steps uniform in time, from
    pure noise.

    Paper: Chung et al., ICLR 2023, algorithm 1 and equation 16.
    Cost: 1 forward and 1 VJP a step.
    Takes: any differentiable operator; the noise level of the measurement does not enter.
    Authors: 1000 steps from pure noise, ancestral; zeta 1 (inpainting, super-resolution), 0.4 (phase retrieval), 0.3.
    """

    name: ClassVar[str] = "dps"
    steadier: ClassVar[Mapping[str, str]] = {"zeta": "smaller"}
    space: ClassVar[Space] = {"zeta": Range(0.05, 50.0, log=True)}

    zeta: float = 1.0
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_number("zeta", self.zeta, lambda zeta: zeta > 0, "a positive number")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(prior.path.paced())  # the authors' steps are in units of x_t on such a path
        schedule = self.schedule or Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)

        def step(z: Tensor, a: float, c: float, memory: object) -> tuple[Tensor, object]:
            d, gradient = distance_gradient(prior, problem, z, a)
            z, memory = self.solver.step(z, d, a, c, memory, noise)
            alpha_a, alpha_c = (float(prior.path.alpha_of_eta(eta)) for eta in (a, c))
            return z - self.zeta / (alpha_a * alpha_c) * gradient, memory

        return march(levels, z, step, None, noise, report)


def distance_gradient(prior: Prior, problem: Problem, z: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """``D(z, eta)`` and the gradient with respect to ``z`` of ``|y - A D|``, the norm of each row by itself."""
    d, vjp = prior.denoise_vjp(z, levels_like(z, eta))
    measured, adjoint = problem.operator.vjp(d)
    return d, -vjp(adjoint(unit_rows(problem.y - measured)))
