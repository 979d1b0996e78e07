"""FlowChef: steering a rectified flow in its vector field (Patel, Wen, Metaxas, Yang, ICCV 2025).

On the nearly straight path of a rectified flow the gradient of a loss with respect to x_t is nearly that with respect
to the clean estimate D = x_t - t v (their argument is local linearity), so the network's Jacobian is skipped (their
algorithm 1):

    K times:  x_t <- x_t - s grad_D |y - A D|^2 / 2,    D = x_t - t v, with v held
    x_s = x_t + (s - t) v                                                               (Euler)

With v held D moves as x_t does, so the K steps are gradient descent from D to D*, and in canonical variables

    z_c = D + (c / a) (z - D) + (D* - D) / alpha_c

What the residual asks for at a step is added to the state as a whole and stays there, where guidance by a posterior
denoiser takes the share ``1 - c/a`` of it. At high noise D hardly answers (by the factor C (1 + eta)/(C + eta^2) for a
direction of variance C), so corrections pile up before they show: long steps overshoot, and the more of them the
shorter they must be. On a Gaussian prior the samples do not converge to the posterior's.

What differs from the authors' code: their loss is a mean over the measurement with a factor of 500, which on their
images is 0.08 of 1/|A|^2 at 100 steps; here ``step`` is relative to 1/|A|^2 and the sum over steps is what stays. Their
code for pixels leaves the correction out of the last step, which would ignore the data with one step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..guidance.base import levels_like
from ..guidance.descent import Descent
from ..noise import RowNoise
from ..paths import FlowMatching, Path
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule


@dataclass(frozen=True)
class FlowChef(Sampler):
    """FlowChef: the gradient of the data's distance to the clean estimate moves the state itself, past the network.

    z_c = D + (c/a)(z - D) + (D* - D)/alpha_c,  D* = K gradient steps on |y - A x|^2 from D.

    step: length of a gradient step over 1/|A'|^2, below 2; None for min(1, 8 / steps). iterations: K. schedule: None
    for steps uniform in time, from pure noise. path: None for the prior's own.

    Paper: Patel et al., ICCV 2025, algorithm 1.
    Cost: 1 forward a step, no VJP.
    Takes: any differentiable operator; the noise level of the measurement does not enter.
    Authors: 100 or 200 steps of Euler from pure noise, one gradient step of about 0.08 each.
    """

    name: ClassVar[str] = "flowchef"
    steadier: ClassVar[Mapping[str, str]] = {"step": "smaller", "iterations": "fewer"}

    step: float | None = None
    iterations: int = 1
    schedule: Schedule | None = None
    path: Path | None = FlowMatching()

    def __post_init__(self) -> None:
        if self.step is not None:
            check_number("step", self.step, lambda step: 0 < step < 2, "a number above 0 and below 2, or None")
        check_number(
            "iterations", self.iterations, lambda k: 1 <= k < math.inf and k == int(k), "an integer of at least 1"
        )
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path)
        schedule = self.schedule or Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        descend = Descent(problem)
        length = min(1.0, 8 / steps) if self.step is None else self.step

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            d = prior.denoise(z, levels_like(z, a))
            moved = descend(d, length, int(self.iterations)) - d
            return d + (c / a) * (z - d) + moved / float(prior.path.alpha_of_eta(c)), None

        return march(levels, z, step, None, noise, report)
