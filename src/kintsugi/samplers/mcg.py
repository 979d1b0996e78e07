"""MCG: manifold constrained gradients (Chung, Sim, Ryu, Ye, NeurIPS 2022).

An unconditional step, a correction by the gradient of the distance to the data through the network, and a projection
onto the measurement at the noise of the new level (their algorithm 1), from level a to c in z = x_t / alpha:

    z' = step(z_a, D) - zeta / (alpha_a alpha_c) grad_z |W (y - A D)|,    z_c = (I - P) z' + A^+ y + c P xi

The gradient lies along the manifold of images of noise level a, they argue, so it corrects what was not measured to
fit what was; the projection deals with what was. DPS is this without the projection. ``W`` is the identity, as they
have it for inpainting and colourisation (for tomography ``A^+``). For noisy measurements, which the paper projects
onto as if they were exact, see ``repaint.py``: data are put in place while z is the noisier.

The gradient of a norm has a length near 1 whatever the size of the image and of the step, so its effect on a pixel
falls with the root of their number n, and in all it is proportional to the number of steps. Hence the default
``zeta = sqrt(n) / steps``: the authors' 1 for 1000 steps at n = 256 x 256 x 3 is 2.3 times that.

What differs from the authors. The paper has the gradient of the square, weighted by ``alpha / |y - A D|``: that is ``2
alpha`` times the gradient of the norm, and its alpha of 0.1 a zeta of 0.2; the code has the norm with a weight of 1.
The norm is that of each image by itself, theirs that of the whole batch. Their code puts the measurement in place at
the noise of level a, here at that of c, where z' is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.base import linear_operator
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, march, start_at
from .ddrm import impose
from .defaults import null_space_schedule
from .dps import distance_gradient
from .schedule import Schedule


@dataclass(frozen=True)
class MCG(Sampler):
    """MCG: a gradient through the network towards the data, and a projection onto their noisy version, each step.

    z_c = (I - P) [step(z_a, D) - zeta / (alpha_a alpha_c) grad_z |y - A D|] + A^+ y + c P xi, a norm for each image.

    zeta: length of the correction; None for sqrt(n) / steps with n samples in the signal. solver: of the unconditional
    step. schedule: None for DDNM's, by the number of steps and the noise.

    Paper: Chung et al., NeurIPS 2022, algorithm 1.
    Cost: 1 forward and 1 VJP a step.
    Takes: any linear operator; with noise, data are put in place while z is the noisier of the two.
    Authors: 1000 steps from pure noise, ancestral; zeta 1 in the code.
    """

    name: ClassVar[str] = "mcg"
    steadier: ClassVar[Mapping[str, str]] = {"zeta": "smaller"}

    zeta: float | None = None
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if self.zeta is not None:
            check_number("zeta", self.zeta, lambda zeta: 0 < zeta < float("inf"), "a positive number or None")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "MCG")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(prior.path.paced())  # the authors' steps are in units of x_t on such a path
        schedule = self.schedule or null_space_schedule(problem, steps)
        levels = schedule.levels(prior, steps)
        zeta = self.zeta or math.sqrt(math.prod(problem.operator.in_shape)) / (len(levels) - 1)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)

        def step(z: Tensor, a: float, c: float, memory: object) -> tuple[Tensor, object]:
            d, gradient = distance_gradient(prior, problem, z, a)
            z, memory = self.solver.step(z, d, a, c, memory, noise)
            alpha_a, alpha_c = (float(prior.path.alpha_of_eta(eta)) for eta in (a, c))
            z = z - zeta / (alpha_a * alpha_c) * gradient
            return impose(problem, z, c * noise.normal_like(z) if c > 0 else z, c), memory

        return march(levels, z, step, None, noise, report)
