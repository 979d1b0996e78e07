"""PnP-Flow: plug-and-play restoration with a flow (Martin, Gagneux, Hagemann, Steidl, ICLR 2025).

Their algorithm 3, forward-backward splitting with a denoiser whose noise level falls. Their time runs towards the data;
in ours, t from 1 to 0, with F(x) = |A x - y|^2 / (2 sigma_y^2):

    x' = x - gamma_t grad F(x),    gamma_t = gamma sigma_y^2 t^alpha             (a step towards the data)
    x_t = (1 - t) x' + t eps,    eps ~ N(0, I)                                    (back on the path of the flow)
    x = D(x_t, t),    or its mean over K draws of eps                             (denoise)

so the estimate is a clean image throughout, noise is drawn afresh at each step, and sigma_y cancels: it enters through
the choice of alpha alone (the authors tune it for each task; here it grows with the noise and the steps). In canonical
variables the second line is ``z = x' + eta eps``.

It was made to restore one image. What the draws of eps leave in it is no sample of the posterior: on Gaussian priors
its spread is 0.6 to 0.8 of the posterior's with K = 1, and 1 / sqrt(K) of that.

What differs from the authors' code: gamma is relative to 1/|A|^2 (``guidance/descent.py``), so that one number serves
operators of any scale. They start at time 1, where the denoiser forgets the first estimate; in few steps that is one
wasted, so the default starts from A^+ y at time 0.6 (0.7 to 2.0 dB more at 5 steps, 0.2 to 0.9 at 20, on a crop of the
bundled photograph). Nonlinear A takes the same step through its derivative.
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
class PnPFlow(Sampler):
    """PnP-Flow: a gradient step on the data, noise put back, denoised; at each level of a flow.

    x <- mean over K of D(x' + eta eps, eta),  x' = x - gamma t^alpha A'^T (A(x) - y) / |A'|^2.

    gamma: length of the gradient step, below 2. alpha: how fast it shrinks towards the end; None for more the noisier
    the measurement and the more steps. averages: K, draws of noise a step. schedule: None for steps uniform in time,
    from ``A^+ y`` at time 0.6 (1 where there is no A^+). path: None for the prior's own.

    Paper: Martin et al., ICLR 2025, algorithm 3.
    Cost: K forwards a step, no VJP.
    Takes: any differentiable operator; the result is a restored image, not a sample of the posterior.
    Authors: 100 steps; K 5; gamma 1; alpha 0.01 (inpainting, deblurring), 0.3 (super-resolution) to 0.8 (denoising).
    """

    name: ClassVar[str] = "pnpflow"
    steadier: ClassVar[Mapping[str, str]] = {"gamma": "smaller", "alpha": "larger"}

    gamma: float = 1.0
    alpha: float | None = None
    averages: int = 1
    schedule: Schedule | None = None
    path: Path | None = FlowMatching()

    def __post_init__(self) -> None:
        check_number("gamma", self.gamma, lambda gamma: 0 < gamma < 2, "a number above 0 and below 2")
        if self.alpha is not None:
            check_number("alpha", self.alpha, lambda alpha: 0 <= alpha < math.inf, "a number of at least 0, or None")
        check_number("averages", self.averages, lambda k: 1 <= k < math.inf and k == int(k), "an integer of at least 1")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path)
        alpha = self.alpha
        if alpha is None:
            alpha = min(1.0, problem.noise * math.sqrt(steps / 5))
        tau = 0.6 if problem.operator.has_pinv else 1.0
        schedule = self.schedule or Schedule(eta=None, tau=tau, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        x = start_at(prior, problem, schedule.start, 0.0, noise)
        descend = Descent(problem)

        def step(x: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            x = descend(x, self.gamma * float(prior.path.time(a)) ** alpha)
            total = prior.denoise(x + a * noise.normal_like(x), levels_like(x, a))
            for _ in range(1, int(self.averages)):
                total = total + prior.denoise(x + a * noise.normal_like(x), levels_like(x, a))
            return total / self.averages, None

        return march(levels, x, step, None, noise, report)
