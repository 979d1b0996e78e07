"""FlowDPS: posterior sampling by a flow, without the network's gradient (Kim, Kim, Ye, ICCV 2025).

A state of a flow is a blend of a clean estimate and a noise estimate (their flow version of Tweedie's formula),

    x_t = (1 - t) D + t eps,    D = x_t - t v,    eps = x_t + (1 - t) v,

and the two are treated apart (their algorithm 1). The measurement moves the clean part, by a few gradient steps on
|y - A x|^2 that do not pass through the network, blended in with the noise level; fresh noise renews the other:

    D* = descent from D (K steps),    D_y = (1 - t) D + t D*
    x_s = (1 - s) D_y + s [sqrt(s) eps + sqrt(1 - s) xi],    xi ~ N(0, I),    from time t to s < t

so noise is nearly all kept at the start, nearly all fresh at the end. In canonical variables, where ``eps`` is
``(z - D) / a``, ``z_c = D_y + c [sqrt(s) eps + sqrt(1 - s) xi]``.

The weight t falls to the length of the last step whatever the noise of the measurement, so that in few steps the result
does not fit noiseless data. On a Gaussian prior mean and spread do not converge to those of the posterior.

What differs from the authors' code. It works in the latent space of Stable Diffusion 3, with K = 3 steps of length 30
along the gradient of the *norm* of A^T (y - A x), or of A^+ (y - A x) for super-resolution; here K steps of a length
relative to 1/|A|^2 along the gradient of the square, as the paper states it, which depends neither on the scale of A
nor on the size of the image.
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
class FlowDPS(Sampler):
    """FlowDPS: gradient steps on a flow's clean estimate, fresh noise in its noise estimate, recombined.

    z_c = D_y + c [sqrt(1 - f) (z - D)/a + sqrt(f) xi],  D_y = D + t (D* - D),  D* = K gradient steps from D.

    iterations: K. step: their length over 1/|A'|^2, below 2. fresh: f, the share of new noise in variance; None for the
    authors' 1 - s, with s the time of the next level. schedule: None for steps uniform in time, from pure noise. path:
    None for the prior's own; t is its time.

    Paper: Kim et al., ICCV 2025, algorithm 1.
    Cost: 1 forward a step, no VJP.
    Takes: any differentiable operator; the noise level of the measurement does not enter.
    Authors: 28 steps from pure noise, shifted towards it; K 3; in a latent space.
    """

    name: ClassVar[str] = "flowdps"
    steadier: ClassVar[Mapping[str, str]] = {"step": "smaller", "iterations": "fewer"}

    iterations: int = 3
    step: float = 1.0
    fresh: float | None = None
    schedule: Schedule | None = None
    path: Path | None = FlowMatching()

    def __post_init__(self) -> None:
        check_number(
            "iterations", self.iterations, lambda k: 1 <= k < math.inf and k == int(k), "an integer of at least 1"
        )
        check_number("step", self.step, lambda step: 0 < step < 2, "a number above 0 and below 2")
        if self.fresh is not None:
            check_number("fresh", self.fresh, lambda fresh: 0 <= fresh <= 1, "a number from 0 to 1, or None")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path)
        schedule = self.schedule or Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        descend = Descent(problem)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            d = prior.denoise(z, levels_like(z, a))
            t, s = (float(prior.path.time(eta)) for eta in (a, c))
            guided = d + t * (descend(d, self.step, int(self.iterations)) - d)
            if c == 0:
                return guided, None
            fresh = 1 - s if self.fresh is None else self.fresh
            kept = (math.sqrt(1 - fresh) / a) * (z - d)
            return guided + c * (kept + math.sqrt(fresh) * noise.normal_like(z)), None

        return march(levels, z, step, None, noise, report)
