"""CM4IR: few-step restoration with a consistency model (Garber and Tirer, CVPR 2025), or any denoiser.

From ``A^+ y`` plus a moderate noise, a few times: denoise, back-project (``guidance/back_projection.py``), and put
noise back that is mostly the estimated noise with its sign turned (``solvers/noise_split.py``):

    D = D(z, (1 + delta) a),    D_y = D + A^T (A A^T + zeta sigma_y^2)^{-1} (y - A D)
    z_c = D_y + c [fresh xi - sqrt(1 - fresh^2) (z - D) / a]

where a and c are levels of injected noise, and the estimated noise is that of the unguided D. With a noisy measurement
the last step is not guided. Their levels are those of a variance-exploding path at sqrt(1 - abar), with abar growing
by a factor of 1 + gamma a step; here that factor follows from the first level, the last, and the number of steps.

Verified against the authors' code (github.com/tirer-lab/CM4IR); the numbers of the equations in the paper were not.
What differs: the code fills the holes of an inpainting by a median filter, here the start is the prior's Gaussian
estimate for any operator; it has a delta for each of four steps, here one for all; told another level, it may leave
its network's boundary scaling as it was; it clips the estimate to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..guidance.back_projection import BackProjection
from ..guidance.base import levels_like
from ..guidance.spectral import gaussian_estimate
from ..noise import RowNoise
from ..operators.base import Accuracy
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.noise_split import NoiseSplit
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule

# The first level is low and would not hide what conjugate gradients leave undone.
_START_ACCURACY = Accuracy(1e-3, 300)


@dataclass(frozen=True)
class CM4IR(Sampler):
    """CM4IR: back-projection from a low start, with the estimated noise put back with its sign turned.

    z_c = D + A^T (A A^T + zeta sigma_y^2)^{-1} (y - A D) + c [fresh xi - sqrt(1 - fresh^2) (z - D) / a].

    fresh: share of fresh noise (the authors' eta). zeta: regularisation of the back-projection. delta: the network is
    told 1 + delta times the level that was injected. schedule: injected levels; None for the authors' rule from
    0.5 to 0.1, or to twice the noise of the measurement.

    Paper: Garber, Tirer, CVPR 2025, "Zero-shot image restoration using few-step guidance of consistency models".
    Cost: 1 forward a step, no VJP.
    Takes: any linear operator, with or without noise.
    Authors: 4 steps of a consistency model from A^+ y at a level of 0.3 to 0.9; fresh 0.1; zeta 0 (deblurring: 1 to 4).
    """

    name: ClassVar[str] = "cm4ir"
    steadier: ClassVar[Mapping[str, str]] = {"zeta": "larger", "delta": "smaller"}

    fresh: float = 0.1
    zeta: float = 1.0
    delta: float = 0.0
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_number("fresh", self.fresh, lambda fresh: 0 <= fresh <= 1, "a number from 0 to 1")
        for name in ("zeta", "delta"):
            check_number(name, getattr(self, name), lambda v: 0 <= v < float("inf"), "a finite number of at least 0")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        BackProjection(self.zeta).check(prior, problem)

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or Schedule(start="gaussian", grid=geometric_levels(steps, 0.5, self._last(problem)))
        levels = schedule.levels(prior, steps)
        first, told = schedule.scale * levels[0], [(1 + self.delta) * level for level in levels]
        if schedule.start == "gaussian" and problem.guess is None:
            z = gaussian_estimate(prior, problem, _START_ACCURACY)
            z = z + first * noise.normal_like(z)
        else:
            z = start_at(prior, problem, schedule.start, first, noise)
        guidance, solver = BackProjection(self.zeta), NoiseSplit(self.fresh, True, self.delta)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            d = prior.denoise(z, levels_like(z, a))
            if c == 0 and problem.noise > 0:
                return d, state
            guided = guidance.correct(problem, d)
            return (guided if c == 0 else solver.renoise(guided, (z - d) / a, c, noise)), state

        return march(told, z, step, None, noise, report)

    def _last(self, problem: Problem) -> float:
        """Since the last step is not guided where there is noise, it has to be able to remove it."""
        return min(max(0.1, 2 * problem.noise), 0.4)


def geometric_levels(steps: int, first: float, last: float) -> tuple[float, ...]:
    """``steps`` levels ``sqrt(1 - abar)``, abar growing by the same factor each step, from ``first`` to ``last``."""
    start, end = 1 - first**2, 1 - last**2
    return tuple((1 - start * (end / start) ** (i / max(steps - 1, 1))) ** 0.5 for i in range(steps))
