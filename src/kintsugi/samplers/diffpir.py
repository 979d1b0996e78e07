"""DiffPIR: plug-and-play restoration with a diffusion denoiser (Zhu, Zhang, Liang, Cao, Wen et al., CVPRW 2023).

Half-quadratic splitting alternates a denoiser with a proximal step on the data (``guidance/proximal.py``); between the
levels of a diffusion model noise is put back, part of it the noise that the corrected estimate implies (their
algorithm 1):

    z_c = D_y + c [sqrt(1 - zeta) (z - D_y) / a + sqrt(zeta) xi]

which is the solver ``Tempered`` with ``keep = sqrt(1 - zeta)``.

What differs from the authors' code. There sigma_y is in units of [0, 1] and eta of [-1, 1], so that its lambda of 7
(deblurring) or 1 (others) is a lam of 1.75 or 0.25 here, where the equation holds as the paper states it. Its last
level has no data step. Bicubic super-resolution there takes a few steps of back-projection, here the closed form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..guidance.proximal import Proximal
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.tempered import Tempered
from .base import Report, Sampler, check_number, check_type, integrate
from .defaults import null_space_schedule
from .schedule import Schedule
from .space import Range, Space


@dataclass(frozen=True)
class DiffPIR(Sampler):
    """DiffPIR: a proximal step on the data after each denoising, then noise of which a share is fresh.

    z_c = D_y + c [sqrt(1 - zeta) (z - D_y)/a + sqrt(zeta) xi],  D_y = argmin |y - A x|^2 + (lam sigma_y^2/a^2) |x -
    D|^2.

    lam: how firmly the network's estimate is held against a noisy measurement. zeta: share of fresh noise, in variance.
    schedule: None for levels chosen by the number of steps and the noise, from ``A^+ y``.

    Paper: Zhu et al., CVPRW 2023, algorithm 1.
    Cost: 1 forward a step, no VJP.
    Takes: any differentiable operator, linear in closed form, others by a Gauss-Newton step.
    Authors: 20 to 100 steps from pure noise; lam 0.25 to 1.75 in our units, zeta 0.1 (deblurring) to 1 (inpainting).
    """

    name: ClassVar[str] = "diffpir"
    steadier: ClassVar[Mapping[str, str]] = {"lam": "larger", "schedule": "with a lower first level"}
    space: ClassVar[Space] = {
        "lam": Range(0.05, 20.0, log=True),
        "zeta": Range(0.0, 1.0),
        "schedule.eta": Range(0.5, 50.0, log=True),
        "schedule.end": Range(0.005, 0.3, log=True),
    }

    lam: float = 1.0
    zeta: float = 1.0
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_number("lam", self.lam, lambda lam: 0 < lam < math.inf, "a positive number")
        check_number("zeta", self.zeta, lambda zeta: 0 <= zeta <= 1, "a number from 0 to 1")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        schedule = self.schedule or null_space_schedule(problem, steps)
        return {"lam": self.lam, "zeta": self.zeta, "schedule.eta": schedule.eta, "schedule.end": schedule.end}

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or null_space_schedule(problem, steps)
        solver = Tempered(keep=math.sqrt(1 - self.zeta))
        return integrate(prior, problem, Proximal(self.lam), solver, schedule, steps, noise, report)
