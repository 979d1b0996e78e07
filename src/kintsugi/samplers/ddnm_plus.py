"""DDNM+: null-space models for noisy measurements, with time travel (Wang, Yu, Zhang, ICLR 2023, section 3.3).

DDNM puts ``A^+ y`` in place, and with it noise ``sigma_y / s`` in each singular direction. A step from level a to c
gives the estimate a weight w and adds noise of standard deviation f. DDNM+ scales the correction by lambda and takes
the noise that it brings from what is added, so that it is ``f`` in all (their equations 16 to 19, and in the appendix
for each singular value), in z = x_t / alpha and with bars for what is rotated to the singular basis:

    Dhat_i = Dbar_i + lambda_i (ybar_i - Dbar_i),         lambda_i = min(1, f s_i / (w sigma_y))
    z_c = w Dhat + (1 - w) z + gamma xi,                  gamma_i^2 = f^2 - (w lambda_i sigma_y / s_i)^2

where ``w = 1 - sqrt(c^2 - f^2) / a``. Their ancestral step is ``f = c sqrt(1 - c^2/a^2)`` and ``w = 1 - c^2/a^2``; with
a number for ``churn`` it is DDIM's, ``f = churn c``. All are functions of ``A^T A``: no singular value decomposition.
Without noise this is DDNM; at c = 0 nothing hides the measurement's noise, lambda is 0, and the network takes the last
of it away. Time travel, which lets the null space adapt to what was measured, is in ``schedule.py``.

What differs from the authors' code. With DDIM's step it lets the measurement's noise take the place of all noise of
level c, also of what would have been kept (their equation 51): with noise that is DDRM's step with data = 1
(``ddrm.py``). What DDIM keeps is there the noise of the network's own estimate, here that of the corrected one, as in
the ancestral step. Its time travel starts from the network's estimate, the paper's (algorithm 2) and ours from z. The
numbers of the equations are from memory and from the code's comments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..guidance.base import levels_like, linear_operator
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march, start_at
from .defaults import null_space_schedule
from .schedule import Schedule, time_travel


@dataclass(frozen=True)
class DDNMPlus(Sampler):
    """DDNM+: null-space projection scaled so that the measurement's noise is part of the step's; time travel.

    z_c = w [D + lambda (A^+ y - P D)] + (1 - w) z + gamma xi, with lambda and gamma functions of A^T A and sigma_y.

    churn: share of fresh noise, above 0 to 1 (the authors' eta); None for ancestral steps. length, repeats: of time
    travel (the authors' l and r): each stretch of ``length`` levels is walked ``repeats`` times. schedule: None for
    DDNM's, from ``A^+ y``, by the number of steps and the noise.

    Paper: Wang, Yu, Zhang, ICLR 2023, section 3.3, algorithm 2 and the appendix on noisy measurements.
    Cost: ``repeats`` forwards a step, no VJP.
    Takes: any linear operator, with or without noise.
    Authors: 100 steps uniform in time from pure noise, churn 0.85, no time travel (old photographs: 2 and 2).
    """

    name: ClassVar[str] = "ddnmplus"
    steadier: ClassVar[Mapping[str, str]] = {"repeats": "fewer", "schedule": "with a lower first level"}

    churn: float | None = 0.85
    length: int = 1
    repeats: int = 1
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if self.churn is not None:
            check_number("churn", self.churn, lambda churn: 0 < churn <= 1, "a number above 0 and at most 1, or None")
        for name in ("length", "repeats"):
            check_number(name, getattr(self, name), lambda n: n >= 1 and n == int(n), "an integer of at least 1")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "DDNM+")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        operator = linear_operator(problem, "DDNM+")
        schedule = self.schedule or null_space_schedule(problem, steps)
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            d = prior.denoise(z, levels_like(z, a))
            return self._step(operator, problem, z, d, a, c, noise), state

        return march(time_travel(levels, self.length, self.repeats), z, step, None, noise, report)

    def _step(
        self, operator: LinearOperator, problem: Problem, z: Tensor, d: Tensor, a: float, c: float, noise: RowNoise
    ) -> Tensor:
        fresh = c * (math.sqrt(1 - (c / a) ** 2) if self.churn is None else self.churn)
        weight = 1 - math.sqrt(c**2 - fresh**2) / a
        xi = noise.normal_like(z) if c > 0 else torch.zeros_like(z)

        def h(lam: Tensor) -> list[Tensor]:
            brought = weight * problem.noise / lam.sqrt()  # the noise of A^+ y in the step, at lambda = 1
            scale = (fresh / brought).clamp_max(1) if problem.noise > 0 else torch.ones_like(lam)
            gamma = (fresh**2 - (scale * brought) ** 2).clamp_min(0).sqrt()
            return [-weight * scale / lam, (gamma - fresh) / lam, weight * scale / lam]

        return weight * d + (1 - weight) * z + fresh * xi + operator.lift(h, [d, xi], problem.y)
