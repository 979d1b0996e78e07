"""LATINO: a latent consistency model as a stochastic autoencoder, and a proximal step between its image and its code.

From Spagnoletti, Prost, Almansa, Papadakis and Pereyra (ICCV 2025). Their iteration splits a Langevin diffusion towards
the posterior of the image x into a part that leaves the prior as it is, and an implicit step on the data:

    z = encode(x) + eta xi,    u = decode(G(z, eta)),    x <- argmin_v |y - A v|^2 / (2 sigma_y^2) + |v - u|^2 / (2 r^2)

at falling noise levels, from ``x = A^+ y``. G is the consistency model, a clean code; it is ``D`` here, which a
diffusion model has too (its mean in place of a sample, so that few levels blur). The last step is linear algebra,

    x = u + r^2 A^T (r^2 A A^T + sigma_y^2)^{-1} (y - A u),

no derivative of network or decoder is needed, and without noise x has the measurement whatever r. ``r^2 = delta eta^2 /
(1 + eta^2)``, the authors' ``delta (1 - abar)``, is the variance of a signal of variance 1 that was seen at level eta.

What differs from the authors' code. Images are not clipped. Their delta depends on the task and, for most, on ``|y - A
u|``. What is returned is the code of the last image, as there; decoded, it has the measurement up to the autoencoder's
error. For a nonlinear measurement the proximal step is one Gauss-Newton step: A in its derivative at u. Where the model
knows the images themselves the code is the image, and this is DiffPIR with all noise fresh and another ``r``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..guidance.base import levels_like
from ..noise import RowNoise
from ..operators.latent import in_pixels
from ..operators.linearized import local_operator
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule


@dataclass(frozen=True)
class LATINO(Sampler):
    """LATINO: decode, a proximal step on the image, encode, and fresh noise; no derivative of network or decoder.

    z_c = encode(x) + c xi,  x = u + r^2 A^T (r^2 A A^T + sigma_y^2)^{-1} (y - A u),  u = decode(D), r^2 = delta
    a^2/(1 + a^2).

    delta: how far a noisy measurement may move the image. schedule: None for steps uniform in time, from the code of
    ``A^+ y`` at the level of pure noise.

    Paper: Spagnoletti et al., ICCV 2025, the LATINO solver.
    Cost: 1 forward a step, no VJP; one of the decoder and one of the encoder with it.
    Takes: any differentiable operator, linear in closed form, others by a Gauss-Newton step.
    Authors: 8 steps of a distilled SDXL with a prompt; delta 0.5 and 1 (inpainting), others by task and residual.
    """

    name: ClassVar[str] = "latino"
    steadier: ClassVar[Mapping[str, str]] = {"delta": "smaller"}

    delta: float = 1.0
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_number("delta", self.delta, lambda delta: 0 < delta < math.inf, "a positive number")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or Schedule(start="pinv", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        parts = in_pixels(problem.operator)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            u = parts.decode(prior.denoise(z, levels_like(z, a)))
            local = local_operator(parts.pixels, u)
            r2 = self.delta * a**2 / (1 + a**2)
            x = u + r2 * local.adjoint(local.solve(r2, problem.noise**2, problem.y - parts.pixels(u)))
            code = parts.encode(x)
            return (code + c * noise.normal_like(code) if c > 0 else code), None

        return march(levels, z, step, None, noise, report)
