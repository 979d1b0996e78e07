"""DDIM and lambda-DDIM: samples of the prior, whatever was measured (Song, Meng, Ermon, ICLR 2021; Pandey, Rudolph,
Mandt, ICLR 2024).

The unconditional equation ``dz/deta = (z - D)/eta``. DDIM holds the noise estimate during a step (their equation 12),

    z_c = D + sqrt(c^2 - s^2) (z - D)/a + s xi,    s = churn c sqrt(1 - c^2/a^2),

and the conjugate integrators multiply the state by ``exp(lambda t)`` first, an explicit Euler step in the new variable
(their section 3, lambda-DDIM): with A_t = exp(lambda t) / alpha_t and the held noise estimate,

    A_c x_c = (1 - lambda (t_a - t_c)) A_a x_a - eps int_c^a A_t alpha_t deta

which is ``z_c = c_z z + c_F F`` of ``solvers/conjugate.py`` with nothing measured; F is the noise estimate, or
whichever quantity is held. lambda = 0 is DDIM. All are of first order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like
from ..noise import RowNoise
from ..paths import Path
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.conjugate import Frozen, free_coefficients, frozen_quantity
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule


@dataclass(frozen=True)
class DDIM(Sampler):
    """DDIM: a sample of the prior; the measurement is ignored.

    z_c = c_z z + c_F F, with F the network's output, held during a step; for lam 0 and the noise held, DDIM.

    churn: 0 is deterministic, 1 ancestral (DDPM). lam: the lambda of conjugate integrators, without churn. frozen: what
    of the network is held during a step, "noise", "velocity" or "data". schedule: None for steps uniform in time, from
    pure noise. path: None for the prior's own.

    Paper: Song et al., ICLR 2021, equation 12; Pandey et al., ICLR 2024, section 3 (lambda-DDIM).
    Cost: 1 forward a step, no VJP.
    Takes: any operator, of which only the shape of the signal matters.
    Authors: 10 to 1000 steps from pure noise; lambda -0.5 to 0.5, tuned for the number of steps.
    """

    name: ClassVar[str] = "ddim"
    steadier: ClassVar[Mapping[str, str]] = {"lam": "closer to 0"}

    churn: float = 0.0
    lam: float = 0.0
    frozen: Frozen = "noise"
    schedule: Schedule | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        check_number("churn", self.churn, lambda churn: 0 <= churn <= 1, "a number from 0 to 1")
        check_number("lam", self.lam, math.isfinite, "a finite number")
        if self.frozen not in get_args(Frozen):
            raise InvalidArgument("frozen", self.frozen, " or ".join(map(repr, get_args(Frozen))))
        if self.churn > 0 and (self.lam != 0 or self.frozen != "noise"):
            raise InvalidArgument("churn", self.churn, "0 with a lambda, or with another quantity held than the noise")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        if self.frozen == "velocity":
            (self.path or prior.path).velocity_form(torch.ones((), dtype=torch.float64))

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path)
        schedule = self.schedule or Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        solver = FirstOrder(self.churn)

        def step(z: Tensor, a: float, c: float, memory: object) -> tuple[Tensor, object]:
            d = prior.denoise(z, levels_like(z, a))
            if self.lam == 0 and self.frozen == "noise":
                return solver.step(z, d, a, c, memory, noise)
            f, _ = frozen_quantity(prior.path, self.frozen, z, d, a)
            on = free_coefficients(prior.path, self.frozen, a, c, w=0.0, lam=self.lam)
            return float(on.z) * z + float(on.frozen[0]) * f, memory

        return march(levels, z, step, None, noise, report)
