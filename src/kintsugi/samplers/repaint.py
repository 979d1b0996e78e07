"""RePaint (Lugmayr, Danelljan, Romero, Yu, Timofte, Van Gool, CVPR 2022), for any linear measurement.

After an unconditional ancestral step from level a to c, what was measured is replaced by the data at the noise of
level c (their equation 8, there with a mask m in place of the projection ``P = A^+ A``):

    z_c = (I - P) step(z_a, D) + A^+ y + c P xi

The step does not know what will replace its measured part, so the two do not fit. So each stretch of levels is walked
again (their section 4.2): after ``length`` steps the noise of these steps is put back, z <- z + sqrt(a^2 - c^2) xi,
and they are done once more, ``repeats`` times in all.

With noise, which the paper does not treat: ``A^+ y`` has noise ``sigma_y / s`` of its own in each singular direction,
so ``sqrt(c^2 - sigma_y^2 / s^2)`` is added. Where c is below that, z is the better of the two: nothing is put in place
any more, and the network takes the measurement's noise away as it does its own. For ``A = I`` this draws from the
exact posterior. Going back up from there would lose what was measured, with nothing to bring it back; so steps are
done again only above the noise of ``A^+ y``, root mean square over what was measured.

What differs from the authors. Their equation 8a has the known part at the level before the step, their code at the
level at which the network looks next, as here. Their code puts y in place before a network evaluation, the paper and
we after it, so that without noise the result has the measured part. Their code has a learned variance, here it is that
of ancestral sampling. A rise of ``length`` levels is one move instead of ``length``, with the same distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..guidance.base import levels_like, linear_operator
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, march, start_at
from .ddrm import impose
from .defaults import null_space_schedule
from .schedule import Schedule, time_travel


@dataclass(frozen=True)
class RePaint(Sampler):
    """RePaint: the data with fresh noise put in place after each unconditional step, and steps done again.

    z_c = (I - P) step(z_a, D) + A^+ y + c P xi; then back up by ``length`` levels, ``repeats`` times in all.

    length: levels a jump goes back; None for a tenth of the steps, 1 to 10. repeats: how often each stretch is walked.
    solver: of the unconditional step. schedule: None for DDNM's, by the number of steps and the noise.

    Paper: Lugmayr et al., CVPR 2022, algorithm 1 and equation 8.
    Cost: up to ``repeats`` forwards a step, no VJP.
    Takes: any linear operator; with noise, data are put in place while z is the noisier of the two.
    Authors: 250 steps uniform in time from pure noise, length 10, repeats 10: 4570 forwards; masks without noise.
    """

    name: ClassVar[str] = "repaint"
    steadier: ClassVar[Mapping[str, str]] = {"repeats": "fewer", "schedule": "with a lower first level"}

    length: int | None = None
    repeats: int = 4
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        whole = "an integer of at least 1"
        if self.length is not None:
            check_number("length", self.length, lambda n: n >= 1 and n == int(n), whole + ", or None")
        check_number("repeats", self.repeats, lambda n: n >= 1 and n == int(n), whole)
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "RePaint")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or null_space_schedule(problem, steps)
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)

        def step(z: Tensor, a: float, c: float, memory: object) -> tuple[Tensor, object]:
            d = prior.denoise(z, levels_like(z, a))
            z, memory = self.solver.step(z, d, a, c, memory, noise)
            white = c * noise.normal_like(z) if c > 0 else z
            return impose(problem, z, white, c), memory

        # Below the noise of the measurement nothing would bring back what a rise takes away.
        lowest = noise_of_pinv(problem)
        above = sum(level > 0 and level >= lowest for level in levels)
        if above > 1:
            length = self.length or min(10, max(1, (len(levels) - 1) // 10))
            levels = time_travel([*levels[:above], 0.0], length, self.repeats)[:-1] + levels[above:]
        return march(levels, z, step, None, noise, report)


def noise_of_pinv(problem: Problem) -> float:
    """The standard deviation of the noise of ``A^+ y``, root mean square over what was measured; without drawing any.

    A chirp, whose spectrum is as flat as that of white noise, stands for the noise of y.
    """
    operator, y = linear_operator(problem, "the noise of a pseudo-inverse"), problem.y
    k = torch.arange(y[0].numel(), dtype=torch.float64)
    chirp = torch.cos(math.sqrt(5) * k**2).view(1, *operator.out_shape).to(y)
    seen = operator.gram(torch.ones_like, chirp)
    return problem.noise * float(operator.pinv(chirp).norm() / seen.norm())
